"""Entry point of `python -m lindyn.verify`."""

from lindyn import command
from lindyn.verify.command import main


if __name__ == "__main__":
    command.leave(main())

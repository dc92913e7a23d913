"""Entry point of `python -m lindyn.train`."""

from lindyn import command
from lindyn.train.command import main


if __name__ == "__main__":
    command.leave(main())

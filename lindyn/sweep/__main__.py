"""Entry point of `python -m lindyn.sweep`."""

from lindyn import command
from lindyn.sweep.command import main


if __name__ == "__main__":
    command.leave(main())

"""Runs the command as `python -m lindyn.compare`."""

from lindyn import command
from lindyn.compare.command import main


if __name__ == "__main__":
    command.leave(main())

"""Runs the command as `python -m lindyn.phase`."""

from lindyn import command
from lindyn.phase.command import main


if __name__ == "__main__":
    command.leave(main())

"""Entry point of `python -m lindyn.explore`."""

from lindyn import command
from lindyn.explore.command import main


if __name__ == "__main__":
    command.leave(main())

"""Entry point of `python -m lindyn.predict`."""

from lindyn import command
from lindyn.predict.command import main


if __name__ == "__main__":
    command.leave(main())

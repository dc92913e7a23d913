"""What does the flow look like? Phase portraits as arrays, and the command that draws them."""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    from lindyn.phase.command import main

    return main(argv)

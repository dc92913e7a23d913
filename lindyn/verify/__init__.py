"""Are the equations right? Claims checked on random problems."""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    from lindyn.verify.command import main

    return main(argv)

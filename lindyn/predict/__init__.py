"""Will it collapse? A trainer's settings, answered by the theory."""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    from lindyn.predict.command import main

    return main(argv)

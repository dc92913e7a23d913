"""Does a run follow the theory?"""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    from lindyn.compare.command import main

    return main(argv)

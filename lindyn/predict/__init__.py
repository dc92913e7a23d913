"""Predicts from a trainer's settings whether the network collapses, by the linear theory.

Read `scenario` first, then `mode_fates` and `network_fates`, then `analysis`.

May import: command, record, solve, theory.
"""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    from lindyn.predict.command import main

    return main(argv)

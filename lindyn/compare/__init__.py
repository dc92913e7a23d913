"""Compares a training run with the theory.

Read `analysis` first: it runs all checks. `run_moments` defines what they act on.

May import: command, phase, plot, record, solve, theory.
"""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """The command `lindyn compare`. Returns the exit code."""
    from lindyn.compare.command import main

    return main(argv)

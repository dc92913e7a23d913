"""Numerical checks that the equations in `lindyn.theory` are right.

Read `random_problems` first, then `claims/claim`, then `command`.

May import: command, solve, theory.
"""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    from lindyn.verify.command import main

    return main(argv)

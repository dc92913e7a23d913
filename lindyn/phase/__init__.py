"""Phase portraits: computed as arrays, and the command that draws them.

Read `portrait` first.

May import: command, plot, solve, theory.
"""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """The command `lindyn phase`. Returns the exit code."""
    from lindyn.phase.command import main

    return main(argv)

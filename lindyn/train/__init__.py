"""Trains real networks with BYOL, SimSiam, DirectPred or SimCLR, and records their spectra.

Read `config` first, which lists the options of a run, and then `loop`, which runs it.

May import: command, record, theory.
"""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command `lindyn train` and returns its exit code."""
    from lindyn.train.command import main

    return main(argv)

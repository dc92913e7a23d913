"""Real networks: BYOL, SimSiam and DirectPred, with the spectra that the theory speaks of."""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    from lindyn.train.command import main

    return main(argv)

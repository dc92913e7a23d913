"""Integration of differential equations: single trajectories and ensembles of many problems.

`diffrax_solver` integrates one trajectory, and `ensemble` integrates many independent problems
at once. Both accept any vector field `f(t, y, args)`.

May import: theory.
"""

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from lindyn.solve.diffrax_solver import (
        SolveError as SolveError,
        dense as dense,
        steady_state as steady_state,
        trajectory as trajectory,
    )


def __getattr__(name: str):
    """Import on first use: diffrax costs more than ensembles need."""
    if name in ("SolveError", "dense", "steady_state", "trajectory"):
        return getattr(import_module("lindyn.solve.diffrax_solver"), name)
    raise AttributeError(f"module 'lindyn.solve' has no attribute {name!r}")

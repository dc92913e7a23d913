"""Curves of a two-dimensional flow in a window, as (points, 2) arrays."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import PyTree

from lindyn.solve import ensemble


SPACING = 0.0125  # between the points of a curve, in widths of the window
REACH = 3.0  # its length: enough for a separatrix to go down, along and up a window
CELLS = 26  # no two flow lines pass through one cell of the window, this many a side
SHORTEST = 0.15  # of a flow line, in widths of the window


class Window(NamedTuple):
    x: tuple[float, float]
    y: tuple[float, float]

    @property
    def low(self) -> np.ndarray:
        return np.array([self.x[0], self.y[0]])

    @property
    def spans(self) -> np.ndarray:
        return np.array([self.x[1] - self.x[0], self.y[1] - self.y[0]])

    def place(self, unit: np.ndarray) -> np.ndarray:
        """Points of the unit square, (points, 2), as points of the window."""
        return self.low + unit * self.spans


def follow(
    field: Callable,
    starts: PyTree,
    args: PyTree,
    chart: Callable,
    signs: np.ndarray,
    spans: np.ndarray,
    rest: np.ndarray,
    rtol: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Curves (lanes, points, 2) from `starts`, and the status of each solve.

    `field` moves in coordinates that `chart` maps to the plane. `signs` is 1 forward in time
    and -1 backward. The independent variable is arc length in the plane in units of `spans`
    (lanes, 2), so that no solution runs away and points are evenly spaced; an infinite span
    does not count. At a speed below `rest` (lanes) it slows down: a curve stops at a fixed
    point.
    """
    each = lambda x: np.full(len(signs), x)
    ends = ensemble.states(
        Partial(along, field, chart),
        starts,
        (jax.tree.map(each, args), signs, *spans.T, rest),
        np.arange(0.0, REACH + SPACING / 2, SPACING),
        rtol=rtol,
        atol=1e-9 * rtol,  # the scale at a saddle may be far below the window's
        max_steps=20_000,
        quick=True,
    )
    points = np.stack(jax.tree.leaves(chart(ends.y)), axis=-1)
    return points, np.asarray(ends.status)


def along(field: Callable, chart: Callable, t: Any, y: PyTree, args: tuple) -> PyTree:
    """`field` as `follow` moves: `args` are the field's, sign, both spans and rest."""
    args, sign, span_x, span_y, rest = args
    rate = field(t, y, args)
    _, (dx, dy) = jax.jvp(lambda y: jax.tree.leaves(chart(y)), (y,), (rate,))
    square = (dx / span_x) ** 2 + (dy / span_y) ** 2
    scale = sign * jnp.sqrt(square) / (square + rest**2)
    return jax.tree.map(lambda x: scale * x, rate)


def spread(curves: np.ndarray, window: Window) -> list[np.ndarray]:
    """Curves that keep a distance: each is cut where it enters a cell that is taken.

    `curves` pass through their starts in the middle; NaN ends them.
    """
    taken = np.zeros((CELLS, CELLS), bool)
    kept = []
    for curve in curves:
        middle = len(curve) // 2
        unit = (curve - window.low) / window.spans
        ok = np.isfinite(unit).all(1) & (unit >= 0).all(1) & (unit <= 1).all(1)
        cells = np.where(ok[:, None], np.clip(unit * CELLS, 0, CELLS - 1), 0).astype(int)
        free = ok & ~taken[tuple(cells.T)]
        if not free[middle]:
            continue
        stops = np.flatnonzero(~free)
        first = stops[stops < middle].max(initial=-1) + 1
        last = stops[stops > middle].min(initial=len(curve))
        moved = np.linalg.norm(np.diff(unit[first:last], axis=0), axis=1)
        if moved.sum() < SHORTEST:
            continue
        taken[tuple(cells[first:last].T)] = True
        kept.append(curve[first:last][np.concatenate([[True], moved > SPACING / 100])])
    return kept


def inside(curve: np.ndarray, window: Window) -> list[np.ndarray]:
    """The pieces of a curve that lie in the window, each with a point beyond its edge."""
    unit = (curve - window.low) / window.spans
    finite = np.isfinite(unit).all(1)
    distance = np.where(finite, np.abs(unit - 0.5).max(1), np.inf)
    ok = distance <= 0.5
    wide = ok.copy()
    wide[1:] |= ok[:-1]
    wide[:-1] |= ok[1:]
    wide &= distance <= 1.5  # not the far side of a pole
    runs = np.split(np.arange(len(curve)), np.flatnonzero(np.diff(wide)) + 1)
    return [curve[run] for run in runs if len(run) > 1 and wide[run[0]]]


def lattice(count: int) -> np.ndarray:
    """count^2 points of the unit square in rows."""
    ticks = (np.arange(count) + 0.5) / count
    return np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)


def scattered(count: int) -> np.ndarray:
    """Roberts' low-discrepancy sequence: any first part of it fills the square evenly."""
    plastic = 1.324717957244746
    steps = np.array([1 / plastic, 1 / plastic**2])
    return (0.5 + np.arange(1, count + 1)[:, None] * steps) % 1

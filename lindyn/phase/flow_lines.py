"""Flow lines of a two-dimensional vector field in a window, as (points, 2) arrays.

Read `portrait` first, which uses them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import PyTree

from lindyn.solve import ensemble


SPACING = 0.0125  # distance between points of a curve, in widths of the window
REACH = 3.0  # length of a curve, in widths: a separatrix may go down, along and up a window
CELLS = 26  # cells along each side of the window; no cell has two flow lines
SHORTEST = 0.15  # least length of a flow line, in widths of the window


class Window(NamedTuple):
    """A rectangle of the plane: the ends of its range in x and in y."""

    x: tuple[float, float]
    y: tuple[float, float]

    @property
    def low(self) -> np.ndarray:
        return np.array([self.x[0], self.y[0]])

    @property
    def spans(self) -> np.ndarray:
        return np.array([self.x[1] - self.x[0], self.y[1] - self.y[0]])

    def place(self, unit: np.ndarray) -> np.ndarray:
        """Map points of the unit square, (points, 2), to the window."""
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
    """Integrate a curve from each of `starts`: points (curves, points, 2) and solver status.

    `chart` maps the coordinates of `starts` and `field` to the plane. `signs` (curves) is 1 for
    a curve forward in time and -1 for one backward. The independent variable is arc length in
    the plane, where each coordinate is divided by its span in `spans` (curves, 2): so no
    solution diverges, and points are evenly spaced. A coordinate with an infinite span does
    not count. Where the speed is below `rest` (curves), a curve slows down: it stops at a fixed
    point.
    """
    repeated = lambda x: np.full(len(signs), x)
    ends = ensemble.states(
        Partial(along, field, chart),
        starts,
        (jax.tree.map(repeated, args), signs, *spans.T, rest),
        np.arange(0.0, REACH + SPACING / 2, SPACING),
        rtol=rtol,
        atol=1e-9 * rtol,  # the scale of a saddle may be far below that of the window
        max_steps=20_000,
        quick=True,
    )
    points = np.stack(jax.tree.leaves(chart(ends.y)), axis=-1)
    return points, np.asarray(ends.status)


def along(field: Callable, chart: Callable, t: Any, y: PyTree, args: tuple) -> PyTree:
    """The rate of `follow`: `field` per unit of arc length.

    `args` are the arguments of `field`, the sign, the spans of x and y, and the rest speed.
    """
    args, sign, span_x, span_y, rest = args
    rate = field(t, y, args)
    _, (dx, dy) = jax.jvp(lambda y: jax.tree.leaves(chart(y)), (y,), (rate,))
    square = (dx / span_x) ** 2 + (dy / span_y) ** 2
    scale = sign * jnp.sqrt(square) / (square + rest**2)
    return jax.tree.map(lambda x: scale * x, rate)


def spread(curves: np.ndarray, window: Window) -> list[np.ndarray]:
    """Thin out curves: each is cut where it enters a cell that an earlier curve passes through.

    The middle point of a curve is its start, and NaN marks its end on either side. Curves that
    become too short are left out.
    """
    taken = np.zeros((CELLS, CELLS), bool)
    result = []
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
        result.append(curve[first:last][np.concatenate([[True], moved > SPACING / 100])])
    return result


def inside(curve: np.ndarray, window: Window) -> list[np.ndarray]:
    """The pieces of a curve inside the window, each with one point beyond the window's edge."""
    unit = (curve - window.low) / window.spans
    finite = np.isfinite(unit).all(1)
    distance = np.where(finite, np.abs(unit - 0.5).max(1), np.inf)
    ok = distance <= 0.5
    wide = ok.copy()
    wide[1:] |= ok[:-1]
    wide[:-1] |= ok[1:]
    wide &= distance <= 1.5  # a point far outside may lie beyond a pole
    runs = np.split(np.arange(len(curve)), np.flatnonzero(np.diff(wide)) + 1)
    return [curve[run] for run in runs if len(run) > 1 and wide[run[0]]]


def lattice(count: int) -> np.ndarray:
    """A square grid of count^2 points in the unit square, (points, 2)."""
    ticks = (np.arange(count) + 0.5) / count
    return np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)


def scattered(count: int) -> np.ndarray:
    """The first `count` points of Roberts' low-discrepancy sequence, (points, 2).

    Every initial part of the sequence fills the unit square evenly.
    """
    plastic = 1.324717957244746
    steps = np.array([1 / plastic, 1 / plastic**2])
    return (0.5 + np.arange(1, count + 1)[:, None] * steps) % 1

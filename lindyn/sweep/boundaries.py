"""Closed-form boundaries of a map, and the distance of a computed map's boundary from them.

Read `specification` first.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lindyn.sweep.quantities import QUANTITIES
from lindyn.sweep.specification import Cells, Specification
from lindyn.theory import closed_forms, equilibria, fields
from lindyn.theory.steps import decay_limit, stable_rate


NEAR = 1e-9  # relative rounding error with which a start may miss p = tau/2a
ENOUGH = 16  # random starts: if a third of the plane survives, almost surely one of them does
BLOCK = 1 << 12  # points of one block in the computation of distances


class Curve(NamedTuple):
    """A curve: the zeros of `sign`, a function of cells. NaN where the curve does not exist."""

    name: str
    sign: Callable[[Cells], Any]


class Closed(NamedTuple):
    """The closed form of a whole map as yes or no, and the curves to draw for it."""

    says: str  # the statement that is true where `holds` is positive
    holds: Callable[[Cells], Any] | None  # None if no closed form decides all cells
    curves: tuple[Curve, ...]


class Agreement(NamedTuple):
    """How far a computed map and its closed form agree."""

    cells: float  # largest distance between their boundaries, in cells
    along_x: float  # the same distance as a length along x; on a log axis, in decades
    differ: int  # number of decided cells with different answers


def collapses(cells: Cells) -> Any:
    """Positive if a mode on the parabola collapses: eta > tau^2/4a, or p < p-* (p < tau/2a)."""
    low = cells.p < _middle(cells.params) * (1 - NEAR)
    return jnp.where(low, edge(cells), critical(cells))


def edge(cells: Cells) -> Any:
    """Zero at p = p-*, where (16) changes sign for p below tau/2a; NaN for other p."""
    low = cells.p < _middle(cells.params) * (1 - NEAR)
    return jnp.where(low, -fields.growth(cells.p, cells.params), jnp.nan)


def critical(cells: Cells) -> Any:
    """Zero at eta = tau^2/4a; NaN for starts with p below tau/2a, where `edge` decides."""
    above = cells.p >= _middle(cells.params) * (1 - NEAR)
    return jnp.where(above, everything(cells), jnp.nan)


def everything(cells: Cells) -> Any:
    """Positive if every mode collapses: eta_s is above the critical decay."""
    return cells.params.eta_s - closed_forms.critical_decay(cells.params)


def undecayed(cells: Cells) -> Any:
    """Positive if a mode collapses without weight decay, for any start (p, s)."""
    return closed_forms.basin_edge_without_decay(cells.p, cells.params) - cells.s


def misaligned(cells: Cells) -> Any:
    """Minus the least K of a mode that moves on the parabola from p to p+*, or to 0.

    On the parabola K is convex in p, and its minimum is at tau/3a.
    """
    params = cells.params
    goal = jnp.where(collapses(cells) > 0, 0.0, equilibria.decay_roots(params)[1])
    ends = jnp.minimum(cells.p, goal), jnp.maximum(cells.p, goal)
    p = jnp.clip(params.tau / (3 * (1 + params.sigma2)), *ends)
    return -closed_forms.alignment_margin(p, p**2 / params.alpha_p, params)


def window_begins(cells: Cells) -> Any:
    """Zero at the lower end of `closed_forms.aligned_window`."""
    return closed_forms.aligned_window(cells.params)[0] - cells.params.eta_s


def window_ends(cells: Cells) -> Any:
    """Zero at the upper end of `closed_forms.aligned_window`."""
    return closed_forms.aligned_window(cells.params)[1] - cells.params.eta_s


def unstable(cells: Cells, moving: bool = False) -> Any:
    """log(learning rate / `steps.stable_rate`): positive if steps are unstable at the goal."""
    sgd = _sgd(cells)
    return jnp.log(sgd.rate / stable_rate(cells.params, sgd.momentum, sgd.nesterov, moving))


def overshooting(cells: Cells) -> Any:
    """log(learning rate / `steps.decay_limit`): positive if weight decay overshoots."""
    sgd = _sgd(cells)
    return jnp.log(sgd.rate / decay_limit(cells.params, sgd))


def _sgd(cells):
    assert cells.sgd is not None, "these cells are solved with the flow and have no SGD"
    return cells.sgd


def _middle(params):
    return params.tau / (2 * (1 + params.sigma2))


UNSTABLE = {moving: functools.partial(unstable, moving=moving) for moving in (False, True)}
CRITICAL = Curve("critical decay", critical)
EDGE = Curve("edge of the basin", edge)
WINDOW = (Curve("aligned from here", window_begins), Curve("critical decay", window_ends))


def closed(setting: Specification) -> Closed | None:
    """The closed form of this map; None if there is none."""
    if setting.trainer is not None:
        return _closed_of_steps(setting)
    names = {setting.x.name, setting.y.name, *setting.fixed}
    form = QUANTITIES[setting.quantity].form
    if setting.moving or {"wd-p", "wd-s"} & names or form is None:
        return None
    if form == "basin":
        (low, high), (bottom, top) = setting.p_range, setting.s_range
        around = low < 0.5 < high and bottom < 0.25 < top  # the goal at the critical decay
        curve = Curve("critical decay", everything)
        sure = around and setting.starts >= ENOUGH
        return Closed("all collapse", everything, (curve,)) if sure else None
    if "s0" in names:
        curve = Curve("edge of the basin", undecayed)
        still = form == "fate" and setting.fixed.get("wd") == 0
        return Closed("collapses", undecayed, (curve,)) if still else None
    if form == "fate":
        return Closed("collapses", collapses, (CRITICAL, EDGE))
    curves = (Curve("K = 0", misaligned),) if "p0" in names else WINDOW
    return Closed("K < 0 on the way", misaligned, curves)


def _closed_of_steps(setting):
    """The closed form of a map of steps.

    For modes it is that of the flow, which holds in the cells whose goal is stable.
    """
    if setting.trainer["loss"] == "cosine":
        curve = Curve("decay overshoots", overshooting)
        return Closed("diverges", overshooting, (curve,))
    bound = Curve("goal unstable", UNSTABLE[setting.moving])
    names = {setting.x.name, setting.y.name, *setting.fixed}
    if setting.quantity == "rank":
        one = not {"wd-p", "wd-s"} & names
        return Closed("", None, (bound, Curve("critical decay", everything))[: 1 + one])
    apart = {"wd-p", "wd-s", "s0"} & names or setting.fixed.get("alpha-p") != 1
    if setting.moving or apart:
        return Closed("", None, (bound,))
    return Closed("collapses", collapses, (CRITICAL, EDGE, bound))


def over(setting: Specification, sign: Callable, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """`sign` at the indices i along x and j along y, which may be fractional."""
    cells = jax.tree.map(
        lambda x: np.broadcast_to(np.asarray(x, float), i.shape).ravel(),
        setting.place(i, j)._replace(case=None),
    )
    return np.asarray(_each(sign, cells)).reshape(i.shape)


@eqx.filter_jit
def _each(sign, cells):
    return jax.vmap(sign)(cells)


def as_yes_or_no(setting: Specification, values: dict[str, np.ndarray]) -> np.ndarray | None:
    """The computed map as yes (1) or no (0); 1/2 in undecided cells.

    Maps of steps have NaN in cells that their closed form does not cover. None if the quantity
    of the map is not a yes or no.
    """
    value, count = values["value"], values["undecided"] + values["failed"]
    yes = QUANTITIES[setting.quantity].yes
    if yes is None:
        return None
    if setting.trainer is not None:
        return _told_of_steps(setting, values)
    return np.where(count > 0, 0.5, yes(value))


def _told_of_steps(setting, values):
    """NaN where the goal is unstable, or where a mode is undecided or has diverged."""
    if setting.quantity == "rank":
        return np.isnan(values["value"]).astype(float)
    j, i = np.indices(values["value"].shape).astype(float)
    unknown = (values["undecided"] + values["diverged"] > 0) | (
        over(setting, UNSTABLE[setting.moving], i, j) >= 0
    )
    return np.where(unknown, np.nan, values["value"] == 1)


def agreement(setting: Specification, form: Closed, answers: np.ndarray) -> Agreement:
    """The distance between a map and its closed form, and the number of cells that differ.

    `answers` is the result of `as_yes_or_no`, with one row for each value of y.
    """
    assert form.holds is not None
    j, i = np.indices(answers.shape).astype(float)
    holds = over(setting, form.holds, i, j)
    known = np.isfinite(answers)
    differ = int(np.sum(known & (answers != 0.5) & (answers != (holds > 0))))
    computed = np.concatenate([_jumps(answers), _jumps(answers.T)[:, ::-1]])
    exact = zeros(setting, form.holds, np.where(known, holds, np.nan))
    far = max(_farthest(computed, exact), _farthest(exact, computed))
    x = setting.x
    span = np.log10(x.high / x.low) if x.log else x.high - x.low
    return Agreement(far, far * float(span) / (x.count - 1), differ)


def _jumps(answers):
    """Midpoints (i, j) between neighbouring cells of a row that differ."""
    j, i = np.nonzero(np.nan_to_num(np.diff(answers, axis=1)))
    return np.stack([i + 0.5, j], axis=1)


def zeros(setting: Specification, sign: Callable, at_cells: np.ndarray) -> np.ndarray:
    """The points (i, j) between neighbouring cells at which `sign` is zero, by bisection.

    `at_cells` holds the values of `sign` at the cells, with one row for each value of y.
    """
    points = []
    for axis in (0, 1):
        ahead = np.moveaxis(at_cells, axis, 0)
        known = np.isfinite(ahead[1:]) & np.isfinite(ahead[:-1])
        first, rest = np.nonzero(known & ((ahead[1:] > 0) != (ahead[:-1] > 0)))
        begin = ahead[first, rest] > 0
        low, high = first.astype(float), first + 1.0
        for _ in range(30):
            middle = (low + high) / 2
            i, j = (rest.astype(float), middle) if axis == 0 else (middle, rest.astype(float))
            same = (over(setting, sign, i, j) > 0) == begin
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        place = (rest, low) if axis == 0 else (low, rest)
        points.append(np.stack(place, axis=1))
    return np.concatenate(points)


def _farthest(
    points: Float[np.ndarray, "many 2"], others: Float[np.ndarray, "more 2"]
) -> float:
    """The largest distance from one of `points` to the nearest of `others`."""
    if not len(points):
        return 0.0
    if not len(others):
        return float("inf")
    blocks = np.array_split(points, -(-len(points) // BLOCK))
    gaps = (np.linalg.norm(block[:, None] - others, axis=-1).min(1).max() for block in blocks)
    return float(max(gaps))

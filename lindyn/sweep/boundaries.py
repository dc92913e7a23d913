"""What the closed forms say about a map, and how far a computed map is from that."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lindyn import theory
from lindyn.sweep.specification import Cells, Specification
from lindyn.theory import fields
from lindyn.theory.steps import decay_limit, stable_rate


NEAR = 1e-9  # the part of p by which a start may miss tau/2a for rounding
ENOUGH = 16  # random starts, of which one survives wherever a third of the plane does
BLOCK = 1 << 12  # points whose distances to all others are taken at a time


class Curve(NamedTuple):
    """Where `sign`, over cells, changes its sign; NaN where the curve is not."""

    name: str
    sign: Callable[[Cells], Any]


class Closed(NamedTuple):
    """The whole map as yes or no, in closed form, and the curves to draw for it."""

    says: str  # what holds where `holds` is positive
    holds: Callable[[Cells], Any] | None  # None if the curves say what may be, not what is
    curves: tuple[Curve, ...]


class Agreement(NamedTuple):
    cells: float  # the largest distance between the boundary of the map and of the closed form
    along_x: float  # the same as a length along x; on a log axis, in decades
    differ: int  # cells that were told, and told otherwise


def collapses(cells: Cells) -> Any:
    """Whether a mode on the parabola collapses: eta > tau^2/4a, or p < p-* (p < tau/2a)."""
    low = cells.p < _middle(cells.params) * (1 - NEAR)
    return jnp.where(low, edge(cells), critical(cells))


def edge(cells: Cells) -> Any:
    """p = p-*, where (16) changes sign below tau/2a."""
    low = cells.p < _middle(cells.params) * (1 - NEAR)
    return jnp.where(low, -fields.growth(cells.p, cells.params), jnp.nan)


def critical(cells: Cells) -> Any:
    """eta = tau^2/4a, of starts that are not already below it for p-*."""
    above = cells.p >= _middle(cells.params) * (1 - NEAR)
    return jnp.where(above, everything(cells), jnp.nan)


def everything(cells: Cells) -> Any:
    return cells.params.eta_s - theory.critical_decay(cells.params)


def undecayed(cells: Cells) -> Any:
    """Without decay, from any start."""
    return theory.basin_edge_without_decay(cells.p, cells.params) - cells.s


def misaligned(cells: Cells) -> Any:
    """Minus the least K of a mode on the parabola, which runs from p to p+* or to 0.

    On the parabola K is convex in p, with its minimum at tau/3a.
    """
    params = cells.params
    goal = jnp.where(collapses(cells) > 0, 0.0, theory.decay_roots(params)[1])
    ends = jnp.minimum(cells.p, goal), jnp.maximum(cells.p, goal)
    p = jnp.clip(params.tau / (3 * (1 + params.sigma2)), *ends)
    return -theory.alignment_margin(p, p**2 / params.alpha_p, params)


def window_begins(cells: Cells) -> Any:
    return theory.aligned_window(cells.params)[0] - cells.params.eta_s


def window_ends(cells: Cells) -> Any:
    return theory.aligned_window(cells.params)[1] - cells.params.eta_s


def unstable(cells: Cells, moving: bool = False) -> Any:
    """log of the rate of steps over `steps.stable_rate`."""
    sgd = _sgd(cells)
    return jnp.log(sgd.rate / stable_rate(cells.params, sgd.momentum, sgd.nesterov, moving))


def overshooting(cells: Cells) -> Any:
    """log of the rate of steps over `steps.decay_limit`."""
    sgd = _sgd(cells)
    return jnp.log(sgd.rate / decay_limit(cells.params, sgd))


def _sgd(cells):
    assert cells.sgd is not None, "these cells are of a flow"
    return cells.sgd


def _middle(params):
    return params.tau / (2 * (1 + params.sigma2))


UNSTABLE = {moving: functools.partial(unstable, moving=moving) for moving in (False, True)}
CRITICAL = Curve("critical decay", critical)
EDGE = Curve("edge of the basin", edge)
WINDOW = (Curve("aligned from here", window_begins), Curve("critical decay", window_ends))


def closed(setting: Specification) -> Closed | None:
    """The closed form that covers this map, if one does."""
    if setting.trainer is not None:
        return _closed_of_steps(setting)
    given = {setting.x.name, setting.y.name, *setting.fixed}
    fate = setting.quantity not in ("basin", "alignment-margin", "alignment")
    if setting.moving or {"wd-p", "wd-s"} & given or setting.quantity == "alignment":
        return None
    if setting.quantity == "basin":
        (low, high), (bottom, top) = setting.p_range, setting.s_range
        around = low < 0.5 < high and bottom < 0.25 < top  # the last goal to disappear
        curve = Curve("critical decay", everything)
        sure = around and setting.starts >= ENOUGH
        return Closed("all collapse", everything, (curve,)) if sure else None
    if "s0" in given:
        curve = Curve("edge of the basin", undecayed)
        still = fate and setting.fixed.get("wd") == 0
        return Closed("collapses", undecayed, (curve,)) if still else None
    if fate:
        return Closed("collapses", collapses, (CRITICAL, EDGE))
    curves = (Curve("K = 0", misaligned),) if "p0" in given else WINDOW
    return Closed("K < 0 on the way", misaligned, curves)


def _closed_of_steps(setting):
    """Of modes, what the flow says where steps are stable at the goal."""
    if setting.trainer["loss"] == "cosine":
        curve = Curve("decay overshoots", overshooting)
        return Closed("diverges", overshooting, (curve,))
    bound = Curve("goal unstable", UNSTABLE[setting.moving])
    given = {setting.x.name, setting.y.name, *setting.fixed}
    if setting.quantity == "rank":
        one = not {"wd-p", "wd-s"} & given
        return Closed("", None, (bound, Curve("critical decay", everything))[: 1 + one])
    apart = {"wd-p", "wd-s", "s0"} & given or setting.fixed.get("alpha-p") != 1
    if setting.moving or apart:
        return Closed("", None, (bound,))
    return Closed("collapses", collapses, (CRITICAL, EDGE, bound))


def over(setting: Specification, sign: Callable, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """`sign` at indices along x and y, or between them."""
    cells = jax.tree.map(
        lambda x: np.broadcast_to(np.asarray(x, float), i.shape).ravel(),
        setting.place(i, j)._replace(case=None),
    )
    return np.asarray(_each(sign, cells)).reshape(i.shape)


@eqx.filter_jit
def _each(sign, cells):
    return jax.vmap(sign)(cells)


def told(setting: Specification, values: dict[str, np.ndarray]) -> np.ndarray | None:
    """The computed map as yes (1) or no (0), 1/2 where it is open; None if it is not one."""
    value, count = values["value"], values["undecided"] + values["failed"]
    if setting.quantity in ("p", "s", "alignment"):
        return None
    if setting.trainer is not None:
        return _told_of_steps(setting, values)
    yes = {
        "collapse": value == 1,
        "basin": value == 1,
        "escape-time": np.isnan(value),
        "alignment-margin": value < 0,
    }[setting.quantity]
    return np.where(count > 0, 0.5, yes)


def _told_of_steps(setting, values):
    """NaN where the closed form is not of the cell, or not all steps were enough."""
    if setting.quantity == "rank":
        return np.isnan(values["value"]).astype(float)
    j, i = np.indices(values["value"].shape).astype(float)
    unknown = (values["undecided"] + values["diverged"] > 0) | (
        over(setting, UNSTABLE[setting.moving], i, j) >= 0
    )
    return np.where(unknown, np.nan, values["value"] == 1)


def agreement(setting: Specification, form: Closed, told: np.ndarray) -> Agreement:
    """`told` has one row for each value of y, as maps have."""
    assert form.holds is not None
    j, i = np.indices(told.shape).astype(float)
    holds = over(setting, form.holds, i, j)
    known = np.isfinite(told)
    differ = int(np.sum(known & (told != 0.5) & (told != (holds > 0))))
    found = np.concatenate([_steps(told), _steps(told.T)[:, ::-1]])
    exact = zeros(setting, form.holds, np.where(known, holds, np.nan))
    far = max(_farthest(found, exact), _farthest(exact, found))
    x = setting.x
    span = np.log10(x.high / x.low) if x.log else x.high - x.low
    return Agreement(far, far * float(span) / (x.count - 1), differ)


def _steps(told):
    """Midpoints (i, j) between cells of a row that differ."""
    j, i = np.nonzero(np.nan_to_num(np.diff(told, axis=1)))
    return np.stack([i + 0.5, j], axis=1)


def zeros(setting: Specification, sign: Callable, at_cells: np.ndarray) -> np.ndarray:
    """Points (i, j) between neighbours of different sign where `sign` passes through zero.

    `at_cells` is what it is at the cells, with a row for each value of y.
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

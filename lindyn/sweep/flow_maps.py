"""Computes maps over two parameters: of the flow of a mode, and by `step_maps` of SGD.

Read `specification` first.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import Int

from lindyn.solve import ensemble, fates
from lindyn.sweep import step_maps
from lindyn.sweep.specification import Cells, Specification, wide
from lindyn.theory import closed_forms
from lindyn.theory.basins import COLLAPSES, FAILED, SURVIVES, UNDECIDED
from lindyn.theory.states import Modes, Numbers, Params, Plane


TURNS = 8  # most extrema of K along a solution; near a focus they are endless, and shrink
# The solver's atol: of (p, log s) for a fixed target, of (p, w, wa) for one that moves.
LEAST = {False: 1e-14, True: 1e-200}


def compute(setting: Specification, cells: Int[np.ndarray, " cells"]) -> dict[str, np.ndarray]:
    """The map at the cells with these numbers, as arrays with one entry for each cell.

    "value" is the quantity. "undecided" and "failed" count solves; maps of steps also
    count those that have "diverged". A value is NaN if all solves of the cell are among these,
    and an escape time also if the mode collapses. "error" is the standard error of the value,
    for a basin. "noise" marks cells that noise rules, for networks.
    """
    j, i = np.divmod(cells, setting.x.count)
    kinds = COMPUTE if setting.trainer is None else step_maps.COMPUTE
    return kinds[setting.quantity](setting, setting.place(i, j))


class Tracked(NamedTuple):
    """A state, and log10 of the factor by which a small commutator has changed on the way."""

    y: Any
    log10: Numbers


def tracked(t: Numbers, y: Tracked, args: tuple[Params, Any]) -> Tracked:
    """The vector field of `Tracked`."""
    return Tracked(fates.flow(t, y.y, args), _mixing(y.y, args[0]))


def turned(t: Numbers, y: Any, args: Any) -> Any:
    """An event: K has begun to rise if the sign in `args` is 1, or to fall if it is -1."""
    params, sign = args
    return sign * margin_and_rate(y, params)[1] >= 0


def margin(y: Any, params: Params) -> Any:
    """`closed_forms.alignment_margin`, with the current tau if the target moves."""
    if isinstance(y, Modes):
        params = eqx.tree_at(lambda params: params.tau, params, y.wa / y.w)
    return closed_forms.alignment_margin(y.p, fates.state(y).s, params)


def margin_and_rate(y: Any, params: Params) -> Any:
    """`margin` and its rate of change along the flow."""
    return jax.jvp(lambda y: margin(y, params), (y,), (fates.flow(0.0, y, (params, None)),))


def _mixing(y, params):
    """The rate of `log10` by (9): for two modes like this one, [F, Wp] decays at 2K."""
    return -2 * margin(y, params) / np.log(10)


def _start(setting, cells):
    p, s, tau = np.broadcast_arrays(*map(np.asarray, (cells.p, cells.s, cells.tau)))
    return fates.start(p, s, tau if setting.moving else None)


def _final(setting, field, y0, args, t1, event=None):
    atol = LEAST[setting.moving]
    return ensemble.final(field, y0, args, t1, event=event, rtol=setting.rtol, atol=atol)


def fates_of(setting: Specification, params: Params, y0: Plane | Modes) -> np.ndarray:
    """The fate from each initial condition: SURVIVES, COLLAPSES, UNDECIDED or FAILED.

    A solve ends as soon as its fate is certain, and at `setting.time` at the latest.
    """
    y0, params = wide(y0, params)
    goal = fates.goals(params)
    ends = _final(setting, fates.flow, y0, (params, goal), setting.time, fates.decided)
    safe, doomed = fates.verdicts(ends.y, params, goal)
    code = np.select([safe, doomed], [SURVIVES, COLLAPSES], UNDECIDED)
    return np.where(ends.status > ensemble.EVENT, FAILED, code)


def _with_counts(value, code):
    """The map: `value`, NaN where the fate `code` leaves it open, and counts of such cells."""
    counts = {"undecided": code == UNDECIDED, "failed": code == FAILED}
    value = np.where(code >= UNDECIDED, np.nan, value)
    return {"value": value, **{key: x.astype(np.uint32) for key, x in counts.items()}}


def _collapse(setting, cells):
    code = fates_of(setting, cells.params, _start(setting, cells))
    return _with_counts(code == COLLAPSES, code)


def _basin(setting, cells):
    """The share of random starts that collapse, and its binomial standard error.

    All cells have the same starts, in units of p* and p*^2/alpha_p.
    """
    unit = jr.uniform(jr.key(setting.seed), (2, setting.starts), float)
    low, high = np.transpose([setting.p_range, setting.s_range])[..., None]
    p, s = low + np.asarray(unit) * (high - low)
    params, _ = wide(cells.params, cells.p)
    params, tau = jax.tree.map(
        lambda x: np.repeat(x, setting.starts), (params, wide(cells.tau, params.tau)[0])
    )
    goal = params.tau / (1 + params.sigma2)
    many = len(goal) // setting.starts
    p, s = np.tile(p, many) * goal, np.tile(s, many) * goal**2 / params.alpha_p
    code = fates_of(setting, params, _start(setting, Cells(params, p, s, tau)))
    count = lambda which: np.sum(code.reshape(many, -1) == which, axis=1, dtype=np.uint32)
    known = count(COLLAPSES) + count(SURVIVES)
    share = count(COLLAPSES) / np.where(known, known, np.nan)
    error = np.sqrt(share * (1 - share) / known)
    counts = {"undecided": count(UNDECIDED), "failed": count(FAILED)}
    return {"value": share, "error": error, **counts}


def _at_the_end(setting, cells):
    y0, params = wide(_start(setting, cells), cells.params)
    ends = _final(setting, fates.flow, y0, (params, None), setting.time)
    value = ends.y.p if setting.quantity == "p" else np.asarray(fates.state(ends.y).s)
    return _with_counts(value, np.where(ends.status > ensemble.EVENT, FAILED, SURVIVES))


def _escape_time(setting, cells):
    """The time until p is half of p*, for modes that survive."""
    y0, params = wide(_start(setting, cells), cells.params)
    ends = _final(
        setting, fates.flow, y0, (params, fates.goals(params)), setting.time, fates.escaped
    )
    code = fates_of(setting, params, ends.y)
    late = (code == SURVIVES) & (ends.status == ensemble.REACHED)
    code = np.where(late, UNDECIDED, code)
    value = np.where(code == SURVIVES, ends.t, np.nan)
    return _with_counts(value, code)


def _alignment_margin(setting, cells):
    """The least K along the solution, which is solved from one extremum of K to the next."""
    y, params = wide(_start(setting, cells), cells.params)
    left = np.full(len(y.p), setting.time)
    least, rate = _margins(y, params)
    failed, sign = np.zeros(len(left), bool), np.where(rate < 0, 1.0, -1.0)
    for _ in range(TURNS):
        ends = _final(setting, fates.flow, y, (params, sign), left, turned)
        failed |= ends.status > ensemble.EVENT
        left = np.where(ends.status == ensemble.EVENT, left - ends.t, 0)
        least = np.fmin(least, _margins(ends.y, params)[0])
        if not left.any():
            break
        y, sign = ends.y, -sign
    return _with_counts(least, np.where(failed, FAILED, SURVIVES))


def _margins(y, params):
    return jax.tree.map(np.asarray, _margins_of(y, params))


_margins_of = eqx.filter_jit(margin_and_rate)


def _alignment(setting, cells):
    y0, params = wide(_start(setting, cells), cells.params)
    y0 = Tracked(y0, np.zeros(len(y0.p)))
    ends = _final(setting, tracked, y0, (params, None), setting.time)
    code = np.where(ends.status > ensemble.EVENT, FAILED, SURVIVES)
    return _with_counts(ends.y.log10, code)


COMPUTE: dict[str, Callable] = {
    "collapse": _collapse,
    "basin": _basin,
    "p": _at_the_end,
    "s": _at_the_end,
    "escape-time": _escape_time,
    "alignment-margin": _alignment_margin,
    "alignment": _alignment,
}

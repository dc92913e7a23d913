"""Predicts which modes of a run collapse, from the flow at one record or from a forecast.

Read `run_moments` and `forecast` first.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from lindyn.compare.forecast import Forecast, ModeSeries
from lindyn.phase import portrait
from lindyn.phase.flow_lines import Window
from lindyn.phase.portrait import Portrait
from lindyn.solve import ensemble, fates
from lindyn.theory import basins, closed_forms, equilibria, spectra
from lindyn.theory.hyperparameters import Scales, Units, effective
from lindyn.theory.states import Params


FOREVER = 1e6  # end of a solve: by then each mode of the frozen flow survives or collapses


class Fate(NamedTuple):
    """The fate of the modes at one record, by (11)-(12) with the parameters frozen there."""

    params: Params  # effective, with the tau of the record
    kappa: float  # rate of `hyperparameters.effective`
    critical: float  # decay above which all modes collapse, in the units of `params`
    edge: float  # p-*
    goal: float  # p+*
    plane: Portrait
    doomed: Bool[np.ndarray, " modes"]  # collapses under the frozen flow
    # To the separatrix, with p and s in units of the goal's; negative inside the basin.
    distance: Float[np.ndarray, " modes"]


def fate(seen: ModeSeries, units: Units, scales: Scales, tau: float) -> Fate:
    """The fate of the modes at the first record of `seen`, by (11)-(12) with frozen parameters.

    `tau` is frozen, and for the cosine loss also the norms and the pull of `scales`.
    """
    params, kappa = held(units, scales, tau)
    p, s = seen.p[0], seen.s[0]
    edge, goal = (float(x) for x in equilibria.decay_roots(params))
    plane = portrait.portrait("p-s", params, _window(seen, params), grid=14)
    return Fate(
        params=params,
        kappa=kappa,
        critical=float(closed_forms.critical_decay(params)),
        edge=edge,
        goal=goal,
        plane=plane,
        doomed=_doomed(p, s, params),
        distance=_distance(plane, p, s, params),
    )


def held(units: Units, scales: Scales, tau: float) -> tuple[Params, float]:
    """Effective parameters at one record, and kappa.

    tau is clipped to between 0.001 and 1, so that the plane has a goal.
    """
    params, kappa = effective(units, scales, max(min(tau, 1.0), 1e-3))
    return jax.tree.map(float, params), float(kappa)


def _doomed(p, s, params):
    params = jax.tree.map(np.asarray, params)
    args = params, jax.tree.map(np.asarray, basins.goal(params))
    ends = ensemble.final(fates.flow, fates.start(p, s), args, FOREVER, event=fates.decided)
    return ~np.asarray(jax.vmap(lambda y: fates.verdicts(y, *args)[0])(ends.y))


def predicted_rank(told: Forecast) -> int | None:
    """The number of modes that survive in a forecast.

    At its end their s is more than `spectra.FLAT` times the largest s. None if the equations
    of the forecast could not be solved.
    """
    last = told.s[-1]
    if not np.isfinite(last).all():
        return None
    if last.max() <= 0:
        return 0
    return int(np.sum(last > spectra.FLAT * last.max()))


def _window(seen, params):
    """A window that shows the whole run and the fixed points."""
    usual = portrait.window("p-s", params)
    wide = lambda ends, x: (min(ends[0], float(np.min(x))), max(ends[1], float(np.max(x))))
    p, s = wide(usual.x, seen.p), wide((0.0, usual.y[1]), seen.s)
    room = 0.04 * (p[1] - p[0])
    return Window((p[0] - room, p[1] + room), (0.0, 1.04 * s[1]))


def _distance(plane: Portrait, p, s, params) -> Any:
    """The distance from each mode to the edge of the basin, with p and s over the goal's."""
    goal = params.tau / (1 + params.sigma2)
    unit = np.array([goal, goal**2 / params.alpha_p])
    curve = plane.basin[np.isfinite(plane.basin).all(1)] / unit
    here = np.stack([p, s], axis=1) / unit
    if not len(curve):  # everything collapses
        return np.full(len(here), -np.inf)
    gaps = np.linalg.norm(here[:, None] - curve, axis=-1).min(1)
    inside = s < np.interp(p, *plane.basin.T)
    return np.where(inside, -gaps, gaps)

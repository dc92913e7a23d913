"""Fates of modes under the flow (11)-(13) of the squared loss. Read `scenario` first.

A mode is an eigenvalue p of Wp with the eigenvalue s of F on the same eigenvector. Its target
starts at tau = 0 or 1.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lindyn.predict.scenario import DEPENDS, DIES, LIVES, Scenario
from lindyn.solve import ensemble, fates
from lindyn.theory import basins
from lindyn.theory.basins import COLLAPSES, SURVIVES, UNDECIDED
from lindyn.theory.states import Modes


NEAR = 0.1  # usual starts have p above this fraction of p* = 1/a
SIDE, LINE = 22, 500  # points a side of the box, and along p; up to 512 solves share a program
STEPS = 4000  # most steps of a solve; few need more than 1000


def box(case: Scenario) -> dict[str, Any]:
    """The shares of starts that collapse, in the box |p| <= p* = 1/a and s <= p*^2/alpha_p.

    They come from solves on a grid. "usual_share" is that of starts with p above "usual_p".
    """
    p, s = 1 / case.a, 1 / (case.a**2 * case.params.alpha_p)
    about = {"p": [-p, p], "s": [0.0, s], "tau": _tau(case), "usual_p": NEAR * p}
    if case.edge == math.inf:
        return {**about, "share": 1.0, "usual_share": 1.0, "undecided": 0}
    middles = (np.arange(SIDE) + 0.5) / SIDE
    ps, ss = (x.ravel() for x in np.meshgrid(p * (2 * middles - 1), s * middles))
    code = solved([case], ps, ss)[0]
    usual = code[ps > about["usual_p"]]
    shares = {"share": _share(code), "usual_share": _share(usual)}
    return {**about, **shares, "undecided": int(np.sum(code == UNDECIDED))}


def _share(code):
    known = code[code != UNDECIDED]
    return float(np.mean(known == COLLAPSES)) if len(known) else math.nan


def start(case: Scenario) -> dict[str, Any]:
    """The fate of the mode that starts at p0 and s0, and the nearest edge in p at this s.

    "edge_p" is where the fate changes along p, found by solves on two nested lines. It is None
    if the fate does not change. "away" is p0 minus the edge.
    """
    p, s = given(case)
    low, high = min(-2 / case.a, 2 * p), max(2 / case.a, 2 * p)
    edge = None
    if case.edge < math.inf:
        for _ in range(2):
            ps = np.linspace(low, high, LINE)
            code = solved([case], ps, np.full(LINE, s))[0]
            ps, code = ps[code != UNDECIDED], code[code != UNDECIDED]
            flips = np.flatnonzero(code[1:] != code[:-1])
            if not len(flips):
                break
            at = flips[np.argmin(abs(ps[flips] - p))]
            low, high = ps[at], ps[at + 1]
            edge = float((low + high) / 2)
    code = COLLAPSES if case.edge == math.inf else int(solved([case], [p], [s])[0][0])
    away = None if edge is None else p - edge
    fate = {"p": p, "s": s, "tau": _tau(case), "fate": FATES[code]}
    return {**fate, "edge_p": edge, "away": away}


def escape(case: Scenario) -> dict[str, Any] | None:
    """The number of training steps until p is half of p+*.

    The mode starts at p0 and s0 if they are given, else at p = p+*/10 on the parabola. None if
    the mode does not survive, or if p is at least half of p+* at the start.
    """
    if case.edge == math.inf:
        return None
    p, s = case.roots[1] / 10, case.roots[1] ** 2 / (100 * case.params.alpha_p)
    if case.settings["p0"] is not None:
        p, s = given(case)
    (code,), (time,) = solved([case], [p], [s], half=True)
    if code != SURVIVES or time == 0:
        return None
    steps, run = float(time) / case.step, case.settings["steps"]
    return {"p": p, "s": s, "steps": steps, "in_the_run": None if run is None else steps <= run}


def given(case: Scenario) -> tuple[float, float]:
    """The initial p0 and s0 of the settings; s0 is p0^2/alpha_p if it is not set."""
    p, s = case.settings["p0"], case.settings["s0"]
    return p, p**2 / case.params.alpha_p if s is None else s


def _tau(case):
    """The initial tau: 1 if the target is W or a copy of W; else 0, since it shares no mode."""
    return (
        1.0
        if case.settings["target"] == "none" or case.settings["target_start"] == "copy"
        else 0.0
    )


def solved(cases: list[Scenario], p: Any, s: Any, half: bool = False) -> tuple[Any, Any]:
    """The fates of modes that start at p and s, as integers of `basins`, and times.

    `cases` has one scenario for all starts, or one for each. All have the target of the first
    one. The times are those at which the fates become certain; with `half`, those at which p
    is half of p*.
    """
    p, s = np.asarray(p, float), np.asarray(s, float)
    moving = cases[0].settings["target"] == "ema"
    y0 = fates.start(p, s, _tau(cases[0]) if moving else None)
    wide = lambda *x: np.broadcast_to(np.array(x, float), p.shape)
    params = jax.tree.map(wide, *(case.params for case in cases))
    goal = fates.goals(params)
    args = (params, (goal, np.full(p.shape, float(half))))
    options = {"event": _stop, "atol": 1e-14, "max_steps": STEPS, "quick": True}
    ends = ensemble.final(fates.flow, y0, args, 1e6, **options)
    lives, dies = _verdicts(ends.y, params, goal)
    lives |= np.asarray(half & (ends.y.p >= goal.p / 2))
    return np.select([lives, dies], [SURVIVES, COLLAPSES], UNDECIDED), ends.t


def _stop(t, y, args):
    params, (goal, half) = args
    decided = fates.decided(t, y, (params, goal)) | _climbs(fates.state(y), params, goal)
    return jnp.where(half > 0, fates.escaped(t, y, (params, goal)), decided)


def _climbs(y, params, goal):
    """Whether p, and a target that moves, are near the goal while s still grows slowly.

    With eta_p > eta_s the goal is above the parabola, and s is between p*^2/alpha_p and s*.
    """
    part = (1 - goal.edge / goal.p) / 4
    there = (jnp.abs(y.p / goal.p - 1) < part) & (y.s >= goal.p**2 / params.alpha_p)
    if isinstance(y, Modes):
        there &= jnp.abs(y.wa - y.w) < part * jnp.abs(y.w)
    return there & (y.s <= goal.s)


@jax.jit
def _verdicts(y, params, goal):
    state = fates.state(y)
    lives = basins.safe(state, params, goal) | _climbs(state, params, goal)
    return lives, basins.doomed(state, params)


FATES = {SURVIVES: LIVES, COLLAPSES: DIES, UNDECIDED: DEPENDS}

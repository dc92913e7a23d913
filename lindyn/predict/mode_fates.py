"""What becomes of the modes of a case under the flow (11)-(13) of the squared loss.

A mode is an eigenvalue p of Wp with the s of F. Its target starts at tau = 0 or 1.
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


NEAR = 0.1  # usual starts have p above this part of p* = 1/a
SIDE, LINE = 22, 500  # of the box of starts, and along p; 512 solves are one program
STEPS = 4000  # of a solve; few take more than 1000


def box(case: Scenario) -> dict[str, Any]:
    """Shares of starts that die, by solves: of |p| <= p* = 1/a and s <= p*^2/alpha_p."""
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
    """The fate of the mode that starts at p0 and s0, and the edge in p at this s."""
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
    told = {"p": p, "s": s, "tau": _tau(case), "fate": FATES[code]}
    return {**told, "edge_p": edge, "away": away}


def escape(case: Scenario) -> dict[str, Any] | None:
    """Steps until p is half of p+*: from the start, or from p+*/10 on the parabola."""
    if case.edge == math.inf:
        return None
    p, s = case.roots[1] / 10, case.roots[1] ** 2 / (100 * case.params.alpha_p)
    if case.told["p0"] is not None:
        p, s = given(case)
    (code,), (time,) = solved([case], [p], [s], half=True)
    if code != SURVIVES or time == 0:
        return None
    steps, run = float(time) / case.step, case.told["steps"]
    return {"p": p, "s": s, "steps": steps, "in_the_run": None if run is None else steps <= run}


def given(case: Scenario) -> tuple[float, float]:
    """p0 and s0."""
    p, s = case.told["p0"], case.told["s0"]
    return p, p**2 / case.params.alpha_p if s is None else s


def _tau(case):
    """Where the target starts: only a copy of the encoder has something of its modes."""
    return 1.0 if case.told["target"] == "none" or case.told["target_start"] == "copy" else 0.0


def solved(cases: list[Scenario], p: Any, s: Any, half: bool = False) -> tuple[Any, Any]:
    """Fates, and when they are certain (or p is half of p*), of starts of one case or each."""
    p, s = np.asarray(p, float), np.asarray(s, float)
    moving = cases[0].told["target"] == "ema"
    y0 = fates.start(p, s, _tau(cases[0]) if moving else None)
    wide = lambda *x: np.broadcast_to(np.array(x, float), p.shape)
    params = jax.tree.map(wide, *(case.params for case in cases))
    goal = fates.goals(params)
    args = (params, (goal, np.full(p.shape, float(half))))
    how = {"event": _stop, "atol": 1e-14, "max_steps": STEPS, "quick": True}
    ends = ensemble.final(fates.flow, y0, args, 1e6, **how)
    lives, dies = _verdicts(ends.y, params, goal)
    lives |= np.asarray(half & (ends.y.p >= goal.p / 2))
    return np.select([lives, dies], [SURVIVES, COLLAPSES], UNDECIDED), ends.t


def _stop(t, y, args):
    params, (goal, half) = args
    decided = fates.decided(t, y, (params, goal)) | _climbs(fates.state(y), params, goal)
    return jnp.where(half > 0, fates.escaped(t, y, (params, goal)), decided)


def _climbs(y, params, goal):
    """p, and a target that moves, are at the goal, and s on a slow way up to it.

    With eta_p > eta_s the goal is above the parabola: p*^2/alpha_p <= s <= s*.
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

"""Tests of the page's curves against `lindyn.phase`, and of its verdicts against long solves.

One file, since the tests share their cases and the helpers that solve them.
"""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from lindyn import explore, theory
from lindyn.phase import flow_lines, portrait
from lindyn.phase.flow_lines import Window
from lindyn.solve import ensemble
from lindyn.theory import fields
from lindyn.theory.predictors import Power
from lindyn.theory.states import Modes, Params, Plane


PAGE = pathlib.Path(explore.__file__).parent / "page"
WIDE = Window((-0.6, 1.6), (0.0, 2.0))
NARROW = Window((0.6, 2.0), (0.5, 2.0))
RULE = dict(a=0.5, eps=0.1, c=0.0)
CASES = {
    "none": (dict(eta=0.0), WIDE),
    "none, with noise": (dict(eta=0.0, sigma2=0.5, alpha_p=3.0, tau=0.7), WIDE),
    "vanishing": (dict(eta=1e-5, alpha_p=2.0, sigma2=0.25), Window((-1.0, 3.0), (0.0, 5.0))),
    "weak": (dict(eta=0.1), WIDE),
    "critical": (dict(eta=0.25), WIDE),
    "strong": (dict(eta=0.3), WIDE),
    "split": (dict(eta_p=0.2, eta_s=0.1), WIDE),
    "split the other way": (dict(eta_p=0.05, eta_s=0.15), WIDE),
    "encoder only": (dict(eta_p=0.0, eta_s=0.1), WIDE),
    "predictor only": (dict(eta_p=0.1, eta_s=0.0), WIDE),
    "noise": (dict(eta=0.08, sigma2=1.0, alpha_p=3.0, tau=0.8), WIDE),
    "slow predictor": (dict(eta=0.1, alpha_p=0.05), Window((-0.4, 1.4), (0.0, 30.0))),
    "saddle outside": (dict(eta=0.2), Window((0.6, 2.0), (0.0, 2.0))),
    "a corner": (dict(eta=0.1), NARROW),
    "a corner, none": (dict(eta=0.0), NARROW),
}
EVERYTHING = """cases.map(({params, window, xs}) => {
  const fixed = fixed_points(params);
  const both = arms(params, window, fixed);
  const below = basin(params, window, fixed, both, xs);
  return {
    arms: both, below, share: share(below, window), edge: edge(params, fixed, both),
    arrows: arrows(params, window, 3), nullclines: nullclines(params, window, xs),
    resting: resting(params, window, xs),
  };
})
"""
LAUNCH = """cases.map(({regime, params, start, time, window}) =>
  launch(regime, params, rule, start, time, window))
"""


@pytest.fixture(scope="module")
def script(source):
    texts = [(PAGE / name).read_text(encoding="utf-8") for name in ("solve.js", "flow.js")]
    return "\n".join([source, *texts])


@pytest.fixture(scope="module")
def drawn(node, script):
    """For each case the portrait in Python, and its counterpart in JavaScript."""
    settings = [(Params(**changes), window) for changes, window in CASES.values()]
    cases = [
        dict(params=vars(params), window=plain(window), xs=np.linspace(*window.x, 801))
        for params, window in settings
    ]
    found = node(script, EVERYTHING, cases=cases)
    theirs = [
        portrait.portrait("p-s", *setting, grid=3, rtol=1e-9 if i != 2 else 1e-8)
        for i, setting in enumerate(settings)
    ]
    return dict(zip(CASES, zip(theirs, found, strict=True), strict=True))


def plain(window):
    return {"x": list(window.x), "y": list(window.y)}


def launched(node, script, cases, rule=None):
    return node(script, LAUNCH, cases=cases, rule=rule or RULE)


def case(params, start, time=20.0, regime="fixed", window=WIDE) -> dict[str, Any]:
    return dict(
        regime=regime,
        params=vars(params),
        start=[float(x) for x in start],
        time=time,
        window=plain(window),
    )


def settings(rng, count):
    return [
        Params(
            alpha_p=10 ** rng.uniform(-1, 1),
            beta=rng.uniform(0.05, 1),
            eta_p=rng.choice([0.0, rng.uniform(0, 0.3)]),
            eta_s=rng.choice([0.0, rng.uniform(0, 0.3)]),
            sigma2=rng.uniform(0, 2),
            tau=rng.uniform(0.1, 1),
        )
        for _ in range(count)
    ]


def solved(several, runs):
    """The indices of 32 points of each run, and p, s and tau at these points by an ensemble."""
    at = [np.linspace(0, len(run["t"]) - 1, 33).astype(int)[1:] for run in runs]
    times = np.concatenate([np.array(run["t"])[i] for run, i in zip(runs, at, strict=True)])
    each = [(given, Params(**given["params"])) for given in several for _ in at[0]]
    p, s = np.array([given["start"] for given, _ in each]).T
    params = jax.tree.map(lambda *x: np.array(x, float), *[params for _, params in each])
    regime = several[0]["regime"]
    ends = final(regime, p, s, params, times, rtol=1e-11, atol=1e-16)
    return at, [x.reshape(len(runs), -1) for x in ends]


def final(regime, p, s, params, times, **how):
    """p, s and tau at `times`.

    At fixed tau the solve is in log s, since s may fall to tiny values and grow again.
    """
    field, y0, args = problem(regime, p, s, params)
    how |= dict(max_steps=1_000_000, quick=True)
    ends = ensemble.final(field, y0, args, times, **how)
    assert np.all(ends.status == ensemble.REACHED)
    return seen(regime, ends.y, params)


def problem(regime, p, s, params):
    if regime == "fixed":
        field = Partial(portrait.in_log_s, fields.modes_fixed_tau)
        return field, Plane(p=p, s=np.log(s)), params
    if regime == "ema":
        return fields.modes, Modes.of(p=p, s=s, tau=params.tau), params
    return fields.predicted, s, (params, Power(**RULE))


def seen(regime, y, params):
    if regime == "fixed":
        return y.p, np.exp(y.s), params.tau
    if regime == "ema":
        return y.p, np.asarray(y.s), np.asarray(y.tau)
    return np.asarray(Power(**RULE)(y)), np.asarray(y), params.tau


@pytest.mark.parametrize("regime", ("fixed", "ema", "directpred"))
def test_trajectories_are_solutions_at_all_their_points(regime, node, script):
    """The last cases are stiff: the time of the solve is up to 10^4 relaxation times."""
    rng = np.random.default_rng(0)
    several = [
        case(params, (rng.uniform(-0.6, 1.6), rng.uniform(0.01, 2)), regime=regime)
        for params in settings(rng, 12)
    ]
    several += [
        case(Params(alpha_p=50.0, sigma2=5.0, **decay), start, regime=regime)
        for decay in (dict(eta=0.0), dict(eta=0.01), dict(eta_p=0.5, eta_s=0.0))
        for start in ((1.5, 10.0), (-3.0, 10.0), (0.01, 3.0))
    ]
    runs = [run["forward"] for run in launched(node, script, several)]
    at, wanted = solved(several, runs)
    for i, (given, run) in enumerate(zip(several, runs, strict=True)):
        ahead = {name: np.array(x, float) for name, x in run.items()}
        assert ahead["t"][0] == 0 and ahead["t"][-1] == 20 and np.all(np.diff(ahead["t"]) > 0)
        assert len(ahead["t"]) < 3000
        for name, truth in zip(("p", "s", "tau"), wanted, strict=True):
            error = np.abs(ahead[name][at[i]] - truth[i])
            assert np.all(error <= 1e-6 * np.abs(truth[i]) + 1e-8), (name, given)
        here = Params(**{**given["params"], "tau": ahead["tau"]})
        margin = theory.alignment_margin(ahead["p"], ahead["s"], here)
        assert np.allclose(ahead["margin"], margin, rtol=1e-9, atol=1e-9)


def test_implicit_steps_are_of_fourth_order(node, script):
    wanted = """[32, 64, 128, 256, 2048].map((count) => {
      const rate = ([x, y]) => [x * (1 - y), y * (x - 1) - y * y / 10];
      const sizes = (y) => y.map((x) => 1e-8 * Math.abs(x));
      const step = (y) => implicitStep(rate, y, rate(y), 3 / count, sizes, 1e-8).y;
      let y = [1.5, 0.7];
      for (let i = 0; i < count; i++) y = step(y);
      return y;
    })"""
    *ends, truth = np.array(node(script, wanted))
    errors = np.linalg.norm(ends - truth, axis=1)
    assert np.all(np.abs(np.diff(np.log2(errors)) + 4) < 0.2)


def test_the_past_leads_to_the_start(node, script):
    rng = np.random.default_rng(1)
    several = [
        case(params, (rng.uniform(-0.5, 1.5), rng.uniform(0.05, 1.8)), 3.0)
        for params in settings(rng, 12)
    ]
    behind = [run["backward"] for run in launched(node, script, several)]
    again = [
        {**given, "start": [past["p"][-1], past["s"][-1]], "time": 3.0001}
        for given, past in zip(several, behind, strict=True)
    ]
    for given, past, run in zip(several, behind, launched(node, script, again), strict=True):
        assert len(past["p"]) > 2
        for at in (0, len(past["p"]) // 2):
            point = np.array([past["p"][at], past["s"][at]]) / [2.2, 2.0]
            curve = np.array([run["forward"]["p"], run["forward"]["s"]]).T / [2.2, 2.0]
            assert distances(point[None], curve)[0] < 1e-3, given


@pytest.mark.parametrize("name", CASES)
def test_the_same_share_collapses_as_in_the_portrait(name, drawn):
    theirs, mine = drawn[name]
    assert mine["share"] == pytest.approx(theirs.share, abs=1e-3)
    low, high = theirs.window.y
    here, there = np.clip(mine["below"], low, high), np.clip(theirs.basin[:, 1], low, high)
    assert np.max(np.abs(here - there)) < 1e-3 * (high - low)
    assert mine["edge"] == pytest.approx(theirs.edge, rel=3e-3)


def test_the_edge_on_the_parabola_divides_it(drawn):
    for name in ("weak", "split", "split the other way"):
        params, edge = drawn[name][0].params, drawn[name][1]["edge"]
        p = edge * np.array([0.999, 1.001])
        both = jax.tree.map(lambda x: np.full(2, float(x)), params)
        how = dict(rtol=1e-9, atol=1e-9)
        s = final("fixed", p, p**2 / params.alpha_p, both, np.full(2, 2e3), **how)[1]
        assert s[0] < 1e-9 and s[1] > 0.01


@pytest.mark.parametrize("name", CASES)
def test_the_separatrix_is_that_of_the_portrait(name, drawn):
    theirs, mine = drawn[name]
    assert bool(theirs.separatrix) == bool(mine["arms"])
    if not mine["arms"]:
        return
    assert len(mine["arms"]) == 2
    arms = [np.array(arm) for arm in mine["arms"]]
    assert all(np.isfinite(arm).all() for arm in arms)
    unit = lambda curve: (np.asarray(curve) - theirs.window.low) / theirs.window.spans
    curve = unit(np.concatenate([arms[1][::-1], theirs.points[1:2], arms[0]]))
    points = unit(np.concatenate(theirs.separatrix))
    shown = (np.abs(points - 0.5) <= 0.5).all(1)
    assert shown.any() and np.max(distances(points[shown], curve)) < 1e-3


def test_arrows_have_the_direction_of_the_flow_and_one_length(drawn):
    for theirs, mine in drawn.values():
        low, spans = theirs.window.low, theirs.window.spans
        tail, head = (
            np.stack([mine["arrows"][x], mine["arrows"][y]], 1)
            for x, y in ("x0 y0".split(), "x1 y1".split())
        )
        assert np.allclose((tail + head) / 2, low + flow_lines.lattice(3) * spans)
        way = (head - tail) / spans
        length = np.linalg.norm(way, axis=1)
        assert np.allclose(length, length[0]) and 0 < length[0] < 1 / 3
        assert np.allclose(way / length[:, None], theirs.arrows[:, 2:], atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_nullclines_are_those_of_the_portrait(name, drawn):
    theirs, mine = drawn[name]
    unit = lambda curve: (np.asarray(curve) - theirs.window.low) / theirs.window.spans
    for variable in ("p", "s"):
        pieces = [unit(np.array(piece).T) for piece in mine["nullclines"][variable]]
        wanted = [unit(piece) for piece in theirs.nullclines[variable]]
        assert bool(pieces) == bool(wanted)
        for points in wanted:
            points = points[(np.abs(points - 0.5) <= 0.5).all(1)]
            if len(points):
                near = np.min([distances(points, piece) for piece in pieces], axis=0)
                assert np.max(near) < 1e-3
        for piece in pieces:
            assert np.isfinite(piece).all()
            rate = fields.modes_fixed_tau(
                0.0, Plane(*theirs.window.place(piece).T), theirs.params
            )
            assert np.max(np.abs(getattr(rate, variable))) < 1e-9


def test_lines_of_fixed_points_are_those_of_the_portrait(drawn):
    found = 0
    for theirs, mine in drawn.values():
        assert len(mine["resting"]) == len(theirs.resting)
        for (curve, attracts), line in zip(theirs.resting, mine["resting"], strict=True):
            assert np.allclose(np.array(line["line"]).T, curve, atol=1e-12)
            assert line["attracts"] == attracts
            found += 1
    assert found > 5


@pytest.mark.parametrize("regime", ("fixed", "ema", "directpred"))
def test_who_collapses_is_who_dies_in_the_long_run(regime, node, script):
    """Leaves out starts whose fate changes if s is one percent larger or smaller."""
    rng = np.random.default_rng(2)
    p, s = rng.uniform(-0.6, 1.6, 224), 10 ** rng.uniform(-3, 0.3, 224)
    params = jax.tree.map(lambda *x: np.array(x, float), *settings(rng, 224))
    lasting = lambda eta: np.where(eta > 0, np.maximum(eta, 0.03), 0)
    params = Params(
        **{**vars(params), "eta_s": lasting(params.eta_s), "eta_p": lasting(params.eta_p)}
    )
    if regime == "directpred":
        p = np.asarray(Power(**RULE)(jnp.asarray(s)))
    fates = dead(regime, p, s * np.array([[0.99], [1.0], [1.01]]), params)
    clear = (fates[0] == fates[1]) & (fates[1] == fates[2])
    if regime == "directpred":  # s hardly moves where eps is close to a root of (16)
        roots = jax.vmap(theory.decay_roots)(params)
        clear &= ~np.any(np.abs(roots - RULE["eps"]) < 0.005, axis=1)
    else:  # with decay of p alone s grows again, but from e^(-100) that takes too long
        clear &= ~fates[1] | (params.eta_s > 0) | (params.eta_p == 0)
    one = lambda i: jax.tree.map(lambda x: float(x[i]), params)
    cases = [case(one(i), (p[i], s[i]), 1.0, regime) for i in range(len(p))]
    found = np.array([run["collapses"] for run in launched(node, script, cases)])
    wrong = np.flatnonzero(clear & (found != fates[1]))
    assert not len(wrong), [cases[i] for i in wrong[:3]]
    assert clear.mean() > 0.85 and 0.1 < found.mean() < 0.9


def dead(regime, p, s, params):
    """Whether each start has collapsed at a late time. Each row of `s` has one s for each p."""
    params = jax.tree.map(lambda x: np.tile(x, len(s)), params)
    times = np.full(s.size, 2e4 if regime == "directpred" else 700.0)
    how = dict(rtol=1e-7, atol=1e-60 if regime == "ema" else 1e-9)
    ends = final(regime, np.tile(p, len(s)), s.ravel(), params, times, **how)
    return ends[1].reshape(s.shape) < 1e-6


def test_nothing_in_a_wide_range_breaks_it(node, script):
    """With sliders at and beyond their ends, all curves are finite, and every solve ends."""
    rng = np.random.default_rng(3)
    cases = []
    for i in range(240):
        decays = [rng.choice([0.0, 1e-12, 1e-4, 2.0, 10 ** rng.uniform(-4, 0.3)]) for _ in "ps"]
        params = Params(
            alpha_p=rng.choice([0.05, 50.0, 1e4, 10 ** rng.uniform(-1.3, 1.7)]),
            beta=rng.choice([0.01, 10.0, 10 ** rng.uniform(-2, 1)]),
            eta_p=decays[i % 2],
            eta_s=decays[0],
            sigma2=rng.choice([0.0, 5.0, rng.uniform(0, 5)]),
            tau=rng.choice([0.01, 1.0, rng.uniform(0.01, 1)]),
        )
        window = WIDE if i % 4 == 0 else portrait.window("p-s", params)
        start = window.place(rng.uniform([-0.5, 0], 1.5))
        if i % 10 == 0:
            start = rng.choice([0.0, 1e-9, -3.0, 20.0]), rng.choice([0.0, 1e-12, 30.0])
        regime = ("fixed", "ema", "directpred")[i % 3]
        cases.append(case(params, start, rng.choice([1.0, 100.0, 1e5]), regime, window))
    wanted = """cases.map(({regime, params, start, time, window}) => {
  const xs = Array.from({length: 41}, (_, i) =>
    window.x[0] + (window.x[1] - window.x[0]) * i / 40);
  const fixed = fixed_points(params);
  const both = arms(params, window, fixed);
  const below = basin(params, window, fixed, both, xs);
  const lines = nullclines(params, window, xs);
  const run = launch(regime, params, rule, start, time, window, {fixed, arms: both});
  const alone = launch(regime, params, rule, start, time, window);
  const {t, p, s, margin, tau} = run.forward;
  const finite = (...all) => all.flat(9).every(Number.isFinite);
  return {
    arms: finite(both), below: !below.some(Number.isNaN), share: share(below, window),
    arrows: finite(...Object.values(arrows(params, window, 4))),
    lines: finite(lines.p, lines.s, resting(params, window, xs).map(({line}) => line)),
    run: finite(t, p, s), past: finite(run.backward.p, run.backward.s),
    tau: tau.every((x, i) => Number.isFinite(x + margin[i]) || s[i] < 1e-12),
    same: run.collapses === alone.collapses, points: t.length, end: t[t.length - 1] / time,
  };
})
"""
    for given, found in zip(cases, node(script, wanted, cases=cases, rule=RULE), strict=True):
        share, points, end = (found.pop(name) for name in ("share", "points", "end"))
        assert all(found.values()), (found, given)
        assert 0 <= share <= 1 and 2 <= points < 20_000 and end == 1, (points, end, given)


def distances(points, curve):
    """The distance from each point to a polyline."""
    start, way = curve[:-1], np.diff(curve, axis=0)
    offset = points[:, None] - start
    square = np.maximum(np.sum(way**2, axis=1), 1e-300)
    part = np.clip(np.sum(offset * way, axis=2) / square, 0, 1)
    return np.min(np.linalg.norm(offset - part[..., None] * way, axis=2), axis=1)

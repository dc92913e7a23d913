"""Tests of the maps of flows and of steps against closed forms, other solvers and brute force.

One file, since all tests specify and compute maps with the same helpers.
"""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.integrate

from lindyn import theory
from lindyn.predict import command as predict, network_fates
from lindyn.predict.scenario import Scenario
from lindyn.solve import ensemble, trajectory
from lindyn.solve.fates import flow
from lindyn.sweep import boundaries, flags, flow_maps, step_maps
from lindyn.sweep.specification import Axis, Specification, wide
from lindyn.theory import basins, closed_forms, fields, steps
from lindyn.theory.basins import COLLAPSES, DIVERGES, SURVIVES, UNDECIDED
from lindyn.theory.states import Modes, Moments, Params, Plane


FIXED = {"wd": 0.05, "alpha-p": 1.0, "sigma2": 0.0, "tau": 1.0}
WD, TAU = Axis("wd", 0.0, 0.3, 40), Axis("tau", 0.3, 1.0, 40)


def ask(quantity, x, y, *, fixed=None, **more):
    fixed = {**FIXED, **(fixed or {})}
    for axis in (x, y):
        fixed.pop(axis.name, None)
    return Specification(quantity, x, y, fixed, **more)


def solved(setting):
    values = flow_maps.compute(setting, np.arange(setting.cells))
    return {name: x.reshape(setting.y.count, setting.x.count) for name, x in values.items()}


def compared(setting):
    values = solved(setting)
    form, told = boundaries.closed(setting), boundaries.as_yes_or_no(setting, values)
    assert form is not None and told is not None
    assert values["failed"].sum() == 0
    return values, boundaries.agreement(setting, form, told)


@pytest.mark.parametrize(
    "x, y, fixed",
    (
        (WD, TAU, {}),
        (TAU, WD, {"alpha-p": 5.0}),
        (WD, Axis("sigma2", 0.0, 3.0, 40), {"tau": 0.8}),
        (Axis("wd", 1e-4, 1.0, 40, log=True), Axis("alpha-p", 0.1, 10.0, 12, log=True), {}),
    ),
    ids=lambda x: getattr(x, "name", ""),
)
def test_modes_collapse_above_the_critical_decay(x, y, fixed):
    setting = ask("collapse", x, y, fixed=fixed)
    values, agreement = compared(setting)
    j, i = np.indices((y.count, x.count))
    params = setting.place(i, j).params
    assert np.array_equal(values["value"] == 1, params.eta_s > theory.critical_decay(params))
    assert agreement.cells <= 0.5 and agreement.differ == 0 and values["undecided"].sum() == 0


def test_on_the_parabola_modes_collapse_below_the_lower_root():
    setting = ask("collapse", Axis("p0", -0.5, 1.5, 60), Axis("wd", 0.01, 0.24, 9))
    values, agreement = compared(setting)
    for eta, row in zip(setting.y.at(np.arange(9)), values["value"], strict=True):
        edge = theory.decay_roots(Params(eta=eta))[0]
        assert np.array_equal(row == 1, setting.x.at(np.arange(60)) < edge)
    assert agreement.cells <= 0.5


def test_without_decay_the_fate_of_every_start_in_the_plane():
    x, y = Axis("p0", -1.0, 2.5, 61), Axis("s0", 0.01, 3.0, 53)
    setting = ask("collapse", x, y, fixed={"wd": 0.0, "sigma2": 0.5, "alpha-p": 2.0})
    values, agreement = compared(setting)
    p, s = np.meshgrid(x.at(np.arange(61)), y.at(np.arange(53)))
    edge = theory.basin_edge_without_decay(p, Params(sigma2=0.5, alpha_p=2.0))
    assert np.array_equal(values["value"] == 1, s < edge)
    assert agreement.cells <= 0.5 and values["undecided"].sum() == 0


@pytest.mark.parametrize(
    "share, fate",
    (
        (1 + 1e-6, flow_maps.COLLAPSES),
        (1 - 1e-6, flow_maps.SURVIVES),
        (1.0, flow_maps.UNDECIDED),  # exactly at the saddle-node
    ),
)
def test_slow_passages_are_waited_for(share, fate):
    eta = share * theory.critical_decay(Params())
    setting = ask("collapse", Axis("alpha-p", 0.5, 2.0, 2), TAU, fixed={"wd": eta, "tau": 1.0})
    params = Params(eta=np.full(4, eta))
    start = Plane(p=np.full(4, 0.5), s=np.full(4, np.log(0.25)))
    assert (flow_maps.fates_of(setting, params, start) == fate).all()


def test_s_falls_below_any_float_and_comes_back():
    """From p0 > p* with little decay, log s falls to -1200 before p falls below p*."""
    setting = ask("collapse", Axis("wd", 2e-4, 4e-4, 2), Axis("p0", 1.2, 1.4, 2))
    params, start = (
        Params(eta=np.full(2, 4e-4)),
        Plane(p=np.array([1.4, 3.0]), s=np.log([0.01, 0.01])),
    )
    fates = flow_maps.fates_of(setting, params, start)
    for i, fate in enumerate(fates):
        run = lambda t, y: jax.tree.leaves(
            flow(t, Plane(p=y[0], s=y[1]), (Params(eta=4e-4), None))
        )
        y0 = [start.p[i], start.s[i]]
        ends = scipy.integrate.solve_ivp(run, (0, 4e4), y0, "LSODA", rtol=1e-10, atol=1e-12)
        assert ends.y[1].min() < -250
        assert (ends.y[1, -1] > -1) == (fate == flow_maps.SURVIVES)


def random_cells(key, many, decay):
    keys = iter(jr.split(key, 12))
    draw = lambda low, high: np.asarray(jr.uniform(next(keys), (many,), float, low, high))
    wide = lambda low, high: np.exp(draw(np.log(low), np.log(high)))
    eta_p, eta_s = wide(0.01, 0.3), wide(0.01, 0.3)
    params = Params(
        alpha_p=wide(0.2, 5.0),
        beta=wide(0.05, 2.0),
        eta_p=0 * eta_p if decay in ("eta_s", "none") else eta_p,
        eta_s={"both": eta_p, "split": eta_s, "eta_s": eta_s}.get(decay, 0 * eta_s),
        sigma2=draw(0.0, 2.0),
        tau=draw(0.3, 1.0),
    )
    p = draw(-1.0, 2.0) / (1 + params.sigma2)
    return params, p, wide(1e-4, 3.0), draw(0.0, 1.2)


@pytest.mark.parametrize("decay", ("both", "split", "eta_s", "eta_p", "none"))
@pytest.mark.parametrize("moving", (False, True), ids=("fixed-tau", "modes"))
def test_fates_are_those_of_much_longer_solves(decay, moving, key):
    params, p, s, tau = random_cells(key, 2000, decay)
    setting = ask("collapse", WD, TAU, moving=moving)
    if moving:
        params = Params(**{**vars(params), "tau": np.ones(2000)})
        start = Modes(p=p, w=np.sqrt(s), wa=tau * np.sqrt(s))
    else:
        start = Plane(p=p, s=np.log(s))
    fates = flow_maps.fates_of(setting, params, start)
    assert np.mean(fates >= flow_maps.UNDECIDED) < 2e-3  # undecided only on an edge
    atol = flow_maps.LEAST[moving]
    ends = ensemble.final(flow, start, (params, None), 2e3, atol=atol, max_steps=10**6)
    y = ends.y
    size = np.maximum(y.w**2, y.wa**2) if isinstance(y, Modes) else np.exp(y.s)
    told = ends.status == ensemble.REACHED
    gone, there = told & (size < 1e-8), told & (size > 0.05 / params.alpha_p)
    assert np.mean(gone | there) > 0.8
    if decay == "eta_p":
        assert (fates != flow_maps.COLLAPSES).all()  # s falls only for a while
    else:
        assert (fates[gone] != flow_maps.SURVIVES).all()
    if decay == "eta_s":
        assert (fates == flow_maps.COLLAPSES).all()  # p cannot rest at p*
    else:
        assert (fates[there] != flow_maps.COLLAPSES).all()


def test_the_potential_falls_at_its_rate():
    params = Params(alpha_p=2.0, eta_p=0.03, eta_s=0.02, sigma2=0.3, tau=0.9)
    goal = basins.goal(params)
    for p, s in ((0.3, 0.1), (0.6, 2.0), (0.65, 0.2)):
        rate = fields.modes_fixed_tau(0.0, Plane(p=p, s=s), params)
        of = lambda p, s: basins.potential(p, s, goal.s, params)
        slope_p, slope_s = jax.grad(of, (0, 1))(p, s)
        pull = 2 * (params.alpha_p * (1 + params.sigma2) * goal.s + params.eta_p)
        pull *= (p - goal.p) * fields.growth(p, params) / fields.gain(p, params)
        assert np.isclose(slope_p * rate.p + slope_s * rate.s, pull, rtol=1e-12) and pull < 0


def test_shares_of_basins_are_those_of_one_by_one_solves():
    x, y = Axis("wd", 0.02, 0.1, 2), Axis("sigma2", 0.0, 1.0, 2)
    setting = ask("basin", x, y, starts=40, seed=3)
    values = solved(setting)
    unit = np.asarray(jr.uniform(jr.key(3), (2, 40), float))
    for j, i in np.ndindex(2, 2):
        params = setting.place(np.array(i), np.array(j)).params
        goal = params.tau / (1 + params.sigma2)
        p, s = (-1 + 3 * unit[0]) * goal, 2 * unit[1] * goal**2 / params.alpha_p
        ts, least = jnp.array([0.0, 2000.0]), 1e-200  # s falls this low and grows again
        ends = trajectory(fields.modes_fixed_tau, Plane(p=p, s=s), params, ts, atol=least)
        share = np.mean(np.asarray(ends.s[1]) < 1e-6)
        assert values["value"][j, i] == share and 0 < share < 1
        assert np.isclose(values["error"][j, i], np.sqrt(share * (1 - share) / 40))
    other = solved(ask("basin", x, y, starts=40, seed=4))
    assert not np.array_equal(other["value"], values["value"])


def test_all_starts_collapse_above_the_critical_decay():
    setting = ask("basin", Axis("wd", 0.0, 0.3, 16), Axis("tau", 0.5, 1.0, 7), starts=64)
    values, agreement = compared(setting)
    assert agreement.cells <= 0.5 and agreement.differ == 0
    assert 0 < values["value"].min() < 0.2


@pytest.mark.parametrize("quantity", ("p", "s"))
def test_values_at_a_time(quantity):
    setting = ask(quantity, Axis("wd", 0.0, 0.2, 3), Axis("p0", 0.1, 0.5, 2), time=7.0)
    found = solved(setting)["value"]
    for j, i in np.ndindex(2, 3):
        cell = setting.place(np.array(i), np.array(j))
        y0, ts = Plane(p=cell.p, s=cell.s), jnp.array([0.0, 7.0])
        ends = trajectory(fields.modes_fixed_tau, y0, cell.params, ts)
        assert np.isclose(found[j, i], getattr(ends, quantity)[1], rtol=1e-7)


def test_escape_times_are_those_of_the_parabola():
    x, y = Axis("wd", 0.0, 0.3, 24), Axis("p0", 0.01, 0.6, 30, log=True)
    setting = ask("escape-time", x, y, fixed={"sigma2": 0.4, "tau": 0.9})
    values, agreement = compared(setting)
    assert agreement.cells <= 0.5 and agreement.differ == 0
    j, i = np.nonzero(np.isfinite(values["value"]))
    cells = jax.tree.map(lambda x: np.broadcast_to(x, i.shape), setting.place(i, j))
    goal = jax.vmap(theory.decay_roots)(cells.params)[:, 1]
    exact = np.asarray(theory.time_on_parabola(cells.p, goal / 2, cells.params))
    exact = np.where(cells.p >= goal / 2, 0, exact)
    assert len(exact) > 150 and np.max(exact) > 50
    assert np.allclose(values["value"][j, i], exact, rtol=1e-6)


def test_modes_align_all_the_way_from_the_lower_end_of_the_window():
    setting = ask("alignment-margin", WD, TAU, fixed={"sigma2": 0.2}, time=1e3)
    values, agreement = compared(setting)
    j, i = np.indices((TAU.count, WD.count))
    low, _ = theory.aligned_window(setting.place(i, j).params)
    assert np.array_equal(values["value"] < 0, setting.place(i, j).params.eta_s < low)
    assert agreement.cells <= 0.5 and agreement.differ == 0


def test_the_least_margin_is_the_least_of_a_dense_solution():
    x, y = Axis("p0", -0.4, 1.3, 8), Axis("s0", 0.01, 1.5, 4)
    fixed = {"wd-p": 0.02, "wd-s": 0.04, "alpha-p": 3.0}
    for moving in (False, True):
        start = {"beta": 0.1, "tau": 0.3} if moving else {"tau": 0.9}
        asked = ask("alignment-margin", x, y, fixed=fixed | start, time=60.0, moving=moving)
        found = solved(asked)["value"]
        for j, i in ((0, 5), (1, 3), (3, 7)):
            cell = asked.place(np.array(i), np.array(j))
            ts = jnp.linspace(0.0, 60.0, 4001)
            if moving:
                y0 = Modes.of(p=cell.p, s=cell.s, tau=cell.tau)
                ys = trajectory(fields.modes, y0, cell.params, ts)
            else:
                y0 = Plane(p=cell.p, s=cell.s)
                ys = trajectory(fields.modes_fixed_tau, y0, cell.params, ts)
                ys = Plane(p=ys.p, s=jnp.log(ys.s))
            dense = jnp.min(jax.vmap(flow_maps.margin, (0, None))(ys, cell.params))
            assert dense >= found[j, i] - 1e-7 and np.isclose(dense, found[j, i], atol=1e-4)


def test_a_small_commutator_changes_by_that_factor():
    """Solves the matrices themselves, with two eigenvalues that are nearly equal."""
    setting = ask("alignment", Axis("wd", 0.01, 0.1, 3), Axis("p0", 0.1, 0.5, 2), time=8.0)
    found = solved(setting)["value"]
    tilt, apart = 1e-4 * jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.diag(jnp.array([1.0, 1.001]))
    for j, i in np.ndindex(2, 3):
        cell = setting.place(np.array(i), np.array(j))
        start = Moments(F=cell.s * apart + tilt, Wp=cell.p * apart)
        ends = trajectory(fields.moments, start, cell.params, jnp.array([0.0, 8.0]), rtol=1e-11)
        size = jnp.linalg.norm(ends.F @ ends.Wp - ends.Wp @ ends.F, axis=(1, 2))
        assert np.isclose(found[j, i], np.log10(size[1] / size[0]), atol=5e-3)


def test_slow_targets_collapse_and_any_other_parameter_may_be_an_axis():
    fixed = {"wd": 0.1, "p0": 0.15, "beta": 0.4, "tau": 0.0}
    beta = Axis("beta", 0.01, 10.0, 30, log=True)
    setting = ask("collapse", beta, Axis("tau", 0.0, 1.0, 9), fixed=fixed, moving=True)
    value = solved(setting)["value"]
    assert (np.diff(value, axis=1) <= 0).all() and (np.diff(value, axis=0) <= 0).all()
    assert 0.1 < value.mean() < 0.5 and boundaries.closed(setting) is None
    for x in (
        Axis("wd-s", 0.01, 0.4, 3),
        Axis("alpha-p", 0.1, 9.0, 3),
        Axis("s0", 0.1, 2.0, 3),
    ):
        other = ask("collapse", x, beta, fixed=fixed, moving=True)
        assert np.isfinite(solved(other)["value"]).all()


RATES = Axis("lr", 1e-3, 30.0, 24, log=True)
TRAINER = {**flags.TRAINER, "loss": "l2", "dim": 3, "batch": 32}
USUAL = {"lr": 0.03, "momentum": 0.9, "wd": 4e-4, "alpha-p": 1.0, "sigma2": 0.3, "tau": 1.0}


def ask_steps(quantity, x, y, *, fixed=None, trainer=None, **more):
    fixed = {**USUAL, **(fixed or {})}
    fixed = {name: x_ for name, x_ in fixed.items() if name not in (x.name, y.name)}
    told = {**TRAINER, **(trainer or {})}
    return Specification(quantity, x, y, fixed, trainer=told, **more)


@pytest.mark.parametrize("ema", (None, 0.99))
@pytest.mark.parametrize("momentum", (0.0, 0.9))
def test_fates_of_steps_are_those_of_many_more(momentum, ema):
    """Compares with ten times as many steps, for one mode at a time.

    In the end a mode is at rest, still moves, has collapsed or has diverged.
    """
    fixed = {"momentum": momentum} | ({} if ema is None else {"ema": ema, "tau": 1.0})
    moving = ema is not None
    asked = ask_steps(
        "collapse", RATES, Axis("wd", 0.0, 0.5, 11), fixed=fixed, moving=moving, time=2000.0
    )
    j, i = np.divmod(np.arange(asked.cells), 24)
    cells = asked.place(i, j)
    code = step_maps.modes(asked, cells)[1]
    assert {SURVIVES, COLLAPSES, DIVERGES} <= {*code.tolist()}
    assert np.mean(code == UNDECIDED) < 0.1
    chosen = np.random.default_rng(0).permutation(asked.cells)[:60]
    p, s, tau, params, sgd = wide(cells.p, cells.s, cells.tau, cells.params, cells.sgd)
    restful = boundaries.over(asked, boundaries.UNSTABLE[moving], i, j) < 0
    end = jax.jit(steps.final, static_argnums=0)
    for k in chosen:
        at = lambda tree, k=k: jax.tree.map(lambda x: x[k], tree)
        y0 = Modes.of(p=p[k], s=s[k], tau=tau[k])
        y = end(fields.modes, y0, at(params), at(sgd), 20_000)
        finite = bool(np.isfinite(y.w)) and abs(float(y.w)) < 1e6
        assert finite or code[k] in (DIVERGES, UNDECIDED)
        if code[k] == COLLAPSES:
            assert y.s < 1e-6
        if code[k] == SURVIVES and restful[k]:
            assert y.s > 1e-4


@pytest.mark.parametrize("trainer", ({}, {"nesterov": True}, {"decay": "decoupled"}), ids=str)
def test_below_the_stable_rate_steps_collapse_as_the_flow_does(trainer):
    fixed = {"momentum": 0.0}
    asked = ask_steps(
        "collapse", RATES, Axis("wd", 0.0, 0.5, 21), fixed=fixed, trainer=trainer, time=5000.0
    )
    _, agreement = compared(asked)
    assert agreement.differ == 0 and agreement.cells <= 0.5


def test_a_cosine_diverges_where_decay_overshoots():
    """A map of networks over learning rate and decay. The boundary is lr wd = 2 (1 + m)."""
    asked = ask_steps(
        "rank",
        Axis("lr", 0.1, 10.0, 9, log=True),
        Axis("wd", 0.1, 10.0, 4, log=True),
        trainer={"loss": "cosine"},
        starts=2,
        time=300.0,
    )
    values, agreement = compared(asked)
    assert agreement.differ == 0 and 0 < np.mean(np.isnan(values["value"])) < 1
    assert np.nanmax(values["value"]) <= 3


def test_ranks_of_a_map_are_those_that_predict_counts():
    asked = ask_steps(
        "rank", RATES, Axis("wd", 0.0, 0.5, 3), starts=network_fates.STARTS, time=300.0
    )
    cells = np.array([3, 34, 57])
    found = step_maps.COMPUTE["rank"](asked, asked.place(cells % 24, cells // 24))
    for i, cell in enumerate(cells):
        told = dict(lr=asked.x.at(cell % 24), wd=asked.y.at(cell // 24), steps=300)
        told |= dict(loss="l2", target="none", dim=3, batch=32)
        config = predict.Config(**told)
        case = Scenario.of({**predict.FIXED, **dataclasses.asdict(config)})
        mine = network_fates.trial(case)
        assert mine.rank == found["value"][i] and mine.diverged == 0


def test_a_wrong_closed_form_is_far_from_the_map(monkeypatch):
    setting = ask("collapse", WD, TAU)
    right = theory.critical_decay
    monkeypatch.setattr(closed_forms, "critical_decay", lambda params: 1.2 * right(params))
    jax.clear_caches()
    _, agreement = compared(setting)
    monkeypatch.undo()
    jax.clear_caches()
    assert agreement.cells > 3 and agreement.differ > 30
    assert np.isclose(agreement.along_x, agreement.cells * 0.3 / 39)


@pytest.mark.parametrize(
    "asked",
    (
        ask("collapse", Axis("wd-p", 0.0, 0.3, 9), TAU),  # split decay
        ask("collapse", WD, TAU, fixed={"s0": 0.5}),  # starts off the parabola
        ask("collapse", WD, TAU, moving=True),
        # The starts do not surround the goal at the critical decay.
        ask("basin", WD, TAU, starts=99, s_range=(1.0, 2.0)),
        ask("basin", WD, TAU, starts=3),  # all three may collapse by chance
        ask("alignment", WD, TAU),
    ),
    ids=range(6),
)
def test_no_closed_form_is_claimed_where_there_is_none(asked):
    assert boundaries.closed(asked) is None


def test_axes_have_both_their_ends():
    line, log = Axis("wd", 0.1, 0.3, 7), Axis("beta", 0.01, 10.0, 4, log=True)
    assert line.at(np.array([0, 6])).tolist() == [0.1, 0.3]
    assert np.allclose(log.at(np.arange(4)), [0.01, 0.1, 1.0, 10.0], rtol=1e-14)

"""Tests of phase portraits against long solves: the basins of collapse, and the curves."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from lindyn import theory
from lindyn.phase import cosine_portrait, flow_lines, portrait
from lindyn.phase.flow_lines import Window
from lindyn.solve import ensemble, trajectory
from lindyn.theory import fields
from lindyn.theory.states import Correlations, Modes, Params, Plane
from lindyn.verify.claims.cosine import simsiam_modes


WIDE = Window((-0.6, 1.6), (0.0, 2.0))
CASES = {
    "none": ("p-s", dict(eta=0.0), WIDE),
    "weak": ("p-s", dict(eta=0.1), WIDE),
    "critical": ("p-s", dict(eta=0.25), WIDE),
    "strong": ("p-s", dict(eta=0.3), WIDE),
    "split": ("p-s", dict(eta_p=0.2, eta_s=0.1), WIDE),
    "split the other way": ("p-s", dict(eta_p=0.05, eta_s=0.15), WIDE),
    "encoder only": ("p-s", dict(eta_p=0.0, eta_s=0.1), WIDE),
    "predictor only": ("p-s", dict(eta_p=0.1, eta_s=0.0), WIDE),
    "noise": ("p-s", dict(eta=0.08, sigma2=1.0, alpha_p=3.0, tau=0.8), WIDE),
    "saddle outside": ("p-s", dict(eta=0.2), Window((0.6, 2.0), (0.0, 2.0))),
    "target": ("p-tau", dict(eta=0.15), Window((0.0, 1.2), (0.0, 1.2))),
    "slow target": ("p-tau", dict(eta=0.1, beta=0.05), Window((0.0, 1.2), (0.0, 1.2))),
    "target without decay": ("p-tau", dict(eta=0.0), Window((-0.5, 1.2), (0.0, 1.2))),
}


def draw(plane, params, window, **how):
    return portrait.portrait(plane, params, window, **how)


@pytest.mark.parametrize("plane, changes, window", CASES.values(), ids=CASES)
def test_the_shaded_share_is_what_collapses(plane, changes, window, key):
    """Solves 2 000 random starts to the end. The edge must separate those that collapse."""
    params = Params(**changes)
    drawn = draw(plane, params, window)
    field, state = portrait.STATES[plane]
    unit = np.asarray(jr.uniform(key, (2000, 2)))
    start = window.low + unit * window.spans
    time = 1e4 if max(params.eta_p, params.eta_s) == 0 else 2e3
    y0 = state(*jnp.asarray(start).T)
    found = ensemble.states(field, y0, params, jnp.array([0.0, time]), atol=1e-15)
    end = found.y.s[:, -1] if plane == "p-s" else found.y.p[:, -1]
    collapsed = np.asarray(end) < 1e-9
    assert abs(np.mean(collapsed) - drawn.share) < 0.03  # three standard deviations
    along, edge = drawn.basin.T if plane == "p-s" else drawn.basin.T[::-1]
    here = np.interp(start[:, int(plane != "p-s")], along, edge)
    column = int(plane == "p-s")
    across = start[:, column]
    clear = np.abs(across - here) > 0.005 * window.spans[column]
    assert np.mean((collapsed == (across < here))[clear]) > 0.998


@pytest.mark.parametrize("plane, changes, window", list(CASES.values())[:2] + [CASES["target"]])
def test_flow_lines_are_solutions_in_the_direction_of_time(plane, changes, window):
    params = Params(**changes)
    drawn = draw(plane, params, window, rtol=1e-8)
    field, state = portrait.STATES[plane]
    assert len(drawn.flow) > 10 and drawn.failed == 0
    for curve in drawn.flow:
        middle = (curve[1:-1] - window.low) / window.spans
        tangent = (curve[2:] - curve[:-2]) / window.spans
        rate = field(0.0, state(*jnp.asarray(curve[1:-1]).T), params)
        speed = np.stack(jax.tree.leaves(rate), axis=1) / window.spans
        size = np.linalg.norm(tangent, axis=1) * np.linalg.norm(speed, axis=1)
        moving = size > 1e-5
        cosine = np.sum(tangent * speed, axis=1)[moving] / size[moving]
        assert np.all(cosine > 0.9), middle[moving][cosine <= 0.9]


@pytest.mark.parametrize("count", (2, 8))
def test_under_a_cosine_the_shaded_modes_are_those_that_die(count, key):
    """Solves one mode together with all its rivals, without weight decay."""
    params = Params(alpha_p=1.5, eta=0.0)
    window = cosine_portrait.window(count, params)
    drawn = cosine_portrait.portrait(count, params, window)
    assert drawn.failed == 0 and len(drawn.flow) > 10
    unit = np.asarray(jr.uniform(key, (60, 2)))
    p, s = (window.low + unit * window.spans).T
    total = count / params.alpha_p
    others = np.sqrt((count - p**2) / (count - 1)), (total - s) / (count - 1)
    each = lambda one, other: np.stack([one] + [other] * (count - 1), axis=1)
    y = Modes.of(p=each(p, others[0]), s=each(s, others[1]), tau=1.0)
    args = params, Correlations(same=1.0, across=1.0)
    solve = lambda y: trajectory(simsiam_modes, y, args, jnp.array([0.0, 300.0])).s[-1]
    end = np.asarray(jax.lax.map(solve, y))
    assert drawn.rivals is not None
    low, high = (np.interp(p, *curve.T) for curve in (drawn.basin, drawn.rivals))
    clear = np.minimum(abs(s - low), abs(s - high)) > 0.03
    assert np.array_equal((end[:, 0] < 1e-6)[clear], (s < low)[clear])
    assert np.array_equal((end[:, 1] < 1e-6)[clear], (s > high)[clear])
    assert clear.sum() > 40 and 0 < np.mean(s < low) < 1


def test_the_separatrix_ends_at_the_saddle():
    """Solutions from points on the separatrix come within a thousandth of the saddle."""
    params = Params(eta=0.1)
    drawn = draw("p-s", params, WIDE, rtol=1e-9)
    saddle = drawn.points[1]
    arms = np.concatenate(drawn.separatrix)
    y0 = Plane(*jnp.asarray(arms[::20]).T)
    ts = jnp.linspace(0.0, 60.0, 601)
    ys = ensemble.states(fields.modes_fixed_tau, y0, params, ts, rtol=1e-10, atol=1e-13).y
    distance = jnp.hypot(ys.p - saddle[0], ys.s - saddle[1])
    assert jnp.max(jnp.min(distance, axis=1)) < 1e-3
    assert arms[:, 0].min() < WIDE.x[0] and arms[:, 0].max() > WIDE.x[1]


def test_the_edge_on_the_parabola_divides_it_for_split_decay_too():
    for decays in (dict(eta=0.1), dict(eta_p=0.2, eta_s=0.1), dict(eta_p=0.05, eta_s=0.1)):
        params = Params(**decays)
        edge = draw("p-s", params, WIDE, rtol=1e-9).edge
        p = edge * jnp.array([0.99, 1.01])
        y0, ts = Plane(p=p, s=p**2), jnp.array([0.0, 2e3])
        end = ensemble.states(fields.modes_fixed_tau, y0, params, ts, atol=1e-15).y.s[:, -1]
        assert end[0] < 1e-9 and end[1] > 0.1


@pytest.mark.parametrize("eta", (1e-4, 1e-8, 1e-12))
def test_vanishing_decay_is_not_no_decay(eta):
    """Any decay, however weak, brings p from above p* to below p*.

    There s recovers, from values of the order e^(-1/eta). The loss of log s on the way down
    from p' = sqrt(p^2 - alpha_p s) to p*, and its gain below p*, are integrals of 2 g/eta over
    p. They cancel at p' = 2 p*. So the edge is (p^2 - 4 p*^2)/alpha_p for p > 2 p*, it is 0 for
    0 <= p <= 2 p*, and it is the parabola for p < 0.
    """
    params = Params(eta=eta, alpha_p=2.0, sigma2=0.25)
    p, s = draw("p-s", params, Window((-1.0, 3.0), (0.0, 5.0)), rtol=1e-8).basin.T
    limit = np.where(p < 0, p**2, np.maximum(p**2 - 4 * 0.8**2, 0)) / 2
    assert np.max(np.abs(s - limit)) < 0.01 + 20 * eta


def test_without_decay_its_lines_of_fixed_points_are_drawn():
    drawn = draw("p-s", Params(eta=0.0, sigma2=0.25), WIDE)
    attracting = [curve for curve, stable in drawn.resting if stable]
    repelling = [curve for curve, stable in drawn.resting if not stable]
    assert len(attracting) == 3 and len(repelling) == 1  # s = 0 in three pieces, and p = p*
    assert np.allclose(repelling[0][:, 0], [0.0, 0.8], atol=0.01)
    assert np.allclose(attracting[-1][:, 0], 0.8)
    assert not drawn.separatrix


@pytest.mark.parametrize(
    "window", (Window((-0.5, 0.9), (0.1, 1.0)), Window((1.1, 2), (0.5, 1)))
)
def test_lines_of_fixed_points_outside_the_window_are_not_drawn(window):
    drawn = draw("p-s", Params(eta=0.0), window)
    assert drawn.resting == []


def test_a_flow_that_leaves_the_plane_is_cut_at_its_edge():
    drawn = draw("p-s", Params(eta=0.01), Window((0.5, 0.7), (0.1, 0.2)))
    for curve in drawn.flow:
        assert np.all(curve >= drawn.window.low) and np.all(curve <= [0.7, 0.2])
    assert len(drawn.flow) > 5


def test_a_lone_bad_solve_is_counted_and_not_drawn(monkeypatch):
    """The field is NaN in a disc. Lines end at the disc, and the other lines are drawn."""

    def holed(t, y, params):
        rate = fields.modes_fixed_tau(t, y, params)
        hole = (y.p - 0.5) ** 2 + (y.s - 1.0) ** 2 < 0.04
        return Plane(p=jnp.where(hole, jnp.nan, rate.p), s=rate.s)

    monkeypatch.setitem(portrait.STATES, "p-s", (holed, Plane))
    monkeypatch.setitem(theory.CLOSED, holed, theory.CLOSED[fields.modes_fixed_tau])
    jax.clear_caches()
    drawn = draw("p-s", Params(eta=0.01), WIDE)
    jax.clear_caches()
    assert drawn.failed > 0 and len(drawn.flow) > 10
    assert all(np.all(np.isfinite(curve)) for curve in drawn.flow)


def test_nullclines_stop_at_poles():
    drawn = draw("p-s", Params(eta=0.05), WIDE)
    for curve in drawn.nullclines["p"]:
        assert np.all(np.abs(np.diff(curve[:, 1])) < WIDE.spans[1])
    assert len(drawn.nullclines["s"]) == 3  # s = 0, p = p-* and p = p+*


def test_curves_of_constant_c_are_solutions_without_decay():
    params = Params(eta=0.0, alpha_p=2.0)
    for c, curve in draw("p-s", params, WIDE).constants:
        assert np.allclose(theory.invariant(curve[:, 0], curve[:, 1], params), c)


def test_the_line_is_the_parabola_flow():
    line = portrait.line(Params(eta=0.1), (-0.5, 1.5))
    p = jnp.asarray(line.p)
    assert np.allclose(line.rate, fields.parabola(0.0, p, Params(eta=0.1)))
    assert np.isclose(line.share, (0.5 + line.edge) / 2)
    doomed = portrait.line(Params(eta=0.3), (-0.5, 1.5))
    assert doomed.share == 1 and doomed.edge == np.inf


def test_scattered_points_fill_the_square():
    points = flow_lines.scattered(256)
    counts, *_ = np.histogram2d(*points.T, bins=8, range=((0, 1), (0, 1)))
    assert counts.min() >= 2 and counts.max() <= 6

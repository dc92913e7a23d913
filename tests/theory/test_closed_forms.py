"""Tests of closed forms against the fields that they describe."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import root_scalar

from lindyn import theory
from lindyn.solve import ensemble
from lindyn.theory import fields, predictors, stability, states, theorems
from lindyn.theory.states import Correlations, Data, Modes, Params, Plane


PARAMS = Params(alpha_p=2.0, beta=0.4, eta=0.05, sigma2=0.3, tau=0.9)


def with_decay(eta, **changes):
    return dataclasses.replace(PARAMS, eta_p=eta, eta_s=eta, **changes)


def ends(field, y0, params, t1):
    found = ensemble.states(field, y0, params, jnp.array([0.0, t1]), rtol=1e-9, atol=1e-20)
    assert jnp.all(found.status == ensemble.REACHED)
    return jax.tree.map(lambda y: y[:, -1], found.y)


CLASSES = {
    "weak": (dict(eta=0.05), ("stable node", "saddle", "stable node")),
    "none": (dict(eta=0.0), ("degenerate", "degenerate", "line of fixed points")),
    "critical": (dict(eta=0.25), ("stable node", "degenerate", "degenerate")),
    "strong": (dict(eta=0.3), ("stable node", "none", "none")),
    "encoder only": (
        dict(eta_p=0.0, eta_s=0.1),
        ("line of fixed points",) + ("degenerate",) * 2,
    ),
    "predictor only": (dict(eta_p=0.1, eta_s=0.0), ("degenerate", "degenerate", "none")),
    "split": (dict(eta_p=0.1, eta_s=0.05), ("stable node", "saddle", "stable node")),
}


@pytest.mark.parametrize("decays, kinds", CLASSES.values(), ids=CLASSES)
def test_classes_of_the_fixed_points(decays, kinds):
    assert tuple(theory.fixed_points(Params(**decays)).names) == kinds


@pytest.mark.parametrize("eta", (1e-12, 1e-6, 0.05, 0.15))
def test_roots_keep_their_digits(eta):
    """Compares with a root finder on each side of the maximum of p (tau - a p)."""
    params, a = with_decay(eta), 1.3
    low, high = theory.decay_roots(params)
    balance = lambda p: p * (0.9 - a * p) - eta
    middle = 0.9 / (2 * a)
    exact: Any = dict(method="brentq", xtol=1e-300, rtol=1e-15)
    root = lambda low, high: root_scalar(balance, bracket=(low, high), **exact).root
    assert np.allclose((low, high), (root(0, middle), root(middle, 1)), rtol=1e-13, atol=0)


@pytest.mark.parametrize("field", theory.CLOSED, ids=lambda field: field.__name__)
def test_fixed_points_have_the_jacobian_of_finite_differences(field):
    fixed = theory.fixed_points(PARAMS, field)
    structure, leaves = jax.tree.structure(fixed.y), jax.tree.leaves(fixed.y)
    points = np.stack([np.asarray(leaf) for leaf in leaves], axis=-1).reshape(3, -1)

    def rate(point):
        dy = field(0.0, jax.tree.unflatten(structure, list(jnp.asarray(point))), PARAMS)
        return np.array(jax.tree.leaves(dy))

    for point, jacobian in zip(points, fixed.jacobian, strict=True):
        h = 1e-6
        columns = [
            (rate(point + h * axis) - rate(point - h * axis)) / (2 * h)
            for axis in np.eye(len(point))
        ]
        assert np.allclose(np.stack(columns, axis=1), jacobian, atol=1e-8)


def test_modes_have_the_invariants_eigenvalue():
    """At p-* and p+*, the direction off the parabola always has the eigenvalue -2 eta."""
    for field in (fields.modes_fixed_tau, fields.modes):
        values = theory.fixed_points(PARAMS, field).eigenvalues[1:]
        assert jnp.all(jnp.min(jnp.abs(values + 0.1), axis=1) < 1e-13)


def test_a_field_without_closed_form_is_refused():
    with pytest.raises(ValueError, match="no closed form for full; there is one for modes"):
        theory.fixed_points(PARAMS, fields.full)


def test_pair_fixed_points_of_isotropic_data_are_those_of_the_modes():
    data = Correlations(same=1 + PARAMS.sigma2, across=1.0)
    pair, modes = (
        theory.pair_fixed_points(PARAMS, data),
        theory.fixed_points(PARAMS, fields.modes),
    )
    assert jnp.allclose(pair.eigenvalues, modes.eigenvalues)
    assert jnp.allclose(pair.y.w, modes.y.w)


def test_grids_and_gradients():
    decays = jnp.linspace(0.0, 0.3, 7)
    fixed = jax.vmap(lambda eta: theory.fixed_points(Params(eta=eta)))(decays)
    assert fixed.y.p.shape == (7, 3) and fixed.eigenvalues.shape == (7, 3, 2)
    assert jnp.all(jnp.isnan(fixed.y.p[decays > 0.25, 1:]))
    goal = lambda eta: theory.fixed_points(with_decay(eta)).y.s[2]
    h = 1e-6
    slope = (goal(0.05 + h) - goal(0.05 - h)) / (2 * h)
    assert jnp.allclose(jax.grad(goal)(0.05), slope, rtol=1e-7)
    critical = jax.vmap(jax.grad(lambda tau: theory.critical_decay(Params(tau=tau))))
    assert jnp.allclose(critical(jnp.array([0.5, 1.0])), jnp.array([0.25, 0.5]))


@pytest.mark.parametrize("eta", (0.0, 1e-10, 1e-3, 0.1, 0.81 / 5.2, 0.2))
@pytest.mark.parametrize("p0, p", ((0.6, 0.5), (0.9, 0.75), (-0.5, -0.4), (0.012, 0.011)))
def test_time_on_the_parabola_is_the_integral(eta, p0, p):
    params = with_decay(eta)
    rate = lambda u: u * (u * (0.9 - 1.3 * u) - eta)
    if rate(p0) * rate(p) <= 0:
        return  # a fixed point lies between p0 and p
    expected, _ = quad(lambda u: 1 / rate(u), p0, p, epsrel=1e-13, epsabs=0)
    assert np.isclose(theory.time_on_parabola(p0, p, params), expected, rtol=1e-9)


def test_the_edge_without_decay_is_the_closed_form_of_the_paper_reading():
    """A start with c > 0 never collapses.

    A start with c <= 0 collapses if p < 0, or if p > p* and sqrt(-alpha_p c) >= p*.
    """
    p = np.linspace(-2, 3, 301)[:, None]
    s = np.linspace(1e-3, 6, 300)[None]
    goal = PARAMS.tau / (1 + PARAMS.sigma2)
    c = theory.invariant(p, s, PARAMS)
    falls = (c <= 0) & ((p < 0) | ((p > goal) & (np.sqrt(np.maximum(-2.0 * c, 0)) >= goal)))
    edge = np.asarray(theory.basin_edge_without_decay(jnp.asarray(p[:, 0]), PARAMS))[:, None]
    clear = np.abs(s - edge) > 1e-9
    assert np.all((s < edge)[clear] == falls[clear])


@pytest.mark.parametrize("a, eps, c", ((0.5, 0, 0), (1, 0, 0), (0.5, 0.03, 0), (0.5, 0, 0.02)))
def test_the_directset_edge_divides_fates(a, eps, c):
    edge = theory.directset_edge(PARAMS, a, eps, c)
    rule = predictors.Power(a=a, eps=eps, c=c)
    s0 = edge * jnp.array([0.99, 1.01])
    end = ends(fields.predicted, s0, (PARAMS, rule), 5e3)
    assert end[0] < 1e-10 and end[1] > 0.1


def test_directset_edges_at_their_limits():
    low, high = theory.decay_roots(PARAMS)
    assert jnp.allclose(theory.directset_edge(PARAMS, 1.0), low)
    assert jnp.allclose(theory.directset_edge(PARAMS, 0.5), low**2)
    assert theory.directset_edge(PARAMS, eps=1.01 * low) == 0
    assert theory.directset_edge(PARAMS, eps=1.01 * high) == jnp.inf
    assert theory.directset_edge(PARAMS, c=-1.01 * low**2) == 0  # with this c < 0 all survive
    assert theory.directset_edge(with_decay(0.3)) == jnp.inf


def test_directset_fixed_points_rest():
    for a, eps, c in ((0.5, 0.0, 0.0), (1.0, 0.03, 0.0), (0.5, 0.0, 0.02)):
        fixed = theory.directset_fixed_points(PARAMS, a, eps, c)
        rate = fields.predicted(0.0, fixed.y, (PARAMS, predictors.Power(a=a, eps=eps, c=c)))
        assert jnp.all(jnp.abs(rate) < 1e-14)
        assert fixed.names == ["stable node", "unstable node", "stable node"]


def test_a_nuisance_subspace_dies_while_the_rest_survives():
    """X' = sigma2 on the nuisance subspace B, and 0 elsewhere; all modes start at the same s.

    For 1/(4 (1 + sigma2)) < eta < 1/4 only B collapses.
    """
    eta, sigma2 = 0.2, jnp.array([1.0, 0.0])
    params = Params(eta=jnp.full(2, eta), sigma2=sigma2)
    rule = predictors.Power(a=jnp.full(2, 0.5))
    s = ends(fields.predicted, jnp.full(2, 0.5), (params, rule), 500.0)
    assert s[0] < 1e-10 and s[1] > 0.4


def test_alignment_on_the_parabola_fails_only_between_its_roots():
    """On the parabola, K < 0 exactly between the roots [tau -+ sqrt(tau^2 - 9 a eta)]/(3 a)."""
    params, a = with_decay(0.03), 1.3
    root = jnp.sqrt(0.81 - 9 * a * 0.03)
    p = jnp.linspace(0.01, 1.0, 1000)
    negative = theory.alignment_margin(p, p**2 / 2.0, params) < 0
    assert jnp.all(negative == (jnp.abs(p - 0.9 / (3 * a)) < root / (3 * a)))


def test_the_window_opens_where_those_roots_merge():
    low, high = theory.aligned_window(PARAMS)
    assert np.isclose(low, 0.81 / 9 / 1.3) and np.isclose(high, 0.81 / 4 / 1.3)


def test_nullclines_are_where_the_field_vanishes():
    p = jnp.linspace(-0.6, 0.6, 40)
    s = theory.predictor_nullcline(p, PARAMS)
    assert jnp.allclose(fields.modes_fixed_tau(0.0, Plane(p=p, s=s), PARAMS).p, 0, atol=1e-15)
    roots = theory.decay_roots(PARAMS)
    at_roots = Plane(p=roots, s=jnp.array([0.7, 0.3]))
    assert jnp.allclose(fields.modes_fixed_tau(0.0, at_roots, PARAMS).s, 0, atol=1e-15)
    p = jnp.linspace(0.05, 1.2, 40)
    target, relaxed = theory.curriculum_nullclines(p, PARAMS)
    rest = lambda tau: fields.parabola_ema(0.0, states.Curriculum(p=p, tau=tau), PARAMS)
    assert jnp.allclose(rest(target).p, 0, atol=1e-14)
    assert all(jnp.allclose(rest(tau).tau, 0, atol=1e-12) for tau in relaxed)
    assert jnp.all(relaxed[0] > 0) and jnp.all(relaxed[1] < 0)


def test_target_ratio_of_a_steady_p():
    ratio = theory.target_ratio(lambda u: 0.3 + 0 * u, 5.0, PARAMS)
    assert jnp.allclose(ratio, 1 - jnp.exp(-2.0), rtol=1e-13)


def test_curvature_of_size_one():
    data = Data(X=jnp.full((1, 1), 2.0), X_aug=jnp.full((1, 1), 3.0))
    H = theorems.curvature(jnp.full((1, 1), 0.4), data, PARAMS)
    assert jnp.allclose(H, 3.0 * 1.16 + 2.0 * 0.36 + 0.05)


def test_critical_decay_separates_collapse():
    critical = theory.critical_decay(PARAMS)
    params = with_decay(critical * jnp.array([0.9, 1.1]))
    y0 = Modes.of(p=jnp.full(2, 0.35), s=jnp.full(2, 0.35**2 / 2.0), tau=jnp.full(2, 1.0))
    free = dataclasses.replace(params, tau=jnp.ones(2))
    scale = theory.critical_decay(free) / critical  # a moving target comes to tau = 1
    decays = dict(eta_p=params.eta_p * scale, eta_s=params.eta_s * scale)
    end = ends(fields.modes, y0, dataclasses.replace(free, **decays), 5e3)
    assert end.p[0] > 0.3 and end.p[1] < 1e-10


def test_none_is_the_class_of_what_does_not_exist():
    fixed = theory.fixed_points(with_decay(0.3))
    assert fixed.kind.tolist()[1:] == [stability.NONE] * 2
    assert jnp.all(jnp.isnan(fixed.eigenvalues[1:].real))

"""Tests of the equations of motion: they descend the loss, and JAX can transform them."""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import jaxtyping
import numpy as np
import pytest
from jax.experimental import pallas as pl

from lindyn.theory import fields, predictors
from lindyn.theory.states import (
    Correlations,
    Curriculum,
    Data,
    Full,
    Modes,
    Moments,
    Online,
    Params,
    Plane,
)
from lindyn.verify import random_problems


PARAMS = Params(alpha_p=1.7, beta=0.3, eta_p=0.05, eta_s=0.02, sigma2=0.4, tau=0.8)


def covariance(key, n):
    root = jr.normal(key, (n, n + 2))
    return root @ root.T / n


@pytest.fixture
def data(key):
    first, second = jr.split(key)
    return Data(X=covariance(first, 4), X_aug=covariance(second, 4))


@pytest.fixture
def weights(key):
    keys = jr.split(jr.fold_in(key, 1), 3)
    shapes = ((3, 4), (3, 3), (3, 4))
    return Full(*(jr.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)))


def population_loss(W, Wp, Wa, data):
    """The loss (1), expanded with E[x1 x1^T] = X + X' and E[x1 x2^T] = X."""
    same = data.X + data.X_aug
    return (
        jnp.trace(Wp @ W @ same @ W.T @ Wp.T)
        - 2 * jnp.trace(Wp @ W @ data.X @ Wa.T)
        + jnp.trace(Wa @ same @ Wa.T)
    ) / 2


def descent(W, Wp, data, target):
    """Minus the gradient at the learning rates of the two networks, minus their decays."""

    def loss(W, Wp):
        return population_loss(W, Wp, target(W), data)

    dW, dWp = jax.grad(loss, argnums=(0, 1))(W, Wp)
    return -dW - PARAMS.eta_s * W, -PARAMS.alpha_p * dWp - PARAMS.eta_p * Wp


def assert_same(measured, expected, rtol=1e-12):
    for x, y in zip(jax.tree.leaves(measured), jax.tree.leaves(expected), strict=True):
        assert jnp.allclose(x, y, rtol=rtol, atol=1e-12)


def test_the_expanded_loss_is_the_loss_of_a_finite_set(key):
    problem = random_problems.draw(key, 3)
    y = problem.y
    expanded = population_loss(y.W, y.Wp, y.Wa, problem.data)
    assert jnp.allclose(random_problems.loss(y, problem), expanded, rtol=1e-13)


def test_full_descends_on_the_loss(data, weights):
    y = weights
    dW, dWp = descent(y.W, y.Wp, data, lambda _: y.Wa)
    expected = Full(W=dW, Wp=dWp, Wa=PARAMS.beta * (y.W - y.Wa))
    assert_same(fields.full(0.0, y, (PARAMS, data)), expected)


@pytest.mark.parametrize(
    "field, target",
    ((fields.simsiam, jax.lax.stop_gradient), (fields.no_stop_gradient, lambda W: W)),
    ids=("simsiam", "no_stop_gradient"),
)
def test_ablations_of_the_target_descend_on_the_loss(field, target, data, weights):
    dW, dWp = descent(weights.W, weights.Wp, data, target)
    rate = field(0.0, Online(W=weights.W, Wp=weights.Wp), (PARAMS, data))
    assert_same(rate, Online(W=dW, Wp=dWp))


def test_no_predictor_descends_on_the_loss(data, weights):
    dW, _ = descent(weights.W, jnp.eye(3), data, jax.lax.stop_gradient)
    assert_same(fields.no_predictor(0.0, weights.W, (PARAMS, data)), dW)


def test_full_of_size_one_is_the_modes():
    p, w, wa = 0.3, -0.7, 0.4
    one = lambda x: jnp.full((1, 1), x)
    data = Data(X=one(1.0), X_aug=one(PARAMS.sigma2))
    rate = fields.full(0.0, Full(W=one(w), Wp=one(p), Wa=one(wa)), (PARAMS, data))
    modes = fields.modes(0.0, Modes(p=p, w=w, wa=wa), PARAMS)
    assert_same((rate.Wp, rate.W, rate.Wa), (modes.p, modes.w, modes.wa))


def test_tau_obeys_its_own_equation():
    """(13): dtau/dt = beta (1 - tau) - (tau/2) (ds/dt)/s. The state holds wa instead of tau."""
    y = Modes.of(p=jnp.array([0.3, -0.2]), s=jnp.array([0.5, 0.01]), tau=jnp.array([0.2, 0.9]))
    rate = fields.modes(0.0, y, PARAMS)
    _, (s_rate, tau_rate) = jax.jvp(lambda y: (y.s, y.tau), (y,), (rate,))
    assert_same(tau_rate, PARAMS.beta * (1 - y.tau) - y.tau / 2 * s_rate / y.s)


def test_isoloss_drops_the_leading_p():
    rule = predictors.Power(a=0.5)
    s, params = 0.3, dataclasses.replace(PARAMS, eta_s=0.0)
    with_p = fields.predicted(0.0, s, (params, rule))
    assert_same(fields.isoloss(0.0, s, (params, rule)) * rule(s), with_p)


def test_eta_sets_both_decays_and_either_can_differ():
    assert (Params(eta=0.1).eta_p, Params(eta=0.1).eta_s) == (0.1, 0.1)
    split = Params(eta=0.1, eta_p=0.3)
    assert (split.eta_p, split.eta_s) == (0.3, 0.1)


def test_modes_of_broadcasts_and_gives_back_s_and_tau():
    y = Modes.of(p=0.2, s=jnp.array([0.04, 0.0]), tau=1)
    assert y.p.shape == (2,)
    assert jnp.allclose(y.s, jnp.array([0.04, 0.0]))
    assert y.tau[0] == 1 and jnp.isnan(y.tau[1])  # tau = wa/w at w = 0


def test_shapes_are_checked():
    with pytest.raises(jaxtyping.TypeCheckError):
        Full(W=jnp.ones((3, 4)), Wp=jnp.ones((4, 4)), Wa=jnp.ones((3, 4)))
    with pytest.raises(jaxtyping.TypeCheckError):
        Modes(p=jnp.ones(3), w=jnp.ones(2), wa=jnp.ones(3))


POINTS = jnp.array([0.3, -0.2, 1.1])
BY_MODE = {
    "modes": (Modes(p=POINTS, w=0.7 * POINTS, wa=0.1 + POINTS), PARAMS),
    "mode_pair": (
        Modes(p=POINTS, w=0.7 * POINTS, wa=0.1 + POINTS),
        (PARAMS, Correlations(same=1.0 + POINTS**2, across=1.0 - POINTS / 4)),
    ),
    "modes_fixed_tau": (Plane(p=POINTS, s=POINTS**2), PARAMS),
    "parabola": (POINTS, PARAMS),
    "parabola_ema": (Curriculum(p=POINTS, tau=POINTS / 2), PARAMS),
    "predicted": (POINTS**2, (PARAMS, predictors.Power(eps=0.1))),
    "isoloss": (POINTS**2, (PARAMS, predictors.Power(a=1.0))),
}


@pytest.mark.parametrize("name", BY_MODE)
def test_a_mode_field_bears_jit_vmap_grad_and_pallas(name):
    field, (y, args) = getattr(fields, name), BY_MODE[name]
    plain = field(0.0, y, args)
    assert_same(jax.jit(field)(0.0, y, args), plain, rtol=1e-14)
    stack = lambda tree: jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * 2), tree)
    twice = jax.vmap(field, (None, 0, 0))(0.0, stack(y), stack(args))
    assert_same(twice, stack(plain), rtol=1e-14)
    total = lambda y: sum(jnp.sum(x) for x in jax.tree.leaves(field(0.0, y, args)))
    assert all(jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(jax.grad(total)(y)))
    assert_same(in_a_kernel(field, y, args), plain, rtol=1e-14)


def in_a_kernel(field, y, args):
    leaves, structure = jax.tree.flatten((y, args))
    shape = jax.ShapeDtypeStruct(POINTS.shape, POINTS.dtype)
    out_leaves, out_structure = jax.tree.flatten(y)

    def kernel(*refs):
        inputs, outputs = refs[: len(leaves)], refs[len(leaves) :]
        y, args = jax.tree.unflatten(structure, [ref[...] for ref in inputs])
        rates = jax.tree.leaves(field(0.0, y, args))
        for ref, rate in zip(outputs, rates, strict=True):
            ref[...] = rate

    operands = [jnp.broadcast_to(x, POINTS.shape) for x in leaves]
    rates = pl.pallas_call(kernel, [shape] * len(out_leaves), interpret=True)(*operands)
    return jax.tree.unflatten(out_structure, rates)


@pytest.mark.parametrize("name", ("full", "simsiam", "no_stop_gradient", "moments"))
def test_a_matrix_field_bears_jit_and_vmap(name, data, weights):
    field = getattr(fields, name)
    y, args = {
        "full": (weights, (PARAMS, data)),
        "simsiam": (Online(W=weights.W, Wp=weights.Wp), (PARAMS, data)),
        "no_stop_gradient": (Online(W=weights.W, Wp=weights.Wp), (PARAMS, data)),
        "moments": (Moments(F=weights.W @ weights.W.T, Wp=weights.Wp + weights.Wp.T), PARAMS),
    }[name]
    plain = field(0.0, y, args)
    assert_same(jax.jit(field)(0.0, y, args), plain)
    many = jax.vmap(field, (None, 0, None))(0.0, jax.tree.map(lambda x: x[None], y), args)
    assert_same(jax.tree.map(np.squeeze, many), jax.tree.map(np.squeeze, plain))


def test_cosine_modes_without_noise_are_those_of_halvagal_laborieux_and_zenke(key):
    p, w = jr.uniform(key, (2, 5), minval=0.2, maxval=1.5)
    data = Correlations(same=1.0, across=1.0)
    dy = fields.cosine_modes(0.0, Modes(p, w, w), (Params(eta=0.0), data))
    before = p / (jnp.linalg.norm(p * w) ** 3 * jnp.linalg.norm(w))
    pairs = p[None] * (p[None] - p[:, None]) * (w**2)[None]
    assert np.allclose(dy.w, before * jnp.sum(pairs, axis=1) * w, rtol=1e-12)

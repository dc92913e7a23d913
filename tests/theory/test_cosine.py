"""Tests of the cosine loss against exact expectations, and of what finite steps change."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import gamma, hyp2f1

from lindyn import solve, theory
from lindyn.predict import command as predict, network_fates
from lindyn.predict.scenario import Scenario
from lindyn.theory import cosine, fields, steps
from lindyn.theory.states import Correlations, Data, Full, Modes, Online, Params, Views
from lindyn.theory.steps import SGD
from lindyn.verify.claims.cosine import simsiam_modes


DATA = Correlations(same=1.3, across=1.0)


def exact(k, rho):
    """E[cos] of k-dimensional Gaussians with k correlations rho: Hotelling's mean of r."""
    ratio = gamma((k + 1) / 2) / gamma(k / 2)
    return 2 / k * ratio**2 * rho * hyp2f1(0.5, 0.5, k / 2 + 1, rho**2)


@pytest.mark.parametrize("sigma2", (0.1, 0.3, 2.0))
def test_the_cosine_of_gaussians_is_right_to_second_order(sigma2):
    """If the dimension doubles, the error of `gaussian_cosine` falls fourfold.

    The error of the formula for equal lengths, 1/(1 + sigma2), falls only twofold.
    """
    errors, plain = [], []
    for k in (8, 16, 32, 64):
        y = Full(W=jnp.eye(k), Wp=0.7 * jnp.eye(k), Wa=2 * jnp.eye(k))
        data = Data(X=jnp.eye(k), X_aug=sigma2 * jnp.eye(k))
        true = exact(k, 1 / (1 + sigma2))
        errors.append(abs(float(fields.gaussian_cosine(y, data)) - true))
        plain.append(abs(1 / (1 + sigma2) - true))
    orders = lambda x: np.log2(np.array(x[:-1]) / x[1:])
    assert np.all(orders(errors) > 1.8) and np.all(np.abs(orders(plain) - 1) < 0.2)


def test_the_cosine_of_gaussians_is_that_of_samples(key):
    keys = jax.random.split(key, 6)
    normal = lambda key, *shape: jax.random.normal(key, shape)
    d, n, count = 12, 16, 200_000
    W, Wp = normal(keys[0], d, n) / 4, jnp.eye(d) + normal(keys[1], d, d) / 4
    y = Full(W=W, Wp=Wp, Wa=W + normal(keys[2], d, n) / 10)
    x, one, two = (normal(key, count, n) for key in keys[3:])
    q, z = (x + 0.5 * one) @ (y.Wp @ y.W).T, (x + 0.5 * two) @ y.Wa.T
    cos = optax.losses.cosine_similarity(q, z)
    views = [Views(online=(x + 0.5 * one).T, target=(x + 0.5 * two).T)]
    assert np.isclose(fields.sampled_cosine(y, views), jnp.mean(cos), rtol=1e-12)
    found = fields.gaussian_cosine(y, Data(X=jnp.eye(n), X_aug=0.25 * jnp.eye(n)))
    assert abs(found - jnp.mean(cos)) < 5 * float(jnp.std(cos)) / np.sqrt(count) + 2e-3


def test_the_mean_cosine_of_a_batch_is_climbed(key):
    """The field is the gradient of the mean cosine in both directions, by central differences.

    The cosine similarity is that of optax. EMA and decays are those of `full`.
    """
    keys = jax.random.split(key, 5)
    shapes = (3, 4), (3, 3), (3, 4), (4, 7), (4, 7)
    W, Wp, Wa, first, second = map(jax.random.normal, keys, shapes)
    y, params = Full(W=W, Wp=Wp, Wa=Wa), Params(alpha_p=2.0, beta=0.3, eta_p=0.1, eta_s=0.2)
    views = [Views(online=first, target=second), Views(online=second, target=first)]

    def climbed(W, Wp):
        one = lambda x, y: optax.losses.cosine_similarity((Wp @ W @ x).T, (Wa @ y).T).mean()
        return (one(first, second) + one(second, first)) / 2

    dy = fields.cosine_sampled(0.0, y, (params, views))
    dW, dWp, h = jnp.ones_like(W), jnp.ones_like(Wp) / 3, 1e-5
    along = (climbed(W + h * dW, Wp + h * dWp) - climbed(W - h * dW, Wp - h * dWp)) / (2 * h)
    gradients = dy.W + 0.2 * W, (dy.Wp + 0.1 * Wp) / 2
    assert np.isclose(sum(map(jnp.vdot, gradients, (dW, dWp))), along, rtol=1e-7)
    assert np.allclose(dy.Wa, 0.3 * (W - Wa))
    alike = fields.cosine_sampled_simsiam(0.0, Online(W=W, Wp=Wp), (params, views))
    held = fields.cosine_sampled(0.0, Full(W=W, Wp=Wp, Wa=W), (params, views))
    assert np.array_equal(alike.W, held.W) and np.array_equal(alike.Wp, held.Wp)


@pytest.mark.parametrize("decay", (0.03, 0.3))
def test_noise_of_batches_turns_networks_as_far_as_is_said(decay):
    """Networks have momentum and a slow target. The squared angle is right within a third."""
    told: Any = dict(lr=0.01, wd=decay / 0.1, momentum=0.9, ema=0.99, sigma2=1.0)
    config = predict.Config(**told, inputs=32, batch=128, steps=2000)
    case = Scenario.of({**predict.FIXED, **dataclasses.asdict(config)})
    (found,) = network_fates.trials([case], 2)
    angle = float(cosine.noise_angle(decay, 32, 128, 1.0))
    assert 0.75 < np.arccos(found.agreement) ** 2 / angle**2 < 1.35


def test_at_the_noisy_decay_the_angle_is_sixty_degrees():
    for inputs, batch, sigma2 in ((32, 16, 0.3), (64, 256, 1.0)):
        decay = cosine.noisy_decay(inputs, batch, sigma2)
        assert np.isclose(cosine.noise_angle(decay, inputs, batch, sigma2), np.pi / 3)


def test_a_weak_mode_with_room_outlives_strong_ones():
    """Two modes have p above 0.9, and could both live at one common p.

    The weak mode with p = 0.531 is still moving, and it alone survives.
    """
    p = jnp.array([1.028, 0.531, -0.243, 0.963, -0.902, -0.531])
    s = jnp.array([0.793, 0.065, 0.15, 0.512, 0.716, 0.597])
    params = Params(alpha_p=0.1185, eta=0.0, sigma2=0.3)
    live, m = cosine.survivors(p, s, params.alpha_p)
    assert list(live) == [False, True, False, False, False, False]
    ts = jnp.array([0.0, 200.0])
    end = solve.trajectory(simsiam_modes, Modes.of(p=p, s=s, tau=1.0), (params, DATA), ts)
    assert list(end.s[-1] > 1e-3) == list(live) and np.isclose(end.p[-1, 1], m, rtol=1e-4)


def test_survivors_of_many_networks_are_those_of_each():
    rng = np.random.default_rng(0)
    p, s = rng.uniform(-1, 1, (20, 5)), rng.uniform(0.1, 1, (20, 5))
    live, m = cosine.survivors(jnp.asarray(p), jnp.asarray(s), 2.0)
    for i in range(20):
        one, own = cosine.survivors(jnp.asarray(p[i]), jnp.asarray(s[i]), 2.0)
        assert np.array_equal(one, live[i]) and np.allclose(own, m[i], equal_nan=True)


def test_no_mode_lives_where_all_p_are_below_zero():
    live, m = cosine.survivors(jnp.array([-0.5, -0.3]), jnp.array([0.1, 0.05]), 1.0)
    assert not live.any() and np.isnan(m)


def start():
    return Modes.of(
        p=jnp.array([0.31, 0.58, 0.52, 0.35, 0.4]),
        s=jnp.array([0.9, 0.4, 0.7, 0.35, 0.8]),
        tau=1.0,
    )


def test_decay_keeps_the_shares_of_the_flow_and_finite_steps_do_not():
    """In the flow all c_j and p^2 decay by one factor, so that the ratios s_j/s_k stay.

    Finite steps stop the decay of p^2, but not that of c_j.
    """
    params, rate = Params(eta=0.01, sigma2=0.3), 0.01
    share = lambda s: np.asarray(s / jnp.sum(s))
    ts = jnp.array([0.0, 100.0])
    flow = solve.trajectory(simsiam_modes, start(), (params, DATA), ts)
    settled = steps.final(
        simsiam_modes, start(), (Params(eta=0.0, sigma2=0.3), DATA), SGD(rate, 0.9), 5000
    )
    assert np.allclose(share(flow.s[-1]), share(settled.s), atol=6e-3)
    assert np.ptp(share(settled.s)) > 0.1
    long = steps.final(simsiam_modes, start(), (params, DATA), SGD(0.1, 0.9), 3000)
    assert np.ptp(share(long.s)) < 0.05


def test_decay_shrinks_weights_down_to_the_resting_scale():
    params = Params(eta=0.01, sigma2=0.3)
    ys = steps.orbit(simsiam_modes, start(), (params, DATA), SGD(0.1), 20_000)
    P = np.asarray(jnp.sum(ys.p[10_000:] ** 2, axis=-1))
    expected = cosine.resting_scale(0.1, 0.0, params)
    assert np.allclose(P, expected, rtol=0.02) and float(jnp.sum(ys.p[0] ** 2)) > 20 * P[0]


def test_the_squared_loss_has_a_critical_decay_and_the_cosine_has_none():
    params, bare = (Params(eta=eta, sigma2=0.3) for eta in (0.6, 0.0))
    assert params.eta_s > 3 * theory.critical_decay(params)
    end = lambda field, args, t: solve.trajectory(field, start(), args, jnp.array([0.0, t]))
    dead = end(fields.modes, params, 40.0).s[-1]
    alive = end(simsiam_modes, (params, DATA), 6.0).s[-1]
    settled = end(simsiam_modes, (bare, DATA), 500.0).s[-1]
    assert np.all(dead < 1e-12)
    assert np.allclose(alive / jnp.sum(alive), settled / jnp.sum(settled), atol=0.01)

"""Tests of Theorem 1 for steps, on random matrices and with steps in plain numpy."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lindyn.theory import theorems
from lindyn.theory.theorems import SGD, Layers


D, INPUTS, HIDDEN = 3, 5, 4
KINDS = list(itertools.product((False, True), (False, True)))


@jax.jit
@jax.grad
def gradient(at, h, target):
    """The gradient of a loss that is not quadratic, with a ReLU as part of the predictor."""
    q = jax.nn.relu(at.Wp @ at.W @ h + 0.1)
    return jnp.sum(jnp.sin(q[:D] - target)) / h.shape[1]


def descent(sgd, rates, rng) -> Iterator[Any]:
    """The steps of SGD by the textbook, in numpy.

    Each item has W and Wp before the step, V', the displacement, the learning rate, and W and
    Wp after the step.
    """
    at: Any = Layers(*(rng.normal(size=size) for size in ((D, INPUTS), (HIDDEN, D))))
    V = Layers(*(np.zeros_like(x) for x in at))
    for rate in rates:
        h, target = rng.normal(size=(INPUTS, 16)), rng.normal(size=(D, 16))
        g = [np.asarray(x) for x in gradient(at, h, target)]
        decays, over = (sgd.eta_s, sgd.eta_p), (1.0, sgd.alpha_p)
        momenta, steps = [], []
        for x, gx, v, eta, factor in zip(at, g, V, decays, over, strict=True):
            gx = gx if sgd.decoupled else gx + eta * x
            v = sgd.momentum * v + gx
            u = gx + sgd.momentum * v if sgd.nesterov else v
            u = u + eta * x if sgd.decoupled else u
            momenta.append(v)
            steps.append(factor * rate * u)
        V = Layers(*momenta)
        new = Layers(*(x - step for x, step in zip(at, steps, strict=True)))
        yield *jax.tree.map(jnp.asarray, (at, V, Layers(*steps))), rate, new
        at = new


def settings(nesterov, decoupled):
    """SGD with values of alpha_p, m and the decays that all differ."""
    return SGD(2.5, 0.9, 0.03, 0.07, nesterov=nesterov, decoupled=decoupled)


def off(ledger, at, sgd):
    Q = at.W @ at.W.T - at.Wp.T @ at.Wp / sgd.alpha_p
    return np.linalg.norm(Q - ledger.balance) / np.linalg.norm(Q)


@pytest.mark.parametrize("nesterov, decoupled", KINDS)
def test_the_balance_is_told_without_a_gradient_whatever_the_rates(nesterov, decoupled):
    sgd, rng = settings(nesterov, decoupled), np.random.default_rng(0)
    rates = [0.0, *rng.uniform(0.01, 0.06, 60)]  # a warm-up begins at the rate 0
    run = list(descent(sgd, rates, rng))
    start, end = run[0][0], run[-1][-1]
    enter = jax.jit(theorems.after_step, static_argnums=5)
    ledger = theorems.opened(start, sgd)
    for at, V, steps, rate, _ in run:
        ledger = enter(ledger, at, V, steps, rate, sgd)
    assert off(ledger, end, sgd) < 1e-13
    assert off(theorems.opened(start, sgd), end, sgd) > 0.1  # the balance has changed


def test_what_is_changed_by_hand_between_steps_is_entered():
    sgd, rng = settings(False, False), np.random.default_rng(1)
    (at, V, steps, rate, new), *_ = descent(sgd, [0.01], rng)
    new = jax.tree.map(jnp.asarray, new)
    ledger = theorems.after_step(theorems.opened(at, sgd), at, V, steps, rate, sgd)
    other = new._replace(Wp=jnp.asarray(rng.normal(size=(HIDDEN, D))))
    ledger = theorems.after_jump(ledger, new, other, V, rate, sgd)
    assert off(ledger, other, sgd) < 1e-13
    M = V.W @ other.W.T - V.Wp.T @ other.Wp
    assert np.allclose(ledger.moment, (M + M.T) / 2, rtol=1e-12)


def test_the_source_of_a_heavy_ball_is_a_multiple_of_its_squares():
    """For heavy ball it is a^2 (1 + m)/(1 - m) times the sum of V V^T - alpha_p Vp^T Vp.

    The sum is over steps, a is the learning rate, and m the momentum.
    """
    sgd, rng, rate = settings(False, False), np.random.default_rng(2), 0.003
    run = list(descent(sgd, [rate] * 40, rng))
    ledger, expected = theorems.opened(run[0][0], sgd), 0.0
    for at, V, steps, _, _ in run:
        ledger = theorems.after_step(ledger, at, V, steps, rate, sgd)
        D = V.W @ V.W.T - sgd.alpha_p * V.Wp.T @ V.Wp
        expected = expected + rate**2 * (1 + sgd.momentum) / (1 - sgd.momentum) * D
    assert np.allclose(ledger.source, expected, rtol=1e-12)


def test_small_changes_are_not_lost_in_single_precision():
    tiny = jnp.full((1, 1), 1e-9, jnp.float32)
    layers = Layers(W=jnp.ones((1, 1), jnp.float32), Wp=jnp.zeros((1, 1), jnp.float32))
    sgd = SGD(1.0, 0.0, 0.0, 0.0)
    still = Layers(*(jnp.zeros_like(x) for x in layers))
    ledger = theorems.opened(layers, sgd)._replace(moment=-tiny)

    def enter(ledger, _):
        ledger = theorems.after_step(ledger, layers, still, still, 1.0, sgd)
        return ledger._replace(moment=-tiny), None

    sgd = sgd._replace(momentum=0.5)
    end = jax.jit(lambda x: jax.lax.scan(enter, x, length=1000)[0])(ledger)
    assert end.balance.dtype == jnp.float32
    gained = np.float64(end.balance[0, 0]) + np.float64(end.rounded[0, 0]) - 1
    assert gained == pytest.approx(1000 * 1e-9, rel=1e-4)

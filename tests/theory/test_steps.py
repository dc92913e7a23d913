"""Tests of steps: optax as reference, the flow as limit of small steps, and stability."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lindyn import solve, theory
from lindyn.theory import fields, steps
from lindyn.theory.states import Data, Full, Modes, Online, Params
from lindyn.theory.steps import LARS, SGD, Adam


PARAMS = Params(alpha_p=3.0, beta=0.5, eta=0.02, sigma2=0.3)
RATE, COUNT = 0.05, 20


def weights(key):
    keys = jax.random.split(key, 3)
    normal = lambda key, *shape: jax.random.normal(key, shape) / 2
    return Full(W=normal(keys[0], 3, 4), Wp=normal(keys[1], 3, 3), Wa=normal(keys[2], 3, 4))


DATA = Data(X=jnp.eye(4), X_aug=0.3 * jnp.eye(4))


def by_optax(y, optimiser, decoupled):
    """The weights after `COUNT` steps of optax, which is set up as a trainer sets it up.

    Each layer has its own learning rate, and both have the same decay in the flow. The target
    is an EMA.
    """
    momentum = getattr(optimiser, "momentum", 0.0)
    bare = dataclasses.replace(PARAMS, eta_p=0.0, eta_s=0.0, alpha_p=1.0)
    wd = {"W": 0.02, "Wp": 0.02 / PARAMS.alpha_p}
    if decoupled:
        wd = {name: value * optimiser.time / RATE for name, value in wd.items()}

    def group(name, rate):
        decayed = optax.add_decayed_weights(wd[name])
        if isinstance(optimiser, LARS):
            return optax.lars(rate, weight_decay=wd[name], momentum=momentum)
        memory = optax.trace(momentum, getattr(optimiser, "nesterov", False))
        if isinstance(optimiser, Adam):
            memory = optax.scale_by_adam(momentum)
        parts = (memory, decayed) if decoupled else (decayed, memory)
        return optax.chain(*parts, optax.scale_by_learning_rate(rate))

    groups: Any = {"W": group("W", RATE), "Wp": group("Wp", RATE * PARAMS.alpha_p)}
    rule = optax.partition(groups, {"W": "W", "Wp": "Wp"})
    params: Any = {"W": y.W, "Wp": y.Wp}
    state, Wa, keep = rule.init(params), y.Wa, 1 - optimiser.time * PARAMS.beta
    for _ in range(COUNT):
        here = fields.full(0.0, Full(Wa=Wa, **params), (bare, DATA))
        updates, state = rule.update({"W": -here.W, "Wp": -here.Wp}, state, params)
        params = optax.apply_updates(params, updates)
        Wa = keep * Wa + (1 - keep) * params["W"]
    return Full(Wa=Wa, **params)


@pytest.mark.parametrize(
    "optimiser",
    (
        SGD(RATE),
        SGD(RATE, 0.9),
        SGD(RATE, 0.9, nesterov=True),
        SGD(RATE, 0.9, decoupled=True),
        SGD(RATE, 0.5, nesterov=True, decoupled=True),
        Adam(RATE),
        Adam(RATE, 0.8, decoupled=True),
        LARS(RATE, 0.9),
    ),
    ids=str,
)
def test_a_step_is_optax_s(optimiser, key):
    y0 = weights(key)
    end = steps.final(fields.full, y0, (PARAMS, DATA), optimiser, COUNT)
    expected = by_optax(y0, optimiser, optimiser.decoupled)
    for mine, theirs in zip(jax.tree.leaves(end), jax.tree.leaves(expected), strict=True):
        assert np.allclose(mine, theirs, rtol=1e-6 if isinstance(optimiser, Adam) else 1e-11)
    assert np.max(np.abs(end.W - y0.W)) > 1e-5


def test_without_a_target_the_step_is_of_the_online_network(key):
    y0 = weights(key)
    one = steps.final(
        fields.simsiam, Online(W=y0.W, Wp=y0.Wp), (PARAMS, DATA), SGD(RATE, 0.9), 5
    )
    V = Vp = 0.0
    W, Wp = y0.W, y0.Wp
    for _ in range(5):
        f = fields.simsiam(0.0, Online(W=W, Wp=Wp), (PARAMS, DATA))
        V, Vp = 0.9 * V + f.W, 0.9 * Vp + f.Wp
        W, Wp = W + RATE * V, Wp + RATE * Vp
    assert np.allclose(one.W, W, rtol=1e-12) and np.allclose(one.Wp, Wp, rtol=1e-12)


@pytest.mark.parametrize("optimiser", (SGD(1.0), SGD(1.0, 0.9), SGD(1.0, 0.9, nesterov=True)))
def test_steps_come_to_the_flow_at_first_order(optimiser):
    y0 = Modes.of(p=jnp.array([0.3, -0.2]), s=jnp.array([0.2, 0.5]), tau=0.4)
    time = 4.0
    exact = solve.trajectory(fields.modes, y0, PARAMS, jnp.array([0.0, time]), rtol=1e-11)
    errors = []
    for count in (400, 800, 1600):
        rate = time / count * (1 - optimiser.momentum)
        same = dataclasses.replace(optimiser, rate=rate)
        end = steps.final(fields.modes, y0, PARAMS, same, count)
        errors.append(np.max(np.abs(end.w - exact.w[-1])) + np.max(np.abs(end.p - exact.p[-1])))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(orders - 1) < 0.15) and errors[-1] < 0.01


def test_steps_of_moments_do_not_depend_on_the_weights_that_give_them(key):
    """W has three inputs or seven, and the same F = W W^T. SGD has momentum and decay."""
    keys = jax.random.split(key, 3)
    wide = jax.random.normal(keys[0], (3, 7)) / 3
    root = jnp.linalg.cholesky(wide @ wide.T)
    Wp, params = jax.random.normal(keys[1], (3, 3)) / 3, Params(alpha_p=2.0, eta=0.05)
    ends = []
    for W in (wide, root @ jnp.linalg.qr(jax.random.normal(keys[2], (3, 3)))[0]):
        n = W.shape[1]
        args = params, Data(X=jnp.eye(n), X_aug=0.3 * jnp.eye(n))
        y = steps.final(fields.simsiam, Online(W=W, Wp=Wp), args, SGD(0.1, 0.9, True), 100)
        ends.append((y.W @ y.W.T, y.Wp))
    assert all(np.allclose(*pair, rtol=1e-10) for pair in zip(*ends, strict=True))


def test_an_orbit_begins_at_the_start_and_ends_at_the_end():
    y0 = Modes.of(p=jnp.array([0.3, 0.2]), s=0.2, tau=1.0)
    ys = steps.orbit(fields.modes, y0, PARAMS, SGD(0.1), 7)
    end = steps.final(fields.modes, y0, PARAMS, SGD(0.1), 7)
    assert ys.p.shape == (8, 2)
    assert np.array_equal(ys.p[0], y0.p) and np.array_equal(ys.wa[-1], end.wa)


@pytest.mark.parametrize("nesterov", (False, True))
@pytest.mark.parametrize("momentum", (0.0, 0.5, 0.9))
def test_beyond_the_largest_rate_an_orbit_leaves_the_goal(momentum, nesterov):
    """Tests one mode with Wa = W, by the multipliers of a step and by its orbit."""
    params = Params(alpha_p=2.0, eta=0.05, sigma2=0.3)
    data = Data(X=jnp.eye(1), X_aug=0.3 * jnp.eye(1))
    point = jax.tree.map(lambda x: x[2], theory.fixed_points(params).y)
    y = Online(W=jnp.sqrt(point.s).reshape(1, 1), Wp=point.p.reshape(1, 1))
    flat = lambda y: jnp.concatenate([y.W.ravel(), y.Wp.ravel()])
    of = lambda x: flat(
        fields.simsiam(0.0, Online(W=x[0].reshape(1, 1), Wp=x[1].reshape(1, 1)), (params, data))
    )
    values = jnp.linalg.eigvals(jax.jacfwd(of)(flat(y)))
    assert np.allclose(values.imag, 0)
    speed = float(-values.real.min())
    edge = float(steps.largest_rate(speed, momentum, nesterov))
    modulus = []
    for part in (0.99, 1.01):
        optimiser = SGD(part * edge, momentum, nesterov)
        found = steps.multipliers(fields.simsiam, y, (params, data), optimiser)
        modulus.append(float(jnp.abs(found[0])))
        here = jax.tree.map(lambda x: x * (1 + 1e-6), y)
        end = steps.final(fields.simsiam, here, (params, data), optimiser, 4000)
        assert (abs(float(end.Wp[0, 0]) / float(point.p) - 1) < 1e-5) == (part < 1)
    assert modulus[0] < 1 < modulus[1]


@pytest.mark.parametrize("moving", (False, True))
@pytest.mark.parametrize("nesterov", (False, True))
def test_the_goal_is_stable_up_to_the_stable_rate(moving, nesterov):
    """Tests the multipliers of the step, which includes the EMA.

    For Wa = W, a third of the goals are foci.
    """
    rng = np.random.default_rng(3)
    limit = jax.jit(steps.stable_rate, static_argnums=(2, 3))
    radius = jax.jit(lambda y, params, sgd: steps.multipliers(fields.modes, y, params, sgd)[0])
    foci = 0
    for momentum in rng.choice([0.0, 0.5, 0.9], 12):
        eta_p, eta_s = rng.uniform(0.001, 0.14, 2)
        alpha_p, sigma2 = np.exp(rng.uniform(-2, 2)), rng.uniform(0, 0.5)
        params = Params(alpha_p=alpha_p, eta_p=eta_p, eta_s=eta_s, sigma2=sigma2)
        goal = jax.tree.map(lambda x: x[2], theory.fixed_points(params))
        foci += int(jnp.iscomplex(goal.eigenvalues).any())
        y = Modes(p=goal.y.p, w=jnp.sqrt(goal.y.s), wa=jnp.sqrt(goal.y.s))
        rate = limit(params, momentum, nesterov, moving)
        for part in (0.98, 1.02):
            sgd = SGD(part * rate, momentum, nesterov)
            here = eqx.tree_at(lambda x: x.beta, params, (1e-4 if moving else 1.0) / sgd.time)
            assert (abs(radius(y, here, sgd)) < 1) == (part < 1)
    assert foci > 2


@pytest.mark.parametrize("decoupled", (False, True))
@pytest.mark.parametrize("nesterov", (False, True))
def test_decay_alone_overshoots_from_its_limit(nesterov, decoupled):
    """A mode with p = 0 and no target changes by its decay alone."""
    params = Params(beta=0.0, eta_p=0.3, eta_s=0.5)
    y0 = Modes(p=jnp.zeros(()), w=jnp.ones(()), wa=jnp.zeros(()))
    sgd = SGD(1.0, 0.6, nesterov, decoupled)
    rate = steps.decay_limit(params, sgd)
    for part in (0.99, 1.01):
        there = SGD(part * rate, 0.6, nesterov, decoupled)
        end = steps.final(fields.modes, y0, params, there, 4000)
        assert (abs(end.w) < 1) == (part < 1)
    assert steps.decay_limit(Params(), sgd) == np.inf


def test_the_roots_are_those_of_the_heavy_ball():
    """The multipliers are the roots of z^2 - (1 + m + a lambda) z + m.

    a is the learning rate, m the momentum, and lambda an eigenvalue of the flow's Jacobian.
    """
    params, momentum, rate = Params(alpha_p=2.0, eta=0.05, sigma2=0.3), 0.9, 0.4
    data = Data(X=jnp.eye(1), X_aug=0.3 * jnp.eye(1))
    point = jax.tree.map(lambda x: x[2], theory.fixed_points(params).y)
    y = Online(W=jnp.sqrt(point.s).reshape(1, 1), Wp=point.p.reshape(1, 1))
    found = steps.multipliers(fields.simsiam, y, (params, data), SGD(rate, momentum))
    of_plane = theory.fixed_points(params).eigenvalues[2]
    expected = np.concatenate(
        [np.roots([1, -(1 + momentum + rate * x), momentum]) for x in np.asarray(of_plane)]
    )
    assert np.allclose(np.sort(np.abs(found)), np.sort(np.abs(expected)), rtol=1e-9)


@pytest.mark.parametrize("lr, share", ((0.1, 0.0), (0.3, 0.14), (2.0, 0.89)))
def test_the_share_of_usual_starts_that_diverge(lr, share):
    """The usual starts have Wa = W, and 4000 steps are taken.

    The loss is (1) in both directions, with m = 0.9, decay 1e-4 and sigma2 = 0.3.
    """
    rng = np.random.default_rng(0)
    p, s = rng.uniform(0.1, 1, 1000) / 1.3, rng.uniform(0, 1, 1000) / 1.3**2

    def field(t, y, params):
        dy = fields.modes(t, Modes(p=y["p"], w=y["w"], wa=y["w"]), params)
        return {"p": dy.p, "w": dy.w}

    y0 = {"p": jnp.asarray(p), "w": jnp.sqrt(s)}
    end = steps.final(field, y0, Params(eta=0.5e-4, sigma2=0.3), SGD(2 * lr, 0.9), 4000)
    assert abs(np.mean(~np.isfinite(end["w"])) - share) < 0.04

"""Tests of Taylor coefficients against derivatives by JAX, and against closed forms."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from lindyn.solve.taylor import Program
from lindyn.solve.taylor_rules import NotAnalytic
from lindyn.theory import fields, predictors
from lindyn.theory.states import Data, Full, Modes, Params


ORDER = 5


def series(field, y, args=None, t: Any = 0.0, order=ORDER, **how):
    """The Taylor coefficients of one solve, from a program that runs with one lane."""
    y, args, t = jax.tree.map(jnp.asarray, (y, args, t))
    spec = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype)
    program = Program(field, spec(t), jax.tree.map(spec, y), jax.tree.map(spec, args))
    lane = lambda tree: jax.tree.map(lambda x: x[..., None], tree)
    many = jax.tree.map(lambda _: True, args)
    found = program.series(lane(t), lane(y), lane(args), many, order, **how)
    return [jax.tree.map(lambda x: x[..., 0], c) for c in found]


def derivatives(field, y, args=None, t: Any = 0.0, order=ORDER):
    """d^k y/dt^k/k! for k = 0, 1, ..., by repeating the total derivative d/dt + f d/dy."""
    rates, found = (lambda t, y: y), [y]
    for k in range(1, order + 1):
        rates = _total(field, args, rates)
        found.append(jax.tree.map(lambda x, k=k: x / math.factorial(k), rates(t, y)))
    return found


def _total(field, args, rates):
    def total(t, y):
        dy = field(t, y, args)
        return jax.jvp(rates, (t, y), (jnp.ones_like(t), dy))[1]

    return total


def assert_same(a, b, rtol=1e-11):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.allclose(x, y, rtol=rtol, atol=1e-13)


@pytest.mark.parametrize(
    "rate",
    (
        lambda t, y: y + t,
        lambda t, y: 2.0 - y - t,
        lambda t, y: y * y * t,
        lambda t, y: -3 * y,
        lambda t, y: y**5,
        lambda t, y: y**-2,
        lambda t, y: jnp.square(y),
        lambda t, y: 1 / (1 + y),
        lambda t, y: t / y + y / 3,
        lambda t, y: jnp.sqrt(1 + y),
        lambda t, y: jnp.exp(-y * t),
        lambda t, y: jnp.log(y),
        lambda t, y: y**1.7 + 2.0**0.5,
        lambda t, y: jnp.tanh(y - t),
        lambda t, y: jnp.cos(1.0) * y,
    ),
)
def test_every_rule_against_repeated_derivatives(rate):
    field, y, t = lambda t, y, args: rate(t, y), jnp.array(0.7), jnp.array(0.3)
    assert_same(series(field, y, t=t), derivatives(field, y, t=t))


def test_scalars_vectors_and_matrices_mix(key):
    A = jr.normal(key, (3, 3))

    def field(t, y, scale):
        around = jnp.concatenate([y[1:], y[:1]])
        return (A @ y) * y.sum() - scale * around * y[::-1] + jnp.stack([t, t * y[0], y[1]])

    y, t = jnp.array([0.3, -0.4, 0.8]), jnp.array(0.1)
    found = series(field, y, 0.6, t)
    assert_same(found, derivatives(field, y, 0.6, t))


def test_fields_of_matrices(key):
    keys = jr.split(key, 4)
    X = jr.normal(keys[3], (3, 3))
    y = Full(*(jr.normal(k, (3, 3)) for k in keys[:3]))
    args = (Params(alpha_p=2.0, eta=0.1, sigma2=0.2), Data(X=X @ X.T, X_aug=jnp.eye(3)))
    assert_same(
        series(fields.full, y, args, order=4), derivatives(fields.full, y, args, order=4)
    )


def test_closed_forms():
    """1 + y^2 has the solution tan t, and y^2 has 1/(1 - t), whose coefficients are all 1."""
    tangent = series(lambda t, y, args: 1 + y**2, 0.0)
    assert np.allclose(tangent, [0, 1, 0, 1 / 3, 0, 2 / 15], atol=1e-15)
    assert np.allclose(series(lambda t, y, args: y * y, 1.0, order=30), 1.0, atol=1e-13)


def test_keeping_values_changes_nothing():
    kept = []
    keep = lambda x: kept.append(x) or x
    y, params = Modes.of(p=0.3, s=0.2, tau=0.4), Params(eta=0.1, sigma2=0.5)
    plain = series(fields.modes, y, params)
    assert_same(series(fields.modes, y, params, keep=keep), plain, rtol=0)
    # Products use the state and the residual: four values for each coefficient, and no more.
    assert len(kept) == 4 * ORDER


def test_what_has_no_series_says_so():
    rule = predictors.Power(a=0.5)
    y = jnp.array(0.3)
    field = lambda t, s, args: fields.predicted(t, s, (Params(), rule))
    spec = jax.ShapeDtypeStruct((), y.dtype)
    assert not Program(field, spec, spec, None).analytic
    with pytest.raises(NotAnalytic, match="no Taylor series for"):
        series(field, y)
    assert jnp.allclose(series(field, y, order=1)[1], field(0.0, y, None))


def test_a_rate_unlike_its_state_is_refused():
    spec = jax.ShapeDtypeStruct((2,), float)
    one = jax.ShapeDtypeStruct((), float)
    with pytest.raises(ValueError, match=r"a rate of shape \(\) for a state of shape \(2,\)"):
        Program(lambda t, y, args: y.sum(), one, spec, None)
    with pytest.raises(ValueError, match="the field returns"):
        Program(lambda t, y, args: (y, y), one, spec, None)

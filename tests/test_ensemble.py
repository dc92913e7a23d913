"""Many solves at once against one at a time, and lanes that fail."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from diffrax import Tsit5

from lindyn import ensemble, fields, solve
from lindyn.fields import Curriculum, Full, Modes, Params, Plane


PARAMS = Params(alpha_p=2.0, beta=0.4, eta=0.02, sigma2=0.3, tau=0.9)
TS = jnp.linspace(0.0, 20.0, 5)


def test_the_tableau_is_tsitouras():
    """diffrax's own copy of it, and the order conditions up to order 4 of the weights."""
    known = Tsit5.tableau
    rows = [ensemble.WEIGHTS[i + 1, : i + 1] for i in range(6)]
    assert all(np.allclose(a, b, rtol=1e-15) for a, b in zip(rows, known.a_lower, strict=True))
    assert np.allclose(ensemble.ERROR, known.b_error, atol=1e-16)
    assert np.allclose(ensemble.STAGES[1:], known.c, rtol=1e-15)
    b, c = ensemble.WEIGHTS[6], ensemble.STAGES
    for order in range(1, 6):
        assert np.isclose(b @ c ** (order - 1), 1 / order, rtol=1e-14)
    assert np.allclose(ensemble.WEIGHTS.sum(1), c, rtol=1e-13)


@pytest.mark.parametrize(
    "field, make",
    (
        (fields.modes, lambda p, s: Modes.of(p=p, s=s, tau=0.5)),
        (fields.modes_fixed_tau, lambda p, s: Plane(p=p, s=s)),
        (fields.parabola, lambda p, s: p),
        (fields.parabola_ema, lambda p, s: Curriculum(p=p, tau=s)),
    ),
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_many_solves_are_the_same_as_one_by_one(field, make, key):
    p = jr.uniform(key, (30,), minval=-0.5, maxval=1.2)
    y0 = make(p, jr.uniform(jr.fold_in(key, 1), (30,), minval=0.05))
    many = ensemble.states(field, y0, PARAMS, TS, rtol=1e-9, atol=1e-12)
    one = solve.trajectory(field, y0, PARAMS, TS, rtol=1e-12)
    assert jnp.all(many.status == ensemble.REACHED) and jnp.all(many.steps > 0)
    for x, y in zip(jax.tree.leaves(many.y), jax.tree.leaves(one), strict=True):
        assert jnp.allclose(x, y.T, rtol=1e-6, atol=1e-9)


def test_parameters_may_differ_from_solve_to_solve():
    params = Params(alpha_p=2.0, beta=0.4, eta=jnp.array([0.0, 0.01, 0.1]), sigma2=0.3)
    many = ensemble.states(fields.parabola, jnp.full(3, 0.4), params, TS)
    for i, eta in enumerate((0.0, 0.01, 0.1)):
        alone = solve.trajectory(fields.parabola, 0.4, Params(eta=eta, sigma2=0.3), TS)
        assert jnp.allclose(many.y[i], alone, rtol=1e-6)


def test_matrices_are_solved_too(key):
    keys = jr.split(key, 3)
    y0 = Full(*(0.5 * jr.normal(key, (4, 3, 3)) for key in keys))
    data = fields.Data(X=jnp.eye(3), X_aug=0.3 * jnp.eye(3))
    run = lambda y: ensemble.states(
        lambda t, y, args: fields.full(t, y, (PARAMS, data)), y, None, TS, rtol=1e-9
    )
    many = run(y0)
    first = jax.tree.map(lambda x: x[1], y0)
    alone = solve.trajectory(fields.full, first, (PARAMS, data), TS)
    assert jnp.allclose(many.y.W[1], alone.W, rtol=1e-6, atol=1e-9)


def test_a_lane_that_diverges_leaves_the_others_alone():
    square = lambda t, y, args: y**2
    ts = jnp.array([0.0, 0.5, 3.0])
    ends = ensemble.states(square, jnp.array([1.0, -1.0, 0.1]), None, ts)
    assert ends.status.tolist() == [ensemble.DIVERGED, ensemble.REACHED, ensemble.REACHED]
    assert jnp.isclose(ends.y[0, 1], 2.0) and jnp.isnan(ends.y[0, 2])
    alone = ensemble.states(square, jnp.array([-1.0, 0.1]), None, ts)
    assert jnp.array_equal(ends.y[1:], alone.y)
    assert jnp.array_equal(ends.steps[1:], alone.steps)


def test_a_lane_with_nan_or_too_many_steps_ends():
    field = lambda t, y, rate: rate * y
    ends = ensemble.states(
        field, jnp.ones(3), jnp.array([-1.0, jnp.nan, -1e7]), TS, max_steps=2000
    )
    assert ends.status.tolist() == [0, ensemble.DIVERGED, ensemble.EXHAUSTED]


def test_leading_axes_must_agree():
    with pytest.raises(ValueError, match=r"leading axes of y0 and args differ.*{2, 3}"):
        ensemble.states(fields.parabola, jnp.ones(3), Params(eta=jnp.ones(2)), TS)

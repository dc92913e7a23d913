"""Tests of the reference solver against scipy and invariants, and of its errors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp

from lindyn import solve, theory
from lindyn.theory import fields
from lindyn.theory.states import Data, Full, Modes, Moments, Params, Plane
from lindyn.verify import random_problems


PARAMS = Params(alpha_p=2.0, beta=0.4, eta=0.02, sigma2=0.3, tau=0.9)
TIMES = jnp.linspace(0.0, 50.0, 6)


def scipy_solution(field, y0, args, ts):
    """The solution by scipy's DOP853 at rtol 1e-13, with the same field."""
    flat, unravel = ravel_pytree(y0)
    rate = jax.jit(lambda t, y: ravel_pytree(field(t, unravel(y), args))[0])
    run = solve_ivp(
        lambda t, y: np.asarray(rate(t, y)),
        (float(ts[0]), float(ts[-1])),
        np.asarray(flat),
        method="DOP853",
        rtol=1e-13,
        atol=1e-16,
        t_eval=np.asarray(ts),
    )
    return jax.vmap(unravel)(jnp.asarray(run.y.T))


def relative(measured, expected):
    """The largest relative error over leaves and times, in the norm of the matrix or vector."""

    def gap(x, y):
        axes = tuple(range(1, x.ndim))
        size = jnp.sqrt(jnp.sum(y**2, axes))
        return jnp.max(jnp.sqrt(jnp.sum((x - y) ** 2, axes)) / jnp.maximum(size, 1e-30))

    return max(map(gap, jax.tree.leaves(measured), jax.tree.leaves(expected)))


def random_full(key, n):
    keys = jr.split(key, 5)
    spread = lambda key: jr.normal(key, (n, n)) / jnp.sqrt(n)
    covariance = lambda key: spread(key) @ spread(key).T
    y0 = Full(W=spread(keys[0]), Wp=spread(keys[1]), Wa=spread(keys[2]))
    return y0, (PARAMS, Data(X=covariance(keys[3]), X_aug=covariance(keys[4])))


def random_moments(key, n):
    y0, _ = random_full(key, n)
    return Moments(F=y0.W @ y0.W.T, Wp=(y0.Wp + y0.Wp.T) / 2), PARAMS


def random_modes(key, n):
    keys = jr.split(key, 3)
    draw = lambda key, low, high: jr.uniform(key, (n,), minval=low, maxval=high)
    s = 10.0 ** draw(keys[1], -3.0, 0.0)
    return Modes.of(p=draw(keys[0], -1.0, 1.0), s=s, tau=draw(keys[2], 0.0, 1.0)), PARAMS


REFERRED = pytest.mark.parametrize(
    "field, problem",
    (
        (fields.modes, random_modes),
        (fields.moments, random_moments),
        (fields.full, random_full),
    ),
    ids=("modes", "moments", "full"),
)


@REFERRED
@pytest.mark.parametrize("n", (3, 64))
def test_agrees_with_scipy(field, problem, n, key):
    y0, args = problem(key, n)
    expected = scipy_solution(field, y0, args, TIMES)
    ys = solve.trajectory(field, y0, args, TIMES, rtol=1e-10)
    assert relative(ys, expected) < 1e-8


@REFERRED
def test_single_precision_agrees_with_scipy(field, problem, key):
    y0, args = problem(key, 20)
    expected = scipy_solution(field, y0, args, TIMES)
    y0, args = jax.tree.map(lambda x: jnp.float32(x), (y0, args))
    ys = solve.trajectory(field, y0, args, TIMES, rtol=1e-5)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(ys))
    assert relative(ys, expected) < 1e-3


@pytest.mark.parametrize("rtol", (1e-4, 1e-6, 1e-8, 1e-10, 1e-12))
@pytest.mark.parametrize("eta", (0.02, 0.5), ids=("survival", "collapse"))
def test_the_invariance_holds_over_twelve_decades_of_s(rtol, eta):
    params = Params(alpha_p=2.0, beta=0.4, eta=eta, sigma2=0.3)
    s = jnp.logspace(-12, 0, 25)
    p = jnp.sqrt(s) * jnp.linspace(-1.5, 2.0, 25)
    ys = solve.trajectory(fields.modes, Modes.of(p=p, s=s, tau=0.0), params, TIMES, rtol=rtol)
    c = theory.invariant(p, s, params)[None] * jnp.exp(-2 * eta * TIMES)[:, None]
    size = ys.s + ys.p**2 / params.alpha_p
    assert jnp.max(jnp.abs(theory.invariant(ys.p, ys.s, params) - c) / size) < 10 * rtol


def test_tau_may_start_at_zero_and_diverge_on_the_way():
    """From p < 0, the encoder's weight w passes through zero. There s = 0, and tau diverges."""
    y0 = Modes.of(p=-1.0, s=0.3, tau=0.0)
    ts = jnp.linspace(0.0, 50.0, 501)
    ys = solve.trajectory(fields.modes, y0, PARAMS, ts, rtol=1e-10)
    assert jnp.any(ys.w < 0) and jnp.any(ys.w > 0)
    expected = scipy_solution(fields.modes, y0, PARAMS, ts)
    size = jnp.sqrt(expected.p**2 + expected.w**2 + expected.wa**2)  # since w crosses zero
    for x, y in zip(jax.tree.leaves(ys), jax.tree.leaves(expected), strict=True):
        assert jnp.max(jnp.abs(x - y) / size) < 1e-8


def test_modes_with_no_signal_stay_there():
    ys = solve.trajectory(fields.modes, Modes.of(p=0.5, s=0.0, tau=0.0), PARAMS, TIMES)
    assert jnp.all(ys.w == 0) and jnp.all(ys.wa == 0)
    assert jnp.allclose(ys.p, 0.5 * jnp.exp(-0.02 * TIMES), rtol=1e-8)


def test_backward_is_the_inverse_of_forward():
    y0, ts = Plane(p=0.4, s=0.2), jnp.array([0.0, 3.0])
    ahead = solve.trajectory(fields.modes_fixed_tau, y0, PARAMS, ts, rtol=1e-11)
    end = jax.tree.map(lambda x: x[-1], ahead)
    back = solve.trajectory(fields.modes_fixed_tau, end, PARAMS, ts[::-1], rtol=1e-11)
    assert jnp.allclose(back.p[-1], 0.4, rtol=1e-9) and jnp.allclose(back.s[-1], 0.2, rtol=1e-9)


def test_a_stiff_problem_takes_few_steps_implicitly_and_agrees():
    params = Params(alpha_p=1e5, beta=0.4, eta=0.02, sigma2=0.3)
    y0, ts = Modes.of(p=0.2, s=0.05, tau=0.5), jnp.array([0.0, 5.0])
    implicit = solve.trajectory(fields.modes, y0, params, ts, rtol=1e-8, stiff=True)
    explicit = solve.trajectory(fields.modes, y0, params, ts, rtol=1e-10)
    assert relative(implicit, explicit) < 1e-7


@pytest.mark.parametrize("stiff", (False, True))
def test_a_steady_state_is_the_fixed_point(stiff):
    y0 = Modes.of(p=0.6, s=0.3, tau=0.5)
    rest = solve.steady_state(fields.modes, y0, PARAMS, stiff=stiff)
    goal = theory.fixed_points(PARAMS, fields.modes)
    assert jnp.allclose(rest.y.p, goal.y.p[2], rtol=1e-6)
    assert jnp.allclose(rest.y.wa, goal.y.wa[2], rtol=1e-6)
    assert 10 < rest.t < 1e4


def test_a_flow_that_does_not_rest_says_so():
    with pytest.raises(solve.SolveError, match="modes has not come to rest by t = 2"):
        solve.steady_state(fields.modes, Modes.of(p=0.6, s=0.3, tau=0.5), PARAMS, t1=2.0)


def test_dense_output_is_the_trajectory():
    y0 = Modes.of(p=0.2, s=0.05, tau=0.5)
    at = solve.dense(fields.modes, y0, PARAMS, 0.0, 50.0, rtol=1e-10)
    ys = solve.trajectory(fields.modes, y0, PARAMS, TIMES, rtol=1e-12)
    assert relative(jax.vmap(at)(TIMES), ys) < 1e-8


def test_gradients_are_those_of_finite_differences():
    def end(eta, rtol=1e-10):
        params = Params(eta=eta, sigma2=0.3)
        y0 = Modes.of(p=0.6, s=0.05, tau=0.5)
        return solve.trajectory(fields.modes, y0, params, jnp.array([0.0, 10.0]), rtol=rtol).p[
            1
        ]

    h = 1e-4
    slope = (end(0.02 + h, 1e-12) - end(0.02 - h, 1e-12)) / (2 * h)
    assert jnp.allclose(jax.grad(end)(0.02), slope, rtol=1e-6)


def test_a_second_solve_does_not_compile():
    traces = 0

    def field(t, y, args):
        nonlocal traces
        traces += 1
        return -args * y

    for decay, start, rtol in ((0.1, 1.0, 1e-8), (0.2, 2.0, 1e-6)):
        solve.trajectory(field, start, decay, TIMES, rtol=rtol)
        seen, traces = traces, 0
    assert seen == 0


def test_one_time_is_the_start():
    ys = solve.trajectory(fields.parabola, jnp.array(0.3), PARAMS, jnp.array([2.0]))
    assert ys.shape == (1,) and ys[0] == 0.3


def square(t, y, args):
    return y**2


def test_a_solution_that_diverges_names_the_variable_and_the_time():
    y0 = jnp.array([0.1, 1.0])
    with pytest.raises(solve.SolveError, match=r"square .* past t = 1 .*: y\[1\] = .*e\+"):
        solve.trajectory(square, y0, None, jnp.linspace(0.0, 3.0, 4))


def test_a_backward_flow_that_diverges_names_its_field():
    y0 = Plane(p=jnp.array([0.1, 2.0]), s=jnp.array([1.0, 1.0]))
    with pytest.raises(solve.SolveError, match=r"modes_fixed_tau .* t = -0\.1.*: s\[1\]"):
        solve.trajectory(fields.modes_fixed_tau, y0, PARAMS, jnp.array([0.0, -30.0]))


def test_a_field_that_is_not_finite_names_the_variable_and_the_time():
    def roots(t, y, args):
        return {"fine": -y["fine"], "bad": jnp.sqrt(1 - t) * y["bad"]}

    with pytest.raises(solve.SolveError, match=r"roots .* t = 1 .*'bad'.*change is nan"):
        solve.trajectory(roots, {"fine": 1.0, "bad": 1.0}, None, jnp.array([0.0, 2.0]))


def test_under_jit_what_was_not_reached_is_nan():
    ts = jnp.array([0.0, 0.5, 3.0])
    ys = jax.jit(lambda y: solve.trajectory(square, y, None, ts))(jnp.array(1.0))
    assert jnp.allclose(ys[:2], jnp.array([1.0, 2.0])) and jnp.isnan(ys[2])


@pytest.mark.parametrize(
    "change, message",
    (
        (dict(ts=jnp.array([0.0, 2.0, 1.0])), "increasing or decreasing"),
        (dict(ts=jnp.array([0.0, jnp.nan])), "finite"),
        (dict(ts=jnp.zeros(0)), "list of times"),
        (dict(rtol=0.0), "rtol = 0.0: it must be finite and above 0"),
        (dict(max_steps=0), "max_steps = 0: it must be finite and above 0"),
        (dict(atol=-1.0), "atol = -1.0: it must be finite and at least 0"),
        (dict(dt=-0.1), "dt = -0.1"),
        (dict(y0=Plane(p=jnp.nan, s=1.0)), "y0.p is not finite"),
    ),
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else None,
)
def test_bad_input_is_refused(change, message):
    asked = dict(y0=Plane(p=0.1, s=1.0), ts=jnp.array([0.0, 1.0])) | change
    with pytest.raises(ValueError, match=message):
        solve.trajectory(fields.modes_fixed_tau, asked.pop("y0"), PARAMS, **asked)


def test_the_loss_descends_along_the_flow(key):
    """With a fixed target and no decay the loss is a Lyapunov function.

    The flow is then a gradient flow, so the loss decreases from any start.
    """
    problem = eqx.tree_at(
        lambda problem: (problem.params.beta, problem.params.eta_p, problem.params.eta_s),
        random_problems.draw(key, 4),
        (jnp.zeros(()), jnp.zeros(()), jnp.zeros(())),
    )
    args = (problem.params, problem.data)
    ys = solve.trajectory(fields.full, problem.y, args, jnp.linspace(0.0, 5.0, 41))
    losses = jax.vmap(random_problems.loss, (0, None))(ys, problem)
    assert jnp.all(jnp.diff(losses) < 0)

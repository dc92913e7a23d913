"""Claims about the matrix flows: descent on the loss, Theorems 1 and 2, no predictor."""

import equinox as eqx
import jax
import jax.numpy as jnp

from lindyn.solve import trajectory
from lindyn.theory import fields, states, theorems
from lindyn.theory.states import Full
from lindyn.verify import random_problems
from lindyn.verify.claims.claim import RTOL, apart, claim, excess, with_decay


@claim(
    "the linear flow is gradient descent on the loss, and an EMA",
    "Lemma 1, (2)-(4)",
    1e-12,
)
def lemma_1(problem):
    y, params = problem.y, problem.params
    slope = random_problems.descent(problem.online, problem, lambda _: y.Wa)
    step = 1e-3
    momentum = 1 - step * params.beta
    target = (momentum * y.Wa + (1 - momentum) * y.W - y.Wa) / step
    flow = fields.full(0.0, y, (params, problem.data))
    return apart(flow, Full(W=slope.W, Wp=slope.Wp, Wa=target))


@claim("SimSiam is descent with the target stopped at W", "(2)-(3), Wa = W", 1e-12)
def simsiam_descent(problem):
    slope = random_problems.descent(
        problem.online, problem, lambda y: jax.lax.stop_gradient(y.W)
    )
    return apart(fields.simsiam(0.0, problem.online, flow_args(problem)), slope)


@claim("without stop-gradient the flow descends on both branches", "Theorem 2", 1e-12)
def no_stop_gradient_descent(problem):
    slope = random_problems.descent(problem.online, problem, lambda y: y.W)
    return apart(fields.no_stop_gradient(0.0, problem.online, flow_args(problem)), slope)


@claim("without a predictor, too, SimSiam descends on the loss", "section 3", 1e-12)
def no_predictor_descent(problem):
    y = eqx.tree_at(lambda y: y.Wp, problem.online, jnp.eye(len(problem.y.Wp)))
    slope = random_problems.descent(y, problem, lambda y: jax.lax.stop_gradient(y.W))
    return apart(fields.no_predictor(0.0, y.W, flow_args(problem)), slope.W)


@claim("W W^T - Wp^T Wp/alpha_p decays as e^(-2 eta t)", "Theorem 1, (5)", 1e-9)
def theorem_1(problem):
    return _imbalance(problem, fields.full, problem.y, flow_args(problem))


@claim("Theorem 1 holds for SimSiam", "Theorem 1, Wa = W", 1e-9)
def theorem_1_simsiam(problem):
    return _imbalance(problem, fields.simsiam, problem.online, flow_args(problem))


@claim("Theorem 1 holds for the cosine loss", "Theorem 1, derived", 1e-9)
def theorem_1_cosine(problem):
    return _imbalance(problem, _cosine_flow, problem.y, problem)


@claim(
    "with split decay d(balance)/dt = -2 eta_s W W^T + 2 eta_p Wp^T Wp/alpha_p",
    "derived",
    1e-12,
)
def theorem_1_split(problem):
    params = with_decay(problem.params, eta_p=3 * problem.params.eta_p)
    y = problem.y
    rate = fields.full(0.0, y, (params, problem.data))
    balance = lambda y: theorems.balance(y.W, y.Wp, params.alpha_p)
    _, measured = jax.jvp(balance, (y,), (rate,))
    encoder, predictor = y.W @ y.W.T, y.Wp.T @ y.Wp
    expected = -2 * params.eta_s * encoder + 2 * params.eta_p * predictor / params.alpha_p
    return apart(measured, expected)


@claim("without stop-gradient d vec(W)/dt = -H vec(W)", "Theorem 2, (6)", 1e-12)
def theorem_2_curvature(problem):
    y = problem.online
    slope = random_problems.descent(y, problem, lambda y: y.W)
    pull = theorems.curvature(y.Wp, problem.data, problem.params) @ y.W.T.ravel()
    return apart(slope.W, -pull.reshape(y.W.T.shape).T)


@claim(
    "|W(t)| <= e^(-l0 t) |W(0)|, l0 the least eigenvalue of H on the way",
    "Theorem 2",
    1e-9,
)
def theorem_2_bound(problem):
    ts = jnp.linspace(0.0, 8.0, 81)
    ys = trajectory(fields.no_stop_gradient, problem.online, flow_args(problem), ts, rtol=RTOL)
    curvature = lambda Wp: theorems.curvature(Wp, problem.data, problem.params)
    least = lambda Wp: jnp.linalg.eigvalsh(curvature(Wp))[0]
    return excess(ys.W, ts, jnp.min(jax.vmap(least)(ys.Wp)))


@claim("without a predictor W = W(0) e^(-(X' + eta) t): collapse", "section 3", 1e-10)
def no_predictor_collapse(problem):
    ts = jnp.linspace(0.0, 100.0, 11)
    Ws = trajectory(fields.no_predictor, problem.y.W, flow_args(problem), ts, rtol=RTOL)
    decay, U = jnp.linalg.eigh(problem.data.X_aug)
    shrink = jnp.exp(-(decay[None] + problem.params.eta_s) * ts[:, None])
    return apart(Ws, jnp.einsum("ij,jk,tk,lk->til", problem.y.W, U, shrink, U))


def flow_args(problem):
    return problem.params, problem.data


def _imbalance(problem, field, y0, args):
    """The deviation of the balance of (5) from e^(-2 eta t) along a solution."""
    ts = jnp.linspace(0.0, 5.0, 11)
    ys = trajectory(field, y0, args, ts, rtol=RTOL)
    balances = jax.vmap(theorems.balance, (0, 0, None))(ys.W, ys.Wp, problem.params.alpha_p)
    decay = jnp.exp(-2 * problem.params.eta_s * ts)[:, None, None]
    return apart(balances, decay * balances[:1])


def _cosine_flow(t, y, problem):
    online = states.Online(W=y.W, Wp=y.Wp)
    slope = random_problems.descent(online, problem, lambda _: y.Wa, random_problems.cosine)
    return Full(W=slope.W, Wp=slope.Wp, Wa=problem.params.beta * (y.W - y.Wa))

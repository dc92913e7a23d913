"""The matrices of Theorems 1, 2 and 3, and Theorem 1 for steps of SGD.

Read `fields` first. Equation numbers are those of Tian, Chen and Ganguli, ICML 2021 (arXiv
2102.06810).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from lindyn.theory.precision import exact_products
from lindyn.theory.states import Data, Numbers, Params


def balance(
    W: Float[Array, "n2 n1"], Wp: Float[Array, "outputs n2"], alpha_p: Numbers
) -> Float[Array, "n2 n2"]:
    """W W^T - Wp^T Wp/alpha_p of Theorem 1, (5).

    If eta_p = eta_s = eta, it decays as e^(-2 eta t).
    """
    return W @ W.T - Wp.T @ Wp / alpha_p


class Layers(NamedTuple):
    """The matrix before f = W h and the matrix after it, or their momenta or steps."""

    W: Float[Array, "d inputs"]  # the projector's last layer; its bias is one more column
    Wp: Float[Array, "outputs d"]  # the predictor, or its first layer, without its own bias


class SGD(NamedTuple):
    """The hyperparameters of SGD as an optimiser takes them, for a learning rate a.

    With the gradient G of W, a step is

        V' = m V + G + eta_s W
        W' = W - a U,   U = V',   or with `nesterov`   U = G + eta_s W + m V'

    With `decoupled`, V' and U have no term eta_s W, and W' = W - a (U + eta_s W). The step of
    Wp has the same form with its gradient Gp, the decay eta_p and the learning rate alpha_p a.
    """

    alpha_p: Numbers
    momentum: Numbers  # m
    eta_s: Numbers
    eta_p: Numbers
    nesterov: bool = False
    decoupled: bool = False


class Ledger(NamedTuple):
    """The balance Q that Theorem 1 for steps predicts; it is updated without gradients."""

    balance: Float[Array, "d d"]  # Q
    rounded: Float[Array, "d d"]  # the accumulated rounding error of Q, still to be added
    moment: Float[Array, "d d"]  # M = sym(V W^T - Vp^T Wp)
    source: Float[Array, "d d"]  # sum of changes of Q other than decay; momentum lag averaged


def opened(at: Layers, sgd: SGD) -> Ledger:
    """The ledger before the first step, where V = 0."""
    Q = exact_products(balance)(at.W, at.Wp, sgd.alpha_p)
    nothing = jnp.zeros_like(Q)
    return Ledger(balance=Q, rounded=nothing, moment=nothing, source=nothing)


@exact_products
def after_step(
    ledger: Ledger, at: Layers, momenta: Layers, steps: Layers, rate: Numbers, sgd: SGD
) -> Ledger:
    """The ledger after a step from W to W' = W - `steps` with the learning rate a = `rate`.

    `at` holds W and Wp before the step, and `momenta` holds V' and Vp'. The loss depends on W
    and Wp only through Wp W, because the target is stopped. Hence G W^T = Wp^T Gp. With

        R = eta_s W W^T - eta_p Wp^T Wp
        T = sym(V' W^T - Vp'^T Wp)
        S = sym(U W^T - Up^T Wp)

    a step obeys

        T  = m M + R   (`decoupled`: T = m M)
        S  = T         (`nesterov`: S = m T + R; only `decoupled`: S = T + R)
        M' = T - a sym(V' U^T - alpha_p Vp'^T Up)
        Q' = Q - 2 a S + a^2 (U U^T - alpha_p Up^T Up)

    This holds for every batch, every encoder, every loss of the prediction, and whatever layers
    follow Wp.
    """
    decay = sgd.eta_s * at.W @ at.W.T - sgd.eta_p * at.Wp.T @ at.Wp
    T = sgd.momentum * ledger.moment
    if not sgd.decoupled:
        T = T + decay
    S = sgd.momentum * T if sgd.nesterov else T
    if sgd.nesterov or sgd.decoupled:
        S = S + decay
    return _entered(
        ledger._replace(moment=T),
        pulled=2 * rate * S,
        squares=balance(steps.W, steps.Wp, sgd.alpha_p),
        turned=_product(momenta, steps),
        lag=_lag(rate, sgd),
    )


@exact_products
def after_jump(
    ledger: Ledger, old: Layers, new: Layers, momenta: Layers, rate: Numbers, sgd: SGD
) -> Ledger:
    """The ledger after W and Wp were replaced between two steps, as by symmetrising Wp."""
    of = lambda at: balance(at.W, at.Wp, sgd.alpha_p)
    return _entered(
        ledger,
        pulled=0.0,
        squares=of(new) - of(old),
        turned=_product(momenta, old) - _product(momenta, new),
        lag=_lag(rate, sgd),
    )


def _product(momenta, at):
    """M = sym(V W^T - Vp^T Wp) for these momenta and weights."""
    M = momenta.W @ at.W.T - momenta.Wp.T @ at.Wp
    return (M + M.T) / 2


def _lag(rate, sgd):
    """The factor from a change of M to the sum of all later a S, at a constant rate."""
    m = sgd.momentum
    return rate * (m**2 if sgd.nesterov else m) / (1 - m)


def _entered(ledger, *, pulled, squares, turned, lag):
    total, rounded = _added(ledger.balance, squares - pulled + ledger.rounded)
    return Ledger(
        balance=total,
        rounded=rounded,
        moment=ledger.moment - turned,
        source=ledger.source + squares + 2 * lag * turned,
    )


def _added(a, b):
    """a + b, and the rounding error of this sum (Knuth's two-sum)."""
    total = a + b
    rest = total - a
    return total, (a - (total - rest)) + (b - rest)


def curvature(
    Wp: Float[Array, "n2 n2"], data: Data, params: Params
) -> Float[Array, "n1n2 n1n2"]:
    """H of Theorem 2, (6): without stop-gradient, d vec(W)/dt = -H vec(W).

    H = X' (x) (Wp^T Wp + I) + X (x) (Wp - I)^T (Wp - I) + eta_s I, where (x) is the Kronecker
    product and vec stacks columns.
    """
    identity = jnp.eye(len(Wp))
    off = Wp - identity
    return (
        jnp.kron(data.X_aug, Wp.T @ Wp + identity)
        + jnp.kron(data.X, off.T @ off)
        + params.eta_s * jnp.kron(jnp.eye(len(data.X)), identity)
    )


def alignment_rate(
    F: Float[Array, "d d"], Wp: Float[Array, "d d"], params: Params
) -> Float[Array, "d d"]:
    """K of (9): dC/dt = -(C K + K C) for the commutator C = [F, Wp] under `fields.moments`.

    K = a (alpha_p F/2 + Wp^2) - tau Wp + (eta_p/2 + eta_s) I with a = 1 + sigma2. Theorem 3,
    (10): while the smallest eigenvalue of K is at least l0 > 0, |C| decreases at least as fast
    as e^(-2 l0 t).
    """
    a, identity = 1 + params.sigma2, jnp.eye(len(F))
    return (
        a * (params.alpha_p / 2 * F + Wp @ Wp)
        - params.tau * Wp
        + (params.eta_p / 2 + params.eta_s) * identity
    )

r"""The equations of motion of linear BYOL: one pure function for each equation.

Read `states` first, which defines the arguments. One file, since the equations share their
notation and refer to each other.

A vector field has the form `f(t, y, args) -> dy/dt` and returns the type of `y`. Time `t` is in
units of 1/(learning rate of the encoder). Numbers in parentheses are equation numbers of Tian,
Chen and Ganguli, "Understanding self-supervised learning dynamics without contrastive pairs",
ICML 2021 (arXiv 2102.06810). "Derived" marks an equation that the paper does not state.
Symbols, in the paper's order:

    W     encoder, n2 x n1              X     covariance of the mean view, n1 x n1
    Wp    predictor, n2 x n2            X'    mean covariance of a view, `X_aug`
    Wa    target, n2 x n1               F     W X W^T, correlation of the predictor's input
    p     an eigenvalue of Wp           s     the eigenvalue of F on the same eigenvector
    tau   the ratio of the target to the encoder, Wa = tau W
"""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lindyn.theory.states import (
    Correlations as Correlations,
    Curriculum as Curriculum,
    Data as Data,
    Full as Full,
    Modes as Modes,
    Moments as Moments,
    Numbers as Numbers,
    Online as Online,
    Params as Params,
    Plane as Plane,
    Scalar as Scalar,
    Views as Views,
)


def full(t: Scalar, y: Full, args: tuple[Params, Data]) -> Full:
    r"""Linear BYOL, (2)-(4) of Lemma 1: gradient flow of the loss (1), and the target's EMA.

        dWp/dt = alpha_p R W^T - eta_p Wp
        dW/dt  = Wp^T R - eta_s W
        dWa/dt = beta (W - Wa)

    with the residual R = Wa X - Wp W (X + X').
    """
    del t  # every flow in this module is autonomous
    params, data = args
    residual = _residual(y.W, y.Wp, y.Wa, data)
    return Full(
        W=y.Wp.T @ residual - params.eta_s * y.W,
        Wp=params.alpha_p * residual @ y.W.T - params.eta_p * y.Wp,
        Wa=params.beta * (y.W - y.Wa),
    )


def simsiam(t: Scalar, y: Online, args: tuple[Params, Data]) -> Online:
    """SimSiam, (2)-(3) with Wa = W: there is no EMA, but the stop-gradient remains."""
    dy = full(t, Full(W=y.W, Wp=y.Wp, Wa=y.W), args)
    return Online(W=dy.W, Wp=dy.Wp)


def cosine(t: Scalar, y: Full, args: tuple[Params, Data]) -> Full:
    r"""`full` with the negative cosine of prediction and target as the loss (derived).

    The loss is -C/(N_q N_z), which is the negative cosine if the lengths of the outputs vary
    little. Its terms and its residual R, which replaces that of `full`, are

        N_q^2 = tr(Wp W (X + X') W^T Wp^T)
        N_z^2 = tr(Wa (X + X') Wa^T)
        C     = tr(Wp^T Wa X W^T)
        R     = Wa X/(N_q N_z) - (C/N_q^2) Wp W (X + X')/(N_q N_z)
    """
    params, data = args
    return full(t, y, (params, _cosine_data(y, data)))


def cosine_simsiam(t: Scalar, y: Online, args: tuple[Params, Data]) -> Online:
    """`cosine` with Wa = W: there is no EMA, but the stop-gradient remains (derived)."""
    params, data = args
    target = Full(W=y.W, Wp=y.Wp, Wa=y.W)
    return simsiam(t, y, (params, _cosine_data(target, data)))


def cosine_gaussian(t: Scalar, y: Full, args: tuple[Params, Data]) -> Full:
    """`cosine` for Gaussian outputs, whose lengths vary: ascent on `gaussian_cosine` (derived).

    The fewer directions the outputs have, the more their lengths vary, and the lower is the
    cosine for the same correlation. So a weak mode is driven more strongly than in `cosine`, by
    a relative amount of order 1/d. In a network with few outputs this decides which modes
    survive.
    """
    del t
    return _ascent(gaussian_cosine, y, *args)


def cosine_gaussian_simsiam(t: Scalar, y: Online, args: tuple[Params, Data]) -> Online:
    """`cosine_gaussian` with Wa = W: no EMA, but the stop-gradient remains (derived)."""
    dy = cosine_gaussian(t, Full(W=y.W, Wp=y.Wp, Wa=y.W), args)
    return Online(W=dy.W, Wp=dy.Wp)


def cosine_sampled(t: Scalar, y: Full, args: tuple[Params, Sequence[Views]]) -> Full:
    """Gradient flow of minus `sampled_cosine`, the mean cosine of a batch that trainers use."""
    del t
    return _ascent(sampled_cosine, y, *args)


def cosine_sampled_simsiam(
    t: Scalar, y: Online, args: tuple[Params, Sequence[Views]]
) -> Online:
    """`cosine_sampled` with Wa = W: there is no EMA, but the stop-gradient remains."""
    dy = cosine_sampled(t, Full(W=y.W, Wp=y.Wp, Wa=y.W), args)
    return Online(W=dy.W, Wp=dy.Wp)


def no_stop_gradient(t: Scalar, y: Online, args: tuple[Params, Data]) -> Online:
    """Theorem 2, (6): Wa = W, and the gradient also flows through the target.

    This adds Wp W X - W (X + X') to the dW/dt of `simsiam`.
    """
    _, data = args
    dy = simsiam(t, y, args)
    through_target = y.Wp @ y.W @ data.X - y.W @ (data.X + data.X_aug)
    return Online(W=dy.W + through_target, Wp=dy.Wp)


def no_predictor(
    t: Scalar, W: Float[Array, "n2 n1"], args: tuple[Params, Data]
) -> Float[Array, "n2 n1"]:
    """Wp = I and Wa = W: dW/dt = -W (X' + eta_s I). The encoder W decays to zero."""
    del t
    params, data = args
    return -W @ data.X_aug - params.eta_s * W


def moments(t: Scalar, y: Moments, params: Params) -> Moments:
    r"""(7)-(8), for isotropic data, Wa = tau W and a predictor that is kept symmetric.

        dWp/dt = -(alpha_p/2)(1 + sigma2){Wp, F} + alpha_p tau F - eta_p Wp
        dF/dt  = -(1 + sigma2){Wp^2, F} + tau {Wp, F} - 2 eta_s F

    Here {A, B} = A B + B A.
    """
    del t
    a, both = 1 + params.sigma2, _anticommutator(y.Wp, y.F)
    return Moments(
        F=-a * _anticommutator(y.Wp @ y.Wp, y.F) + params.tau * both - 2 * params.eta_s * y.F,
        Wp=params.alpha_p * (params.tau * y.F - a / 2 * both) - params.eta_p * y.Wp,
    )


def moments_asymmetric(t: Scalar, y: Moments, params: Params) -> Moments:
    r"""(62)-(63), the equations of `moments` without symmetrising Wp.

        dWp/dt = -alpha_p (1 + sigma2) Wp F + alpha_p tau F - eta_p Wp
        dF/dt  = -(1 + sigma2){Wp^T Wp, F} + tau (Wp^T F + F Wp) - 2 eta_s F

    Here {A, B} = A B + B A.
    """
    del t
    a = 1 + params.sigma2
    return Moments(
        F=-a * _anticommutator(y.Wp.T @ y.Wp, y.F)
        + params.tau * (y.Wp.T @ y.F + y.F @ y.Wp)
        - 2 * params.eta_s * y.F,
        Wp=params.alpha_p * (params.tau * y.F - a * y.Wp @ y.F) - params.eta_p * y.Wp,
    )


def mode_pair(t: Scalar, y: Modes, args: tuple[Params, Correlations]) -> Modes:
    """(104)-(106) with weight decay: decoupled modes of data that need not be isotropic.

        dp/dt  = alpha_p r w - eta_p p
        dw/dt  = p r - eta_s w
        dwa/dt = beta (w - wa)

    with the residual r = l_d wa - l_s p w. The two covariances of the data commute, and each
    mode has its own pair of eigenvalues (l_s, l_d).
    """
    del t
    params, data = args
    residual = data.across * y.wa - data.same * y.p * y.w
    return Modes(
        p=params.alpha_p * residual * y.w - params.eta_p * y.p,
        w=y.p * residual - params.eta_s * y.w,
        wa=params.beta * (y.w - y.wa),
    )


def modes(t: Scalar, y: Modes, params: Params) -> Modes:
    """(11)-(13), the decoupled modes in the variables (p, w, wa).

    This is `mode_pair` for isotropic data, l_s = 1 + sigma2 and l_d = 1.
    """
    return mode_pair(t, y, (params, Correlations(same=1 + params.sigma2, across=1.0)))


def cosine_modes(t: Scalar, y: Modes, args: tuple[Params, Correlations]) -> Modes:
    """`cosine` in decoupled modes: data and networks are diagonal in one basis (derived).

    The modes are the last axis of p, w and wa. They compete through the sums over all modes
    E|Wp f|^2 = sum l_s p^2 w^2, E|f_a|^2 = sum l_s wa^2 and C = sum l_d p w wa.
    """
    params, data = args
    over = lambda x: jnp.sum(x, axis=-1, keepdims=True)
    predicted = over(data.same * jnp.square(y.p * y.w))
    target = over(data.same * jnp.square(y.wa))
    agreement = over(data.across * y.p * y.w * y.wa)
    same, across = _divided(data.same, data.across, predicted, target, agreement)
    return mode_pair(t, y, (params, Correlations(same=same, across=across)))


def cosine_rival(t: Scalar, y: Plane, args: tuple[Params, Numbers]) -> Plane:
    """`cosine_modes` for one mode among n; all other modes are equal, and Wa = W (derived).

    Without weight decay sum p^2 and sum s are conserved. Their values here are n and n/alpha_p,
    so p is in units of its root mean square over the modes. The weights of the other modes act
    as one weight with w^2 = sum s - s, and the p of the other modes follows from sum p^2. An
    equal decay of both networks would not change the directions of this flow. `args` holds the
    parameters and n.
    """
    params, count = args
    total = count / params.alpha_p
    others = jnp.sqrt((count - jnp.square(y.p)) / (count - 1))
    p = jnp.stack(jnp.broadcast_arrays(y.p, others), axis=-1)
    w = jnp.sqrt(jnp.stack(jnp.broadcast_arrays(y.s, total - y.s), axis=-1))
    free = Params(alpha_p=params.alpha_p)
    dy = cosine_modes(t, Modes(p=p, w=w, wa=w), (free, Correlations(same=1.0, across=1.0)))
    return Plane(p=dy.p[..., 0], s=2 * w[..., 0] * dy.w[..., 0])


def modes_fixed_tau(t: Scalar, y: Plane, params: Params) -> Plane:
    """(11)-(12) at fixed tau, in the (p, s) plane.

        dp/dt = alpha_p s g - eta_p p
        ds/dt = 2 p s g - 2 eta_s s

    The gain g = tau - (1 + sigma2) p falls to 0 as the predictor saturates.
    """
    del t
    return Plane(
        p=params.alpha_p * y.s * gain(y.p, params) - params.eta_p * y.p,
        s=2 * y.s * growth(y.p, params),
    )


def parabola(t: Scalar, p: Numbers, params: Params) -> Numbers:
    """(16), the flow on the parabola s = p^2/alpha_p, where alpha_p cancels.

        dp/dt = p^2 (tau - (1 + sigma2) p) - eta_s p

    The parabola is invariant only if eta_p = eta_s. The function does not check this.
    """
    del t
    return p * growth(p, params)


def parabola_ema(t: Scalar, y: Curriculum, params: Params) -> Curriculum:
    """(16) with a moving target (13): dtau/dt = beta (1 - tau) - tau (dp/dt)/p.

    On the parabola (ds/dt)/(2 s) equals (dp/dt)/p, which is a polynomial.
    """
    here = eqx.tree_at(lambda params: params.tau, params, y.tau)
    return Curriculum(
        p=parabola(t, y.p, here),
        tau=params.beta * (1 - y.tau) - y.tau * growth(y.p, here),
    )


def predicted(
    t: Scalar, s: Numbers, args: tuple[Params, Callable[[Numbers], Numbers]]
) -> Numbers:
    """(12) with a closed-form predictor p = p(s), as in DirectPred.

    `args` holds the parameters and the function p(s).
    """
    params, predictor = args
    return modes_fixed_tau(t, Plane(p=predictor(s), s=s), params).s


def isoloss(
    t: Scalar, s: Numbers, args: tuple[Params, Callable[[Numbers], Numbers]]
) -> Numbers:
    """IsoLoss, the flow without the leading p in dW/dt.

        ds/dt = 2 s (tau - (1 + sigma2) p(s)) - 2 eta_s s

    `args` holds the parameters and the function p(s). Source: Halvagal, Laborieux and Zenke,
    "Implicit variance regularization in non-contrastive SSL", NeurIPS 2023.
    """
    del t
    params, predictor = args
    return 2 * s * (gain(predictor(s), params) - params.eta_s)


def gaussian_cosine(y: Full, data: Data) -> Array:
    """E[cos(q, z)] for Gaussian q = Wp W x1 and z = Wa x2, to second order (derived).

        c (1 + 3/4 |Q|^2 + 3/4 |Z|^2 + 1/2 |D|^2) - tr Q D - tr Z D

    with Q = E[q q^T]/N_q^2, Z = E[z z^T]/N_z^2, D = E[z q^T]/(N_q N_z) and c = tr D. The
    lengths of q and z are expanded about N_q and N_z. The omitted terms are of order 1/d^2. If
    the lengths do not vary, the result is c, as in `cosine`.
    """
    same, P = data.X + data.X_aug, y.Wp @ y.W
    Q, Z, D = P @ same @ P.T, y.Wa @ same @ y.Wa.T, y.Wa @ data.X @ P.T
    power_q, power_z = jnp.trace(Q), jnp.trace(Z)
    Q, Z, D = Q / power_q, Z / power_z, D / jnp.sqrt(power_q * power_z)
    dot = lambda A, B: jnp.sum(A * B)
    spread = 0.75 * (dot(Q, Q) + dot(Z, Z)) + 0.5 * dot(D, D)
    return jnp.trace(D) * (1 + spread) - dot(Q, D) - dot(Z, D)


def sampled_cosine(y: Full, views: Sequence[Views]) -> Array:
    """The mean of cos(q, z) over the batches `views`, with q = Wp W x1 and z = Wa x2."""
    over = lambda x: jnp.sum(x, axis=-2)

    def mean(views):
        q, z = (y.Wp @ y.W) @ views.online, y.Wa @ views.target
        return jnp.mean(over(q * z) * jax.lax.rsqrt(over(q * q) * over(z * z)))

    return jnp.mean(jnp.stack([mean(batch) for batch in views]))


def gain(p: Numbers, params: Params) -> Numbers:
    """g = tau - (1 + sigma2) p."""
    return params.tau - (1 + params.sigma2) * p


def growth(p: Numbers, params: Params) -> Numbers:
    """Delta = p (tau - (1 + sigma2) p) - eta_s, which is (ds/dt)/(2 s) in (12)."""
    return p * gain(p, params) - params.eta_s


def _ascent(value, y, params, data):
    """Gradient ascent on `value` in Wp and W with a stopped target, weight decay and EMA."""
    of = lambda Wp, W: value(Full(W=W, Wp=Wp, Wa=y.Wa), data)
    dWp, dW = jax.grad(of, (0, 1))(y.Wp, y.W)
    return Full(
        W=dW - params.eta_s * y.W,
        Wp=params.alpha_p * dWp - params.eta_p * y.Wp,
        Wa=params.beta * (y.W - y.Wa),
    )


def _residual(W, Wp, Wa, data):
    return Wa @ data.X - Wp @ W @ (data.X + data.X_aug)


def _cosine_data(y, data):
    """The data for which the residual of `full` is the residual of the cosine loss."""
    prediction, same = y.Wp @ y.W, data.X + data.X_aug
    power = lambda M: jnp.sum(M * (M @ same))
    agreement = jnp.sum(prediction * (y.Wa @ data.X))
    same, across = _divided(same, data.X, power(prediction), power(y.Wa), agreement)
    return Data(X=across, X_aug=same - across)


def _divided(same, across, predicted, target, agreement):
    """X + X' and X, or their eigenvalues, with the factors of the cosine's residual."""
    lengths = jnp.sqrt(predicted * target)
    return same * agreement / (predicted * lengths), across / lengths


def _anticommutator(A, B):
    return A @ B + B @ A

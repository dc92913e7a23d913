"""Closed-form results about the equations in `fields`; nothing here integrates an equation.

Read `fields` first; `equilibria` has the fixed points.

Functions take scalars, or `Params` with scalar leaves; use `jax.vmap` to evaluate them on a
grid. Equation numbers are those of `fields`. "Derived" marks a result that the paper does not
state. Notation: a = 1 + sigma2, and p-* <= p+* are the roots of a p^2 - tau p + eta_s.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial.legendre import leggauss

from lindyn.theory import equilibria, fields, predictors
from lindyn.theory.states import Correlations, Numbers, Params, Scalar


def directset_edge(
    params: Params, a: Numbers = 0.5, eps: Numbers = 0.0, c: Numbers = 0.0
) -> Array:
    """The s(0) below which a mode under p(s) = max(s - c, 0)^a + eps collapses (derived).

    The edge is `(p-*)^(1/a)` at eps = c = 0. It is 0 if no mode collapses, which for c = 0
    means p-* < eps < p+*. It is infinite if every mode collapses.

    Example:

        >>> import lindyn as ld
        >>> round(float(ld.theory.directset_edge(ld.Params(eta=0.16), a=0.5)), 6)
        0.04
    """
    low, high = equilibria.decay_roots(params)
    rule = predictors.Power(a=a, eps=eps, c=c)
    at_zero = rule(jnp.zeros(()))
    edge = jnp.where(at_zero > low, 0.0, rule.inverse(low))
    return jnp.where(at_zero < high, edge, jnp.inf)  # with NaN roots, no mode survives


def isoloss_goal(params: Params) -> Numbers:
    """p* = (tau - eta_s)/a of `fields.isoloss`. There is no basin of collapse if p* > 0."""
    return (params.tau - params.eta_s) / (1 + params.sigma2)


def critical_decay(params: Params) -> Numbers:
    """tau^2/(4 a). If eta_s is larger than this value, every mode collapses.

    Example:

        >>> import lindyn as ld
        >>> round(float(ld.critical_decay(ld.Params(sigma2=0.25))), 6)
        0.2
    """
    return params.tau**2 / (4 * (1 + params.sigma2))


def aligned_window(params: Params) -> tuple[Numbers, Numbers]:
    """The interval of weight decays for which K > 0 along the whole parabola and p+* exists.

    tau^2/(9 a) <= eta <= tau^2/(4 a), for eta_p = eta_s = eta (derived). K is the matrix of
    Theorem 3, `theorems.alignment_rate`.

    Example:

        >>> import lindyn as ld
        >>> [round(float(eta), 6) for eta in ld.theory.aligned_window(ld.Params())]
        [0.111111, 0.25]
    """
    critical = critical_decay(params)
    return 4 * critical / 9, critical


def invariant(p: Numbers, s: Numbers, params: Params) -> Numbers:
    """c = s - p^2/alpha_p of (14), which decays as e^(-2 eta t) if eta_p = eta_s = eta.

    Example:

        >>> import lindyn as ld
        >>> round(float(ld.theory.invariant(0.4, 0.2, ld.Params(alpha_p=2.0))), 6)
        0.12
    """
    return s - p**2 / params.alpha_p


def basin_edge_without_decay(p: Numbers, params: Params) -> Array:
    """The largest s(0) that collapses from p(0) = p under (11)-(12) at eta = 0 (derived).

    The result is exact. The invariant c = s - p^2/alpha_p is constant at eta = 0. So s falls to
    0 before p changes direction only if c <= 0 and p < 0, or if p > p* = tau/a and
    sqrt(-alpha_p c) >= p*.
    """
    goal = params.tau / (1 + params.sigma2)
    p = jnp.asarray(p)
    square = jnp.where(p < 0, p**2, jnp.where(p > goal, p**2 - goal**2, 0))
    return square / params.alpha_p


def runaway_rate(params: Params) -> Numbers:
    """The limit 2 eta_p p*^2/alpha_p of ds/dt for eta_s = 0 < eta_p, with p* = tau/a (derived).

    In this limit p comes to rest at p*, and s grows without bound.
    """
    goal = params.tau / (1 + params.sigma2)
    return 2 * params.eta_p * goal**2 / params.alpha_p


def time_on_parabola(p0: Numbers, p: Numbers, params: Params) -> Array:
    """The exact time that (16) takes from p0 to p at constant tau > 0 (derived).

    This is the integral of du/(u (u (tau - a u) - eta_s)), by partial fractions over 0, p-* and
    p+*. The result is negative if the flow runs from p to p0, and it is NaN or infinite if p is
    a fixed point. If a fixed point lies between p0 and p, the result has no meaning.

    Example:

        >>> import lindyn as ld
        >>> round(float(ld.theory.time_on_parabola(0.3, 0.9, ld.Params(eta=0.04))), 6)
        6.686616
    """
    a = 1 + params.sigma2
    disc = equilibria.discriminant(params, Correlations(same=a, across=params.tau))
    root = jnp.sqrt(disc.astype(complex))
    high = (params.tau + root) / (2 * a)
    low = 2 * params.eta_s / (params.tau + root)
    double = disc == 0
    gap = jnp.where(double, 1.0, high - low)
    low_or_one = jnp.where(low == 0, 1.0, low)

    def apart(u):
        near_low = jnp.where(low == 0, -1 / u, jnp.log1p(-low / u) / low_or_one)
        return (near_low - jnp.log((u - high) / u) / high) / (a * gap)

    def merged(u):
        return (jnp.log((u - high) / u) / high + 1 / (u - high)) / (a * high)

    def antiderivative(u):
        u = jnp.asarray(u).astype(complex)
        return jnp.real(jnp.where(double, merged(u), apart(u)))

    return antiderivative(p) - antiderivative(p0)


def target_ratio(p: Callable[[Array], Array], t: Scalar, params: Params) -> Array:
    """(15), tau(t) on the parabola from tau(0) = 0, for a given function p of time.

    tau = (beta/p(t)) e^(-beta t) times the integral of p(u) e^(beta u) over [0, t]. The
    integral is computed by Gauss-Legendre quadrature, which calls `p` with an array of
    increasing times.
    """
    pieces, (points, weights) = 64, leggauss(16)
    half = t / (2 * pieces)
    u = jnp.asarray((half * (2 * np.arange(pieces)[:, None] + 1 + points)).ravel())
    integrand = p(u) * jnp.exp(params.beta * (u - t))
    integral = half * jnp.sum(np.tile(weights, pieces) * integrand)
    return jnp.squeeze(params.beta * integral / p(jnp.reshape(t, 1)))


def alignment_margin(p: Numbers, s: Numbers, params: Params) -> Numbers:
    """(17) as an eigenvalue of K: (alpha_p a s + eta_p)/2 - Delta, with `fields.growth` Delta.

    The mode aligns if the margin is positive. The smallest margin over all modes is the
    smallest eigenvalue of K, the matrix of Theorem 3 (`theorems.alignment_rate`).

    Example:

        >>> import lindyn as ld
        >>> round(float(ld.theory.alignment_margin(0.4, 0.2, ld.Params(eta=0.04))), 6)
        -0.08
    """
    a = 1 + params.sigma2
    return (params.alpha_p * a * s + params.eta_p) / 2 - fields.growth(p, params)


def predictor_nullcline(p: Numbers, params: Params) -> Numbers:
    """The s at which dp/dt = 0 in (11): eta_p p/(alpha_p g), which has a pole at p = tau/a.

    For eta_p = 0 the nullcline consists of s = 0 and the line p = tau/a instead.
    """
    return params.eta_p * p / (params.alpha_p * fields.gain(p, params))


def curriculum_nullclines(p: Numbers, params: Params) -> tuple[Array, Float[Array, "2 ..."]]:
    """The nullclines of `fields.parabola_ema` in the (p, tau) plane, each as tau(p).

    The first result is the tau at which dp/dt = 0: a p + eta/p. (dp/dt = 0 also on the line
    p = 0.) The second result holds the two values of tau at which dtau/dt = 0, the roots of
    p tau^2 + (beta - eta - a p^2) tau = beta: first the root that is positive for p > 0, then
    the other root, which is infinite at p = 0. Roots that are not real are NaN.
    """
    a, p = 1 + params.sigma2, jnp.asarray(p)
    linear = params.beta - params.eta_s - a * p**2
    disc = linear**2 + 4 * params.beta * p
    root = jnp.sqrt(jnp.where(disc >= 0, disc, jnp.nan))
    far = linear + jnp.where(linear >= 0, root, -root)  # equal signs avoid cancellation
    through_sum, through_product = -far / (2 * p), 2 * params.beta / far
    ahead = linear >= 0
    return a * p + params.eta_s / p, jnp.stack(
        [
            jnp.where(ahead, through_product, through_sum),
            jnp.where(ahead, through_sum, through_product),
        ]
    )

"""What can be said about `fields` without solving them.

Functions take scalars, or `Params` with scalar leaves; `jax.vmap` puts them on grids.
Equation numbers are those of `fields`; "derived" marks what the paper does not state.
Throughout a = 1 + sigma2, and p-* <= p+* are the roots of a p^2 - tau p + eta_s.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial.legendre import leggauss

from lindyn.theory import fields, predictors
from lindyn.theory.equilibria import decay_roots, discriminant
from lindyn.theory.states import Correlations, Numbers, Params, Scalar


def directset_edge(
    params: Params, a: Numbers = 0.5, eps: Numbers = 0.0, c: Numbers = 0.0
) -> Array:
    """A mode under p(s) = max(s - c, 0)^a + eps collapses iff s(0) is below this.

    (p-*)^(1/a) at eps = c = 0; 0 where collapse is escaped, which for c = 0 is
    p-* < eps < p+*; infinite where every mode collapses (derived).
    """
    low, high = decay_roots(params)
    rule = predictors.Power(a=a, eps=eps, c=c)
    at_zero = rule(jnp.zeros(()))
    edge = jnp.where(at_zero > low, 0.0, rule.inverse(low))
    return jnp.where(at_zero < high, edge, jnp.inf)  # NaN roots: nothing survives


def isoloss_goal(params: Params) -> Numbers:
    """p* = (tau - eta_s)/a of `fields.isoloss`, without a basin of collapse if > 0."""
    return (params.tau - params.eta_s) / (1 + params.sigma2)


def critical_decay(params: Params) -> Numbers:
    """tau^2 / 4a: with more weight decay on the encoder every mode collapses."""
    return params.tau**2 / (4 * (1 + params.sigma2))


def aligned_window(params: Params) -> tuple[Numbers, Numbers]:
    """The decays, as an interval, at which K > 0 all along the parabola and p+* exists.

    tau^2 / 9a <= eta <= tau^2 / 4a, for eta_p = eta_s (derived).
    """
    critical = critical_decay(params)
    return 4 * critical / 9, critical


def invariant(p: Numbers, s: Numbers, params: Params) -> Numbers:
    """c = s - p^2/alpha_p of (14): with eta_p = eta_s = eta it decays as e^(-2 eta t)."""
    return s - p**2 / params.alpha_p


def basin_edge_without_decay(p: Numbers, params: Params) -> Array:
    """s(0) up to which p(0) = p collapses under (11)-(12) with eta = 0, exactly (derived).

    The invariant c = s - p^2/alpha_p never changes, so s falls to 0 before p turns only if
    c <= 0 and p < 0, or if p > p* = tau/a and sqrt(-alpha_p c) >= p*.
    """
    goal = params.tau / (1 + params.sigma2)
    p = jnp.asarray(p)
    square = jnp.where(p < 0, p**2, jnp.where(p > goal, p**2 - goal**2, 0))
    return square / params.alpha_p


def runaway_rate(params: Params) -> Numbers:
    """ds/dt -> 2 eta_p p*^2/alpha_p with eta_s = 0 < eta_p: p rests, s grows (derived)."""
    goal = params.tau / (1 + params.sigma2)
    return 2 * params.eta_p * goal**2 / params.alpha_p


def time_on_parabola(p0: Numbers, p: Numbers, params: Params) -> Array:
    """The time that (16) takes from p0 to p, exactly; tau is constant (derived).

    The integral of du / (u (u (tau - a u) - eta_s)) by partial fractions over 0, p-*
    and p+*. NaN or infinite if p does not lie on the way. Needs tau > 0.
    """
    a = 1 + params.sigma2
    disc = discriminant(params, Correlations(same=a, across=params.tau))
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
    """(15), tau on the parabola from tau(0) = 0, given p as a function of time.

    tau = (beta/p(t)) e^(-beta t) times the integral of p(u) e^(beta u) over [0, t], by
    Gauss-Legendre quadrature, for which p takes an array of increasing times.
    """
    pieces, (points, weights) = 64, leggauss(16)
    half = t / (2 * pieces)
    u = jnp.asarray((half * (2 * np.arange(pieces)[:, None] + 1 + points)).ravel())
    integrand = p(u) * jnp.exp(params.beta * (u - t))
    integral = half * jnp.sum(np.tile(weights, pieces) * integrand)
    return jnp.squeeze(params.beta * integral / p(jnp.reshape(t, 1)))


def alignment_margin(p: Numbers, s: Numbers, params: Params) -> Numbers:
    """(17) as an eigenvalue of K: (alpha_p a s + eta_p)/2 - Delta. The mode aligns if > 0.

    The least of them over the modes is the least eigenvalue of K.
    """
    a = 1 + params.sigma2
    return (params.alpha_p * a * s + params.eta_p) / 2 - fields.growth(p, params)


def predictor_nullcline(p: Numbers, params: Params) -> Numbers:
    """s at which dp/dt = 0 in (11): eta_p p / (alpha_p g). A pole at p = tau/a.

    Without decay it is s = 0 and the line p = tau/a instead.
    """
    return params.eta_p * p / (params.alpha_p * fields.gain(p, params))


def curriculum_nullclines(p: Numbers, params: Params) -> tuple[Array, Float[Array, "2 ..."]]:
    """tau(p) at which dp/dt = 0, and both at which dtau/dt = 0, in the (p, tau) plane.

    a p + eta/p (besides p = 0), and the roots of p tau^2 + (beta - eta - a p^2) tau = beta:
    first the one that is positive for p > 0, then the other, infinite at p = 0. NaN where
    they are not real.
    """
    a, p = 1 + params.sigma2, jnp.asarray(p)
    linear = params.beta - params.eta_s - a * p**2
    disc = linear**2 + 4 * params.beta * p
    root = jnp.sqrt(jnp.where(disc >= 0, disc, jnp.nan))
    far = linear + jnp.where(linear >= 0, root, -root)  # no cancellation
    through_sum, through_product = -far / (2 * p), 2 * params.beta / far
    ahead = linear >= 0
    return a * p + params.eta_s / p, jnp.stack(
        [
            jnp.where(ahead, through_product, through_sum),
            jnp.where(ahead, through_sum, through_product),
        ]
    )

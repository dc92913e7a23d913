"""What can be said about `fields` without solving them.

Functions take scalars, or `Params` with scalar leaves; `jax.vmap` puts them on grids.
Equation numbers are those of `fields`; "derived" marks what the paper does not state.
Throughout a = 1 + sigma2, and p-* <= p+* are the roots of a p^2 - tau p + eta_s.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int
from numpy.polynomial.legendre import leggauss

from lindyn.theory import fields, predictors, stability
from lindyn.theory.fields import Correlations, Curriculum, Modes, Numbers, Params, Plane, Scalar


class FixedPoints(eqx.Module):
    """The collapsed point, the edge p-* and the goal p+*, in that order.

    One that does not exist has NaN for a position and the class `stability.NONE`.
    """

    y: Any  # the state of the field, with a leading axis of points
    jacobian: Float[Array, "points n n"]
    eigenvalues: Complex[Array, "points n"]
    kind: Int[Array, " points"]  # an index into `stability.KINDS`

    @property
    def names(self) -> list[str]:
        return [stability.KINDS[kind] for kind in self.kind.tolist()]


def fixed_points(params: Params, field: Callable = fields.modes_fixed_tau) -> FixedPoints:
    """Fixed points of one mode of `field`, with Jacobian eigenvalues and classes.

    `field` is one of `modes_fixed_tau`, `modes`, `parabola` and `parabola_ema`. Without
    decay p+* stands for its line of fixed points (any s), where the parabola meets it.
    ValueError for a field that has no closed form.
    """
    if field not in CLOSED:
        known = ", ".join(known.__name__ for known in CLOSED)
        raise ValueError(f"no closed form for {field.__name__}; there is one for {known}")
    return _at(field, CLOSED[field](params), params, params)


def pair_fixed_points(params: Params, data: Correlations) -> FixedPoints:
    """Those of `fields.mode_pair`: wa = w and p (l_d - l_s p) = eta_s (derived)."""
    return _at(fields.mode_pair, _of_pair(params, data), (params, data), params)


def directset_fixed_points(
    params: Params, a: Numbers = 0.5, eps: Numbers = 0.0, c: Numbers = 0.0
) -> FixedPoints:
    """Those of `fields.predicted` with p(s) = max(s - c, 0)^a + eps (derived).

    s = 0, and s = (p±* - eps)^(1/a) + c where that is positive.
    """
    rule = predictors.Power(a=a, eps=eps, c=c)
    roots = decay_roots(params)
    inner = rule.inverse(roots)
    s = jnp.where((roots > eps) & (inner > 0), inner, jnp.nan)
    rate = jax.vmap(jax.grad(lambda s: fields.predicted(0.0, s, (params, rule))))(s)
    at_zero = 2 * fields.growth(rule(jnp.zeros(())), params)  # s p'(s) vanishes there
    jacobians = jnp.concatenate([jnp.atleast_1d(at_zero), rate])[:, None, None]
    return FixedPoints(
        y=jnp.concatenate([jnp.zeros(1), s]),
        jacobian=jacobians,
        eigenvalues=jax.vmap(stability.eigenvalues)(jacobians),
        kind=jax.vmap(stability.classify)(jacobians),
    )


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


def decay_roots(params: Params) -> Float[Array, "2"]:
    """p-* (the edge of the trivial basin on the parabola) and p+*: the roots of (16).

    [tau -+ sqrt(tau^2 - 4 a eta_s)] / 2a; NaN above the critical decay. At any s, p at one
    of them is a branch of the nullcline ds/dt = 0 of (12); the third branch is s = 0.
    """
    return _roots(params, Correlations(same=1 + params.sigma2, across=params.tau))


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
    disc = _discriminant(params, Correlations(same=a, across=params.tau))
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


def _at(field, y, args, params):
    """Jacobians of `field` itself, at positions that were found in closed form."""
    structure = jax.tree.structure(y)
    vectors = jnp.stack(jnp.broadcast_arrays(*jax.tree.leaves(y)), axis=-1)

    def flat(vector):
        dy = field(0.0, jax.tree.unflatten(structure, list(vector)), args)
        return jnp.stack(jax.tree.leaves(dy))

    jacobians = jax.vmap(jax.jacfwd(flat))(vectors)
    kind = jax.vmap(stability.classify)(jacobians)
    # A line of fixed points needs a predictor without decay (and a field with s in it);
    # elsewhere a lone zero eigenvalue is a fold: p-* meets p+*, or the centre at s = 0.
    isolated = (params.eta_p > 0) | (field in (fields.parabola, fields.parabola_ema))
    folded = (kind == stability.LINE) & isolated
    return FixedPoints(
        y=y,
        jacobian=jacobians,
        eigenvalues=jax.vmap(stability.eigenvalues)(jacobians),
        kind=jnp.where(folded, stability.DEGENERATE, kind),
    )


def _of_plane(params):
    p = jnp.concatenate([jnp.zeros(1), decay_roots(params)])
    return Plane(p=p, s=_rest(p, params))


def _of_pair(params, data):
    p = jnp.concatenate([jnp.zeros(1), _roots(params, data)])
    w = jnp.sqrt(_rest(p, params))
    return Modes(p=p, w=w, wa=w)


def _of_modes(params):
    return _of_pair(params, _isotropic(params))


def _of_parabola(params):
    return jnp.concatenate([jnp.zeros(1), decay_roots(params)])


def _of_curriculum(params):
    """tau = 1 at p±*; at p = 0 the target trails the dying encoder: beta/(beta - eta)."""
    ahead = jnp.asarray(params.beta - params.eta_s)
    lag = jnp.where(ahead > 0, params.beta / jnp.where(ahead > 0, ahead, 1), jnp.nan)
    roots = _roots(params, _isotropic(params))
    return Curriculum(
        p=jnp.concatenate([jnp.zeros(1), roots]),
        tau=jnp.concatenate([lag[None], jnp.where(jnp.isnan(roots), jnp.nan, 1.0)]),
    )


def _isotropic(params):
    """With the target free to follow, which ends at tau = 1."""
    return Correlations(same=1 + params.sigma2, across=1.0)


def _rest(p, params):
    """s at which p rests too: eta_p p^2 / (alpha_p eta_s), the parabola if they agree."""
    ratio = jnp.where(
        params.eta_p == params.eta_s,
        1.0,
        params.eta_p / jnp.where(params.eta_s == 0, jnp.nan, params.eta_s),
    )
    return jnp.where(p == 0, 0.0, ratio * p**2 / params.alpha_p)


def _discriminant(params, data):
    square = data.across**2
    disc = square - 4 * data.same * params.eta_s
    noise = 4 * jnp.finfo(jnp.result_type(disc, float)).eps * square
    return jnp.where(jnp.abs(disc) > noise, disc, 0.0)


def _roots(params, data):
    """Of l_s p^2 - l_d p + eta_s, the lower through the product: no cancellation."""
    disc = _discriminant(params, data)
    root = jnp.sqrt(jnp.where(disc > 0, disc, 1.0)) * (disc != 0)
    high = (data.across + root) / (2 * data.same)
    low = 2 * params.eta_s / (data.across + root)
    return jnp.where(disc < 0, jnp.nan, jnp.stack([low, high]))


# The fields of one mode whose fixed points are known in closed form.
CLOSED = {
    fields.modes_fixed_tau: _of_plane,
    fields.modes: _of_modes,
    fields.parabola: _of_parabola,
    fields.parabola_ema: _of_curriculum,
}

"""Fixed points of the equations in `fields`, with Jacobians, eigenvalues and classes.

Read `fields` and `stability` first.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int

from lindyn.theory import fields, predictors, stability
from lindyn.theory.states import Correlations, Curriculum, Modes, Numbers, Params, Plane


class FixedPoints(eqx.Module):
    """The collapsed point, the edge p-* and the goal p+*, in this order.

    A fixed point that does not exist has the position NaN and the class `stability.NONE`.
    """

    y: Any  # states of the field, with a leading axis of points
    jacobian: Float[Array, "points n n"]
    eigenvalues: Complex[Array, "points n"]
    kind: Int[Array, " points"]  # an index into `stability.KINDS`

    @property
    def names(self) -> list[str]:
        return [stability.KINDS[kind] for kind in self.kind.tolist()]


def fixed_points(params: Params, field: Callable = fields.modes_fixed_tau) -> FixedPoints:
    """The fixed points of one mode of `field`, with Jacobian eigenvalues and classes.

    `field` is one of `modes_fixed_tau`, `modes`, `parabola` and `parabola_ema`. Without decay,
    p = p+* is a line of fixed points (any s). The third point is then the one where the
    parabola meets this line.

    Raises ValueError if there is no closed form for `field`.

    Example:

        >>> import lindyn as ld
        >>> points = ld.fixed_points(ld.Params(eta=0.04))
        >>> [round(float(p), 6) for p in points.y.p], points.names
        ([0.0, 0.041742, 0.958258], ['stable node', 'saddle', 'stable node'])
    """
    if field not in CLOSED:
        names = ", ".join(closed.__name__ for closed in CLOSED)
        raise ValueError(f"no closed form for {field.__name__}; there is one for {names}")
    return _at(field, CLOSED[field](params), params, params)


def pair_fixed_points(params: Params, data: Correlations) -> FixedPoints:
    """The fixed points of `fields.mode_pair` (derived).

    They are the collapsed point and the points with wa = w and p (l_d - l_s p) = eta_s.
    """
    return _at(fields.mode_pair, _of_pair(params, data), (params, data), params)


def directset_fixed_points(
    params: Params, a: Numbers = 0.5, eps: Numbers = 0.0, c: Numbers = 0.0
) -> FixedPoints:
    """The fixed points of `fields.predicted` with p(s) = max(s - c, 0)^a + eps (derived).

    They are s = 0, and s = (q - eps)^(1/a) + c for q = p-* and for q = p+*. The latter two
    exist where q > eps and s is positive.
    """
    rule = predictors.Power(a=a, eps=eps, c=c)
    roots = decay_roots(params)
    inner = rule.inverse(roots)
    s = jnp.where((roots > eps) & (inner > 0), inner, jnp.nan)
    rate = jax.vmap(jax.grad(lambda s: fields.predicted(0.0, s, (params, rule))))(s)
    at_zero = 2 * fields.growth(rule(jnp.zeros(())), params)  # s p'(s) vanishes at s = 0
    jacobians = jnp.concatenate([jnp.atleast_1d(at_zero), rate])[:, None, None]
    return FixedPoints(
        y=jnp.concatenate([jnp.zeros(1), s]),
        jacobian=jacobians,
        eigenvalues=jax.vmap(stability.eigenvalues)(jacobians),
        kind=jax.vmap(stability.classify)(jacobians),
    )


def decay_roots(params: Params) -> Float[Array, "2"]:
    """The nonzero fixed points p-* and p+* of (16): [tau -+ sqrt(tau^2 - 4 a eta_s)]/(2 a).

    p-* is the edge of the basin of collapse on the parabola. Both are NaN above the critical
    decay. In the (p, s) plane, the lines p = p-* and p = p+* are two branches of the nullcline
    ds/dt = 0 of (12), and the third branch is s = 0.

    Example:

        >>> import lindyn as ld
        >>> [round(float(p), 6) for p in ld.theory.decay_roots(ld.Params(eta=0.04))]
        [0.041742, 0.958258]
    """
    return _roots(params, Correlations(same=1 + params.sigma2, across=params.tau))


def _at(field, y, args, params):
    """Fixed points at the closed-form positions `y`, with Jacobians of `field` by autodiff."""
    structure = jax.tree.structure(y)
    vectors = jnp.stack(jnp.broadcast_arrays(*jax.tree.leaves(y)), axis=-1)

    def flat(vector):
        dy = field(0.0, jax.tree.unflatten(structure, list(vector)), args)
        return jnp.stack(jax.tree.leaves(dy))

    jacobians = jax.vmap(jax.jacfwd(flat))(vectors)
    kind = jax.vmap(stability.classify)(jacobians)
    # A line of fixed points exists only if eta_p = 0 and the field has s as a variable.
    # Elsewhere a single zero eigenvalue means a degenerate point: a fold, where p-* meets p+*,
    # or the point s = 0 at eta_s = 0.
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
    """tau = 1 at p-* and p+*. At p = 0 the target lags the decaying encoder: beta/(beta - eta).

    That lag is NaN for beta <= eta.
    """
    ahead = jnp.asarray(params.beta - params.eta_s)
    lag = jnp.where(ahead > 0, params.beta / jnp.where(ahead > 0, ahead, 1), jnp.nan)
    roots = _roots(params, _isotropic(params))
    return Curriculum(
        p=jnp.concatenate([jnp.zeros(1), roots]),
        tau=jnp.concatenate([lag[None], jnp.where(jnp.isnan(roots), jnp.nan, 1.0)]),
    )


def _isotropic(params):
    """Isotropic data with tau = 1, the ratio at which a moving target comes to rest."""
    return Correlations(same=1 + params.sigma2, across=1.0)


def _rest(p, params):
    """The s at which dp/dt = 0 as well: eta_p p^2/(alpha_p eta_s).

    This is the parabola s = p^2/alpha_p if eta_p = eta_s, which includes eta_p = eta_s = 0.
    """
    ratio = jnp.where(
        params.eta_p == params.eta_s,
        1.0,
        params.eta_p / jnp.where(params.eta_s == 0, jnp.nan, params.eta_s),
    )
    return jnp.where(p == 0, 0.0, ratio * p**2 / params.alpha_p)


def discriminant(params, data):
    """l_d^2 - 4 l_s eta_s, set to 0 where it is within rounding of 0."""
    square = data.across**2
    disc = square - 4 * data.same * params.eta_s
    noise = 4 * jnp.finfo(jnp.result_type(disc, float)).eps * square
    return jnp.where(jnp.abs(disc) > noise, disc, 0.0)


def _roots(params, data):
    """The roots of l_s p^2 - l_d p + eta_s; NaN where they are not real.

    The lower root comes from the product of the roots, which avoids cancellation.
    """
    disc = discriminant(params, data)
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

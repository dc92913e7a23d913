"""Closed-form results about the cosine loss; nothing here integrates `fields.cosine_modes`.

Read `fields` and `closed_forms` first.

Assume that the lengths of the outputs vary little, that the data are isotropic (a = 1 + sigma2)
and that Wa = W. Then the modes follow

    dp_j/dt = alpha_p kappa s_j (1 - p_j/m) - eta_p p_j
    ds_j/dt = 2 kappa p_j s_j (1 - p_j/m) - 2 eta_s s_j

where m = sum p^2 s/sum p s is the same for all modes, and kappa = 1/(N_q N_z). So each mode
behaves as a mode of the squared loss whose goal is m, and the other modes determine m. Without
weight decay, P = sum p^2, S = sum s and each c_j = s_j - p_j^2/alpha_p are conserved. An equal
decay of both networks shrinks these quantities by one common factor, and does not change which
modes survive. Everything in this module is derived.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lindyn.theory import closed_forms
from lindyn.theory.states import Numbers, Params


Weights = Float[Array, "*networks modes"]


def goal(p: Weights, s: Weights) -> Float[Array, "*networks"]:
    """m = sum p^2 s/sum p s. The sum S of all s_j is shared among the modes.

    Modes with 0 < p_j < m gain a larger part of S, and modes with p_j > m lose a part.

    Example:

        >>> import jax.numpy as jnp
        >>> import lindyn as ld
        >>> p, s = jnp.array([-0.5, 0.5, 0.9]), jnp.array([0.1, 0.3, 0.6])
        >>> round(float(ld.cosine.goal(p, s)), 6)
        0.915625
    """
    return jnp.sum(p**2 * s, axis=-1) / jnp.sum(p * s, axis=-1)


def survivors(
    p: Weights, s: Weights, alpha_p: Numbers
) -> tuple[Bool[Array, "*networks modes"], Float[Array, "*networks"]]:
    """The modes that survive for t -> infinity, and the limit m of p in all of these modes.

    `p` and `s` are the initial conditions. A mode can survive only if p_j > 0 or c_j > 0. In
    the limit s_j = m^2/alpha_p + c_j, and the sum over the k surviving modes is S. Hence
    m^2 = alpha_p (S - sum c_j)/k, where k is the largest number for which all s_j > 0.

    If no mode can survive, m is NaN and no mode is marked as a survivor. One mode then takes
    all of S at a negative p, and P, S and c do not determine which mode.

    Example:

        >>> import jax.numpy as jnp
        >>> import lindyn as ld
        >>> p, s = jnp.array([-0.5, 0.5, 0.9]), jnp.array([0.1, 0.3, 0.6])
        >>> survives, m = ld.cosine.survivors(p, s, 1.0)
        >>> survives.tolist(), round(float(m), 6)
        ([False, True, True], 0.761577)
    """
    c = s - p**2 / alpha_p
    may = (p > 0) | (c > 0)
    order = jnp.argsort(jnp.where(may, -c, jnp.inf), axis=-1)
    sorted_c = jnp.take_along_axis(c, order, axis=-1)
    count = jnp.arange(1, p.shape[-1] + 1)
    count = jnp.broadcast_to(count, p.shape)
    total = jnp.sum(s, axis=-1, keepdims=True)
    rest = (total - jnp.cumsum(sorted_c, axis=-1)) / count  # m^2/alpha_p
    fits = (rest > 0) & (rest + sorted_c > 0) & (count <= jnp.sum(may, -1, keepdims=True))
    k = jnp.max(jnp.where(fits, count, 0), axis=-1, keepdims=True)
    place = jnp.argsort(order, axis=-1)
    square = jnp.take_along_axis(rest, jnp.maximum(k - 1, 0), axis=-1)[..., 0]
    m = jnp.sqrt(jnp.where(k[..., 0] > 0, alpha_p * square, jnp.nan))
    return place < k, m


def edge(p: Weights, m: Numbers, alpha_p: Numbers) -> Array:
    """The largest s(0) from which one mode collapses while many other modes keep m constant.

    This is the edge of the squared loss, `closed_forms.basin_edge_without_decay`, for p* = m.
    """
    return closed_forms.basin_edge_without_decay(p, Params(alpha_p=alpha_p, tau=m))


def rival_edges(p: Numbers, count: Numbers, alpha_p: Numbers) -> tuple[Array, Array]:
    """Two curves s(p) in the plane of `fields.cosine_rival`, both from `edge` with m = 1.

    Up to the first curve the one mode collapses. Above the second curve all other modes
    collapse; this curve applies `edge` to each of the other modes.
    """
    p = jnp.asarray(p)
    others = jnp.sqrt((count - jnp.square(p)) / (count - 1))
    rest = (count - 1) * edge(others, 1.0, alpha_p)
    return edge(p, 1.0, alpha_p), count / alpha_p - rest


def speeds(P: Numbers, S: Numbers, params: Params) -> tuple[Numbers, Numbers]:
    """The rates at which p_j approaches m: first for Wa = W, then for a target at rest.

    The first rate is alpha_p/(a P), and the second is larger by 1/(a S). Smaller weights
    therefore change direction faster.
    """
    a = 1 + params.sigma2
    alone = params.alpha_p / (a * P)
    return alone, alone + 1 / (a * S)


def resting_scale(rate: Numbers, momentum: Numbers, params: Params) -> Numbers:
    """P = alpha_p rate/(2 (1 + momentum) a), below which this learning rate is unstable.

    Weight decay shrinks P until the learning rate equals `steps.largest_rate` at `speeds`. From
    then on, steps overshoot, and this keeps P from becoming smaller. The formula holds for SGD
    with heavy-ball momentum, Wa = W and no noise.
    """
    return params.alpha_p * rate / (2 * (1 + momentum) * (1 + params.sigma2))


def noise_angle(decay: Numbers, inputs: Numbers, batch: Numbers, sigma2: Numbers) -> Array:
    """The angle phi, in radians, between the prediction and a slowly moving target.

    Minibatch noise keeps this angle open:

        phi^2 = a sqrt(h eta n1 (1 - c^2)/(2 B)),   c = cos(phi)/a

    B is the batch size `batch`, and n1 is the number of inputs `inputs`. The argument `decay`
    is h eta, the fraction of the weights that weight decay removes in one step, whose time is
    h = lr/(1 - m). phi is at most pi/2.

    Reason: noise and decay hold the scale r of the weights where 2 h eta r^2 = h^2 G^2/r^2.
    Here G^2 = n1 (1 - c^2)/B is the noise of the gradient at r = 1. At that scale noise
    increases phi^2 by h G^2/r^4 per unit of time, and the gradient reduces phi^2 at the rate
    2/(a r^2). If steps overshoot as well, from lr eta of about 0.1 on, the angle is larger.
    """
    a = 1 + jnp.asarray(sigma2)

    def closer(_, phi):
        noise = inputs * (1 - (jnp.cos(phi) / a) ** 2) / batch
        return jnp.minimum(jnp.sqrt(a * jnp.sqrt(decay * noise / 2)), jnp.pi / 2)

    return jax.lax.fori_loop(0, 60, closer, jnp.zeros_like(decay * a))


def noisy_decay(inputs: Numbers, batch: Numbers, sigma2: Numbers) -> Numbers:
    """The h eta at which `noise_angle` is 60 degrees: 2 B (pi/3)^4/(n1 (a^2 - 1/4)).

    For a larger h eta the cosine of the angle is less than one half. B is `batch`, n1 `inputs`.
    """
    return 2 * batch * (jnp.pi / 3) ** 4 / (inputs * ((1 + sigma2) ** 2 - 0.25))

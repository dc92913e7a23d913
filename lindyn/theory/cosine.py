"""What can be said of the cosine loss without solving `fields.cosine_modes`.

Of outputs whose lengths vary little, isotropic data (a = 1 + sigma2) and Wa = W, modes move as
dp_j/dt = alpha_p kappa s_j (1 - p_j/m) - eta_p p_j and ds_j/dt = 2 kappa p_j s_j (1 - p_j/m)
- 2 eta_s s_j, with one m = sum p^2 s/sum p s for all of them and kappa = 1/(N_q N_z). So each
is a mode of the squared loss whose goal is m, and the others decide where that is. Without
decay P = sum p^2, S = sum s and each c_j = s_j - p_j^2/alpha_p are conserved; one decay of
both networks shrinks all of them alike, and changes no fate. All of it is derived.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lindyn.theory import closed_forms
from lindyn.theory.states import Numbers, Params


Weights = Float[Array, "*networks modes"]


def goal(p: Weights, s: Weights) -> Float[Array, "*networks"]:
    """m = sum p^2 s/sum p s: modes with 0 < p_j < m gain of the sum of s, those above lose."""
    return jnp.sum(p**2 * s, axis=-1) / jnp.sum(p * s, axis=-1)


def survivors(
    p: Weights, s: Weights, alpha_p: Numbers
) -> tuple[Bool[Array, "*networks modes"], Float[Array, "*networks"]]:
    """Which modes live from these starts without end, and the p = m that all of them come to.

    Those that may have p_j > 0 or c_j > 0. In the end s_j = m^2/alpha_p + c_j, whose sum over
    the k that live is S: m^2 = alpha_p (S - sum c_j)/k, with k as large as leaves all s_j > 0.
    If no mode may, m is NaN and none is named: one of them takes all of S at a p below 0, and
    P, S and c do not say which.
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
    """s(0) up to which one mode dies among many that keep m: the squared loss' with p* = m."""
    return closed_forms.basin_edge_without_decay(p, Params(alpha_p=alpha_p, tau=m))


def rival_edges(p: Numbers, count: Numbers, alpha_p: Numbers) -> tuple[Array, Array]:
    """In the plane of `fields.cosine_rival`: s up to which the mode dies, and all others above.

    `edge` for m = 1, of the mode, and of each of the others.
    """
    p = jnp.asarray(p)
    others = jnp.sqrt((count - jnp.square(p)) / (count - 1))
    rest = (count - 1) * edge(others, 1.0, alpha_p)
    return edge(p, 1.0, alpha_p), count / alpha_p - rest


def speeds(P: Numbers, S: Numbers, params: Params) -> tuple[Numbers, Numbers]:
    """Rates at which p_j comes to m, with Wa = W, and with a target that stands still.

    alpha_p/(a P), and 1/(a S) more: the smaller weights are, the faster they turn.
    """
    a = 1 + params.sigma2
    alone = params.alpha_p / (a * P)
    return alone, alone + 1 / (a * S)


def resting_scale(rate: Numbers, momentum: Numbers, params: Params) -> Numbers:
    """P = alpha_p rate/(2 (1 + momentum) a), below which steps of this size are unstable.

    Decay shrinks P until a step is as long as `steps.largest_rate` at `speeds`; from there on
    steps that overshoot hold it up, and not below. Of heavy ball, with Wa = W and no noise.
    """
    return params.alpha_p * rate / (2 * (1 + momentum) * (1 + params.sigma2))


def noise_angle(decay: Numbers, inputs: Numbers, batch: Numbers, sigma2: Numbers) -> Array:
    """phi, by which noise of batches of B turns the prediction from a target that moves slowly.

    phi^2 = a sqrt(h eta n1 (1 - c^2)/2B) with c = cos(phi)/a, and `decay` h eta the part of the
    weights that decay takes in the time h = lr/(1 - m) of a step. For noise and decay hold the
    scale r at 2 h eta r^2 = h^2 G^2/r^2, with the noise G^2 = n1 (1 - c^2)/B of the gradient at
    r = 1; and there noise turns by h G^2/r^4 a step what the gradient turns back at the rate
    2/(a r^2). Where steps overshoot as well, from lr eta of some 0.1 on, the angle is larger.
    """
    a = 1 + jnp.asarray(sigma2)

    def closer(_, phi):
        noise = inputs * (1 - (jnp.cos(phi) / a) ** 2) / batch
        return jnp.minimum(jnp.sqrt(a * jnp.sqrt(decay * noise / 2)), jnp.pi / 2)

    return jax.lax.fori_loop(0, 60, closer, jnp.zeros_like(decay * a))


def noisy_decay(inputs: Numbers, batch: Numbers, sigma2: Numbers) -> Numbers:
    """h eta from which on `noise_angle` is 60 degrees, and the agreement less than half.

    2 B (pi/3)^4/(n1 (a^2 - 1/4)).
    """
    return 2 * batch * (jnp.pi / 3) ** 4 / (inputs * ((1 + sigma2) ** 2 - 0.25))

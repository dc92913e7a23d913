"""The matrices of Theorems 1, 2 and 3.

Equation numbers are those of Tian, Chen and Ganguli, ICML 2021 (arXiv 2102.06810).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from lindyn.fields import Data, Params


def balance(
    W: Float[Array, "n2 n1"], Wp: Float[Array, "n2 n2"], params: Params
) -> Float[Array, "n2 n2"]:
    """W W^T - Wp^T Wp/alpha_p of Theorem 1, (5): with one eta it decays as e^(-2 eta t)."""
    return W @ W.T - Wp.T @ Wp / params.alpha_p


def curvature(
    Wp: Float[Array, "n2 n2"], data: Data, params: Params
) -> Float[Array, "n1n2 n1n2"]:
    """H of Theorem 2, (6): without stop-gradient d vec(W)/dt = -H vec(W).

    H = X' (x) (Wp^T Wp + I) + X (x) (Wp - I)^T (Wp - I) + eta_s I; vec stacks columns.
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
    """K of (9): dC/dt = -(C K + K C) for the commutator C = [F, Wp] under `moments`.

    K = a (alpha_p F/2 + Wp^2) - tau Wp + (eta_p/2 + eta_s) I. Theorem 3 (10): while its
    least eigenvalue stays above l0 > 0, |C| falls at least as fast as e^(-2 l0 t).
    """
    a, identity = 1 + params.sigma2, jnp.eye(len(F))
    return (
        a * (params.alpha_p / 2 * F + Wp @ Wp)
        - params.tau * Wp
        + (params.eta_p / 2 + params.eta_s) * identity
    )

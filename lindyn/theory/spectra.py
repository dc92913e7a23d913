"""What is measured on a predictor Wp and the correlation F of its input."""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lindyn.theory.precision import exact_products


CONSTANT = 1e-2  # part of the power that varies, below which outputs count as all the same
FLAT = 1e-4  # variance over the largest, below which a direction counts as lost


class SharedBasis(eqx.Module):
    """Eigenvectors u_j of F, the columns of U, by descending eigenvalue of F."""

    U: Float[Array, "d d"]
    s: Float[Array, " d"]  # eigenvalues of F
    p: Float[Array, " d"]  # u_j^T Wp u_j: eigenvalues of Wp as far as the basis is shared


@exact_products
def compose(U: Float[Array, "n d"], values: Float[Array, " d"]) -> Float[Array, "n n"]:
    """U diag(values) U^T: the matrix with these eigenvalues on the columns of U."""
    return (U * values[None]) @ U.T


@exact_products
def shared_basis(
    F: Float[Array, "d d"], Wp: Float[Array, "d d"], *, rtol: float | None = None
) -> SharedBasis:
    """The eigenbasis of F that comes closest to diagonalising Wp too.

    Eigenvalues of F within `rtol` times the largest of the next one share a subspace, as
    all zero ones do; inside it F chooses no basis, and that of (Wp + Wp^T)/2 is taken.
    The default rtol is 100 d times the rounding of the dtype. F and Wp that commute, F
    symmetric and Wp too, come out diagonal both.
    """
    d = len(F)
    if rtol is None:
        rtol = 100 * d * float(jnp.finfo(F.dtype).eps)
    s, U = jnp.linalg.eigh(F)
    s, U = s[::-1], U[:, ::-1]
    parts = jnp.cumsum(-jnp.diff(s, prepend=s[:1]) > rtol * jnp.max(jnp.abs(s)))
    rotated = U.T @ (Wp + Wp.T) @ U / 2
    within = jnp.where(parts[:, None] == parts[None, :], rotated, 0)
    # Shifts by more than Wp's spread keep the subspaces apart, and in F's order.
    spread = 4 * jnp.linalg.norm(within) + 1
    _, V = jnp.linalg.eigh(within - spread * jnp.diag(parts.astype(F.dtype)))
    U = U @ V[:, ::-1]
    return SharedBasis(U=U, s=jnp.sum(U * (F @ U), axis=0), p=jnp.sum(U * (Wp @ U), axis=0))


@exact_products
def alignment(basis: SharedBasis, Wp: Float[Array, "d d"]) -> Float[Array, " d"]:
    """The cosine between Wp u_j and u_j for each j (the paper's Fig. 2).

    1 or -1 where u_j is an eigenvector of Wp too; 1 where Wp u_j = 0.
    """
    length = jnp.linalg.norm(Wp @ basis.U, axis=0)
    return jnp.where(length > 0, basis.p / jnp.where(length > 0, length, 1), 1)


def asymmetry(Wp: Float[Array, "d d"]) -> Float[Array, ""]:
    """||Wp - Wp^T|| / ||Wp|| in the Frobenius norm; 0 for Wp = 0."""
    norm = jnp.linalg.norm(Wp)
    return jnp.linalg.norm(Wp - Wp.T) / jnp.where(norm > 0, norm, 1)


@exact_products
def commutator(F: Float[Array, "d d"], Wp: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """[F, Wp] = F Wp - Wp F; its norm is zero iff the two share an eigenbasis."""
    return F @ Wp - Wp @ F


def commutator_norm(F: Float[Array, "d d"], Wp: Float[Array, "d d"]) -> Float[Array, ""]:
    """The Frobenius norm of [F, Wp], in F's units times Wp's, as the paper plots it."""
    return jnp.linalg.norm(commutator(F, Wp))


def effective_rank(s: Float[Array, " d"]) -> Float[Array, ""]:
    """exp of the entropy of s_j / sum s: between 1 and d; 0 where all are zero.

    Roy and Vetterli, "The effective rank", EUSIPCO 2007. Negative s_j count as zero.
    """
    s = jnp.maximum(s, 0)
    total = jnp.sum(s)
    share = s / jnp.where(total > 0, total, 1)
    entropy = -jnp.sum(share * jnp.log(jnp.where(share > 0, share, 1)))
    return jnp.where(total > 0, jnp.exp(entropy), 0)


def participation_ratio(s: Float[Array, " d"]) -> Float[Array, ""]:
    """(sum s)^2 / sum s^2: between 1 and d; 0 where all are zero."""
    s = jnp.maximum(s, 0)
    peak = jnp.max(s)
    s = s / jnp.where(peak > 0, peak, 1)  # squares neither overflow nor vanish
    return jnp.where(peak > 0, jnp.sum(s) ** 2 / jnp.sum(s**2), 0)


class Verdict(eqx.Module):
    """Whether outputs have collapsed. The thresholds are ours: `CONSTANT` and `FLAT`."""

    kind: Literal["healthy", "dimensional collapse", "complete collapse"]
    rank: int  # directions with more than `FLAT` of the largest variance
    of: int  # as many as there could be
    varying: float  # tr Cov[f] / E|f|^2: 0 if all outputs are the same, 1 if their mean is 0

    def __str__(self):
        if self.kind == "complete collapse":
            return f"{self.kind}: {self.varying:.2g} of the outputs' power varies"
        return f"{self.kind}: rank {self.rank} of {self.of}"


def verdict(
    F: Float[Array, "d d"] | Float[np.ndarray, "d d"],
    mean: Float[Array, " d"] | Float[np.ndarray, " d"],
    samples: int,
) -> Verdict:
    """What F = E[f f^T] and E[f] of so many samples say.

    Complete collapse: less than `CONSTANT` of E|f|^2 varies. Dimensional collapse: it does in
    less than half of the min(d, samples - 1) directions in which it could. NaN is complete.
    """
    F, mean = np.asarray(F, float), np.asarray(mean, float)
    of = min(len(F), samples - 1)
    covariance, power = F - np.outer(mean, mean), np.trace(F)
    varying = float(np.trace(covariance) / power) if power > 0 else 0.0
    if not np.isfinite(varying) or varying < CONSTANT:
        return Verdict("complete collapse", 0, of, max(varying, 0.0))
    s = np.linalg.eigvalsh(covariance)
    rank = min(int(np.sum(s > FLAT * s[-1])), of)
    kind = "healthy" if 2 * rank >= of else "dimensional collapse"
    return Verdict(kind, rank, of, varying)

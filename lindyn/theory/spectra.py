"""Measurements on a predictor Wp and the correlation matrix F = E[f f^T] of its input f."""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lindyn.theory.precision import exact_products


CONSTANT = 1e-2  # outputs count as constant if a smaller fraction of their power varies
FLAT = 1e-4  # a direction counts as lost below this variance, relative to the largest


class SharedBasis(eqx.Module):
    """Eigenvectors u_j of F, the columns of U, in descending order of the eigenvalues of F."""

    U: Float[Array, "d d"]
    s: Float[Array, " d"]  # eigenvalues of F
    p: Float[Array, " d"]  # u_j^T Wp u_j, an eigenvalue of Wp if u_j is its eigenvector


@exact_products
def compose(U: Float[Array, "n d"], values: Float[Array, " d"]) -> Float[Array, "n n"]:
    """U diag(values) U^T, the matrix with eigenvectors U and these eigenvalues."""
    return (U * values[None]) @ U.T


@exact_products
def shared_basis(
    F: Float[Array, "d d"], Wp: Float[Array, "d d"], *, rtol: float | None = None
) -> SharedBasis:
    """The eigenbasis of F that comes closest to diagonalising Wp as well.

    Neighbouring eigenvalues of F that differ by at most `rtol` times the largest eigenvalue
    share a subspace; for example, all zero eigenvalues do. Inside such a subspace F determines
    no basis, and the eigenvectors of (Wp + Wp^T)/2 are used. The default rtol is 100 d times
    the machine epsilon of the dtype. If F and Wp are symmetric and commute, both are diagonal
    in this basis.

    Example:

        >>> import jax.numpy as jnp
        >>> import lindyn as ld
        >>> F, Wp = jnp.diag(jnp.array([0.1, 0.4])), jnp.diag(jnp.array([0.3, 0.6]))
        >>> [round(float(p), 6) for p in ld.spectra.shared_basis(F, Wp).p]
        [0.6, 0.3]
    """
    d = len(F)
    if rtol is None:
        rtol = 100 * d * float(jnp.finfo(F.dtype).eps)
    s, U = jnp.linalg.eigh(F)
    s, U = s[::-1], U[:, ::-1]
    parts = jnp.cumsum(-jnp.diff(s, prepend=s[:1]) > rtol * jnp.max(jnp.abs(s)))
    rotated = U.T @ (Wp + Wp.T) @ U / 2
    within = jnp.where(parts[:, None] == parts[None, :], rotated, 0)
    # A shift of each subspace by more than the spread of Wp keeps the subspaces separate and in
    # the order of F.
    spread = 4 * jnp.linalg.norm(within) + 1
    _, V = jnp.linalg.eigh(within - spread * jnp.diag(parts.astype(F.dtype)))
    U = U @ V[:, ::-1]
    return SharedBasis(U=U, s=jnp.sum(U * (F @ U), axis=0), p=jnp.sum(U * (Wp @ U), axis=0))


@exact_products
def alignment(basis: SharedBasis, Wp: Float[Array, "d d"]) -> Float[Array, " d"]:
    """The cosine of the angle between Wp u_j and u_j for each j (the paper's Fig. 2).

    It is 1 or -1 if u_j is an eigenvector of Wp as well, and 1 if Wp u_j = 0.
    """
    length = jnp.linalg.norm(Wp @ basis.U, axis=0)
    return jnp.where(length > 0, basis.p / jnp.where(length > 0, length, 1), 1)


def asymmetry(Wp: Float[Array, "d d"]) -> Float[Array, ""]:
    """||Wp - Wp^T||/||Wp|| in the Frobenius norm; 0 for Wp = 0."""
    norm = jnp.linalg.norm(Wp)
    return jnp.linalg.norm(Wp - Wp.T) / jnp.where(norm > 0, norm, 1)


@exact_products
def commutator(F: Float[Array, "d d"], Wp: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """[F, Wp] = F Wp - Wp F. Symmetric F and Wp share an eigenbasis iff this is zero."""
    return F @ Wp - Wp @ F


def commutator_norm(F: Float[Array, "d d"], Wp: Float[Array, "d d"]) -> Float[Array, ""]:
    """The Frobenius norm of [F, Wp], not normalised, as the paper plots it.

    Its unit is the unit of F times the unit of Wp.
    """
    return jnp.linalg.norm(commutator(F, Wp))


def effective_rank(s: Float[Array, " d"]) -> Float[Array, ""]:
    """exp(entropy of s_j/sum s), between 1 and d; 0 if all s_j are zero.

    Negative s_j count as zero. Source: Roy and Vetterli, "The effective rank", EUSIPCO 2007.

    Example:

        >>> import jax.numpy as jnp
        >>> import lindyn as ld
        >>> round(float(ld.spectra.effective_rank(jnp.array([1.0, 1.0, 0.0]))), 6)
        2.0
    """
    s = jnp.maximum(s, 0)
    total = jnp.sum(s)
    share = s / jnp.where(total > 0, total, 1)
    entropy = -jnp.sum(share * jnp.log(jnp.where(share > 0, share, 1)))
    return jnp.where(total > 0, jnp.exp(entropy), 0)


def participation_ratio(s: Float[Array, " d"]) -> Float[Array, ""]:
    """(sum s)^2/sum s^2, between 1 and d; 0 if all s_j are zero. Negative s_j count as zero."""
    s = jnp.maximum(s, 0)
    peak = jnp.max(s)
    s = s / jnp.where(peak > 0, peak, 1)  # so that squares neither overflow nor underflow
    return jnp.where(peak > 0, jnp.sum(s) ** 2 / jnp.sum(s**2), 0)


class Verdict(eqx.Module):
    """Whether the outputs of a network have collapsed, by the thresholds `CONSTANT` and `FLAT`.

    Both thresholds are choices of this package.
    """

    kind: Literal["healthy", "dimensional collapse", "complete collapse"]
    rank: int  # directions with more than `FLAT` of the largest variance
    of: int  # the largest rank that is possible
    varying: float  # tr Cov[f]/E|f|^2: 0 if all outputs are equal, 1 if their mean is 0

    def __str__(self):
        if self.kind == "complete collapse":
            return f"{self.kind}: {self.varying:.2g} of the outputs' power varies"
        return f"{self.kind}: rank {self.rank} of {self.of}"


def verdict(
    F: Float[Array, "d d"] | Float[np.ndarray, "d d"],
    mean: Float[Array, " d"] | Float[np.ndarray, " d"],
    samples: int,
) -> Verdict:
    """The verdict on collapse from F = E[f f^T] and `mean` = E[f] over `samples` samples.

    Complete collapse: the variance of f is less than `CONSTANT` of E|f|^2, or the input has
    NaN. Dimensional collapse: f varies in less than half of the min(d, samples - 1) possible
    directions. A direction counts if its variance is more than `FLAT` of the largest.

    Example:

        >>> import numpy as np
        >>> import lindyn as ld
        >>> F = np.diag([1.0, 0.5, 0.0, 0.0, 0.0, 0.0])
        >>> str(ld.spectra.verdict(F, np.zeros(6), samples=100))
        'dimensional collapse: rank 2 of 6'
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

"""Predictors in closed form: Wp computed from F = E[f f^T] instead of trained.

DirectPred is (18)-(19) of Tian, Chen and Ganguli, ICML 2021 (arXiv 2102.06810);
DirectSet and DirectCopy are from Wang, Chen, Du and Tian (arXiv 2110.04947).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from lindyn.theory.precision import exact_products
from lindyn.theory.spectra import compose


if TYPE_CHECKING:
    Number = Any  # a checker cannot see that floats and arrays share their operators
else:
    Number = Float[ArrayLike, ""] | int

FLOOR = 1e-4  # the least eigenvalue that the paper's code lets a predictor have


class Power(eqx.Module):
    """The rule p(s) = max(s - c, 0)^a + eps on eigenvalues; a = 1/2 is DirectPred."""

    a: Float[ArrayLike, "..."] | int = 0.5
    eps: Float[ArrayLike, "..."] | int = 0.0
    c: Float[ArrayLike, "..."] | int = 0.0

    def __call__(self, s: Float[ArrayLike, "..."]) -> Array:
        above = s - jnp.asarray(self.c)
        positive = above > 0  # keeps the slope at 0 finite
        return jnp.where(positive, jnp.where(positive, above, 1.0) ** self.a, 0) + self.eps

    def inverse(self, p: Float[ArrayLike, "..."]) -> Array:
        """s with p(s) = p: (p - eps)^(1/a) + c, for p > eps."""
        return jnp.maximum(p - jnp.asarray(self.eps), 0) ** (1 / self.a) + self.c


def directpred(
    F: Float[Array, "d d"],
    *,
    eps: Number = 0.1,
    c: Number = 0.0,
    normalisation: Literal["paper", "spectral"] = "spectral",
) -> Float[Array, "d d"]:
    """Wp with F's eigenvectors and p_j from F's eigenvalues s_j.

    "paper", (18): p_j = sqrt(max(s_j - c, 0)) + eps max_j s_j.
    "spectral", as the reported results: the same of s_j / max_j s_j, and at least 1e-4.
    The two differ in scale and in what eps and c are measured in.
    """
    rule = on_eigenvalues("directpred", eps=eps, c=c, normalisation=normalisation)
    return _on_spectrum(F, rule)


def directset(
    F: Float[Array, "d d"], *, a: Number, eps: Number = 0.1, c: Number = 0.0
) -> Float[Array, "d d"]:
    """Wp = F^a + eps I on F's spectrum over its largest eigenvalue, and at least 1e-4."""
    return _on_spectrum(F, on_eigenvalues("directset", a=a, eps=eps, c=c))


def directcopy(F: Float[Array, "d d"], *, eps: Number = 0.1) -> Float[Array, "d d"]:
    """Wp = F/||F|| + eps I in the Frobenius norm: DirectSet(1) without an eigenbasis."""
    norm = jnp.linalg.norm(F)
    return F / jnp.where(norm > 0, norm, 1) + eps * jnp.eye(len(F), dtype=F.dtype)


def of_moments(
    name: Literal["directpred", "directset", "directcopy", "optimal"],
    *,
    a: Number = 0.5,
    eps: Number = 0.1,
    c: Number = 0.0,
    normalisation: Literal["paper", "spectral"] = "spectral",
) -> Callable[[Float[Array, "d d"], Float[Array, "d d"]], Float[Array, "d d"]]:
    """The predictor of this name: Wp from E[f f^T] and, if optimal, from E[f_a f^T] too."""
    forms = {
        "directpred": lambda F, _: directpred(F, eps=eps, c=c, normalisation=normalisation),
        "directset": lambda F, _: directset(F, a=a, eps=eps, c=c),
        "directcopy": lambda F, _: directcopy(F, eps=eps),
        "optimal": least_squares,
    }
    return forms[name]


def on_eigenvalues(
    name: Literal["directpred", "directset", "directcopy"],
    *,
    a: Number = 0.5,
    eps: Number = 0.1,
    c: Number = 0.0,
    normalisation: Literal["paper", "spectral"] = "spectral",
) -> Callable[[Float[Array, " d"]], Float[Array, " d"]]:
    """What the predictor of this name makes of all eigenvalues s_j of F: its own, p_j."""
    if name == "directcopy":
        return lambda s: s / jnp.maximum(jnp.linalg.norm(s), jnp.finfo(s.dtype).tiny) + eps
    if name == "directpred" and normalisation == "paper":
        return lambda s: Power(a=0.5, eps=eps * jnp.max(s), c=c)(s)
    rule = Power(a=0.5 if name == "directpred" else a, eps=eps, c=c)
    return lambda s: jnp.maximum(rule(_shares(s)), FLOOR)


@exact_products
def least_squares(
    F: Float[Array, "d d"], cross: Float[Array, "d d"], *, rtol: float = 1e-5
) -> Float[Array, "d d"]:
    """Wp = E[f_a f^T] F^+, which minimises E|Wp f - f_a|^2 (the paper's Table 1).

    Eigenvalues of F below `rtol` times the largest count as zero.
    """
    return cross @ jnp.linalg.pinv(F, rtol=rtol, hermitian=True)


@exact_products
def correlation(
    first: Float[Array, "batch n"], second: Float[Array, "batch d"]
) -> Float[Array, "n d"]:
    """E[f g^T] over the rows f of `first` and g of `second`, not centred."""
    return first.T @ second / len(first)


def _on_spectrum(F, rule: Callable[[Array], Array]):
    s, U = jnp.linalg.eigh(F)
    return compose(U, rule(jnp.maximum(s, 0)))


def _shares(s):
    top = jnp.max(s)
    return s / jnp.where(top > 0, top, 1)

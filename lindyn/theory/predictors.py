"""Closed-form predictors: Wp is computed from F = E[f f^T] instead of trained.

Here f is the input of the predictor, and f_a is the output of the target network. DirectPred
is (18)-(19) of Tian, Chen and Ganguli, ICML 2021 (arXiv 2102.06810). DirectSet and DirectCopy
are from Wang, Chen, Du and Tian (arXiv 2110.04947).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from lindyn.theory.precision import exact_products
from lindyn.theory.spectra import compose


if TYPE_CHECKING:
    Number = Any  # a type checker cannot see that floats and arrays share operators
else:
    Number = Float[ArrayLike, ""] | int

FLOOR = 1e-4  # the smallest eigenvalue of a predictor that the paper's code allows


class Power(eqx.Module):
    """The rule p(s) = max(s - c, 0)^a + eps for eigenvalues. DirectPred has a = 1/2."""

    a: Float[ArrayLike, "..."] | int = 0.5
    eps: Float[ArrayLike, "..."] | int = 0.0
    c: Float[ArrayLike, "..."] | int = 0.0

    def __call__(self, s: Float[ArrayLike, "..."]) -> Array:
        above = s - jnp.asarray(self.c)
        positive = above > 0  # so that the derivative at s = c is finite
        return jnp.where(positive, jnp.where(positive, above, 1.0) ** self.a, 0) + self.eps

    def inverse(self, p: Float[ArrayLike, "..."]) -> Array:
        """The s at which p(s) = p: (p - eps)^(1/a) + c, for p > eps."""
        return jnp.maximum(p - jnp.asarray(self.eps), 0) ** (1 / self.a) + self.c


def directpred(
    F: Float[Array, "d d"],
    *,
    eps: Number = 0.1,
    c: Number = 0.0,
    normalisation: Literal["paper", "spectral"] = "spectral",
) -> Float[Array, "d d"]:
    """DirectPred: Wp has the eigenvectors of F, and each p_j follows from an eigenvalue s_j.

    - `normalisation="paper"`, (18): p_j = sqrt(max(s_j - c, 0)) + eps max_j s_j.
    - `normalisation="spectral"`, which the paper's reported results use: the same formula after
      all s_j are divided by max_j s_j; and each p_j is at least 1e-4.

    The two normalisations differ in the scale of Wp and in the units of eps and c.

    Example:

        >>> import jax.numpy as jnp
        >>> import lindyn as ld
        >>> Wp = ld.predictors.directpred(jnp.diag(jnp.array([4.0, 1.0])), eps=0.1)
        >>> [round(float(p), 6) for p in jnp.diag(Wp)]
        [1.1, 0.6]
    """
    rule = on_eigenvalues("directpred", eps=eps, c=c, normalisation=normalisation)
    return _on_spectrum(F, rule)


def directset(
    F: Float[Array, "d d"], *, a: Number, eps: Number = 0.1, c: Number = 0.0
) -> Float[Array, "d d"]:
    """DirectSet: Wp has the eigenvectors of F, and eigenvalues p_j = max(x_j - c, 0)^a + eps.

    Here x_j = s_j/max_j s_j are the eigenvalues of F divided by the largest one. Each p_j is at
    least 1e-4. At c = 0, Wp = (F/max_j s_j)^a + eps I.
    """
    return _on_spectrum(F, on_eigenvalues("directset", a=a, eps=eps, c=c))


def directcopy(F: Float[Array, "d d"], *, eps: Number = 0.1) -> Float[Array, "d d"]:
    """DirectCopy: Wp = F/||F|| + eps I, with the Frobenius norm.

    This is DirectSet with a = 1 and another normalisation of F; it needs no eigendecomposition.
    For F = 0 the result is eps I.
    """
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
    """The closed-form predictor `name` as a function of the moments E[f f^T] and E[f_a f^T].

    The function returns Wp. Only "optimal", which is `least_squares`, uses E[f_a f^T].
    """
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
    """The closed-form predictor `name` on eigenvalues: a function from all s_j to all p_j."""
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
    """The optimal predictor Wp = E[f_a f^T] F^+, which minimises E|Wp f - f_a|^2.

    `cross` is E[f_a f^T], and F^+ is the pseudoinverse. Eigenvalues of F below `rtol` times the
    largest eigenvalue count as zero. Source: the paper's Table 1.
    """
    return cross @ jnp.linalg.pinv(F, rtol=rtol, hermitian=True)


@exact_products
def correlation(
    first: Float[Array, "batch n"], second: Float[Array, "batch d"]
) -> Float[Array, "n d"]:
    """E[f g^T], not centred, over the rows f of `first` and the rows g of `second`."""
    return first.T @ second / len(first)


def _on_spectrum(F, rule: Callable[[Array], Array]):
    s, U = jnp.linalg.eigh(F)
    return compose(U, rule(jnp.maximum(s, 0)))


def _shares(s):
    top = jnp.max(s)
    return s / jnp.where(top > 0, top, 1)

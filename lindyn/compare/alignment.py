"""Theorem 3 on a run: the commutator [F, Wp], its bound, and the least eigenvalue of K."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lindyn.compare.run_moments import RunMoments
from lindyn.theory import spectra, theorems
from lindyn.theory.hyperparameters import Units, effective


class Alignment(NamedTuple):
    """Theorem 3: while K > 0 the commutator [F, Wp] falls, (9) and (10)."""

    cosine: Float[np.ndarray, "times d"]  # of Wp u_j and u_j, in each record's own basis
    commutator: Float[np.ndarray, " times"]  # |[F, Wp]|
    relative: Float[np.ndarray, " times"]  # over |F| |Wp|
    asymmetry: Float[np.ndarray, " times"]
    least: Float[np.ndarray, " times"]  # eigenvalue of K, in units of the learning rate
    bound: Float[np.ndarray, " times"]  # |C(0)| e^(-2 integral of it): (10) as a running one
    counts: tuple[int, int, int, int]  # K > 0 and falls, K > 0 and not, else falls, and not


def alignment(m: RunMoments, units: Units) -> Alignment:
    F, Wp = jnp.asarray(m.F), jnp.asarray(m.Wp)
    bases = jax.vmap(spectra.shared_basis)(F, Wp)
    norms = jax.vmap(spectra.commutator_norm)(F, Wp)
    commutator = np.asarray(norms)
    sizes = np.linalg.norm(m.F, axis=(1, 2)) * np.linalg.norm(m.Wp, axis=(1, 2))
    least = np.array([_least(m, units, i) for i in range(len(m.t))])
    steps = np.diff(m.t) * (least[1:] + least[:-1]) / 2
    bound = commutator[0] * np.exp(-2 * np.concatenate([[0.0], np.cumsum(steps)]))
    holds, falls = np.minimum(least[1:], least[:-1]) > 0, np.diff(commutator) < 0
    counts = [np.sum(a & b) for a in (holds, ~holds) for b in (falls, ~falls)]
    return Alignment(
        cosine=np.asarray(jax.vmap(spectra.alignment)(bases, Wp)),
        commutator=commutator,
        relative=commutator / np.where(sizes > 0, sizes, 1),
        asymmetry=np.asarray(jax.vmap(spectra.asymmetry)(Wp)),
        least=least,
        bound=bound,
        counts=(int(counts[0]), int(counts[1]), int(counts[2]), int(counts[3])),
    )


ROUNDING = 1e-6  # of |F| |Wp|: float32's, below which a commutator is none


def over_bound(found: Alignment) -> float:
    """The largest log |C| - log bound, of commutators above their rounding."""
    real = found.relative > ROUNDING
    return float(np.max(np.log(found.commutator[real] / found.bound[real]), initial=0.0))


def _least(m, units, index):
    """The least eigenvalue of K, with the parameters that hold at this record."""
    params, kappa = effective(units, m.scales(index), float(m.tau[index]))
    K = theorems.alignment_rate(jnp.asarray(m.F[index]), jnp.asarray(m.Wp[index]), params)
    symmetric = (K + K.T) / 2
    return kappa * float(np.linalg.eigvalsh(np.asarray(symmetric))[0])

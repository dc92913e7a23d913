"""Checks Theorem 3 on a run: the commutator [F, Wp], its bound, and the least eigenvalue of K.

Read `run_moments` first.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lindyn.compare.run_moments import RunMoments
from lindyn.theory import spectra, theorems
from lindyn.theory.hyperparameters import Units, effective


class Alignment(NamedTuple):
    """Theorem 3, (9) and (10): while K > 0, the commutator C = [F, Wp] falls."""

    cosine: Float[np.ndarray, "times d"]  # between Wp u_j and u_j, in each record's basis
    commutator: Float[np.ndarray, " times"]  # |C|
    relative: Float[np.ndarray, " times"]  # |C|/(|F| |Wp|)
    asymmetry: Float[np.ndarray, " times"]
    # The least eigenvalue of K, as a rate in units of the learning rate of the encoder.
    least: Float[np.ndarray, " times"]
    # |C(0)| e^(-2 x), with x the integral of `least` over time: (10) with a varying rate.
    bound: Float[np.ndarray, " times"]
    # Intervals between records: with K > 0, those in which |C| falls, and those in which it
    # does not; then the same two numbers for the other intervals.
    counts: tuple[int, int, int, int]


def alignment(m: RunMoments, units: Units) -> Alignment:
    """Check Theorem 3 at every record of a run."""
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


ROUNDING = 1e-6  # of |F| |Wp|: a smaller commutator is float32 rounding, and counts as zero


def over_bound(found: Alignment) -> float:
    """The largest log |C| - log bound, or 0 if |C| never exceeds its bound.

    Commutators that are rounding are left out.
    """
    real = found.relative > ROUNDING
    return float(np.max(np.log(found.commutator[real] / found.bound[real]), initial=0.0))


def _least(m, units, index):
    """The least eigenvalue of K at a record, with the effective parameters there."""
    params, kappa = effective(units, m.scales(index), float(m.tau[index]))
    K = theorems.alignment_rate(jnp.asarray(m.F[index]), jnp.asarray(m.Wp[index]), params)
    symmetric = (K + K.T) / 2
    return kappa * float(np.linalg.eigvalsh(np.asarray(symmetric))[0])

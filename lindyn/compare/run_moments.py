"""Converts the records of a run to the matrices and the time units of the theory."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from lindyn.record.reading import Run
from lindyn.theory.hyperparameters import Scales, Units


class RunMoments(NamedTuple):
    """The matrices of a run. All arrays have a leading axis of records."""

    t: Float[np.ndarray, " times"]  # in units of 1 / (learning rate of the encoder)
    F: Float[np.ndarray, "times d d"]  # W X W^T
    same: Float[np.ndarray, "times d d"]  # W (X + X') W^T
    cross: Float[np.ndarray, "times d d"]  # Wa X W^T
    Wp: Float[np.ndarray, "times d d"]
    weights: Float[np.ndarray, "times d d"]  # W W^T of the projector's last layer
    squares: Float[np.ndarray, "times d d"]  # Wp^T Wp
    power: Float[np.ndarray, " times"]  # E|f_a|^2
    first_squares: Float[np.ndarray, "times d d"]  # Wp^T Wp of a predictor's first layer
    steps: Float[np.ndarray, "times d d"] | None  # the balance, by `theorems.after_step`
    source: Float[np.ndarray, "times d d"] | None  # the part of `steps` not due to decay

    def at(self, index) -> "RunMoments":
        """The records at `index`."""
        return jax.tree.map(lambda x: x[index], self)

    @property
    def tau(self) -> np.ndarray:
        """The target ratio of the outputs: tr(Wa X W^T) / tr(W X W^T)."""
        return _trace(self.cross) / _trace(self.F)

    def scales(self, index: int) -> Scales:
        """The `Scales` of one record.

        l_d is that of the last layer, and sigma2 one value for all modes.
        """
        F, same, Wp, cross = (x[index] for x in (self.F, self.same, self.Wp, self.cross))
        predicted = np.trace(Wp @ same @ Wp.T)
        return Scales(
            across=float(np.trace(F) / np.trace(self.weights[index])),
            excess=float(np.trace(same) / np.trace(F) - 1),
            norms=float(np.sqrt(predicted * self.power[index])),
            pull=float(np.sum(Wp * cross) / predicted),
        )


def measured(run: Run, units: Units) -> RunMoments:
    """The matrices of a run, in float64.

    For a linear network on Gaussian data they are computed from W and the covariances of the
    data. Otherwise they are the estimates from a batch.
    """
    arrays = {name: np.asarray(x, float) for name, x in run.arrays.items()}
    F, same, cross, power = (arrays[name] for name in ("across", "F", "cross", "power"))
    if run.X is not None and run.X_aug is not None and "W" in arrays:
        W, Wa, both = arrays["W"], arrays["Wa"], run.X + run.X_aug
        turned = np.swapaxes(W, 1, 2)
        F, same, cross = W @ run.X @ turned, W @ both @ turned, Wa @ run.X @ turned
        power = _trace(Wa @ both @ np.swapaxes(Wa, 1, 2))
    return RunMoments(
        t=units.step * run.step.astype(float),
        F=F,
        same=same,
        cross=cross,
        Wp=arrays["Wp"],
        weights=arrays["balance_W"],
        squares=arrays["balance_Wp"],
        power=power,
        first_squares=arrays.get("balance_first", arrays["balance_Wp"]),
        steps=arrays.get("balance_steps"),
        source=arrays.get("balance_source"),
    )


def eigenvectors(F):
    """Eigenvectors of the symmetric part of F, in columns, the largest eigenvalue first."""
    return np.linalg.eigh((F + F.T) / 2)[1][:, ::-1]


def in_basis(
    U: Float[np.ndarray, "d modes"], matrices: Float[np.ndarray, "times d d"]
) -> Float[np.ndarray, "times modes"]:
    """u_j^T M u_j for each record and each column u_j of U."""
    return np.einsum("ij,tik,kj->tj", U, matrices, U)


def _trace(x):
    return np.trace(x, axis1=1, axis2=2)

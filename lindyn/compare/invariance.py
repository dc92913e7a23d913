"""Checks the invariance (14) on a run: s_j = p_j^2/alpha_p + c_j e^(-2 eta t).

Read `run_moments` first.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lindyn.compare.run_moments import RunMoments, eigenvectors, in_basis
from lindyn.theory.hyperparameters import Units


class Fit(NamedTuple):
    """A least-squares fit of s_j = a p_j^2 + c_j e^(-2 eta t), over modes and time."""

    a: float  # the slope
    error: float  # one standard deviation of a, by the jackknife over modes
    r2: float
    s: Float[np.ndarray, "times d"]
    p2: Float[np.ndarray, "times d"]
    fading: Float[np.ndarray, "times d"]  # c_j e^(-2 eta t)
    residual: Float[np.ndarray, "times d"]
    worst: tuple[int, int]  # record and mode of the largest residual


class Invariance(NamedTuple):
    """Fits of (14), s - p^2/alpha_p = c e^(-2 eta t), with s of features and of weights."""

    expected: float  # 1/alpha_p
    features: Fit  # s of W X W^T: (14) needs X = I, else a includes the variance of the input
    weights: Fit  # s of W W^T: (14) holds for any data and loss, by Theorem 1, (5)


def invariance(m: RunMoments, units: Units) -> Invariance:
    """Fit (14) to a run, in the eigenvectors of F at its last record.

    The run must have a trained predictor, the stop-gradient, and one decay for both networks.
    """
    U = eigenvectors(m.F[-1])
    p2 = in_basis(U, m.squares)
    fade = np.exp(-2 * units.eta_s * m.t)
    return Invariance(
        expected=1 / units.alpha_p,
        features=_fit(in_basis(U, m.F), p2, fade),
        weights=_fit(in_basis(U, m.weights), p2, fade),
    )


def _fit(s, p2, fade):
    """Fit a and c_j.

    The parts of s and p2 along `fade` in time are due to c_j; the rest gives a.
    """
    along = fade / np.sqrt(np.sum(fade**2))
    rest = lambda x: x - along[:, None] * (along @ x)[None]
    left_s, left_p2 = rest(s), rest(p2)
    products, squares = np.sum(left_s * left_p2, 0), np.sum(left_p2**2, 0)
    slope = lambda modes: np.sum(products[modes]) / np.sum(squares[modes])
    everything = np.ones(len(products), bool)
    a = slope(everything)
    without = np.array([slope(np.arange(len(products)) != j) for j in range(len(products))])
    error = np.sqrt((len(without) - 1) * np.mean((without - without.mean()) ** 2))
    residual = left_s - a * left_p2
    spread = np.sum((s - s.mean()) ** 2)
    worst = np.unravel_index(np.argmax(np.abs(residual)), residual.shape)
    return Fit(
        a=float(a),
        error=float(error),
        r2=float(1 - np.sum(residual**2) / spread),
        s=s,
        p2=p2,
        fading=along[:, None] * (along @ (s - a * p2))[None],
        residual=residual,
        worst=(int(worst[0]), int(worst[1])),
    )

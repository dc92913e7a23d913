"""The invariance (14): s_j = p_j^2/alpha_p + c_j e^(-2 eta t), fitted to a run."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lindyn.compare.run_moments import RunMoments, eigenvectors, in_basis
from lindyn.theory.hyperparameters import Units


class Fit(NamedTuple):
    """s_j = a p_j^2 + c_j e^(-2 eta t), by least squares over modes and time."""

    a: float
    error: float  # jackknife over modes: one standard deviation
    r2: float
    s: Float[np.ndarray, "times d"]
    p2: Float[np.ndarray, "times d"]
    fading: Float[np.ndarray, "times d"]  # c_j e^(-2 eta t)
    residual: Float[np.ndarray, "times d"]
    worst: tuple[int, int]  # record and mode of the largest residual


class Invariance(NamedTuple):
    """(14), s - p^2/alpha_p = c e^(-2 eta t), with s from the features and from the weights."""

    expected: float  # 1/alpha_p
    features: Fit  # holds for X = I: else a has the input's variance in it
    weights: Fit  # Theorem 1, (5): for any data and loss


def invariance(m: RunMoments, units: Units) -> Invariance:
    """Needs a trained predictor, the stop-gradient and one decay for both networks."""
    U = eigenvectors(m.F[-1])
    p2 = in_basis(U, m.squares)
    fade = np.exp(-2 * units.eta_s * m.t)
    return Invariance(
        expected=1 / units.alpha_p,
        features=_fit(in_basis(U, m.F), p2, fade),
        weights=_fit(in_basis(U, m.weights), p2, fade),
    )


def _fit(s, p2, fade):
    """The part of both along `fade` is c_j's; what is left gives a."""
    along = fade / np.sqrt(np.sum(fade**2))
    rest = lambda x: x - along[:, None] * (along @ x)[None]
    left_s, left_p2 = rest(s), rest(p2)
    products, squares = np.sum(left_s * left_p2, 0), np.sum(left_p2**2, 0)
    slope = lambda keep: np.sum(products[keep]) / np.sum(squares[keep])
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

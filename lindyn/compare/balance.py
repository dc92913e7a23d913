"""Checks Theorem 1 on a run: the balance W W^T - Wp^T Wp/alpha_p under flow and under steps.

Read `run_moments` first.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lindyn.compare.run_moments import RunMoments
from lindyn.theory.hyperparameters import Units


class Balance(NamedTuple):
    """Three laws for B = W W^T - Wp^T Wp/alpha_p, from a record at t = 0 on: Theorem 1, (5).

    The flow: dB/dt = -2 (eta_s W W^T - eta_p Wp^T Wp/alpha_p), so B = e^(-2 eta t) B(0) for one
    eta. Averaged over steps: the same law, and a source that the steps add. Exact for steps:
    `theorems.after_step`, here from the first step of the run on. All arrays are divided by
    |B(0)|.
    """

    norm: Float[np.ndarray, " times"]  # |B(t)|
    predicted: Float[np.ndarray, " times"]  # |B(t)| under the flow
    residual: Float[np.ndarray, " times"]  # |B(t) - B(t) under the flow|
    rate: float  # at which |B| decays from t = 0 on, by least squares in log |B|
    expected: float  # 2 eta; NaN if the two decays differ
    averaged: Float[np.ndarray, " times"] | None  # residual of the averaged law
    unexplained: Float[np.ndarray, " times"] | None  # residual of the exact law


def balance(m: RunMoments, units: Units, first: int = 0) -> Balance:
    """Compare the balance of a run with its laws. t = 0 is at the record `first`."""
    B = m.weights - m.first_squares / units.alpha_p
    t = m.t - m.t[first]
    size = lambda x: np.linalg.norm(x, axis=(1, 2))
    start = np.linalg.norm(B[first])
    flow, added = _flow(m, units, first)
    norm = size(B) / start
    later = slice(first, None)
    rate = -np.polyfit(t[later], np.log(norm[later]), 1)[0] if len(t) > first + 1 else np.nan
    return Balance(
        norm=norm,
        predicted=size(flow) / start,
        residual=size(B - flow) / start,
        rate=float(rate),
        expected=np.nan if units.eta is None else 2 * units.eta,
        averaged=None if added is None else size(B - flow - added) / start,
        unexplained=None if m.steps is None else size(B - m.steps) / start,
    )


def _flow(m, units, first):
    """B under the flow from record `first` on, and what the source adds to it.

    The second is None if the run has recorded no source.
    """
    t, weights, squares = m.t, m.weights, m.first_squares / units.alpha_p
    since = lambda steps: _since(first, steps)
    sources = None if m.source is None else np.diff(m.source, axis=0)
    start = weights[first] - squares[first]
    if units.eta is None:
        rate = -2 * (units.eta_s * weights - units.eta_p * squares)
        between = np.diff(t)[:, None, None] * (rate[1:] + rate[:-1]) / 2
        return start + since(between), None if sources is None else since(sources)
    fade = lambda t: np.exp(-2 * units.eta * t)[:, None, None]
    flow = fade(t - t[first]) * start
    if sources is None:
        return flow, None
    return flow, fade(t) * since(sources / fade((t[1:] + t[:-1]) / 2))


def _since(first, steps):
    """Cumulative sums of changes between records; the sum is zero at record `first`."""
    sums = np.concatenate([np.zeros_like(steps[:1]), np.cumsum(steps, axis=0)])
    return sums - sums[first]

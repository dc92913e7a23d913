"""What a run is asked that needs no solve: invariance, balance and alignment.

Numbers in parentheses are the equations of Tian, Chen and Ganguli, ICML 2021. All in the basis
of the last record, the columns of U: modes are u_j^T F u_j, and a law that holds for matrices
holds for those whatever turns on the way.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from lindyn.record.reading import Run
from lindyn.theory import spectra, theorems
from lindyn.theory.hyperparameters import Scales, Units, effective


class Measured(NamedTuple):
    """A run in the theory's terms, all with a leading axis of records."""

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
    source: Float[np.ndarray, "times d d"] | None  # the part of it that no decay is

    def at(self, index) -> "Measured":
        return jax.tree.map(lambda x: x[index], self)

    @property
    def tau(self) -> np.ndarray:
        """tr(Wa X W^T) / tr(W X W^T): the target's ratio, on outputs."""
        return _trace(self.cross) / _trace(self.F)

    def scales(self, index: int) -> Scales:
        """Those of one record: l_d from the last layer, sigma2 over all modes."""
        F, same, Wp, cross = (x[index] for x in (self.F, self.same, self.Wp, self.cross))
        predicted = np.trace(Wp @ same @ Wp.T)
        return Scales(
            across=float(np.trace(F) / np.trace(self.weights[index])),
            excess=float(np.trace(same) / np.trace(F) - 1),
            norms=float(np.sqrt(predicted * self.power[index])),
            pull=float(np.sum(Wp * cross) / predicted),
        )


def measured(run: Run, units: Units) -> Measured:
    """In float64. Of a linear network W itself says what a batch would only estimate."""
    arrays = {name: np.asarray(x, float) for name, x in run.arrays.items()}
    F, same, cross, power = (arrays[name] for name in ("across", "F", "cross", "power"))
    if run.X is not None and run.X_aug is not None and "W" in arrays:
        W, Wa, both = arrays["W"], arrays["Wa"], run.X + run.X_aug
        turned = np.swapaxes(W, 1, 2)
        F, same, cross = W @ run.X @ turned, W @ both @ turned, Wa @ run.X @ turned
        power = _trace(Wa @ both @ np.swapaxes(Wa, 1, 2))
    return Measured(
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


def invariance(m: Measured, units: Units) -> Invariance:
    """Needs a trained predictor, the stop-gradient and one decay for both networks."""
    U = _axes(m.F[-1])
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


class Balance(NamedTuple):
    """Theorem 1, (5), and what steps add: B = W W^T - Wp^T Wp/alpha_p, from a record on.

    Of the flow, dB/dt = -2 (eta_s W W^T - eta_p Wp^T Wp/alpha_p), or e^(-2 eta t) B(0) for one
    eta. Averaged over steps, the same and their source. Exact is `theorems.after_step`, here
    from the run's first step on. All are over |B(0)|.
    """

    norm: Float[np.ndarray, " times"]  # |B(t)|
    predicted: Float[np.ndarray, " times"]  # by the flow
    residual: Float[np.ndarray, " times"]  # |B(t) - what the flow makes of B(0)|
    rate: float  # of |B| from t = 0 on, by least squares in its logarithm
    expected: float  # 2 eta; NaN for decays that differ
    averaged: Float[np.ndarray, " times"] | None  # the averaged law's residual
    unexplained: Float[np.ndarray, " times"] | None  # and the exact one's


def balance(m: Measured, units: Units, first: int = 0) -> Balance:
    """With t = 0 at the record `first`."""
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
    """B by the flow from a record on, and what the source adds to that by then."""
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
    """Sums of what lies between records, from a record on."""
    sums = np.concatenate([np.zeros_like(steps[:1]), np.cumsum(steps, axis=0)])
    return sums - sums[first]


class Alignment(NamedTuple):
    """Theorem 3: while K > 0 the commutator [F, Wp] falls, (9) and (10)."""

    cosine: Float[np.ndarray, "times d"]  # of Wp u_j and u_j, in each record's own basis
    commutator: Float[np.ndarray, " times"]  # |[F, Wp]|
    relative: Float[np.ndarray, " times"]  # over |F| |Wp|
    asymmetry: Float[np.ndarray, " times"]
    least: Float[np.ndarray, " times"]  # eigenvalue of K, in units of the learning rate
    bound: Float[np.ndarray, " times"]  # |C(0)| e^(-2 integral of it): (10) as a running one
    counts: tuple[int, int, int, int]  # K > 0 and falls, K > 0 and not, else falls, and not


def alignment(m: Measured, units: Units) -> Alignment:
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


def _axes(F):
    return np.linalg.eigh((F + F.T) / 2)[1][:, ::-1]


def in_basis(
    U: Float[np.ndarray, "d modes"], matrices: Float[np.ndarray, "times d d"]
) -> Float[np.ndarray, "times modes"]:
    """u_j^T M u_j for each record."""
    return np.einsum("ij,tik,kj->tj", U, matrices, U)


def _trace(x):
    return np.trace(x, axis1=1, axis2=2)

"""Trains many small linear networks at once, with a trainer's optimiser and batch noise.

W and Wp are initialised as PyTorch's layers are. The optimiser takes steps of `fields.full`,
or for the cosine loss of `fields.cosine_sampled`, or of their SimSiam forms. The squared loss
of a batch depends on the batch only through its second moments. These are sampled from their
Wishart distribution, so that the weights have the distribution that training gives them. The
cosine loss needs the samples of a batch. A batch of more than `POINTS` samples is replaced by
`POINTS` samples with the same second moments; only moments of higher order are then noisier
than in training.
"""

from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from lindyn.theory import fields, predictors, spectra, steps
from lindyn.theory.states import Data, Full, Online, Params, Views
from lindyn.theory.steps import Optimiser, State


LARGEST = 1e100  # a network with a larger |weight| has diverged
BATCHES = 256  # batches sampled for each start; a longer run repeats them
POINTS = 128  # samples that replace a larger batch, with the cosine loss


class Shape(NamedTuple):
    """Static settings. Each combination of them compiles a program of its own."""

    dim: int  # d, outputs of W
    inputs: int  # n1
    cosine: bool
    moving: bool  # whether the target is an EMA; else Wa = W
    start: str  # initial target: independent, copy or zero
    both_directions: bool
    symmetric: bool  # Wp <- (Wp + Wp^T)/2 after each step
    predictor: str  # linear, none, or a closed form by its name in `predictors`
    normalisation: str  # for directpred: paper or spectral


class Hyperparameters(NamedTuple):
    """The numbers of one setting, or arrays with an axis of settings."""

    params: Params
    optimiser: Optimiser
    rule: dict[str, Any]  # a, eps, c and rho of a closed-form predictor


class Outcome(NamedTuple):
    """Networks after their last step. Leading axes are starts and settings."""

    s: Float[np.ndarray, "*networks d"]  # ascending eigenvalues of W W^T; NaN if it diverged
    s0: Float[np.ndarray, "*networks"]  # the largest eigenvalue of W W^T at the start
    agreement: Float[np.ndarray, "*networks"]
    """Correlation of prediction and target over all data, divided by its largest possible
    value 1/(1 + sigma2); NaN where one of the two is zero."""

    @property
    def diverged(self) -> Bool[np.ndarray, "*networks"]:
        """Whether a network has diverged."""
        return np.asarray(~np.isfinite(self.s).all(-1))

    def rank(self, cosine: bool) -> np.ndarray:
        """The number of modes whose s is above `spectra.FLAT` times a reference.

        With the cosine loss the scale of s is free, and the reference is the largest s. With
        the squared loss (1) all modes may have died, and the reference is the larger one of
        the largest s and the largest s at the start.
        """
        largest = self.s[..., -1] if cosine else np.maximum(self.s[..., -1], self.s0)
        return np.sum(self.s > spectra.FLAT * largest[..., None], axis=-1)


def train(
    shape: Shape,
    settings: Hyperparameters,
    count: int,
    *,
    batch: int,
    sigma2: float,
    starts: int = 8,
    seed: int = 0,
) -> Outcome:
    """Trains `starts` networks with each setting, for `count` steps.

    The leading axes of the outcome are (starts, settings), or (starts,) if all numbers in
    `settings` are scalars. All settings share the initial weights and the batches, which have
    `batch` examples each.
    """
    many = max(np.ndim(x) for x in jax.tree.leaves(settings)) > 0
    wide = jax.tree.map(lambda x: np.atleast_1d(np.asarray(x, float)), settings)
    size = max(len(x) for x in jax.tree.leaves(wide))
    wide = jax.tree.map(lambda x: np.broadcast_to(x, (size,)), wide)
    draws = [np.random.default_rng([seed, start]) for start in range(starts)]
    stacked = lambda trees: jax.tree.map(lambda *x: np.stack(x), *trees)
    y0 = stacked([_weights(rng, shape) for rng in draws])
    data = stacked([_batches(rng, shape, batch, sigma2) for rng in draws])
    y = jax.tree.map(np.asarray, _train(shape, y0, data, wide, count))
    bounded = (np.abs(y.W) < LARGEST).all((-2, -1), keepdims=True)
    s = np.where(bounded[..., 0], spectrum(np.where(bounded, y.W, 0)), np.nan)
    s0 = np.broadcast_to(spectrum(y0.W)[:, None, -1], s.shape[:2])
    outcome = Outcome(s, s0, agreement(y.W, y.Wp, y.Wa if shape.moving else y.W))
    return outcome if many else Outcome(*(x[:, 0] for x in outcome))


class Network(NamedTuple):
    """One network during training."""

    state: State
    F: Float[Array, "d d"]  # running average of E[f f^T], for a predictor in closed form
    cross: Float[Array, "d d"]  # running average of E[f_a f^T]


@partial(jax.jit, static_argnames="shape")
def _train(shape, y0, data, settings, count):
    networks = jax.vmap(jax.vmap(_start, (None, 0)), (0, None))(y0, settings)
    advance = jax.vmap(partial(_advance, shape), (0, None, 0, None))
    advance = jax.vmap(advance, (0, 0, None, None))

    def body(i, networks):
        batch = jax.tree.map(lambda x: x[:, i % BATCHES], data)
        return advance(networks, batch, settings, i)

    return jax.lax.fori_loop(0, count, body, networks).state.y


def _weights(rng, shape):
    """Initial weights, as of PyTorch's layers: uniform within 1/sqrt(number of inputs)."""
    d, n = shape.dim, shape.inputs
    draw = lambda *sizes: rng.uniform(-1, 1, sizes) / np.sqrt(sizes[1])
    W, Wp, other = (jnp.asarray(draw(*sizes)) for sizes in ((d, n), (d, d), (d, n)))
    if not shape.moving:
        return Online(W=W, Wp=Wp)
    return Full(W=W, Wp=Wp, Wa={"independent": other, "copy": W, "zero": 0 * W}[shape.start])


def _start(y0, setting):
    zeros = jnp.zeros_like(y0.Wp)
    return Network(steps.begin(y0, setting.optimiser), zeros, zeros)


def _batches(rng, shape, batch, sigma2):
    """X and X' as estimated by `BATCHES` batches, and for the cosine loss the samples."""
    columns = _columns(rng, shape, batch) / np.sqrt(batch)
    mean = np.sqrt((2 + sigma2) / 2) * columns[:, : shape.inputs]
    half = np.sqrt(sigma2 / 2) * columns[:, shape.inputs :]
    first, second = mean + half, mean - half
    views = [Views(online=jnp.asarray(first), target=jnp.asarray(second))]
    if shape.both_directions:
        views += [Views(online=jnp.asarray(second), target=jnp.asarray(first))]
    product = lambda x, y: jnp.asarray(x @ np.swapaxes(y, 1, 2))
    same, across = product(first, first), product(second, first)
    if shape.both_directions:
        same = (same + product(second, second)) / 2
        across = (across + product(first, second)) / 2
    return Data(X=across, X_aug=same - across), views if shape.cosine else None


def _columns(rng, shape, batch):
    """Matrices Z with 2 n1 rows, with Z Z^T as of B = `batch` standard normal columns.

    For the squared loss Z = L is lower triangular, with standard normal numbers below its
    diagonal, chi variables with B - i degrees of freedom on it, and zeros from column B on:
    L L^T has the distribution of Z Z^T (Bartlett). For the cosine loss Z has B columns, or if
    B > `POINTS`, `POINTS` columns that are transformed so that Z Z^T = L L^T.
    """
    n = shape.inputs
    if shape.cosine and batch <= POINTS:
        return rng.normal(size=(BATCHES, 2 * n, batch))
    freedom = np.maximum(batch - np.arange(2 * n), 0)
    root = np.tril(rng.normal(size=(BATCHES, 2 * n, 2 * n)), -1) * (freedom > 0)
    of_chi = np.sqrt(rng.chisquare(np.maximum(freedom, 1), size=(BATCHES, 2 * n)))
    root[:, range(2 * n), range(2 * n)] = of_chi * (freedom > 0)
    if not shape.cosine:
        return root
    points = rng.normal(size=(BATCHES, 2 * n, POINTS))
    white = np.linalg.solve(np.linalg.cholesky(points @ np.swapaxes(points, 1, 2)), points)
    return root @ white


def _advance(shape, network, batch, setting, index):
    """One step of one network. `index` is the number of earlier steps."""
    params, y, (data, views) = setting.params, network.state.y, batch
    args = params, views if shape.cosine else data
    state = steps.step(_field(shape), network.state, args, setting.optimiser)
    y1 = state.y
    if shape.symmetric:
        y1 = eqx.tree_at(lambda y: y.Wp, y1, (y1.Wp + y1.Wp.T) / 2)
    F, cross = network.F, network.cross
    if shape.predictor != "linear":
        Wa = y.Wa if shape.moving else y.W
        keep = jnp.where(index == 0, 0.0, setting.rule["rho"])
        F = keep * F + (1 - keep) * y.W @ (data.X + data.X_aug) @ y.W.T
        cross = keep * cross + (1 - keep) * Wa @ data.X @ y.W.T
        y1 = eqx.tree_at(lambda y: y.Wp, y1, _rule(shape, setting)(F, cross))
    return Network(State(y1, state.memory), F, cross)


def _rule(shape, setting):
    if shape.predictor == "none":
        return lambda F, cross: jnp.eye(shape.dim)
    numbers = {name: value for name, value in setting.rule.items() if name != "rho"}
    return predictors.of_moments(shape.predictor, normalisation=shape.normalisation, **numbers)


def _field(shape):
    if shape.moving:
        return fields.cosine_sampled if shape.cosine else fields.full
    return fields.cosine_sampled_simsiam if shape.cosine else fields.simsiam


def agreement(
    W: Float[np.ndarray, "*networks d n1"],
    Wp: Float[np.ndarray, "*networks d d"],
    Wa: Float[np.ndarray, "*networks d n1"],
) -> Float[np.ndarray, "*networks"]:
    """<Wp W, Wa>/(|Wp W| |Wa|), the field `agreement` of `Outcome`.

    NaN where the denominator is zero or not finite.
    """
    size = lambda x: np.linalg.norm(x, axis=(-2, -1))
    with np.errstate(all="ignore"):
        prediction = Wp @ W
        lengths = size(prediction) * size(Wa)
        cosine = np.sum(prediction * Wa, axis=(-2, -1)) / lengths
    return np.where(np.isfinite(lengths) & (lengths > 0), cosine, np.nan)


def spectrum(W: Float[np.ndarray, "*networks d n1"]) -> Float[np.ndarray, "*networks d"]:
    """Eigenvalues of W W^T, ascending."""
    return np.linalg.eigvalsh(W @ np.swapaxes(W, -1, -2))

"""Linear networks as a trainer would train them, many at once.

W and Wp start as PyTorch's layers do, and an optimiser steps down `fields.full`, or down
`fields.cosine_sampled`, or their SimSiam forms. The squared loss of a batch depends on its
second moments alone, which are drawn from their Wishart distribution: so weights have the law
that training gives them. A cosine needs the samples of a batch. A batch of more than `POINTS`
is replaced by so many samples with the same second moments: only moments of higher order are
then noisier than training has them.
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


LARGEST = 1e100  # weight, beyond which a network has diverged
BATCHES = 256  # that are drawn for each start, and then seen again
POINTS = 128  # samples that stand for a larger batch under a cosine


class Shape(NamedTuple):
    """What a program is compiled for."""

    dim: int  # d, outputs of W
    inputs: int  # n1
    cosine: bool
    moving: bool  # an EMA, else Wa = W
    start: str  # of the target: independent, copy, zero
    both_directions: bool
    symmetric: bool  # Wp <- (Wp + Wp^T)/2 after each step
    predictor: str  # linear, none, or a closed form by its name in `predictors`
    normalisation: str  # of directpred


class Hyperparameters(NamedTuple):
    """Numbers of one setting, or arrays of many."""

    params: Params
    optimiser: Optimiser
    rule: dict[str, Any]  # a, eps and c of a closed form, and its rho


class Outcome(NamedTuple):
    """Of networks after their last step; leading axes are starts and settings."""

    s: Float[np.ndarray, "*networks d"]  # eigenvalues of W W^T, rising; NaN if it diverged
    s0: Float[np.ndarray, "*networks"]  # the largest of them at the start
    agreement: Float[np.ndarray, "*networks"]
    """Correlation of prediction and target over all data, in parts of 1/(1 + sigma2); NaN
    where one of them is nothing."""

    @property
    def diverged(self) -> Bool[np.ndarray, "*networks"]:
        return np.asarray(~np.isfinite(self.s).all(-1))

    def rank(self, cosine: bool) -> np.ndarray:
        """Modes with more than `spectra.FLAT` of the largest s; for (1), of that at first too.

        A cosine leaves the scale free, and (1) does not: there all modes may have died.
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
    """`starts` networks after `count` steps of each setting; (starts, settings) or (starts,).

    All settings see the same starts and batches.
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
    fine = (np.abs(y.W) < LARGEST).all((-2, -1), keepdims=True)
    s = np.where(fine[..., 0], spectrum(np.where(fine, y.W, 0)), np.nan)
    s0 = np.broadcast_to(spectrum(y0.W)[:, None, -1], s.shape[:2])
    found = Outcome(s, s0, agreement(y.W, y.Wp, y.Wa if shape.moving else y.W))
    return found if many else Outcome(*(x[:, 0] for x in found))


class Network(NamedTuple):
    state: State
    F: Float[Array, "d d"]  # running estimates, for a predictor in closed form
    cross: Float[Array, "d d"]


@partial(jax.jit, static_argnames="shape")
def _train(shape, y0, data, settings, count):
    networks = jax.vmap(jax.vmap(_start, (None, 0)), (0, None))(y0, settings)
    advance = jax.vmap(partial(_advance, shape), (0, None, 0, None))
    advance = jax.vmap(advance, (0, 0, None, None))

    def body(i, networks):
        here = jax.tree.map(lambda x: x[:, i % BATCHES], data)
        return advance(networks, here, settings, i)

    return jax.lax.fori_loop(0, count, body, networks).state.y


def _weights(rng, shape):
    """As PyTorch's layers start: uniform within 1/sqrt(inputs)."""
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
    """X and X' as batches estimate them, and for a cosine their samples."""
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
    """Z of 2 n1 rows, with the Z Z^T that `batch` columns of standard normal numbers have.

    It is L L^T with L lower triangular, normal below its diagonal and chi with B - i degrees
    of freedom on it (Bartlett), or zero from column B on. `POINTS` columns are made to have it.
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
    """One step of one network; `index` is how many came before."""
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
    told = {name: value for name, value in setting.rule.items() if name != "rho"}
    return predictors.of_moments(shape.predictor, normalisation=shape.normalisation, **told)


def _field(shape):
    if shape.moving:
        return fields.cosine_sampled if shape.cosine else fields.full
    return fields.cosine_sampled_simsiam if shape.cosine else fields.simsiam


def agreement(
    W: Float[np.ndarray, "*networks d n1"],
    Wp: Float[np.ndarray, "*networks d d"],
    Wa: Float[np.ndarray, "*networks d n1"],
) -> Float[np.ndarray, "*networks"]:
    """<Wp W, Wa>/(|Wp W| |Wa|), as `Outcome` has it."""
    size = lambda x: np.linalg.norm(x, axis=(-2, -1))
    with np.errstate(all="ignore"):
        prediction = Wp @ W
        lengths = size(prediction) * size(Wa)
        found = np.sum(prediction * Wa, axis=(-2, -1)) / lengths
    return np.where(np.isfinite(lengths) & (lengths > 0), found, np.nan)


def spectrum(W: Float[np.ndarray, "*networks d n1"]) -> Float[np.ndarray, "*networks d"]:
    """Eigenvalues of W W^T, rising."""
    return np.linalg.eigvalsh(W @ np.swapaxes(W, -1, -2))

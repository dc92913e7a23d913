"""Evaluates features by nearest neighbours (kNN), and by the paper's linear protocol."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt8

from lindyn.train import augment


NEIGHBOURS, TEMPERATURE = 200, 0.1  # of Wu et al., CVPR 2018
RATE, DECAY, BATCH, EPOCHS = 3e-4, 1e-3, 128, 50  # the paper's linear protocol
PART = 500  # images per call of the device

Features = Float[np.ndarray, "images features"]
Labels = Int[np.ndarray, " images"]


class Judged(eqx.Module):
    """Features and labels of the same images."""

    features: Features
    labels: Labels


class Linear(eqx.Module):
    """Accuracies of a linear classifier on the test set. The paper reports the best of them."""

    last: float
    best: float
    curve: list[float]  # accuracy after each epoch


def features(
    encoder: Callable,
    state: eqx.nn.State,
    images: UInt8[np.ndarray, "images height width 3"],
    recipe: augment.Recipe,
) -> Features:
    """The encoder's features of images, without augmentation.

    The encoder is in inference mode: BatchNorm uses its running statistics.
    """
    encoder = eqx.nn.inference_mode(encoder)
    arrays, static = eqx.partition(encoder, eqx.is_array)
    computed = []
    for part in _parts(images):
        size = len(part)
        if size < min(PART, len(images)):  # padded, so that one program serves all parts
            part = np.concatenate([part, np.zeros((PART - size, *part.shape[1:]), part.dtype)])
        computed.append(np.asarray(_features(arrays, state, part, static, recipe))[:size])
    return np.concatenate(computed)


def pixels(images: UInt8[np.ndarray, "images height width 3"]) -> Features:
    """The pixels themselves as features, between 0 and 1: a baseline for a network."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def knn(train: Judged, test: Judged, *, k: int = NEIGHBOURS) -> float:
    """Accuracy on `test` of a vote by the k nearest images of `train`, by cosine similarity.

    Votes have the weight exp(cos/0.1): Wu et al., CVPR 2018 (arXiv 1805.01978).
    """
    near, others = _unit(test.features), _unit(train.features)
    k, right = min(k, len(others)), 0
    for part, true in zip(_parts(near), _parts(test.labels), strict=True):
        votes = _votes(part, others, train.labels, k, _classes(train, test))
        right += int(np.sum(np.asarray(votes).argmax(axis=1) == true))
    return right / len(near)


def linear(
    train: Judged,
    test: Judged,
    *,
    seed: int,
    epochs: int = EPOCHS,
    tell: Callable[[int], None] = lambda _: None,
) -> Linear:
    """Accuracies on `test` of a linear classifier of features, by the paper's protocol.

    Features are standardised on `train`. One linear layer is trained by Adam with learning
    rate 3e-4, a weight decay of 1e-3 in the gradient, and batches of 128, for 50 epochs.
    `tell` is called after each epoch with its index.
    """
    mean, spread = train.features.mean(axis=0), train.features.std(axis=0) + 1e-8
    inputs, test_inputs = [(part.features - mean) / spread for part in (train, test)]
    bound = 1 / math.sqrt(inputs.shape[1])
    keys = jr.split(jr.key(seed), 3)
    draw = partial(jr.uniform, minval=-bound, maxval=bound)
    classes = _classes(train, test)
    params = draw(keys[0], (classes, inputs.shape[1])), draw(keys[1], (classes,))
    opt = _adam().init(params)
    curve = []
    data = [jnp.asarray(x) for x in (inputs, train.labels, test_inputs, test.labels)]
    for epoch in range(epochs):
        key = jr.fold_in(keys[2], epoch)
        params, opt, accuracy = _epoch(params, opt, key, *data)
        curve.append(float(accuracy))
        tell(epoch)
    return Linear(curve[-1], max(curve), curve)


def _parts(x: np.ndarray) -> Iterator[np.ndarray]:
    return (x[i : i + PART] for i in range(0, len(x), PART))


@partial(jax.jit, static_argnums=(3, 4))
def _features(arrays, state, images, static, recipe):
    encoder: Any = eqx.combine(arrays, static)
    return encoder(augment.evaluation(images, recipe), state)[0]


@partial(jax.jit, static_argnums=(3, 4))
def _votes(test, train, labels, k, classes):
    near, which = jax.lax.top_k(test @ train.T, k)
    votes = jnp.exp((near - 1) / TEMPERATURE)[..., None]
    return jnp.sum(votes * jax.nn.one_hot(labels[which], classes), axis=1)


def _classes(train, test):
    return int(max(train.labels.max(), test.labels.max())) + 1


def _unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _adam():
    return optax.chain(optax.add_decayed_weights(DECAY), optax.adam(RATE))


@jax.jit
def _epoch(
    params: Any, opt: Any, key: Array, train, labels, test, truth
) -> tuple[Any, Any, Array]:
    logits = lambda params, x: x @ params[0].T + params[1][None]

    def loss(params, rows):
        each = optax.softmax_cross_entropy_with_integer_labels
        return jnp.mean(each(logits(params, train[rows]), labels[rows]))

    def advance(carry, rows):
        params, opt = carry
        updates, opt = _adam().update(jax.grad(loss)(params, rows), opt, params)
        return (optax.apply_updates(params, updates), opt), None

    batch = min(BATCH, len(train))
    steps = len(train) // batch
    order = jr.permutation(key, len(train))[: steps * batch].reshape(steps, batch)
    (params, opt), _ = jax.lax.scan(advance, (params, opt), order)
    right = jnp.argmax(logits(params, test), axis=1) == truth
    return params, opt, jnp.mean(right.astype(jnp.float32))

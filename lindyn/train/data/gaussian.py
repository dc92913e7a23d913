"""The data of the theory: vectors of covariance X, and views of covariance X' about them."""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from lindyn.command import UsageError
from lindyn.train.config import Config


class Covariances(NamedTuple):
    """Covariances X and X' of the data."""

    X: Float[np.ndarray, "n1 n1"]  # of a vector, which is the mean of its views
    X_aug: Float[np.ndarray, "n1 n1"]  # X', of a view about its vector


def covariances(config: Config) -> Covariances:
    """The covariances that `config` names. `UsageError` for a file without valid ones."""
    n1 = config.inputs
    if config.covariances == "isotropic":
        return Covariances(np.eye(n1), config.sigma2 * np.eye(n1))
    if config.covariances != "random":
        return _stored(pathlib.Path(config.covariances), n1)
    rng = np.random.default_rng([config.seed, 1])

    def one():
        axes, _ = np.linalg.qr(rng.normal(size=(n1, n1)))
        return (axes * rng.uniform(0.5, 1.5, n1)) @ axes.T

    return Covariances(one(), config.sigma2 * one())


def vectors(config: Config) -> Float[np.ndarray, "examples *views n1"]:
    """Random vectors with exactly the covariance X, or two fixed views of each vector.

    Over all vectors, each of the two views has exactly the covariance X + X', and the
    covariance between them is exactly X. `UsageError` if there are too few examples for that.
    """
    matrices, n1 = covariances(config), config.inputs
    parts = 3 if config.views == "fixed" else 1
    if config.examples < parts * n1:
        raise UsageError(
            f"--examples {config.examples}: must be at least {parts * n1}"
            f" for --inputs {n1} and --views {config.views}"
        )
    rng = np.random.default_rng([config.seed, 0])
    draws, _ = np.linalg.qr(rng.normal(size=(config.examples, parts * n1)))
    mean, *noise = np.split(draws * np.sqrt(config.examples), parts, axis=1)
    mean = mean @ _root(matrices.X)
    if config.views == "fresh":
        return mean
    return np.stack([mean + part @ _root(matrices.X_aug) for part in noise], axis=1)


def views(config: Config) -> tuple[Callable, Callable]:
    """The functions that make the two views of an example and a key.

    A fresh view is a vector with random noise of covariance X'. A fixed view is one of the two
    that the example has.
    """
    if config.views == "fixed":
        return tuple(lambda pair, key, i=i: pair[i] for i in (0, 1))  # pyright: ignore[reportReturnType]
    root = _root(covariances(config).X_aug)

    def view(x: Float[Array, " n1"], key: PRNGKeyArray) -> Array:
        return x + jnp.asarray(root, x.dtype) @ jr.normal(key, x.shape, x.dtype)

    return view, view


def _stored(path, n1):
    try:
        with np.load(path) as file:
            matrices = Covariances(*(np.asarray(file[name], float) for name in ("X", "X_aug")))
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
        raise UsageError(
            f"--covariances {path}: {reason}; give a file, isotropic or random"
        ) from None
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"--covariances {path}: not X and X_aug in an npz file ({error})"
        ) from None
    for name, matrix in matrices._asdict().items():
        if matrix.shape != (n1, n1):
            raise UsageError(f"{path}: {name} is {matrix.shape}, with --inputs {n1}")
        values = np.linalg.eigvalsh(matrix) if np.isfinite(matrix).all() else np.array([-1.0])
        if not np.allclose(matrix, matrix.T) or values[0] < -1e-9 * abs(values[-1]):
            raise UsageError(f"{path}: {name} is no covariance")
    return matrices


def _root(matrix):
    values, axes = np.linalg.eigh(matrix)
    return (axes * np.sqrt(np.maximum(values, 0))) @ axes.T

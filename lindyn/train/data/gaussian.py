"""Vectors with two given covariances, and views of them: the data that the theory has."""

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
    X: Float[np.ndarray, "n1 n1"]  # of a vector, the mean of its views
    X_aug: Float[np.ndarray, "n1 n1"]  # X', of a view about it


def covariances(config: Config) -> Covariances:
    """Those that the command asks for. `UsageError` for a file that has none."""
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
    """Random vectors with exactly the covariance X; of fixed views, two of each.

    Those have exactly X + X' each and X between them, over all vectors. `UsageError` for fewer
    examples than that needs.
    """
    given, n1 = covariances(config), config.inputs
    parts = 3 if config.views == "fixed" else 1
    if config.examples < parts * n1:
        raise UsageError(
            f"--examples {config.examples}: must be at least {parts * n1}"
            f" for --inputs {n1} and --views {config.views}"
        )
    rng = np.random.default_rng([config.seed, 0])
    draws, _ = np.linalg.qr(rng.normal(size=(config.examples, parts * n1)))
    mean, *noise = np.split(draws * np.sqrt(config.examples), parts, axis=1)
    mean = mean @ _root(given.X)
    if config.views == "fresh":
        return mean
    return np.stack([mean + each @ _root(given.X_aug) for each in noise], axis=1)


def views(config: Config) -> tuple[Callable, Callable]:
    """How the two views are made of a vector and a key, or taken of two."""
    if config.views == "fixed":
        return tuple(lambda pair, key, i=i: pair[i] for i in (0, 1))  # pyright: ignore[reportReturnType]
    root = _root(covariances(config).X_aug)

    def view(x: Float[Array, " n1"], key: PRNGKeyArray) -> Array:
        return x + jnp.asarray(root, x.dtype) @ jr.normal(key, x.shape, x.dtype)

    return view, view


def _stored(path, n1):
    try:
        with np.load(path) as file:
            found = Covariances(*(np.asarray(file[name], float) for name in ("X", "X_aug")))
    except OSError:
        raise UsageError(f"--covariances {path}: no such file, nor isotropic, random") from None
    except (ValueError, KeyError) as error:
        raise UsageError(f"--covariances {path}: not X and X_aug as npz ({error})") from None
    for name, matrix in found._asdict().items():
        if matrix.shape != (n1, n1):
            raise UsageError(f"{path}: {name} is {matrix.shape}, with --inputs {n1}")
        values = np.linalg.eigvalsh(matrix) if np.isfinite(matrix).all() else np.array([-1.0])
        if not np.allclose(matrix, matrix.T) or values[0] < -1e-9 * abs(values[-1]):
            raise UsageError(f"{path}: {name} is no covariance")
    return found


def _root(matrix):
    values, axes = np.linalg.eigh(matrix)
    return (axes * np.sqrt(np.maximum(values, 0))) @ axes.T

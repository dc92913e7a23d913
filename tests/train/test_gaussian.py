"""Tests of the data of linear networks: they have the requested covariances."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from lindyn.command import UsageError
from lindyn.train.config import Config
from lindyn.train.data import gaussian


CONFIG = Config(data="gaussian", model="linear", inputs=5, examples=64, sigma2=0.4)


def of(**changes):
    return Config(**{**vars(CONFIG), **changes})


@pytest.mark.parametrize("covariances", ("isotropic", "random"))
def test_fixed_views_have_exactly_the_covariances(covariances):
    config = of(covariances=covariances, views="fixed")
    given = gaussian.covariances(config)
    first, second = np.moveaxis(gaussian.vectors(config), 1, 0)
    for view in (first, second):
        assert np.allclose(view.T @ view / 64, given.X + given.X_aug, atol=1e-12)
    assert np.allclose(first.T @ second / 64, given.X, atol=1e-12)
    assert np.trace(given.X_aug) == pytest.approx(0.4 * 5, rel=0.5)


def test_fresh_views_add_noise_of_the_covariance():
    config = of(covariances="random")
    given, vectors = gaussian.covariances(config), gaussian.vectors(config)
    assert np.allclose(vectors.T @ vectors / 64, given.X, atol=1e-12)
    view, _ = gaussian.views(config)
    keys = jr.split(jr.key(0), 20_000)
    with jax.enable_x64(True):
        many = np.asarray(jax.vmap(lambda key: view(jnp.asarray(vectors[0]), key))(keys))
    about = many - vectors[0]
    assert np.allclose(about.T @ about / len(keys), given.X_aug, atol=0.03)


def test_given_covariances_are_read(tmp_path):
    file, X = tmp_path / "X.npz", np.diag(np.arange(1.0, 6.0))
    np.savez(file, X=X, X_aug=0.5 * np.eye(5))
    found = gaussian.covariances(of(covariances=str(file)))
    assert np.array_equal(found.X, X) and found.X_aug[0, 0] == 0.5


@pytest.mark.parametrize(
    "arrays, said",
    (
        (dict(X=np.eye(5)), "not X and X_aug"),
        (dict(X=np.eye(4), X_aug=np.eye(4)), r"X is \(4, 4\), with --inputs 5"),
        (dict(X=-np.eye(5), X_aug=np.eye(5)), "X is no covariance"),
        (dict(X=np.eye(5), X_aug=np.triu(np.ones((5, 5)))), "X_aug is no covariance"),
        (dict(X=np.full((5, 5), np.nan), X_aug=np.eye(5)), "X is no covariance"),
    ),
)
def test_what_is_no_covariance_is_refused(arrays, said, tmp_path):
    np.savez(tmp_path / "X.npz", **arrays)
    with pytest.raises(UsageError, match=said):
        gaussian.covariances(of(covariances=str(tmp_path / "X.npz")))


def test_fewer_examples_than_moments_are_refused():
    with pytest.raises(UsageError, match="must be at least 15"):
        gaussian.vectors(of(views="fixed", examples=14))

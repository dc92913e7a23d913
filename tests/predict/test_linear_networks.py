"""Tests of linear networks on batches: the sampled batches, and that settings do not mix."""

from typing import Any

import jax
import numpy as np
import pytest

from lindyn.predict import linear_networks
from lindyn.predict.linear_networks import Hyperparameters, Outcome, Shape
from lindyn.theory.states import Params
from lindyn.theory.steps import SGD, Adam


SHAPE = Shape(
    dim=3,
    inputs=4,
    cosine=False,
    moving=True,
    start="independent",
    both_directions=True,
    symmetric=False,
    predictor="linear",
    normalisation="spectral",
)
RULE = dict(a=0.5, eps=0.1, c=0.0, rho=0.3)


def setting(rate=0.1, optimiser: Any = SGD):
    return Hyperparameters(
        Params(alpha_p=2.0, beta=0.05, eta=0.01, sigma2=0.3), optimiser(rate), RULE
    )


@pytest.mark.parametrize("cosine", (False, True))
@pytest.mark.parametrize("both", (True, False))
@pytest.mark.parametrize("batch", (3, 40, 200))
def test_batches_have_the_moments_of_normal_views(batch, both, cosine):
    """Mean and variance of X and of X + X' agree with those of as many batches of vectors."""
    sigma2, rng = 0.5, np.random.default_rng(1)
    shape = SHAPE._replace(both_directions=both, cosine=cosine)
    drawn = [
        linear_networks._batches(np.random.default_rng(i), shape, batch, sigma2)[0]
        for i in range(12)
    ]
    across = np.concatenate([x.X for x in drawn])
    same = across + np.concatenate([x.X_aug for x in drawn])
    x = rng.normal(size=(len(across), batch, 4))
    views = [x + np.sqrt(sigma2) * rng.normal(size=x.shape) for _ in range(2)]
    product = lambda a, b: np.einsum("tbi,tbj->tij", a, b) / batch
    first, second = product(views[0], views[0]), product(views[1], views[1])
    other = product(views[1], views[0])
    if both:
        first, other = (first + second) / 2, (other + np.swapaxes(other, 1, 2)) / 2
    for mine, theirs in ((same, first), (across, other)):
        noise = theirs.std(0) / np.sqrt(len(theirs))
        assert np.all(np.abs(mine.mean(0) - theirs.mean(0)) < 6 * noise)
        assert np.allclose(mine.std(0), theirs.std(0), rtol=0.1)


@pytest.mark.parametrize("batch", (40, 500))
def test_samples_of_a_batch_have_its_moments(batch):
    """Fewer samples stand for a large batch, with the Wishart moments of the whole batch."""
    rng = np.random.default_rng(2)
    data, views = linear_networks._batches(rng, SHAPE._replace(cosine=True), batch, 0.5)
    assert views is not None and len(views) == 2
    assert views[0].online.shape[-1] == min(batch, linear_networks.POINTS)
    product = lambda x, y: np.einsum("tib,tjb->tij", x, y)
    mean = lambda *x: np.mean(x, axis=0)
    same = mean(*(product(x.online, x.online) for x in views))
    across = mean(*(product(x.target, x.online) for x in views))
    assert np.allclose(same, data.X + data.X_aug) and np.allclose(across, data.X)


@pytest.mark.parametrize(
    "changes",
    (
        {},
        dict(cosine=True, moving=False, symmetric=True, both_directions=False),
        dict(cosine=True, predictor="directcopy", start="copy"),
        dict(predictor="optimal", start="zero"),
        dict(predictor="none"),
    ),
    ids=str,
)
def test_many_settings_are_each_alone(changes):
    shape, rates = SHAPE._replace(**changes), (0.02, 0.1)
    how: Any = dict(batch=16, sigma2=0.3, starts=2)
    each = [linear_networks.train(shape, setting(rate), 30, **how) for rate in rates]
    together = jax.tree.map(lambda *x: np.array(x), *map(setting, rates))
    found = linear_networks.train(shape, together, 30, **how)
    assert found.s.shape == (2, 2, 3) and each[0].s.shape == (2, 3)
    for i, alone in enumerate(each):
        for mine, theirs in zip(found, alone, strict=True):
            assert np.allclose(mine[:, i], theirs, rtol=1e-9)


def test_a_network_that_is_kept_symmetric_under_adam_stays_finite():
    told = linear_networks.train(
        SHAPE._replace(symmetric=True), setting(optimiser=Adam), 20, batch=64, sigma2=0.3
    )
    assert np.all(np.abs(told.agreement) <= 1) and not told.diverged.any()


def test_what_grows_beyond_all_bounds_has_diverged():
    told = linear_networks.train(SHAPE, setting(rate=5.0), 300, batch=64, sigma2=0.3, starts=4)
    assert told.diverged.all() and np.isnan(told.s).all()


def test_a_rank_is_relative_to_the_largest_and_for_one_loss_to_the_start():
    s = np.array([[1e-9, 1e-7, 1e-4], [0.1, 0.2, 1.0]])
    found = Outcome(s, np.array([1.1, 1.0]), np.ones(2))
    assert list(found.rank(cosine=True)) == [2, 3]
    assert list(found.rank(cosine=False)) == [0, 3]


def test_agreement_is_one_where_prediction_is_target():
    W = np.random.default_rng(0).normal(size=(3, 4))
    assert np.isclose(linear_networks.agreement(W, 2 * np.eye(3), W), 1)
    assert np.isclose(linear_networks.agreement(W, -np.eye(3), W), -1)
    assert np.isnan(linear_networks.agreement(0 * W, np.eye(3), W))

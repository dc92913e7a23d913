"""Tests of evaluation: nearest neighbours, the linear protocol, and the verdict on collapse."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from lindyn.theory import spectra
from lindyn.train import evaluate
from lindyn.train.evaluate import Judged


def clouds(key, spread, count=300):
    """Features of three classes, scattered around three directions."""
    noise, which = jr.split(key)
    labels = np.asarray(jr.randint(which, (count,), 0, 3), np.int32)
    noise = spread * np.asarray(jr.normal(noise, (count, 5)))
    return Judged((np.eye(3, 5)[labels] + noise).astype(np.float32), labels)


def test_neighbours_find_classes_that_are_apart_and_guess_where_there_are_none(key):
    near, far = jr.split(key)
    assert evaluate.knn(clouds(near, 0.05), clouds(far, 0.05), k=20) == 1
    train, test = clouds(near, 100.0), clouds(far, 100.0)
    assert 0.2 < evaluate.knn(train, test, k=20) < 0.5


def test_neighbours_vote_as_they_do_one_by_one(key):
    keys = jr.split(key)
    train, test = clouds(keys[0], 0.7), clouds(keys[1], 0.7)
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    right = 0
    for x, label in zip(unit(test.features), test.labels, strict=True):
        cos = unit(train.features) @ x
        near = np.argsort(-cos)[:15]
        votes = [np.exp(cos[near] / 0.1)[train.labels[near] == c].sum() for c in range(3)]
        right += int(np.argmax(votes) == label)
    assert evaluate.knn(train, test, k=15) == right / len(test.labels)


def test_the_linear_protocol_separates_what_a_line_can_and_names_last_and_best(key):
    keys, told = jr.split(key), []
    train, test = clouds(keys[0], 0.1, 5000), clouds(keys[1], 0.1)
    found = evaluate.linear(train, test, seed=0, epochs=30, tell=told.append)
    assert found.last > 0.95 and told == list(range(30))
    assert found.best == max(found.curve) and found.last == found.curve[-1]


@pytest.mark.parametrize(
    "spread, kind, rank",
    (
        (np.ones(8), "healthy", 8),
        (np.array([1.0, 1, 1, 0.1, 0.1, 0, 0, 0]), "healthy", 5),
        (np.array([1.0, 1, 1e-3, 1e-3, 1e-3, 0, 0, 0]), "dimensional collapse", 2),
    ),
)
def test_the_verdict_counts_the_directions_that_vary(key, spread, kind, rank):
    x = np.asarray(jr.normal(key, (400, 8))) * spread[None] + 0.5
    found = spectra.verdict(x.T @ x / len(x), x.mean(axis=0), len(x))
    assert (found.kind, found.rank, found.of) == (kind, rank, 8)
    assert f"rank {rank} of 8" in str(found)


def test_outputs_that_are_all_the_same_have_collapsed_whatever_their_size(key):
    for scale in (1e-6, 1.0, 1e6):
        x = scale * (np.ones((50, 4)) + 1e-3 * np.asarray(jr.normal(key, (50, 4))))
        found = spectra.verdict(x.T @ x / 50, x.mean(axis=0), 50)
        assert found.kind == "complete collapse" and 0 < found.varying < 1e-5
    for F in (np.zeros((4, 4)), np.full((4, 4), np.nan)):
        assert spectra.verdict(F, np.zeros(4), 50).kind == "complete collapse"


def test_few_samples_are_not_taken_for_a_collapse(key):
    x = np.asarray(jr.normal(key, (5, 64)))
    found = spectra.verdict(x.T @ x / 5, x.mean(axis=0), 5)
    assert (found.kind, found.rank, found.of) == ("healthy", 4, 4)


def test_features_do_not_depend_on_how_images_are_dealt_out(key):
    import equinox as eqx

    from lindyn.train import augment, resnet

    make = eqx.nn.make_with_state(resnet.ResNet)
    encoder, state = make(10, "cifar", 2, key=key)
    images = np.asarray(jr.randint(key, (evaluate.PART + 3, 8, 8, 3), 0, 256), np.uint8)
    found = evaluate.features(encoder, state, images, augment.DIGITS)
    few = evaluate.features(encoder, state, images[-3:], augment.DIGITS)
    assert found.shape == (len(images), 16)
    assert jnp.allclose(found[-3:], few, atol=1e-5)
    assert jax.tree.leaves(state)  # the state can still be used

"""Tests of benchmarks/referee.py: predictions agree with trained networks.

The settings with the smallest seeds are those of the README.
"""

import importlib.util
import pathlib

import pytest


FILE = pathlib.Path(__file__).parents[2] / "benchmarks" / "referee.py"
SLOW = tuple(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, *range(4, 13)))


@pytest.fixture(scope="module")
def referee():
    spec = importlib.util.spec_from_file_location("referee", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", (0, 3, *SLOW))
def test_what_is_predicted_comes_true(seed, referee):
    told = referee.drawn(seed)
    guess = referee.predicted(told)
    seen = referee.observed(told, seed, guess["memory"])
    assert referee.right(guess, seen), (guess, seen)


@pytest.mark.parametrize(
    "changes",
    (
        dict(lr=0.3, wd=3.0, momentum=0.0, batch=16, inputs=32, steps=3200),
        pytest.param(dict(wd=4.0, batch=8, inputs=32, steps=3200), marks=pytest.mark.slow),
    ),
)
def test_noise_rules_where_it_is_said_to(changes, referee):
    """The decay is so strong that the weights remember only a few batches.

    No random setting of the script is like this.
    """
    told = {**referee.FIXED, **changes}
    guess = referee.predicted(told)
    seen = referee.observed(told, 5, guess["memory"])
    assert guess["kind"] == seen["kind"] == "is ruled by noise"


def test_readmes_example_does_not_collapse_and_its_squared_loss_does(referee):
    cosine, squared = (referee.predicted(referee.drawn(seed))["kind"] for seed in (0, 2))
    assert cosine == "does not collapse" and squared == "collapses"


def test_a_draw_is_the_same_each_time(referee):
    assert referee.drawn(17) == referee.drawn(17) != referee.drawn(18)


def test_the_table_tells_misses_and_unsafe_words(referee):
    told = dict(lr=0.01)
    fine = dict(kind="does not collapse", ranks=(7, 8), diverges_from_lr=1.0)
    entries = [
        dict(seed=0, told=told, predicted=fine, observed=dict(kind="loses modes", rank=6)),
        dict(seed=1, told=told, predicted=fine, observed=dict(kind="diverges", rank=None)),
    ]
    for each in entries:
        each["right"] = referee.right(each["predicted"], each["observed"])
    shown = referee.table(entries)
    assert [each["right"] for each in entries] == [True, False]
    assert "1 of 2 right" in shown and "names: [1]" in shown and "miss 1: " in shown

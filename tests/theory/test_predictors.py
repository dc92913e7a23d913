"""Tests of closed-form predictors: they change only the eigenvalues of F."""

import jax
import jax.numpy as jnp
import jax.random as jr
import pytest

from lindyn.theory import predictors, spectra


@pytest.fixture
def F(key):
    root = jr.normal(key, (5, 4))  # rank 4 of 5
    return root @ root.T


RULES = {
    "paper": lambda F: predictors.directpred(F, eps=0.1, normalisation="paper"),
    "spectral": lambda F: predictors.directpred(F, eps=0.1),
    "directset": lambda F: predictors.directset(F, a=0.25),
    "directcopy": predictors.directcopy,
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_predictor_shares_the_eigenvectors_of_f(rule, F):
    Wp = rule(F)
    assert spectra.commutator_norm(F, Wp) < 1e-12 * jnp.linalg.norm(F) * jnp.linalg.norm(Wp)
    assert spectra.asymmetry(Wp) < 1e-12
    assert jnp.all(jnp.linalg.eigvalsh(Wp) > 0)


def test_eigenvalues_of_both_normalisations(F):
    s = jnp.maximum(jnp.linalg.eigvalsh(F), 0)
    paper = predictors.directpred(F, eps=0.2, normalisation="paper")
    spectral = predictors.directpred(F, eps=0.2)
    assert jnp.allclose(jnp.linalg.eigvalsh(paper), jnp.sqrt(s) + 0.2 * s[-1], atol=1e-7)
    assert jnp.allclose(jnp.linalg.eigvalsh(spectral), jnp.sqrt(s / s[-1]) + 0.2, atol=1e-7)


def test_the_normalisations_agree_up_to_scale_once_eps_is_in_the_same_unit(F):
    top = jnp.linalg.eigvalsh(F)[-1]
    paper = predictors.directpred(F, eps=float(0.2 / jnp.sqrt(top)), normalisation="paper")
    spectral = predictors.directpred(F, eps=0.2)
    assert jnp.allclose(paper / jnp.sqrt(top), spectral, atol=1e-7)


def test_directset_has_directpred_and_directcopy_as_cases(F):
    assert jnp.allclose(predictors.directset(F, a=0.5), predictors.directpred(F))
    top, norm = jnp.linalg.eigvalsh(F)[-1], jnp.linalg.norm(F)
    copied = predictors.directcopy(F, eps=0.0) * norm / top
    # The tolerance allows for `predictors.FLOOR`.
    assert jnp.allclose(predictors.directset(F, a=1.0, eps=0.0), copied, atol=2e-4)


def test_c_removes_small_modes_and_the_floor_holds(F):
    values = jnp.linalg.eigvalsh(predictors.directpred(F, eps=0.0, c=0.5))
    assert jnp.isclose(values[0], predictors.FLOOR) and values[-1] < 1


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_collapsed_f_gives_a_finite_predictor(rule):
    assert jnp.all(jnp.isfinite(rule(jnp.zeros((3, 3)))))


def test_power_and_its_inverse():
    rule = predictors.Power(a=0.25, eps=0.1, c=0.02)
    s = jnp.array([0.03, 0.5, 2.0])
    assert jnp.allclose(rule.inverse(rule(s)), s, rtol=1e-12)
    assert rule(0.01) == 0.1
    assert jnp.isfinite(jax.grad(rule)(0.0))


def test_the_least_squares_predictor_leaves_a_residual_that_no_feature_explains(key):
    features, targets = jr.normal(key, (2, 50, 4))
    F = predictors.correlation(features, features)
    Wp = predictors.least_squares(F, predictors.correlation(targets, features))
    residual = targets - features @ Wp.T
    assert jnp.allclose(residual.T @ features, 0, atol=1e-9)


def test_the_least_squares_predictor_of_features_of_lower_rank_is_the_smallest(key):
    features = jr.normal(key, (50, 2)) @ jnp.eye(2, 4)
    targets = features @ jnp.diag(jnp.arange(4.0))
    F = predictors.correlation(features, features)
    Wp = predictors.least_squares(F, predictors.correlation(targets, features))
    assert jnp.allclose(Wp, jnp.diag(jnp.array([0.0, 1, 0, 0])), atol=1e-9)

"""Tests of measures on (F, Wp), also for degenerate and zero eigenvalues."""

import jax.numpy as jnp
import jax.random as jr
import pytest

from lindyn.theory import spectra


def orthogonal(key, d):
    return jnp.linalg.qr(jr.normal(key, (d, d)))[0]


@pytest.mark.parametrize(
    "s",
    ([4.0, 3.0, 2.0, 1.0], [2.0, 2.0, 2.0, 1.0], [3.0, 1.0, 0.0, 0.0], [0.0] * 4, [1.0] * 4),
    ids=("simple", "triple", "null space", "zero", "identity"),
)
def test_a_shared_basis_is_found(s, key):
    """F and Wp that commute are diagonal in the basis, also where F is degenerate."""
    U, s, p = orthogonal(key, 4), jnp.array(s), jnp.array([0.3, -0.7, 1.1, 0.2])
    F, Wp = spectra.compose(U, s), spectra.compose(U, p)
    basis = spectra.shared_basis(F, Wp)
    assert jnp.allclose(basis.U.T @ basis.U, jnp.eye(4), atol=1e-12)
    assert jnp.allclose(spectra.compose(basis.U, basis.s), F, atol=1e-12)
    assert jnp.allclose(spectra.compose(basis.U, basis.p), Wp, atol=1e-12)
    assert jnp.all(jnp.diff(basis.s) <= 1e-12)
    assert jnp.allclose(jnp.abs(spectra.alignment(basis, Wp)), 1, atol=1e-12)


def test_an_eigenvalue_of_wp_across_subspaces_does_not_mix_them(key):
    U, s, p = (
        orthogonal(key, 4),
        jnp.array([2.0, 2.0, 1.0, 1.0]),
        jnp.array([0.5, 0.1, 0.5, 0.1]),
    )
    basis = spectra.shared_basis(spectra.compose(U, s), spectra.compose(U, p))
    assert jnp.allclose(basis.s, s, atol=1e-12)


def test_alignment_of_a_turned_predictor_is_its_cosine():
    F, angle = jnp.diag(jnp.array([2.0, 1.0])), 0.3
    c, s = jnp.cos(angle), jnp.sin(angle)
    turn = jnp.array([[c, -s], [s, c]])
    assert jnp.allclose(spectra.alignment(spectra.shared_basis(F, turn), turn), c)


def test_alignment_where_the_predictor_is_zero_or_negative():
    F, Wp = jnp.diag(jnp.array([3.0, 2.0, 1.0])), jnp.diag(jnp.array([0.5, 0.0, -0.5]))
    found = spectra.alignment(spectra.shared_basis(F, Wp), Wp)
    assert jnp.allclose(found, jnp.array([1.0, 1.0, -1.0]))


def test_asymmetry():
    assert spectra.asymmetry(jnp.array([[1.0, 2.0], [2.0, 5.0]])) == 0
    assert spectra.asymmetry(jnp.zeros((2, 2))) == 0
    assert jnp.allclose(spectra.asymmetry(jnp.array([[0.0, 1.0], [-1.0, 0.0]])), 2)


def test_the_commutator_vanishes_only_together_with_the_angle(key):
    U, V = orthogonal(key, 5), orthogonal(jr.fold_in(key, 1), 5)
    s, p = jnp.arange(5.0), jnp.array([0.2, 0.9, 0.1, 0.4, 0.7])
    F = spectra.compose(U, s)
    assert spectra.commutator_norm(F, spectra.compose(U, p)) < 1e-13
    assert spectra.commutator_norm(F, spectra.compose(V, p)) > 0.1
    C = spectra.commutator(F, spectra.compose(V, p))
    assert jnp.allclose(C, -C.T)


@pytest.mark.parametrize("measure", (spectra.effective_rank, spectra.participation_ratio))
@pytest.mark.parametrize("scale", (1e-200, 1.0, 1e200))
def test_ranks_of_flat_spectra(measure, scale):
    for rank in range(6):
        s = scale * jnp.array([1.0] * rank + [0.0] * (5 - rank))
        assert jnp.allclose(measure(s), rank, rtol=1e-12)


def test_ranks_lie_between_one_and_d_and_agree_with_their_definitions():
    s = jnp.array([4.0, 2.0, 1.0, 1.0])
    share = s / 8
    assert jnp.allclose(spectra.effective_rank(s), jnp.exp(-jnp.sum(share * jnp.log(share))))
    assert jnp.allclose(spectra.participation_ratio(s), 64 / 22)
    assert spectra.effective_rank(jnp.array([1.0, -1e-9])) == 1  # below 0 by rounding

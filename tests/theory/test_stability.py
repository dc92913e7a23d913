"""Tests of eigenvalues and classes of Jacobians, mostly of degenerate ones."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from lindyn.theory import stability


TABLE = (
    ([[0, 0], [0, 0]], "degenerate"),
    ([[0, 1], [0, 0]], "degenerate"),  # nilpotent: two zero eigenvalues, one eigenvector
    ([[2, -4], [1, -2]], "degenerate"),  # the matrix above in another basis
    ([[-1, 0], [0, 0]], "line of fixed points"),
    ([[3, 0], [0, 0]], "line of fixed points"),
    ([[1, 2], [2, 4]], "line of fixed points"),
    ([[0, 0.7], [0, -0.1]], "line of fixed points"),
    ([[-1, 0], [0, -2]], "stable node"),
    ([[-1, 0], [0, -1]], "stable node"),  # star
    ([[-1, 1], [0, -1]], "stable node"),  # improper
    ([[-1e-9, 1], [0, -2e-9]], "stable node"),  # weakly stable, with a large entry
    ([[-1, 2], [-2, -1]], "stable focus"),
    ([[1, 0], [0, 3]], "unstable node"),
    ([[1, 2], [-2, 1]], "unstable focus"),
    ([[1, 0], [0, -1]], "saddle"),
    ([[0, 1], [1, 0]], "saddle"),
    ([[1e-9, 1], [0, -1]], "saddle"),
    ([[0, 1], [-1, 0]], "centre"),
    ([[3, -5], [2, -3]], "centre"),
    ([[float("nan"), 0], [0, 1]], "none"),
)


@pytest.mark.parametrize("matrix, kind", TABLE, ids=[f"{m}-{k}" for m, k in TABLE])
def test_classes_of_two_by_two_matrices(matrix, kind):
    jacobian = jnp.array(matrix, float)
    assert stability.KINDS[stability.classify(jacobian)] == kind


@pytest.mark.parametrize("scale", (1e-200, 1e-8, 1e8, 1e150))
def test_the_class_does_not_depend_on_the_unit_of_time(scale):
    for matrix, kind in TABLE[1:]:
        jacobian = scale * jnp.array(matrix, float)
        assert stability.KINDS[stability.classify(jacobian)] == kind


def test_the_class_survives_a_change_of_basis(key):
    """Rounding in S J S^-1 must not give a sign to an eigenvalue that is exactly zero."""
    for i, (matrix, kind) in enumerate(TABLE[3:-1]):
        if "1e-09" in str(matrix) or kind == "stable node" and matrix[0][0] == matrix[1][1]:
            continue  # rounding destroys a weak or a repeated eigenvalue
        S = jnp.eye(2) + 0.5 * jr.uniform(jr.fold_in(key, i), (2, 2))
        jacobian = S @ jnp.array(matrix, float) @ jnp.linalg.inv(S)
        assert stability.KINDS[stability.classify(jacobian)] == kind


@pytest.mark.parametrize("n", (1, 2, 3, 5))
def test_eigenvalues_agree_with_lapack(n, key):
    for matrix in jr.normal(key, (20, n, n)):
        expected = np.linalg.eigvals(np.asarray(matrix))
        found = np.asarray(stability.eigenvalues(matrix))
        assert np.all(np.diff(np.real(found)) <= 1e-12)
        assert np.allclose(np.sort_complex(found), np.sort_complex(expected), atol=1e-12)


def test_the_small_eigenvalue_keeps_its_digits():
    found = stability.eigenvalues(jnp.array([[-1.0, 1.0], [0.0, -1e-13]]))
    assert jnp.allclose(found.real, jnp.array([-1e-13, -1.0]), rtol=1e-12, atol=0)


def test_three_dimensions():
    kinds = {
        "stable node": [-1, -2, -3],
        "saddle": [1, -2, -3],
        "line of fixed points": [0, -2, -3],
        "degenerate": [0, 0, -3],
        "unstable node": [1, 2, 3],
    }
    for kind, values in kinds.items():
        assert stability.KINDS[stability.classify(jnp.diag(jnp.array(values, float)))] == kind


def test_eigenvalues_are_differentiable():
    def high(a):
        return stability.eigenvalues(jnp.array([[a, 1.0], [1.0, -a]]))[0].real

    assert jnp.allclose(jax.grad(high)(0.3), 0.3 / jnp.sqrt(1.09), rtol=1e-12)

"""What a claim is: a statement with a residual on a random problem, and its tolerance."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from lindyn.theory.states import Data
from lindyn.verify.random_problems import Problem


RTOL = 1e-11  # asked of the solver


@dataclasses.dataclass(frozen=True)
class Claim:
    name: str
    statement: str
    source: str
    tolerance: float
    residual: Callable[[Problem], Array]


CLAIMS: list[Claim] = []


def claim(statement: str, source: str, tolerance: float):
    def register(residual: Callable[[Problem], Array]):
        name = residual.__name__.replace("_", "-")
        CLAIMS.append(Claim(name, statement, source, tolerance, residual))
        return residual

    return register


def apart(measured, expected):
    """The largest difference of the leaves, each in the Frobenius norm and relative."""
    gap = lambda x, y: jnp.linalg.norm(jnp.ravel(x - y)) / jnp.linalg.norm(jnp.ravel(y))
    return jnp.max(jnp.stack(jax.tree.leaves(jax.tree.map(gap, measured, expected))))


def with_decay(params, eta=None, **changes):
    """`params` with one decay for both, or with the named leaves."""
    if eta is not None:
        changes = {"eta_p": eta, "eta_s": eta} | changes
    return dataclasses.replace(params, **changes)


def aligned(problem):
    """A random basis, and eigenvalues p of both signs and s in it."""
    keys, size = jr.split(problem.key, 3), len(problem.y.Wp)
    U = jnp.linalg.qr(jr.normal(keys[0], (size, size)))[0]
    p = jr.uniform(keys[1], (size,), minval=-0.5, maxval=1.2)
    return U, p, jr.uniform(keys[2], (size,), minval=0.05, maxval=1.2)


def isotropic(problem):
    identity = jnp.eye(len(problem.data.X))
    return Data(X=identity, X_aug=problem.params.sigma2 * identity)


def excess(matrices, ts, rate):
    """How far log |M(t)| rises above log |M(0)| - rate t."""
    size = jnp.log(jnp.linalg.norm(matrices, axis=(1, 2)))
    return jnp.max(size - size[0] + rate * ts)

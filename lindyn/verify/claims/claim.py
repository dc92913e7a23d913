"""The class of a claim, the decorator that registers claims, and helpers of several claims."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from lindyn.theory.states import Data
from lindyn.verify.random_problems import Problem


RTOL = 1e-11  # relative tolerance of the solver


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement of the theory, with a residual that is computed on a random problem."""

    name: str
    statement: str
    source: str  # equation of the paper, "derived", or another publication
    tolerance: float  # the claim holds if the residual is at most this
    residual: Callable[[Problem], Array]


CLAIMS: list[Claim] = []


def claim(statement: str, source: str, tolerance: float):
    """A decorator that adds a claim to `CLAIMS`; the decorated function is the residual.

    The claim's name is the function's name, with hyphens in place of underscores.
    """

    def register(residual: Callable[[Problem], Array]):
        name = residual.__name__.replace("_", "-")
        CLAIMS.append(Claim(name, statement, source, tolerance, residual))
        return residual

    return register


def apart(measured, expected):
    """The largest |measured - expected| / |expected| of the leaves, in the Frobenius norm."""
    gap = lambda x, y: jnp.linalg.norm(jnp.ravel(x - y)) / jnp.linalg.norm(jnp.ravel(y))
    return jnp.max(jnp.stack(jax.tree.leaves(jax.tree.map(gap, measured, expected))))


def with_decay(params, eta=None, **changes):
    """A copy of `params` with the weight decay `eta` of both networks, and with `changes`."""
    if eta is not None:
        changes = {"eta_p": eta, "eta_s": eta} | changes
    return dataclasses.replace(params, **changes)


def aligned(problem):
    """A random orthogonal U, eigenvalues p of Wp of both signs, and eigenvalues s > 0 of F."""
    keys, size = jr.split(problem.key, 3), len(problem.y.Wp)
    U = jnp.linalg.qr(jr.normal(keys[0], (size, size)))[0]
    p = jr.uniform(keys[1], (size,), minval=-0.5, maxval=1.2)
    return U, p, jr.uniform(keys[2], (size,), minval=0.05, maxval=1.2)


def isotropic(problem):
    """Data with X = I and X' = sigma2 I."""
    identity = jnp.eye(len(problem.data.X))
    return Data(X=identity, X_aug=problem.params.sigma2 * identity)


def excess(matrices, ts, rate):
    """The largest value of log |M(t)| - log |M(0)| + rate t over the times `ts`.

    It is positive if the bound |M(t)| <= e^(-rate t) |M(0)| is violated.
    """
    size = jnp.log(jnp.linalg.norm(matrices, axis=(1, 2)))
    return jnp.max(size - size[0] + rate * ts)

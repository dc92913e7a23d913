"""Random problems on which the loss is exact, and the loss itself, to check equations against.

A problem is a small set of examples with a few views each. Every expectation over views is
therefore a finite sum, and the loss (1) is exact. X and X' are neither isotropic nor aligned.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from lindyn.theory.states import Data, Full, Online, Params


EXAMPLES, VIEWS = 24, 3


class Problem(eqx.Module):
    """A finite data set, an initial condition and parameters."""

    views: Float[Array, "examples views n1"]
    y: Full  # initial condition
    params: Params  # eta_p = eta_s
    key: PRNGKeyArray  # for the random numbers that a check needs

    @property
    def data(self) -> Data:
        """X and X' of the finite set: second moments of mean views and of views about them."""
        mean = jnp.mean(self.views, axis=1)
        about = self.views - mean[:, None]
        count = self.views.shape[0] * self.views.shape[1]
        return Data(
            X=mean.T @ mean / len(mean),
            X_aug=jnp.einsum("evi,evj->ij", about, about) / count,
        )

    @property
    def online(self) -> Online:
        return Online(W=self.y.W, Wp=self.y.Wp)


def draw(key: PRNGKeyArray, size: int) -> Problem:
    """A random problem: n2 = size, n1 = size + 1, and weights of order 1/sqrt(size)."""
    keys = iter(jr.split(key, 12))
    spread = jr.uniform(next(keys), (size + 1,), minval=0.5, maxval=1.5)
    mean = jr.normal(next(keys), (EXAMPLES, 1, size + 1)) * spread[None, None]
    noise = 0.4 * jr.normal(next(keys), (EXAMPLES, VIEWS, size + 1))
    matrix = lambda n1: jr.normal(next(keys), (size, n1)) / jnp.sqrt(size)
    number = lambda low, high: jr.uniform(next(keys), minval=low, maxval=high)
    return Problem(
        views=mean + noise,
        y=Full(W=matrix(size + 1), Wp=matrix(size), Wa=matrix(size + 1)),
        params=Params(
            alpha_p=number(0.5, 2.0),
            beta=number(0.2, 1.0),
            eta=number(0.01, 0.1),
            sigma2=number(0.1, 1.0),
            tau=number(0.5, 1.0),
        ),
        key=next(keys),
    )


def squared(prediction: Float[Array, " n2"], target: Float[Array, " n2"]) -> Array:
    """1/2 |Wp f1 - f2|^2, the summand of (1) for one pair of views."""
    return jnp.sum((prediction - target) ** 2) / 2


def cosine(prediction: Float[Array, " n2"], target: Float[Array, " n2"]) -> Array:
    """Minus the cosine of the angle between prediction and target."""
    size = jnp.linalg.norm(prediction) * jnp.linalg.norm(target)
    return -prediction @ target / size


def loss(y: Full, problem: Problem, summand: Callable = squared) -> Array:
    """(1): the mean of `summand` over examples and over all ordered pairs of their views."""

    def pair(x1, x2):
        return summand(y.Wp @ y.W @ x1, y.Wa @ x2)

    def example(views):
        return jnp.mean(jax.vmap(jax.vmap(pair, (None, 0)), (0, None))(views, views))

    return jnp.mean(jax.vmap(example)(problem.views))


def descent(
    y: Online,
    problem: Problem,
    target: Callable[[Online], Array],
    summand: Callable = squared,
) -> Online:
    """dW/dt and dWp/dt of gradient descent at the rates 1 and alpha_p, with weight decay.

    `target(y)` returns Wa. It must apply `jax.lax.stop_gradient` if no gradient may reach Wa.
    """
    params = problem.params

    def total(y):
        return loss(Full(W=y.W, Wp=y.Wp, Wa=target(y)), problem, summand)

    slope = jax.grad(total)(y)
    return Online(
        W=-slope.W - params.eta_s * y.W,
        Wp=-params.alpha_p * slope.Wp - params.eta_p * y.Wp,
    )

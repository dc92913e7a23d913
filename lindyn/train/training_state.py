"""What a training step is compiled for, and the state that it carries from step to step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from lindyn.theory import theorems
from lindyn.train import balance, byol


Matrix = Float[Array, "d d"]


@dataclasses.dataclass(frozen=True)
class Method:
    """What is compiled for: how views become a loss, and a gradient a new network."""

    views: tuple[Callable, Callable]  # each of an image and a key
    optimiser: optax.GradientTransformation  # of an `Online`
    seed: int
    loss: Callable = byol.cosine  # of predictions and targets
    temperature: float | None = None  # SimCLR's loss instead, and no target
    both_directions: bool = True
    stop_gradient: bool = True
    keep: Callable[[Array], Array | float] | None = None  # the target's part in its average
    rule: Callable[[Matrix, Matrix], Matrix] | None = None  # Wp from E[f f^T], E[f_a f^T]
    every: int = 1  # steps between two uses of the rule
    rho: float = 0.0  # of the running estimate of F; 0: the last batch
    symmetric: bool = False  # Wp <- (Wp + Wp^T)/2 after each step
    sgd: theorems.SGD | None = None  # what Theorem 1 for steps takes, where it holds
    rate: Callable[[Array], Any] | float = 0.0  # of the encoder, over steps
    dtype: Any = jnp.float32  # of images and activations; parameters have 32 bits


class TrainState(eqx.Module):
    """Arrays only: what changes from step to step."""

    step: Int[Array, ""]
    params: PyTree  # of the online network
    norm: eqx.nn.State  # running statistics of its BatchNorms
    target: PyTree  # parameters; None without a target
    target_norm: eqx.nn.State | None
    opt: optax.OptState
    F: Matrix  # running estimate of E[f f^T]
    cross: Matrix  # of E[f_a f^T]
    balance: theorems.Ledger | None  # with `sgd`
    good: Bool[Array, ""]  # nothing was infinite or NaN so far; if not, the state stays


def initial(
    online: byol.Online,
    norm: eqx.nn.State,
    method: Method,
    *,
    target: byol.Branch | None = None,
) -> tuple[TrainState, PyTree]:
    """The state before the first step, and what is static of the online network.

    `target` is where the target starts: the online branch itself, or another one.
    """
    params, static = eqx.partition(online, eqx.is_array)
    d = online.branch.projector.last.weight.shape[0]
    weights = target_norm = None
    if target is not None:
        leaves = jax.tree.leaves(eqx.filter(target, eqx.is_array))
        weights = jax.tree.unflatten(jax.tree.structure(params.branch), leaves)
        target_norm = norm.substate(online.branch)
    state = TrainState(
        step=jnp.array(0),
        params=params,
        norm=norm,
        target=weights,
        target_norm=target_norm,
        opt=method.optimiser.init(params),
        F=jnp.zeros((d, d)),
        cross=jnp.zeros((d, d)),
        balance=method.sgd and theorems.opened(balance.layers(params), method.sgd),
        good=jnp.array(True),
    )
    return state, static

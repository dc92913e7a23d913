"""The fixed settings of a training step, `Method`, and its changing state, `TrainState`."""

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
    """Fixed settings of a training step: augmentation, loss, optimiser and predictor rule."""

    views: tuple[Callable, Callable]  # each maps an image and a key to a view
    optimiser: optax.GradientTransformation  # for the parameters of an `Online`
    seed: int
    loss: Callable = byol.cosine  # of predictions and targets, in this order
    temperature: float | None = None  # if given: SimCLR's loss instead of `loss`, and no target
    both_directions: bool = True
    stop_gradient: bool = True
    # Weight of the old target in its moving average, by step; None: no target.
    keep: Callable[[Array], Array | float] | None = None
    rule: Callable[[Matrix, Matrix], Matrix] | None = None  # (E[f f^T], E[f_a f^T]) to Wp
    every: int = 1  # steps between two uses of the rule
    rho: float = 0.0  # weight of the old value in the running estimate of F; 0: last batch
    symmetric: bool = False  # Wp <- (Wp + Wp^T)/2 after each step
    sgd: theorems.SGD | None = None  # for Theorem 1; None where it does not hold
    rate: Callable[[Array], Any] | float = (
        0.0  # learning rate of the encoder, or a function of the step
    )
    dtype: Any = jnp.float32  # of views and activations; parameters have at least 32 bits


class TrainState(eqx.Module):
    """What changes from step to step. All pytree leaves are arrays."""

    step: Int[Array, ""]
    params: PyTree  # of the online network
    norm: eqx.nn.State  # running statistics of the online network's BatchNorms
    target: PyTree  # parameters of the target; None without a target
    target_norm: eqx.nn.State | None
    opt: optax.OptState
    F: Matrix  # running estimate of E[f f^T]
    cross: Matrix  # running estimate of E[f_a f^T]
    balance: theorems.Ledger | None  # None without `Method.sgd`
    # False after an infinite or NaN loss or gradient; the state then no longer changes.
    good: Bool[Array, ""]


def initial(
    online: byol.Online,
    norm: eqx.nn.State,
    method: Method,
    *,
    target: byol.Branch | None = None,
) -> tuple[TrainState, PyTree]:
    """The state before the first step, and the static part of the online network.

    `target` has the target's initial weights: the online branch itself, or another branch of
    the same shape. None means that there is no target.
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

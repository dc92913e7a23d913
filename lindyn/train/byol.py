"""The online and target networks of BYOL, the losses, and the target's moving average.

Equation numbers are those of Tian, Chen and Ganguli, ICML 2021. Read `layers` first.
"""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from lindyn.theory.precision import exact_products
from lindyn.train.layers import BatchNorm, Linear
from lindyn.train.resnet import ResNet


Batch = Float[Array, "batch d"]
Scalar = float | Float[Array, ""]


class Hidden(eqx.Module):
    """Two linear layers, with BatchNorm (without scale and shift) and ReLU between them."""

    first: Linear
    norm: BatchNorm
    last: Linear

    def __init__(
        self,
        sizes: tuple[int, int, int],
        *,
        bias: bool = True,
        axis_name: str | None,
        key: PRNGKeyArray,
    ):
        first, last = jr.split(key)
        self.first = Linear(*sizes[:2], bias=bias, key=first)
        self.norm = BatchNorm(sizes[1], affine=False, axis_name=axis_name)
        self.last = Linear(*sizes[1:], bias=bias, key=last)

    def __call__(self, x: Array, state: eqx.nn.State) -> tuple[Array, eqx.nn.State]:
        x, state = self.norm(self.first(x), state)
        return self.last(jax.nn.relu(x)), state


class Single(eqx.Module):
    """A single linear layer, with the interface of `Hidden`."""

    last: Linear

    def __call__(self, x: Array, state: eqx.nn.State) -> tuple[Array, eqx.nn.State]:
        return self.last(x), state


class Unchanged(eqx.Module):
    """The identity, for a branch without an encoder."""

    def __call__(self, x: Array, state: eqx.nn.State) -> tuple[Array, eqx.nn.State]:
        return x, state


class Branch(eqx.Module):
    """Encoder and projector. Its counterpart in the theory is the matrix W."""

    encoder: Callable  # maps (images, state) to (features, state), as a `ResNet`
    projector: Hidden | Single

    def __call__(
        self, images: Float[Array, "batch ..."], state: eqx.nn.State
    ) -> tuple[Batch, eqx.nn.State]:
        features, state = self.encoder(images, state)
        return self.projector(features, state)


class Online(eqx.Module):
    """The online network, which is trained. A predictor of None is the identity."""

    branch: Branch
    predictor: Linear | Hidden | None

    def predict(self, f: Batch, state: eqx.nn.State) -> tuple[Batch, eqx.nn.State]:
        """The predictor's output for the branch's output `f`, and the new state."""
        if self.predictor is None:
            return f, state
        if isinstance(self.predictor, Linear):
            return self.predictor(f), state
        return self.predictor(f, state)


def branch(
    *,
    depth: int = 18,
    stem: str = "cifar",
    width: int = 64,
    hidden: int = 512,
    d: int = 128,
    axis_name: str | None,
    key: PRNGKeyArray,
) -> Branch:
    """A ResNet and a projector with `hidden` hidden units and `d` outputs."""
    encoder, projector = jr.split(key)
    net = ResNet(depth, stem, width, axis_name=axis_name, key=encoder)
    sizes = (net.features, hidden, d)
    return Branch(net, Hidden(sizes, axis_name=axis_name, key=projector))


def linear(n1: int, d: int, *, key: PRNGKeyArray) -> Branch:
    """A branch that is one matrix W of shape (d, n1)."""
    return Branch(Unchanged(), Single(Linear(n1, d, bias=False, key=key)))


def predictor(
    kind: Literal["linear", "two-layer", "none"],
    d: int,
    *,
    hidden: int = 512,
    bias: bool = False,
    axis_name: str | None,
    key: PRNGKeyArray,
) -> Linear | Hidden | None:
    """The predictor Wp: one layer (d to d), two layers (d to `hidden` to d), or None."""
    if kind == "none":
        return None
    if kind == "linear":
        return Linear(d, d, bias=bias, key=key)
    return Hidden((d, hidden, d), bias=bias, axis_name=axis_name, key=key)


def symmetrised(net: Linear | Hidden) -> Linear | Hidden:
    """Wp <- (Wp + Wp^T)/2. With two layers, each is averaged with the other's transpose.

    The rule for two layers is our choice, since the paper gives none.
    """
    if isinstance(net, Linear):
        W = net.weight
        return eqx.tree_at(lambda net: net.weight, net, (W + W.T) / 2)
    first = (net.first.weight + net.last.weight.T) / 2
    return eqx.tree_at(lambda net: (net.first.weight, net.last.weight), net, (first, first.T))


@exact_products
def product(net: Linear | Hidden | None, d: int) -> Float[Array, "d d"]:
    """The predictor as a matrix Wp.

    With two layers, Wp is the product of their weights, without the ReLU. Without a predictor,
    Wp is the identity of size d.
    """
    if net is None:
        return jnp.eye(d)
    return net.weight if isinstance(net, Linear) else net.last.weight @ net.first.weight


def whole(layer: Linear) -> Float[Array, "d inputs"]:
    """The matrix [W b]. The bias b is one more column, for an input that is always 1."""
    if layer.bias is None:
        return layer.weight
    return jnp.concatenate([layer.weight, layer.bias[:, None]], axis=1)


def cosine(prediction: Batch, target: Batch) -> Float[Array, ""]:
    """-2 cos(prediction, target), averaged over the batch."""
    return -2 * jnp.mean(jnp.sum(_unit(prediction) * _unit(target), axis=1))


def squared(prediction: Batch, target: Batch) -> Float[Array, ""]:
    """|prediction - target|^2 / 2, averaged over the batch: equation (1)."""
    return jnp.mean(jnp.sum((prediction - target) ** 2, axis=1)) / 2


LOSSES = {"cosine": cosine, "l2": squared}  # by the name of the flag --loss


def nt_xent(
    first: Batch, second: Batch, *, temperature: float, axis_name: str | None
) -> Float[Array, ""]:
    """SimCLR's loss over the batches of all devices (Chen et al., ICML 2020, (1)).

    The loss of a view is -log softmax of cos/temperature at the other view of its image. The
    softmax is over all other views on all devices. The result is the mean over this device's
    2 B views.
    """
    views = jnp.concatenate([_unit(first), _unit(second)])
    others, here = views, 0
    if axis_name is not None:
        others = lax.all_gather(views, axis_name)
        here, others = lax.axis_index(axis_name), others.reshape(-1, views.shape[1])
    logits = views @ others.T / temperature
    row = jnp.arange(len(views))
    column = here * len(views) + row
    logits = logits.at[row, column].set(-jnp.inf)  # a view is not compared with itself
    partner = here * len(views) + (row + len(first)) % len(views)
    return -jnp.mean(jax.nn.log_softmax(logits, axis=1)[row, partner])


def moved(target: PyTree, online: PyTree, keep: Scalar) -> PyTree:
    """The moving average keep * target + (1 - keep) * online of each array, as in (19)."""
    return jax.tree.map(lambda a, w: keep * a + (1 - keep) * w, target, online)


def _unit(x):
    return x * lax.rsqrt(jnp.maximum(jnp.sum(x**2, axis=1, keepdims=True), 1e-16))

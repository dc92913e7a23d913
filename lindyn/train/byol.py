"""The two networks of BYOL, its losses, and the moving average that makes the target."""

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
    """Linear, BatchNorm without scale and shift, ReLU, Linear."""

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
    """One matrix."""

    last: Linear

    def __call__(self, x: Array, state: eqx.nn.State) -> tuple[Array, eqx.nn.State]:
        return self.last(x), state


class Unchanged(eqx.Module):
    """No encoder."""

    def __call__(self, x: Array, state: eqx.nn.State) -> tuple[Array, eqx.nn.State]:
        return x, state


class Branch(eqx.Module):
    """Encoder and projector: W, as far as the theory speaks of real networks."""

    encoder: Callable  # images and state to features and state: a `ResNet`
    projector: Hidden | Single

    def __call__(
        self, images: Float[Array, "batch ..."], state: eqx.nn.State
    ) -> tuple[Batch, eqx.nn.State]:
        features, state = self.encoder(images, state)
        return self.projector(features, state)


class Online(eqx.Module):
    """The network that is trained. A predictor of None is the identity."""

    branch: Branch
    predictor: Linear | Hidden | None

    def predict(self, f: Batch, state: eqx.nn.State) -> tuple[Batch, eqx.nn.State]:
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
    """A ResNet whose features go through `hidden` units to the d that are compared."""
    encoder, projector = jr.split(key)
    net = ResNet(depth, stem, width, axis_name=axis_name, key=encoder)
    sizes = (net.features, hidden, d)
    return Branch(net, Hidden(sizes, axis_name=axis_name, key=projector))


def linear(n1: int, d: int, *, key: PRNGKeyArray) -> Branch:
    """W, d x n1, and nothing else."""
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
    """Wp: d to d, or d to `hidden` to d."""
    if kind == "none":
        return None
    if kind == "linear":
        return Linear(d, d, bias=bias, key=key)
    return Hidden((d, hidden, d), bias=bias, axis_name=axis_name, key=key)


def symmetrised(net: Linear | Hidden) -> Linear | Hidden:
    """Wp <- (Wp + Wp^T)/2. Of two layers, each is averaged with the other's transpose (ours:
    the paper does not say how)."""
    if isinstance(net, Linear):
        W = net.weight
        return eqx.tree_at(lambda net: net.weight, net, (W + W.T) / 2)
    first = (net.first.weight + net.last.weight.T) / 2
    return eqx.tree_at(lambda net: (net.first.weight, net.last.weight), net, (first, first.T))


@exact_products
def product(net: Linear | Hidden | None, d: int) -> Float[Array, "d d"]:
    """Wp as a matrix: of two layers, the product of their weights (without the ReLU)."""
    if net is None:
        return jnp.eye(d)
    return net.weight if isinstance(net, Linear) else net.last.weight @ net.first.weight


def whole(layer: Linear) -> Float[Array, "d inputs"]:
    """[W b]: a layer with its bias, the weights of an input that is always 1."""
    if layer.bias is None:
        return layer.weight
    return jnp.concatenate([layer.weight, layer.bias[:, None]], axis=1)


def cosine(prediction: Batch, target: Batch) -> Float[Array, ""]:
    """-2 cos of prediction and target, the mean over the batch."""
    return -2 * jnp.mean(jnp.sum(_unit(prediction) * _unit(target), axis=1))


def squared(prediction: Batch, target: Batch) -> Float[Array, ""]:
    """|prediction - target|^2 / 2, the mean over the batch: (1) of the paper."""
    return jnp.mean(jnp.sum((prediction - target) ** 2, axis=1)) / 2


def nt_xent(
    first: Batch, second: Batch, *, temperature: float, axis_name: str | None
) -> Float[Array, ""]:
    """SimCLR's loss over the batches of all devices (Chen et al., ICML 2020, (1)).

    The mean over this device's 2 B views of -log softmax of cos/temperature at the image's
    other view, against all other views.
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
    """keep * target + (1 - keep) * online, of each array: a moving average, as (19)."""
    return jax.tree.map(lambda a, w: keep * a + (1 - keep) * w, target, online)


def _unit(x):
    return x * lax.rsqrt(jnp.maximum(jnp.sum(x**2, axis=1, keepdims=True), 1e-16))

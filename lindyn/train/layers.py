"""Layers of a neural network. Each takes a whole batch, with channels as the last axis.

Layers for one example, with a `vmap` over the batch, would be slower.
"""

import math

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray


EPS = 1e-5  # added to variances; PyTorch's value
MOMENTUM = 0.1  # weight of the new statistics in the running ones; PyTorch's value


class Conv(eqx.Module):
    """A square convolution without bias, computed in the dtype of its input."""

    weight: Float[Array, "kernel kernel in_channels out_channels"]
    stride: int = eqx.field(static=True)
    padding: int = eqx.field(static=True)  # zeros on each side

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        *,
        key: PRNGKeyArray,
    ):
        """Draws He et al.'s normal weights for a ReLU, which preserve the gradient's size."""
        shape = (kernel, kernel, in_channels, out_channels)
        draws = jr.normal(key, (math.prod(shape),))  # flat, which XLA compiles 5 times faster
        self.weight = draws.reshape(shape) * math.sqrt(2 / (kernel**2 * out_channels))
        self.stride = stride
        self.padding = padding

    def __call__(
        self, x: Float[Array, "batch height width in_channels"]
    ) -> Float[Array, "batch new_height new_width out_channels"]:
        return lax.conv_general_dilated(
            x,
            self.weight.astype(x.dtype),
            window_strides=(self.stride, self.stride),
            padding=[(self.padding, self.padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )


class Linear(eqx.Module):
    """x W^T + b, computed in the dtype of x."""

    weight: Float[Array, "out_size in_size"]
    bias: Float[Array, " out_size"] | None

    def __init__(self, in_size: int, out_size: int, *, bias: bool = True, key: PRNGKeyArray):
        """Draws weights and biases uniformly within 1/sqrt(in_size) of zero, as in PyTorch."""
        weight_key, bias_key = jr.split(key)
        limit = 1 / math.sqrt(in_size)
        draw = lambda key, shape: jr.uniform(key, shape, minval=-limit, maxval=limit)
        self.weight = draw(weight_key, (out_size, in_size))
        self.bias = draw(bias_key, (out_size,)) if bias else None

    def __call__(self, x: Float[Array, "batch in_size"]) -> Float[Array, "batch out_size"]:
        y = x @ self.weight.T.astype(x.dtype)
        return y if self.bias is None else y + self.bias.astype(x.dtype)[None]


class BatchNorm(eqx.Module):
    """Normalises each channel (last axis) by its mean and variance over all other axes.

    In training, mean and variance are those of the global batch: over all devices along
    `axis_name`, which all hold the same number of examples. In inference they are the running
    statistics, which are averaged as in PyTorch. The arithmetic is in float32, whatever the
    dtype of the input. `ValueError` in training if a channel has only one value.
    """

    weight: Float[Array, " size"] | None
    bias: Float[Array, " size"] | None
    running_mean: eqx.nn.StateIndex
    running_var: eqx.nn.StateIndex
    num_batches_tracked: eqx.nn.StateIndex  # only PyTorch reads it
    axis_name: str | None = eqx.field(static=True)
    inference: bool  # set by `eqx.nn.inference_mode`

    def __init__(self, size: int, *, affine: bool = True, axis_name: str | None = None):
        self.weight = jnp.ones(size) if affine else None
        self.bias = jnp.zeros(size) if affine else None
        self.running_mean = eqx.nn.StateIndex(jnp.zeros(size, jnp.float32))
        self.running_var = eqx.nn.StateIndex(jnp.ones(size, jnp.float32))
        self.num_batches_tracked = eqx.nn.StateIndex(jnp.array(0, jnp.int32))
        self.axis_name = axis_name
        self.inference = False

    def __call__(
        self, x: Float[Array, "*batch size"], state: eqx.nn.State
    ) -> tuple[Float[Array, "*batch size"], eqx.nn.State]:
        dtype, x = x.dtype, x.astype(jnp.float32)
        if self.inference:
            mean, var = state.get(self.running_mean), state.get(self.running_var)
        else:
            mean, var, count = self._statistics(x)
            state = self._track(state, mean, var * (count / (count - 1)))
        scale = lax.rsqrt(var + EPS)
        if self.weight is not None:
            scale = scale * self.weight
        # x * scale + (bias - mean * scale) would lose digits where the mean is large.
        y = (x - _along(mean, x)) * _along(scale, x)
        if self.bias is not None:
            y = y + _along(self.bias, x)
        return y.astype(dtype), state

    def _statistics(self, x):
        """Mean and variance over the global batch, and the number of values behind each."""
        axes = tuple(range(x.ndim - 1))
        count = math.prod(x.shape[:-1])
        everywhere = lambda v: v
        devices = 1 if self.axis_name is None else lax.axis_size(self.axis_name)
        if devices > 1:
            count = count * devices
            everywhere = lambda v: lax.pmean(v, self.axis_name)
        mean = everywhere(jnp.mean(x, axes))
        # Deviations from the global mean, so that a rounding error of it enters only squared.
        var = everywhere(jnp.mean((x - _along(mean, x)) ** 2, axes))
        if count < 2:
            raise ValueError("BatchNorm needs two values of each channel to train, got one")
        return mean, var, count

    def _track(self, state, mean, var):
        batches = state.get(self.num_batches_tracked)
        state = state.set(self.num_batches_tracked, batches + 1)
        for index, new in ((self.running_mean, mean), (self.running_var, var)):
            new = lax.stop_gradient(new).astype(jnp.float32)
            state = state.set(index, (1 - MOMENTUM) * state.get(index) + MOMENTUM * new)
        return state


def max_pool(
    x: Float[Array, "batch height width channels"], *, kernel: int, stride: int, padding: int
) -> Float[Array, "batch new_height new_width channels"]:
    """The maximum over each window; the padding does not count."""
    around = (padding, padding)
    return lax.reduce_window(
        x,
        -jnp.inf,
        lax.max,
        window_dimensions=(1, kernel, kernel, 1),
        window_strides=(1, stride, stride, 1),
        padding=((0, 0), around, around, (0, 0)),
    )


def _along(v: Array, x: Array) -> Array:
    """v (one value per channel), with axes added so that it broadcasts against x."""
    return jnp.expand_dims(v, tuple(range(x.ndim - 1)))

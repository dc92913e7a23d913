"""ResNet-18 and ResNet-50, layer by layer as in torchvision, and ResNet-10 for small runs.

The source is He, Zhang, Ren and Sun, CVPR 2016 (arXiv 1512.03385). In a bottleneck, the 3x3
convolution has the stride. Fields have torchvision's names, which `weights` uses as names of
tensors. Read `layers` first.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PRNGKeyArray

from lindyn.train.layers import BatchNorm, Conv, max_pool


# Depth: number of blocks in each of the four layers.
BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
STEMS = ("cifar", "imagenet")
Images = Float[Array, "batch height width channels"]
Features = Float[Array, "batch new_height new_width new_channels"]


class BasicBlock(eqx.Module):
    """Two 3x3 convolutions. Their output is added to a shortcut of the input."""

    conv1: Conv
    bn1: BatchNorm
    conv2: Conv
    bn2: BatchNorm
    downsample: tuple[Conv, BatchNorm] | None

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        *,
        axis_name: str | None,
        key: PRNGKeyArray,
    ):
        first, second, shortcut = jr.split(key, 3)
        self.conv1 = Conv(in_channels, channels, 3, stride, 1, key=first)
        self.bn1 = BatchNorm(channels, axis_name=axis_name)
        self.conv2 = Conv(channels, channels, 3, 1, 1, key=second)
        self.bn2 = BatchNorm(channels, axis_name=axis_name)
        self.downsample = _downsample(in_channels, channels, stride, axis_name, shortcut)

    def __call__(self, x: Images, state: eqx.nn.State) -> tuple[Features, eqx.nn.State]:
        y, state = self.bn1(self.conv1(x), state)
        y, state = self.bn2(self.conv2(jax.nn.relu(y)), state)
        x, state = _shortcut(self.downsample, x, state)
        return jax.nn.relu(x + y), state


class Bottleneck(eqx.Module):
    """1x1, 3x3 and 1x1 convolutions. Their output is added to a shortcut of the input.

    The 3x3 convolution has a quarter of the output channels.
    """

    conv1: Conv
    bn1: BatchNorm
    conv2: Conv
    bn2: BatchNorm
    conv3: Conv
    bn3: BatchNorm
    downsample: tuple[Conv, BatchNorm] | None

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        *,
        axis_name: str | None,
        key: PRNGKeyArray,
    ):
        first, second, third, shortcut = jr.split(key, 4)
        wide = 4 * channels
        self.conv1 = Conv(in_channels, channels, 1, key=first)
        self.bn1 = BatchNorm(channels, axis_name=axis_name)
        self.conv2 = Conv(channels, channels, 3, stride, 1, key=second)
        self.bn2 = BatchNorm(channels, axis_name=axis_name)
        self.conv3 = Conv(channels, wide, 1, key=third)
        self.bn3 = BatchNorm(wide, axis_name=axis_name)
        self.downsample = _downsample(in_channels, wide, stride, axis_name, shortcut)

    def __call__(self, x: Images, state: eqx.nn.State) -> tuple[Features, eqx.nn.State]:
        y, state = self.bn1(self.conv1(x), state)
        y, state = self.bn2(self.conv2(jax.nn.relu(y)), state)
        y, state = self.bn3(self.conv3(jax.nn.relu(y)), state)
        x, state = _shortcut(self.downsample, x, state)
        return jax.nn.relu(x + y), state


class ResNet(eqx.Module):
    """Maps images to features, the spatial means of the last layer's channels. No classifier.

    Stem "imagenet" is a 7x7 convolution and a 3x3 max-pool, each of stride 2. Stem "cifar" is
    one 3x3 convolution of stride 1. The stem has `width` output channels, and the last layer
    has 8 times as many (32 times at depth 50). `ValueError` for an unknown depth or stem, or a
    width below 1.
    """

    conv1: Conv
    bn1: BatchNorm
    layer1: tuple[BasicBlock | Bottleneck, ...]
    layer2: tuple[BasicBlock | Bottleneck, ...]
    layer3: tuple[BasicBlock | Bottleneck, ...]
    layer4: tuple[BasicBlock | Bottleneck, ...]
    stem: str = eqx.field(static=True)
    features: int = eqx.field(static=True)

    def __init__(
        self,
        depth: int = 18,
        stem: str = "cifar",
        width: int = 64,
        *,
        axis_name: str | None = None,
        key: PRNGKeyArray,
    ):
        if depth not in BLOCKS:
            raise ValueError(f"depth {depth}: must be one of {', '.join(map(str, BLOCKS))}")
        if stem not in STEMS:
            raise ValueError(f"stem {stem}: must be one of {', '.join(STEMS)}")
        if width < 1:
            raise ValueError(f"width {width}: must be at least 1")
        block, expansion = (Bottleneck, 4) if depth == 50 else (BasicBlock, 1)
        stem_key, key = jr.split(key)
        kernel, stride, padding = (7, 2, 3) if stem == "imagenet" else (3, 1, 1)
        self.stem = stem
        self.conv1 = Conv(3, width, kernel, stride, padding, key=stem_key)
        self.bn1 = BatchNorm(width, axis_name=axis_name)
        layers, size = [], width
        for i, count in enumerate(BLOCKS[depth]):
            blocks = []
            for j in range(count):
                key, block_key = jr.split(key)
                stride = 2 if i > 0 and j == 0 else 1
                blocks.append(
                    block(size, width * 2**i, stride, axis_name=axis_name, key=block_key)
                )
                size = expansion * width * 2**i
            layers.append(tuple(blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.features = size

    def __call__(
        self, x: Float[Array, "batch height width 3"], state: eqx.nn.State
    ) -> tuple[Float[Array, "batch features"], eqx.nn.State]:
        x, state = self.bn1(self.conv1(x), state)
        x = jax.nn.relu(x)
        if self.stem == "imagenet":
            x = max_pool(x, kernel=3, stride=2, padding=1)
        for block in (*self.layer1, *self.layer2, *self.layer3, *self.layer4):
            x, state = block(x, state)
        return jnp.mean(x, axis=(1, 2)), state


def _downsample(in_channels, out_channels, stride, axis_name, key):
    """The 1x1 convolution of a shortcut; None where input and output have the same shape."""
    if stride == 1 and in_channels == out_channels:
        return None
    conv = Conv(in_channels, out_channels, 1, stride, key=key)
    return conv, BatchNorm(out_channels, axis_name=axis_name)


def _shortcut(downsample, x, state):
    if downsample is None:
        return x, state
    conv, norm = downsample
    return norm(conv(x), state)

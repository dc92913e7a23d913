"""Augmentation: one image and one random key give one view, computed on the device.

The operations, and the distributions of their random parameters, are torchvision's for float
tensors. Images are height x width x 3 with values between 0 and 1. Callers use `vmap` for a
batch. The operations themselves are in `image_operations`.
"""

import dataclasses
import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from lindyn.train.image_operations import (
    View,
    as_floats,
    blur,
    crop,
    flip,
    grayscale,
    jitter,
    solarize,
)


ATTEMPTS = 10  # random crops; the first one that fits into the image is used
# All orders of the four operations of `image_operations.jitter`.
ORDERS = np.array(list(itertools.permutations(range(4))), np.int32)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Recipe:
    """Parameters of a random view: crop, flip, jitter, gray, blur, solarize, normalise.

    The operations are applied in this order. An operation of probability 0 is not compiled; the
    crop is always applied. `ValueError` for values out of range.
    """

    size: int  # pixels a side of the view
    scale: tuple[float, float] = (0.08, 1.0)  # area of the crop over the image's area
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width of the crop over its height
    flip_p: float = 0.5
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)  # see `jitter_factors`
    jitter_p: float = 0.0
    gray_p: float = 0.0
    blur_p: float = 0.0
    blur_kernel: int = 9  # pixels, odd
    blur_sigma: tuple[float, float] = (0.1, 2.0)  # pixels
    solarize_p: float = 0.0
    mean: tuple[float, float, float] | None = None  # of each channel; None: not normalised
    std: tuple[float, float, float] | None = None

    def __post_init__(self):
        for name in ("flip_p", "jitter_p", "gray_p", "blur_p", "solarize_p"):
            if not 0 <= (p := getattr(self, name)) <= 1:
                raise ValueError(f"{name} is a probability, not {p}")
        for name in ("scale", "ratio", "blur_sigma"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} = ({low}, {high}): give 0 < low <= high")
        if min(self.jitter) < 0 or self.jitter[3] > 0.5:
            raise ValueError(f"jitter = {self.jitter}: give none below 0, a hue of at most 0.5")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together: give both or neither")


# The paper's recipes for CIFAR-10 and STL-10.
CIFAR10 = Recipe(
    size=32,
    jitter=(0.4, 0.4, 0.4, 0.1),
    jitter_p=0.8,
    gray_p=0.2,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
)
STL10 = Recipe(size=96, jitter=(0.8, 0.8, 0.8, 0.2), jitter_p=0.8, gray_p=0.2, blur_p=1.0)
# BYOL's recipes for its two views (Grill et al., 2020), but BYOL resizes bicubically.
_BYOL = Recipe(
    size=224,
    jitter=(0.4, 0.4, 0.2, 0.1),
    jitter_p=0.8,
    gray_p=0.2,
    blur_p=1.0,
    blur_kernel=23,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
IMAGENET = (_BYOL, dataclasses.replace(_BYOL, blur_p=0.1, solarize_p=0.2))
# Our recipe for 8 x 8 digits in three equal channels. A flip would make another figure.
DIGITS = Recipe(size=8, scale=(0.5, 1.0), flip_p=0.0)


class Choices(eqx.Module):
    """All random parameters of one view."""

    box: Int[Array, " 4"]  # top, left, height and width of the crop, in pixels of the image
    factors: Float[Array, " 4"]  # of brightness, contrast, saturation; shift of the hue
    order: Int[Array, " 4"]  # in which these four changes are applied
    flip: Bool[Array, ""]
    gray: Bool[Array, ""]
    blur: Bool[Array, ""]
    solarize: Bool[Array, ""]
    sigma: Float[Array, ""]  # of the blur, in pixels


def view(image: Shaped[Array, "height width 3"], recipe: Recipe, *, key: PRNGKeyArray) -> View:
    """A random view of an image of uint8, or of floats between 0 and 1.

    `ValueError` for other dtypes.
    """
    return render(image, recipe, choose(image.shape[:2], recipe, key=key))


def evaluation(
    images: Shaped[Array, "*batch height width 3"], recipe: Recipe
) -> Float[Array, "*batch height width 3"]:
    """Whole images without augmentation, normalised as the views are.

    `ValueError` for images that are neither uint8 nor floats.
    """
    return _normalised(as_floats(images), recipe)


def choose(shape: tuple[int, ...], recipe: Recipe, *, key: PRNGKeyArray) -> Choices:
    """Draws the random parameters of a view, for an image of this height and width."""
    box_key, jitter_key, coin_key = jr.split(key, 3)
    box = crop_box(shape, recipe, key=box_key)
    factors, order = jitter_factors(recipe, key=jitter_key)
    u = jr.uniform(coin_key, (5,), jnp.float32)
    chances = (recipe.flip_p, recipe.gray_p, recipe.blur_p, recipe.solarize_p)
    flip, gray, blur, solarize = u[:4] < jnp.array(chances)
    sigma = _between(recipe.blur_sigma, u[4])
    return Choices(box, factors, order, flip, gray, blur, solarize, sigma)


def crop_box(shape: tuple[int, ...], recipe: Recipe, *, key: PRNGKeyArray) -> Int[Array, " 4"]:
    """Draws top, left, height and width of a crop, in pixels.

    The area and the logarithm of the ratio are drawn uniformly, and then the position. The
    crop is the first of ten such boxes that fits into the image. If none fits, it is the
    largest central box of an allowed ratio.
    """
    # Drawn flat, since XLA on a CPU needs four times as long to compile a draw of two axes.
    u = jr.uniform(key, (4 * ATTEMPTS,), jnp.float32).reshape(4, ATTEMPTS)
    area = math.prod(shape) * _between(recipe.scale, u[0])
    ratio = jnp.exp(_between([math.log(bound) for bound in recipe.ratio], u[1]))
    sides = jnp.round(jnp.sqrt(jnp.stack([area / ratio, area * ratio])))
    room = jnp.array(shape, jnp.float32)[:, None] - sides
    places = jnp.floor(u[2:] * (room + 1))
    fits = jnp.all((sides > 0) & (room >= 0), axis=0)
    drawn = jnp.concatenate([places, sides])[:, jnp.argmax(fits)]

    (height, width), (low, high) = shape, recipe.ratio
    h, w = min(height, round(width / low)), min(width, round(height * high))
    central = jnp.array([(height - h) // 2, (width - w) // 2, h, w], jnp.int32)
    return jnp.where(jnp.any(fits), drawn.astype(jnp.int32), central)


def jitter_factors(
    recipe: Recipe, *, key: PRNGKeyArray
) -> tuple[Float[Array, " 4"], Int[Array, " 4"]]:
    """Draws factors of brightness, contrast, saturation, a shift of the hue, and their order.

    With recipe.jitter = (b, c, s, h), the factor of brightness is uniform within
    [max(0, 1 - b), 1 + b], likewise for c and s, and the shift is uniform within [-h, h]. With
    probability 1 - recipe.jitter_p there is no jitter, and they are 1, 1, 1, 0.
    """
    u = jr.uniform(key, (6,), jnp.float32)
    neutral, spread = np.array([1, 1, 1, 0], np.float32), np.array(recipe.jitter, np.float32)
    low, high = np.maximum(neutral - spread, [0, 0, 0, -1]), neutral + spread
    factors = jnp.where(u[4] < recipe.jitter_p, _between((low, high), u[:4]), neutral)
    order = jnp.array(ORDERS)[jnp.floor(len(ORDERS) * u[5]).astype(jnp.int32)]
    return factors, order


def render(image: Shaped[Array, "height width 3"], recipe: Recipe, choices: Choices) -> View:
    """The view of an image for these random parameters."""
    x = crop(as_floats(image), *choices.box, size=recipe.size)
    if recipe.flip_p:
        x = jnp.where(choices.flip, flip(x), x)
    if recipe.jitter_p:
        x = jitter(x, choices.factors, choices.order)
    if recipe.gray_p:
        x = jnp.where(choices.gray, grayscale(x), x)
    if recipe.blur_p:
        x = jnp.where(choices.blur, blur(x, choices.sigma, recipe.blur_kernel), x)
    if recipe.solarize_p:
        x = jnp.where(choices.solarize, solarize(x, 0.5), x)
    return _normalised(jnp.clip(x, 0, 1), recipe)  # interpolation weights may sum to 1 + 1e-7


def _between(bounds, u):
    low, high = bounds
    return low + (high - low) * u


def _normalised(images, recipe):
    if recipe.mean is None:
        return images
    channels = (1,) * (images.ndim - 1) + (3,)
    mean, std = (np.array(x, np.float32).reshape(channels) for x in (recipe.mean, recipe.std))
    return (images - mean) / std

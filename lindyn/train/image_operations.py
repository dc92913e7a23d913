"""Operations on one image: crop, colour, blur."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


View = Float[Array, "size size 3"]
Pixels = int | Int[Array, ""]
Image = Float[Array, "height width 3"]
Number = float | Float[Array, ""]


def crop(
    image: Image, top: Pixels, left: Pixels, height: Pixels, width: Pixels, size: int
) -> View:
    """A box inside the image, resized bilinearly and, where it shrinks, with antialiasing."""
    rows = _triangles(image.shape[0], top, height, size)
    columns = _triangles(image.shape[1], left, width, size)
    return _weighted(image, rows, columns)


def flip(image: Image) -> Image:
    """Left and right exchanged."""
    return image[:, ::-1]


def jitter(image: Image, factors: Float[Array, " 4"], order: Int[Array, " 4"]) -> Image:
    """Brightness, contrast, saturation and hue, which are 0, 1, 2 and 3 in the order."""
    factors = factors.astype(image.dtype)
    changes = (brightness, contrast, saturation, hue)

    def turn(i, image):
        return jax.lax.switch(order[i], changes, image, factors[order[i]])

    # A loop, since XLA on a CPU fuses four turns into one that computes things repeatedly.
    return jax.lax.fori_loop(0, 4, turn, image)


def brightness(image: Image, factor: Number) -> Image:
    """Black at factor 0, the image at 1."""
    return jnp.clip(factor * image, 0, 1)


def contrast(image: Image, factor: Number) -> Image:
    """The mean of its grays at factor 0, the image at 1."""
    return jnp.clip(factor * image + (1 - factor) * jnp.mean(_luma(image)), 0, 1)


def saturation(image: Image, factor: Number) -> Image:
    """Its grays at factor 0, the image at 1."""
    return jnp.clip(factor * image + (1 - factor) * _luma(image)[..., None], 0, 1)


def hue(image: Image, shift: Number) -> Image:
    """The colours turned by a part of the circle, saturation and value (of HSV) kept."""
    r, g, b = image[..., 0], image[..., 1], image[..., 2]
    top, low = jnp.max(image, axis=-1), jnp.min(image, axis=-1)
    chroma = top - low
    d = jnp.where(chroma > 0, chroma, 1)
    green_or_blue = jnp.where(top == g, 2 + (b - r) / d, 4 + (r - g) / d)
    turns = jnp.where(top == r, (g - b) / d, green_or_blue) / 6 + shift
    sixths = 6 * (turns - jnp.floor(turns))
    # A channel has all of the chroma for two sixths of the circle, and none for two others.
    away = jnp.abs(sixths[..., None] - np.array([[[3, 2, 4]]], np.float32))
    share = jnp.clip(jnp.where(np.array([[[True, False, False]]]), away - 1, 2 - away), 0, 1)
    return low[..., None] + chroma[..., None] * share


def grayscale(image: Image) -> Image:
    """Its grays, in three equal channels."""
    return jnp.broadcast_to(_luma(image)[..., None], image.shape)


def blur(image: Image, sigma: Number, kernel: int) -> Image:
    """A Gaussian cut off at an odd number of pixels, the image reflected at its edges."""
    if kernel % 2 == 0 or kernel // 2 >= min(image.shape[:2]):
        raise ValueError(
            f"kernel = {kernel} for an image of shape {image.shape}:"
            " give an odd number less than twice the image's shorter side"
        )
    rows, columns = (_gaussians(n, sigma, kernel // 2) for n in image.shape[:2])
    return _weighted(image, rows, columns)


def solarize(image: Image, threshold: float) -> Image:
    """Values from the threshold on inverted."""
    return jnp.where(image >= threshold, 1 - image, image)


def _luma(image):
    # torchvision's weights, which sum to 0.9999: a gray image darkens by as much.
    return 0.2989 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]


def _weighted(image, rows, columns):
    rows, columns = rows.astype(image.dtype), columns.astype(image.dtype)
    # "highest": a GPU would round to 10 bits.
    x = jnp.einsum("ih,hwc->iwc", rows, image, precision="highest")
    return jnp.einsum("jw,iwc->ijc", columns, x, precision="highest")


def _triangles(n, start, length, size):
    """Weights of n pixels in each of `size` equal parts of those from `start` on."""
    scale = length / size
    centre = start + scale * (jnp.arange(size) + 0.5)
    pixel = jnp.arange(n)
    distance = jnp.abs(pixel[None] + 0.5 - centre[:, None])
    inside = (pixel >= start) & (pixel < start + length)
    weights = jnp.where(inside[None], jnp.maximum(1 - distance / jnp.maximum(scale, 1), 0), 0)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def _gaussians(n, sigma, reach):
    """Weights of n pixels in each: a pixel stands for its two mirror images too."""
    to, pixel = jnp.arange(n)[:, None], jnp.arange(n)[None]
    distance = jnp.stack([pixel - to, pixel + to, 2 * (n - 1) - pixel - to])
    counted = np.ones((3, 1, n), bool)
    counted[1, :, 0] = counted[2, :, -1] = False  # the pixels at the ends are their own images
    counted = counted & (jnp.abs(distance) <= reach)
    weights = jnp.where(counted, jnp.exp(-0.5 * (distance / sigma) ** 2), 0).sum(axis=0)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def as_floats(images):
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images.astype(jnp.float32)
    raise ValueError(f"images are uint8, or floats between 0 and 1, not {images.dtype}")

"""Operations on one image, such as crop, colour changes and blur. `augment` combines them."""

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
    """A box of the image, resized bilinearly to size x size, antialiased where it shrinks."""
    rows = _triangles(image.shape[0], top, height, size)
    columns = _triangles(image.shape[1], left, width, size)
    return _weighted(image, rows, columns)


def flip(image: Image) -> Image:
    """The mirror image, with left and right exchanged."""
    return image[:, ::-1]


def jitter(image: Image, factors: Float[Array, " 4"], order: Int[Array, " 4"]) -> Image:
    """Changes brightness (0), contrast (1), saturation (2) and hue (3), in the given order."""
    factors = factors.astype(image.dtype)
    changes = (brightness, contrast, saturation, hue)

    def change(i, image):
        return jax.lax.switch(order[i], changes, image, factors[order[i]])

    # A loop, since XLA on a CPU would fuse the four changes and repeat computations.
    return jax.lax.fori_loop(0, 4, change, image)


def brightness(image: Image, factor: Number) -> Image:
    """Changes the brightness: black at factor 0, the image itself at 1."""
    return jnp.clip(factor * image, 0, 1)


def contrast(image: Image, factor: Number) -> Image:
    """Changes the contrast: the mean gray value at factor 0, the image itself at 1."""
    return jnp.clip(factor * image + (1 - factor) * jnp.mean(_luma(image)), 0, 1)


def saturation(image: Image, factor: Number) -> Image:
    """Changes the saturation: the grayscale image at factor 0, the image itself at 1."""
    return jnp.clip(factor * image + (1 - factor) * _luma(image)[..., None], 0, 1)


def hue(image: Image, shift: Number) -> Image:
    """Shifts the hue by a fraction of the colour circle. HSV saturation and value stay."""
    r, g, b = image[..., 0], image[..., 1], image[..., 2]
    top, low = jnp.max(image, axis=-1), jnp.min(image, axis=-1)
    chroma = top - low
    d = jnp.where(chroma > 0, chroma, 1)
    green_or_blue = jnp.where(top == g, 2 + (b - r) / d, 4 + (r - g) / d)
    turns = jnp.where(top == r, (g - b) / d, green_or_blue) / 6 + shift
    sixths = 6 * (turns - jnp.floor(turns))
    # A channel has all of the chroma on two sixths of the circle, and none on two others.
    away = jnp.abs(sixths[..., None] - np.array([[[3, 2, 4]]], np.float32))
    share = jnp.clip(jnp.where(np.array([[[True, False, False]]]), away - 1, 2 - away), 0, 1)
    return low[..., None] + chroma[..., None] * share


def grayscale(image: Image) -> Image:
    """The gray values of the image, in three equal channels."""
    return jnp.broadcast_to(_luma(image)[..., None], image.shape)


def blur(image: Image, sigma: Number, kernel: int) -> Image:
    """Gaussian blur with a kernel of `kernel` pixels a side; edges reflect the image.

    `ValueError` unless `kernel` is odd and less than twice the image's shorter side.
    """
    if kernel % 2 == 0 or kernel // 2 >= min(image.shape[:2]):
        raise ValueError(
            f"kernel = {kernel} for an image of shape {image.shape}:"
            " give an odd number less than twice the image's shorter side"
        )
    rows, columns = (_gaussians(n, sigma, kernel // 2) for n in image.shape[:2])
    return _weighted(image, rows, columns)


def solarize(image: Image, threshold: float) -> Image:
    """Inverts the values that are at or above the threshold."""
    return jnp.where(image >= threshold, 1 - image, image)


def _luma(image):
    # torchvision's weights. They sum to 0.9999, so a gray image darkens by this factor.
    return 0.2989 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]


def _weighted(image, rows, columns):
    rows, columns = rows.astype(image.dtype), columns.astype(image.dtype)
    # "highest", since a GPU would otherwise round to 10 bits.
    x = jnp.einsum("ih,hwc->iwc", rows, image, precision="highest")
    return jnp.einsum("jw,iwc->ijc", columns, x, precision="highest")


def _triangles(n, start, length, size):
    """Weights of n pixels in `size` equal parts of the `length` pixels from `start` on."""
    scale = length / size
    centre = start + scale * (jnp.arange(size) + 0.5)
    pixel = jnp.arange(n)
    distance = jnp.abs(pixel[None] + 0.5 - centre[:, None])
    inside = (pixel >= start) & (pixel < start + length)
    weights = jnp.where(inside[None], jnp.maximum(1 - distance / jnp.maximum(scale, 1), 0), 0)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def _gaussians(n, sigma, reach):
    """Weights of n pixels in each blurred pixel. A pixel counts for its mirror images too."""
    to, pixel = jnp.arange(n)[:, None], jnp.arange(n)[None]
    distance = jnp.stack([pixel - to, pixel + to, 2 * (n - 1) - pixel - to])
    counted = np.ones((3, 1, n), bool)
    counted[1, :, 0] = counted[2, :, -1] = False  # pixels at the ends are their own images
    counted = counted & (jnp.abs(distance) <= reach)
    weights = jnp.where(counted, jnp.exp(-0.5 * (distance / sigma) ** 2), 0).sum(axis=0)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def as_floats(images):
    """Images of uint8 (divided by 255) or of floats, as float32 between 0 and 1.

    `ValueError` for other dtypes.
    """
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images.astype(jnp.float32)
    raise ValueError(f"images are uint8, or floats between 0 and 1, not {images.dtype}")

"""Tests of augmentation, with torchvision, scipy or a closed form as reference.

Operations are compared at fixed parameters, and random parameters by their distribution. The
tests with real images need LINDYN_CIFAR10, a folder that contains cifar-10-batches-bin. One
file, since the tests of operations and of views share their images and compiled functions.
"""

import colorsys
import dataclasses
import functools
import itertools
import math
import os
import pathlib

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from lindyn.train import augment, image_operations


EACH = {
    "cifar10": augment.CIFAR10,
    "stl10": augment.STL10,
    "imagenet": dataclasses.replace(augment.IMAGENET[1], size=64, blur_p=0.5),  # for speed
    "digits": augment.DIGITS,
}
ALIKE = 2e-5  # tolerance for values in [0, 1]; one step of a byte is 4e-3
MANY = augment.Recipe(
    size=96,
    scale=(0.1, 0.3),  # so that every box fits
    jitter=(0.4, 1.5, 0.2, 0.1),
    jitter_p=0.8,
    gray_p=0.2,
    blur_p=0.1,
    solarize_p=0.3,
)
DRAWS = 20_000
UNLIKELY = 1e-3  # a p-value below this counts as a wrong distribution; seeds are fixed

every_recipe = pytest.mark.parametrize("recipe", EACH.values(), ids=EACH)
crop = jax.jit(image_operations.crop, static_argnames="size")
change = {
    name: jax.jit(getattr(image_operations, name))
    for name in ("brightness", "contrast", "saturation", "hue", "jitter")
}
blur = jax.jit(image_operations.blur, static_argnames="kernel")
render = jax.jit(augment.render)
view = jax.jit(augment.view)


def colours():
    """40 x 56 colours: all of seven levels, grays included, and others close to them."""
    levels = [0, 1 / 255, 0.2, 0.5, 128 / 255, 0.9, 1]
    exact = np.array(list(itertools.product(levels, repeat=3)), np.float32)
    noise = np.random.default_rng(0).normal(0, 0.05, (6, *exact.shape))
    close = np.clip(exact[None] + noise, 0, 1).reshape(-1, 3)
    return np.concatenate([exact, close])[: 40 * 56].reshape(40, 56, 3).astype(np.float32)


def scene():
    """40 x 56 pixels: smooth shading, an edge and some noise, rounded to bytes."""
    y, x = np.mgrid[0:1:40j, 0:1:56j]
    shades = np.stack([x, y * x, 0.5 + 0.5 * np.sin(9 * x + 5 * y)], axis=-1)
    shades[12:30, 20:41] = 1 - 0.8 * shades[12:30, 20:41]
    noise = np.random.default_rng(1).normal(0, 0.03, shades.shape)
    return np.clip(255 * (shades + noise), 0, 255).round().astype(np.float32) / 255


def photographs():
    folder = os.environ.get("LINDYN_CIFAR10")
    if folder is None:
        pytest.skip("set LINDYN_CIFAR10 to a folder with cifar-10-batches-bin")
    path = pathlib.Path(folder, "cifar-10-batches-bin", "test_batch.bin")
    pixels = np.fromfile(path, np.uint8, 3073 * 16).reshape(16, 3073)[:, 1:]
    # Four images in one, cut to the shape of `scene`, so that nothing compiles twice.
    fours = pixels.reshape(4, 2, 2, 3, 32, 32).transpose(0, 1, 4, 2, 5, 3).reshape(4, 64, 64, 3)
    return list(fours[:, 12:52, 4:60] / np.float32(255))


@pytest.fixture(params=["made", "cifar"])
def pictures(request):
    """A few images of one kind, with values in [0, 1]."""
    return [scene(), colours()] if request.param == "made" else photographs()


@pytest.fixture(scope="module")
def torchvision():
    return pytest.importorskip("torchvision.transforms.v2.functional")


def by_torch(function, image, *args):
    """Applies a torchvision function to an image in our layout of axes."""
    torch = pytest.importorskip("torch")
    out = function(torch.tensor(np.moveaxis(np.asarray(image), -1, 0)), *args)
    return np.moveaxis(out.numpy(), 0, -1)


def assert_alike(ours, theirs):
    assert ours.dtype == np.float32
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=ALIKE)


# Operations at fixed parameters, against torchvision


@pytest.mark.parametrize("size", (8, 32, 47))
def test_crop_is_torchvisions_resized_crop(size, pictures, torchvision):
    rng = np.random.default_rng(2)

    def theirs(image, *box):
        return torchvision.resized_crop(image, *box, [size, size], antialias=True)

    for image in pictures:
        h, w = image.shape[:2]
        boxes = [(0, 0, h, w), (0, 0, 1, 1), (h - 1, w - 1, 1, 1), (3, 0, 2, w), (0, 5, h, 3)]
        for _ in range(10):
            (top, bottom), (left, right) = np.sort(rng.integers(0, (h, w), (2, 2)).T, axis=1)
            boxes.append((top, left, bottom - top + 1, right - left + 1))
        for box in [tuple(map(int, box)) for box in boxes]:
            assert_alike(crop(jnp.array(image), *box, size), by_torch(theirs, image, *box))


@pytest.mark.parametrize("factor", (0.0, 0.2, 0.61, 1.0, 1.4, 1.8, 3.0))
@pytest.mark.parametrize("name", ("brightness", "contrast", "saturation"))
def test_blends_are_torchvisions(name, factor, pictures, torchvision):
    theirs = getattr(torchvision, f"adjust_{name}")
    for image in pictures:
        ours = change[name](jnp.array(image), factor)
        assert_alike(ours, by_torch(theirs, image, factor))


@pytest.mark.parametrize("shift", (-0.5, -0.2, -0.1, -0.013, 0.0, 0.05, 0.1, 1 / 3, 0.5))
def test_hue_is_torchvisions(shift, pictures, torchvision):
    for image in pictures:
        ours = change["hue"](jnp.array(image), shift)
        assert_alike(ours, by_torch(torchvision.adjust_hue, image, shift))


@pytest.mark.parametrize("kernel", (3, 9, 23))
@pytest.mark.parametrize("sigma", (0.1, 0.5, 1.3, 2.0))
def test_blur_is_torchvisions(sigma, kernel, pictures, torchvision):
    def theirs(image):
        return torchvision.gaussian_blur(image, [kernel, kernel], [sigma, sigma])

    for image in pictures:
        assert_alike(blur(jnp.array(image), sigma, kernel), by_torch(theirs, image))


def test_flip_grayscale_and_solarize_are_torchvisions(pictures, torchvision):
    for image in pictures:
        ours = jnp.array(image)
        assert_alike(image_operations.flip(ours), by_torch(torchvision.horizontal_flip, image))
        gray = by_torch(torchvision.rgb_to_grayscale, image, 3)
        assert_alike(image_operations.grayscale(ours), gray)
        for threshold in (0.0, 0.25, 0.5, 1.0):
            solarized = by_torch(torchvision.solarize, image, threshold)
            assert_alike(image_operations.solarize(ours, threshold), solarized)


@every_recipe
def test_views_are_torchvisions_at_the_same_choices(recipe, pictures, torchvision, key):
    """Compares the views before normalisation."""
    recipe = dataclasses.replace(recipe, mean=None, std=None)
    adjust = (
        torchvision.adjust_brightness,
        torchvision.adjust_contrast,
        torchvision.adjust_saturation,
        torchvision.adjust_hue,
    )

    def theirs(image, c):
        sides = [recipe.size] * 2
        x = torchvision.resized_crop(image, *map(int, c.box), sides, antialias=True)
        x = torchvision.horizontal_flip(x) if c.flip else x
        for turn in map(int, c.order):
            x = adjust[turn](x, float(c.factors[turn])) if recipe.jitter_p else x
        x = torchvision.rgb_to_grayscale(x, 3) if c.gray else x
        kernel, sigma = [recipe.blur_kernel] * 2, [float(c.sigma)] * 2
        x = torchvision.gaussian_blur(x, kernel, sigma) if c.blur else x
        return torchvision.solarize(x, 0.5) if c.solarize else x

    beyond = []
    for i, one in enumerate(jr.split(key, 12)):
        image = pictures[i % len(pictures)]
        choices = jax.device_get(augment.choose(image.shape[:2], recipe, key=one))
        far = np.abs(
            render(jnp.array(image), recipe, choices) - by_torch(theirs, image, choices)
        )
        # Rounding may move a pixel across the threshold of solarize, where its value jumps.
        beyond.append(np.mean(far > (1 / 255 if recipe.solarize_p else 10 * ALIKE)))
    assert max(beyond) <= (1e-3 if recipe.solarize_p else 0)


# Operations against closed forms


def test_a_crop_of_the_whole_image_at_its_size_is_the_image():
    image = jnp.array(scene())[:, :40]
    assert jnp.array_equal(image_operations.crop(image, 0, 0, 40, 40, 40), image)


def test_a_crop_of_the_same_size_is_a_slice():
    image = jnp.array(scene())
    assert jnp.allclose(crop(image, 3, 7, 20, 20, 20), image[3:23, 7:27], atol=1e-6)


def test_a_crop_to_half_the_size_weighs_four_pixels_1_3_3_1():
    rows = jnp.array(scene()[:24, :1].repeat(24, axis=1))
    halved = crop(rows, 0, 0, 24, 24, 12)[1:-1]
    near = jnp.stack([rows[i : i + 20 : 2, :12] for i in (1, 2, 3, 4)])
    assert jnp.allclose(halved, jnp.tensordot(jnp.array([1, 3, 3, 1]) / 8, near, 1), atol=1e-6)


def test_a_crop_to_more_pixels_keeps_a_ramp_away_from_its_edges():
    ramp = jnp.linspace(0, 1, 16)[None, :, None] * jnp.ones((16, 1, 3))
    step = 1 / 15
    row = crop(ramp, 0, 4, 8, 8, 32)[0, :, 0]
    expected = 4 * step + step * ((jnp.arange(32) + 0.5) / 4 - 0.5)
    assert jnp.allclose(row[2:-2], expected[2:-2], atol=1e-6)
    assert jnp.allclose(row[:2], 4 * step, atol=1e-6)  # pixels left of the box do not count


def test_a_crop_does_not_see_outside_its_box():
    image = jnp.array(scene())
    other = (1 - image).at[5:14, 9:31].set(image[5:14, 9:31])
    assert jnp.array_equal(crop(image, 5, 9, 9, 22, 16), crop(other, 5, 9, 9, 22, 16))


@pytest.mark.parametrize("value", (0.0, 0.3, 1.0))
def test_a_constant_image_stays_so_under_crop_and_blur(value):
    image = jnp.full((20, 30, 3), value)
    for size in (5, 20, 64):
        assert jnp.allclose(crop(image, 2, 3, 17, 23, size), value, rtol=1e-6)
    for sigma in (0.1, 2.0):
        assert jnp.allclose(blur(image, sigma, 9), value, rtol=1e-6)


@pytest.mark.parametrize("kernel", (1, 9, 23))
@pytest.mark.parametrize("sigma", (0.1, 0.7, 2.0, 50.0))
def test_blur_is_scipys(sigma, kernel):
    image = scene()
    expected = image
    for axis in (0, 1):
        expected = scipy.ndimage.gaussian_filter1d(
            expected, sigma, axis, mode="mirror", radius=kernel // 2
        )
    assert_alike(blur(jnp.array(image), sigma, kernel), expected)


def test_blur_by_next_to_nothing_is_the_identity():
    image = jnp.array(scene())
    assert jnp.array_equal(blur(image, 1e-20, 9), image)


def test_turning_the_hue_by_thirds_permutes_the_channels():
    image = jnp.array(colours())
    for turns in (-1, 0, 1, 2, 3):
        turned = change["hue"](image, turns / 3)
        assert jnp.allclose(turned, jnp.roll(image, turns, axis=-1), atol=2e-6)


def test_hue_is_that_of_colorsys():
    image = colours().astype(float)
    turned = np.array([[_turned(rgb, 0.17) for rgb in row] for row in image])
    assert_alike(change["hue"](jnp.array(colours()), 0.17), turned)


def _turned(rgb, shift):
    h, s, v = colorsys.rgb_to_hsv(*rgb)
    return colorsys.hsv_to_rgb((h + shift) % 1, s, v)


def test_grays_of_the_primaries():
    primaries = jnp.eye(3)[None]
    expected = jnp.array([0.2989, 0.587, 0.114])[None, :, None]
    assert jnp.allclose(image_operations.grayscale(primaries), expected)
    assert jnp.allclose(image_operations.saturation(primaries, 0.0), expected)
    assert jnp.allclose(image_operations.contrast(primaries, 0.0), jnp.mean(expected))
    assert jnp.all(image_operations.brightness(primaries, 0.0) == 0)
    assert jnp.array_equal(
        image_operations.brightness(primaries, 2.0), primaries
    )  # values are clipped at 1


def test_factors_of_one_are_the_identity():
    image = jnp.array(colours())
    for name in ("brightness", "contrast", "saturation"):
        assert jnp.array_equal(change[name](image, 1.0), image)


def test_solarize_twice_is_the_identity_at_threshold_0_and_bounds_values_at_half():
    image = jnp.array(colours())
    assert jnp.allclose(
        image_operations.solarize(image_operations.solarize(image, 0.0), 0.0), image, atol=1e-6
    )
    assert jnp.max(image_operations.solarize(image, 0.5)) == 0.5
    assert jnp.array_equal(image_operations.solarize(image, 1.1), image)


def test_jitter_is_its_four_changes_in_every_order():
    image = jnp.array(colours())
    factors = jnp.array([1.4, 1.3, 1.5, 0.15])  # large, since clipped operations do not commute
    names = ("brightness", "contrast", "saturation", "hue")
    seen = []
    for order in itertools.permutations(range(4)):
        expected = image
        for turn in order:
            expected = change[names[turn]](expected, factors[turn])
        seen.append(change["jitter"](image, factors, jnp.array(order)))
        assert_alike(seen[-1], expected)
    apart = [jnp.max(jnp.abs(a - b)) for a, b in itertools.pairwise(seen)]
    assert min(apart) > 100 * ALIKE  # so that the test notices a wrong order


# Views


@pytest.mark.parametrize("recipe", (EACH["imagenet"], EACH["digits"]), ids=["all", "crop"])
def test_views_are_finite_and_between_0_and_1_before_normalisation(recipe, key):
    black, white = np.zeros((20, 28, 3), np.uint8), np.full((20, 28, 3), 255, np.uint8)
    noise = np.random.default_rng(3).integers(0, 256, (4, 20, 28, 3), np.uint8)
    plain = dataclasses.replace(recipe, mean=None, std=None)
    images = jnp.array([black, white, *noise])
    choices = [augment.choose((20, 28), recipe, key=one) for one in jr.split(key, 6)]
    views = jnp.stack(
        [render(image, plain, c) for image, c in zip(images, choices, strict=True)]
    )
    assert views.shape == (6, recipe.size, recipe.size, 3) and views.dtype == jnp.float32
    assert jnp.min(views) >= 0 and jnp.max(views) <= 1  # NaN fails too


def test_views_are_normalised_at_the_end(key):
    plain = dataclasses.replace(augment.CIFAR10, mean=None, std=None)
    image, choices = jnp.array(scene()), augment.choose((40, 56), plain, key=key)
    expected = augment.evaluation(render(image, plain, choices), augment.CIFAR10)
    assert jnp.allclose(render(image, augment.CIFAR10, choices), expected, atol=1e-5)


def test_a_key_is_a_view_alone_or_in_a_batch(key):
    images = jnp.stack([jnp.array(scene())] * 4)
    keys = jr.split(key, 4)
    recipe = augment.CIFAR10
    batch = jax.jit(jax.vmap(lambda image, key: augment.view(image, recipe, key=key)))
    views = batch(images, keys)
    assert jnp.array_equal(views, batch(images, keys))
    single = jnp.stack(
        [view(image, recipe, key=k) for image, k in zip(images, keys, strict=True)]
    )
    assert jnp.allclose(single, views, atol=1e-4)
    for one, other in itertools.combinations(views, 2):
        assert jnp.max(jnp.abs(one - other)) > 0.1


def test_bytes_and_floats_give_the_same(key):
    image = jnp.array(np.round(255 * scene()).astype(np.uint8))
    floats = image / jnp.float32(255)
    choices = augment.choose((40, 56), augment.CIFAR10, key=key)
    views = [render(x, augment.CIFAR10, choices) for x in (image, floats)]
    assert jnp.allclose(*views, atol=1e-5)
    tested = [augment.evaluation(x, augment.CIFAR10) for x in (image, floats)]
    assert jnp.allclose(*tested, atol=1e-5)


def test_evaluation_only_normalises():
    images = jnp.stack([jnp.array(scene())] * 2)
    assert jnp.array_equal(augment.evaluation(images, augment.STL10), images)
    mean, std = np.array(augment.CIFAR10.mean), np.array(augment.CIFAR10.std)
    expected = (np.asarray(images) - mean) / std
    assert jnp.allclose(augment.evaluation(images, augment.CIFAR10), expected, atol=1e-5)


def test_probability_1_is_always_and_0_never(key):
    image = jnp.array(scene())
    always = augment.Recipe(size=32, flip_p=1.0, gray_p=1.0, blur_p=1.0, solarize_p=1.0)
    choices = augment.choose((40, 56), always, key=key)
    x = image_operations.crop(image, *choices.box, size=32)
    x = image_operations.blur(
        image_operations.grayscale(image_operations.flip(x)), choices.sigma, always.blur_kernel
    )
    shown = augment.view(image, always, key=key)
    assert jnp.allclose(shown, image_operations.solarize(x, 0.5), atol=1e-5)
    never = augment.Recipe(size=32, flip_p=0.0)
    choices = augment.choose((40, 56), never, key=key)
    assert not choices.flip | choices.gray | choices.blur | choices.solarize
    cut = jnp.clip(image_operations.crop(image, *choices.box, size=32), 0, 1)
    assert jnp.allclose(augment.view(image, never, key=key), cut, atol=1e-6)


def test_digits_stay_gray_and_unmirrored(key):
    ramp = jnp.tile(jnp.arange(8, dtype=jnp.uint8)[None, :, None] * 30, (8, 1, 3))
    for one in jr.split(key, 10):
        x = view(ramp, augment.DIGITS, key=one)
        assert jnp.allclose(x, x[..., :1], atol=1e-6)
        assert jnp.all(jnp.diff(x[..., 0], axis=1) > -1e-6)


@every_recipe
def test_views_are_single_precision_also_where_jax_is_not(recipe, key):
    with jax.enable_x64(True):
        for dtype in (jnp.uint8, jnp.float64):
            image = jax.ShapeDtypeStruct((20, 28, 3), dtype)
            for shown in (
                augment.view,
                lambda x, recipe, *, key: augment.evaluation(x, recipe),
            ):
                assert jax.eval_shape(shown, image, recipe, key=key).dtype == jnp.float32


# Distributions of random parameters


@functools.cache
def many_choices():
    """Random parameters of the recipe MANY for many keys, as numpy arrays."""
    choose = jax.vmap(lambda key: augment.choose((96, 96), MANY, key=key))
    return jax.tree.map(np.asarray, jax.jit(choose)(jr.split(jr.key(5), DRAWS)))


def many_boxes(shape, recipe):
    one = jax.vmap(lambda key: augment.crop_box(shape, recipe, key=key))
    return np.asarray(jax.jit(one)(jr.split(jr.key(6), DRAWS)))


def boxes_by_hand(shape, recipe, n, seed):
    """n boxes by torchvision's RandomResizedCrop.get_params, rewritten in numpy."""
    rng = np.random.default_rng(seed)
    (height, width), boxes = shape, []
    low, high = recipe.ratio
    for _ in range(n):
        for _ in range(10):
            area = height * width * rng.uniform(*recipe.scale)
            ratio = math.exp(rng.uniform(math.log(low), math.log(high)))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
                break
        else:
            w, h = width, height
            if width / height < low:
                h = round(width / low)
            elif width / height > high:
                w = round(height * high)
            top, left = (height - h) // 2, (width - w) // 2
        boxes.append((top, left, h, w))
    return np.array(boxes)


def assert_uniform(values, low, high):
    assert low <= values.min() and values.max() <= high
    assert scipy.stats.kstest(values, "uniform", (low, high - low)).pvalue > UNLIKELY


def assert_alike_in_law(boxes, others):
    """Compares the distribution of each number, of the area, and of the ratio of the sides."""
    for i in range(4):
        _assert_one_law(boxes[:, i], others[:, i])
    (h, w), (other_h, other_w) = boxes[:, 2:].T, others[:, 2:].T
    _assert_one_law(h * w, other_h * other_w)
    _assert_one_law(w / h, other_w / other_h)


def _assert_one_law(values, others):
    assert scipy.stats.kstest(values, others).pvalue > UNLIKELY


def assert_frequency(events, p):
    assert scipy.stats.binomtest(int(events.sum()), len(events), p).pvalue > UNLIKELY


def test_area_log_ratio_and_place_are_uniform_where_every_box_fits():
    side = 4000  # so that rounding to whole pixels hardly matters
    recipe = augment.Recipe(size=32, scale=(0.1, 0.5), ratio=(0.6, 1.8))
    top, left, h, w = many_boxes((side, side), recipe).T
    assert_uniform(h * w / side**2, 0.0995, 0.5005)
    assert_uniform(np.log(w / h), math.log(0.599), math.log(1.802))
    assert_uniform((top + 0.5) / (side - h + 1), 0, 1)
    assert_uniform((left + 0.5) / (side - w + 1), 0, 1)


@pytest.mark.parametrize(
    ("shape", "scale"),
    [
        ((32, 32), (0.08, 1.0)),
        ((8, 8), (0.5, 1.0)),
        ((20, 50), (0.3, 1.0)),
    ],
    ids=str,
)
def test_boxes_are_distributed_as_torchvisions(shape, scale):
    recipe = augment.Recipe(size=32, scale=scale)
    ours, theirs = many_boxes(shape, recipe), boxes_by_hand(shape, recipe, 5000, 3)
    assert np.all(ours >= [0, 0, 1, 1])
    assert np.all(ours[:, :2] + ours[:, 2:] <= shape)
    assert_alike_in_law(ours, theirs)


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((10, 10), (0, 0, 10, 10)),
        ((10, 40), (0, 13, 10, 13)),
        ((41, 10), (14, 0, 13, 10)),
        ((30, 39), (0, 0, 30, 39)),
    ],
    ids=str,
)
def test_where_no_box_fits_the_crop_is_central_and_of_an_allowed_ratio(shape, box, key):
    recipe = augment.Recipe(size=8, scale=(2.0, 2.0))
    assert tuple(augment.crop_box(shape, recipe, key=key).tolist()) == box
    assert tuple(boxes_by_hand(shape, recipe, 1, 0)[0]) == box


def test_our_numpy_version_of_torchvisions_boxes_is_torchvisions():
    transforms = pytest.importorskip("torchvision.transforms")
    torch = pytest.importorskip("torch")
    recipe, shape = augment.Recipe(size=8, scale=(0.3, 1.0)), (20, 50)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        draw = transforms.RandomResizedCrop.get_params
        args = torch.zeros(3, *shape), list(recipe.scale), list(recipe.ratio)
        theirs = np.array([draw(*args) for _ in range(1000)])
    assert_alike_in_law(boxes_by_hand(shape, recipe, 1000, 4), theirs)


def test_coins_fall_as_often_as_they_should():
    choices = many_choices()
    assert_frequency(choices.flip, MANY.flip_p)
    assert_frequency(choices.gray, MANY.gray_p)
    assert_frequency(choices.blur, MANY.blur_p)
    assert_frequency(choices.solarize, MANY.solarize_p)
    assert_frequency(jittered(choices), MANY.jitter_p)


def jittered(choices):
    return np.any(choices.factors != [1, 1, 1, 0], axis=1)


def test_jitter_and_sigma_are_uniform_and_orders_equally_likely():
    choices = many_choices()
    brightness, contrast, saturation, shift = choices.factors[jittered(choices)].T.astype(float)
    assert_uniform(brightness, 0.6 - 1e-6, 1.4 + 1e-6)
    assert_uniform(contrast, 0.0, 2.5)  # cut off at 0
    assert_uniform(saturation, 0.8 - 1e-6, 1.2 + 1e-6)
    assert_uniform(shift, -0.1 - 1e-6, 0.1 + 1e-6)
    assert_uniform(choices.sigma.astype(float), 0.1 - 1e-6, 2.0 + 1e-6)
    orders, counts = np.unique(choices.order, axis=0, return_counts=True)
    _, pvalue = scipy.stats.chisquare(counts)
    assert len(orders) == 24 and pvalue > UNLIKELY


def test_what_is_drawn_is_uncorrelated():
    c = many_choices()
    top, left, h, w = c.box.T
    coins = [c.flip, c.gray, c.blur, c.solarize]
    places = [top / (97 - h), left / (97 - w), h * w, w / h]
    columns = np.stack([*places, *c.factors.T, *c.order.T[:3], *coins, c.sigma])
    apart = np.abs(np.corrcoef(columns) - np.eye(len(columns)))
    orders = slice(8, 11)  # entries of one permutation are correlated
    apart[orders, orders] = 0
    assert np.max(apart) < 5 / math.sqrt(DRAWS)


# Invalid arguments


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"gray_p": 1.2}, "gray_p is a probability, not 1.2"),
        ({"flip_p": -0.1}, "flip_p is a probability"),
        ({"scale": (0.0, 1.0)}, "give 0 < low <= high"),
        ({"ratio": (2.0, 1.0)}, r"ratio = \(2.0, 1.0\)"),
        ({"blur_sigma": (0.0, 2.0)}, "blur_sigma"),
        ({"jitter": (0.4, 0.4, 0.4, 0.6)}, "hue of at most 0.5"),
        ({"jitter": (-0.4, 0.4, 0.4, 0.1)}, "none below 0"),
        ({"mean": (0.5, 0.5, 0.5)}, "mean and std go together"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        augment.Recipe(size=32, **wrong)


@pytest.mark.parametrize("kernel", (8, 17))
def test_a_blur_that_cannot_be_centred_or_reflected_is_refused(kernel):
    with pytest.raises(ValueError, match="less than twice the image's shorter side"):
        image_operations.blur(jnp.zeros((8, 20, 3)), 1.0, kernel)


@pytest.mark.parametrize("dtype", (jnp.int32, jnp.bool_))
def test_images_of_unclear_units_are_refused(dtype, key):
    image = jnp.zeros((8, 8, 3), dtype)
    with pytest.raises(ValueError, match="images are uint8, or floats between 0 and 1"):
        augment.view(image, augment.DIGITS, key=key)
    with pytest.raises(ValueError, match="images are uint8, or floats between 0 and 1"):
        augment.evaluation(image, augment.DIGITS)

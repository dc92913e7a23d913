"""Tests of layers against closed forms and PyTorch, and of ResNets against torchvision.

Layers on several devices are compared with one device. One file, since layers and ResNets are
tested with the same helpers.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax import lax

from lindyn.train import layers, resnet, weights


DEVICE = "device"
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
make_norm = eqx.nn.make_with_state(layers.BatchNorm)
make_resnet = eqx.nn.make_with_state(resnet.ResNet)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="compares with PyTorch, which is missing")


@pytest.fixture
def torchvision(torch):
    return pytest.importorskip("torchvision", reason="compares with torchvision's ResNets")


def images(rng, *shape, offset=0.0):
    """Random images, in which each channel has its own scale and mean."""
    scale = np.linspace(0.5, 2.0, shape[-1])
    return (scale * (rng.normal(size=shape) + 1) + offset).astype(np.float32)


def affine(norm, rng):
    """The same layer with a random scale and shift, and these two."""
    scale, shift = rng.normal(size=(2, norm.weight.size)).astype(np.float32)
    where = lambda norm: (norm.weight, norm.bias)
    return eqx.tree_at(where, norm, (jnp.array(scale), jnp.array(shift))), scale, shift


def statistics(norm, state):
    return [np.asarray(state.get(getattr(norm, name))) for name in STATISTICS]


def copy(state):
    return jax.tree.map(lambda x: x, state)


def close(x, y, tolerance):
    """|x - y| <= tolerance * |y|, as vectors."""
    difference = np.linalg.norm(np.asarray(x, float) - np.asarray(y, float))
    return difference <= tolerance * np.linalg.norm(np.asarray(y, float))


def split(x, shards=2):
    return x.reshape(shards, -1, *x.shape[1:])


def apply(model, state, x):
    return model(x, state)


def on_shards(model, state, x):
    out = jax.vmap(apply, in_axes=(None, None, 0), out_axes=(0, None), axis_name=DEVICE)
    return out(model, state, x)


def on_devices(model, state, x):
    arrays, static = eqx.partition(model, eqx.is_array)
    run = jax.pmap(
        lambda arrays, state, x: apply(eqx.combine(arrays, static), state, x),
        axis_name=DEVICE,
        in_axes=(None, None, 0),
        out_axes=(0, None),
    )
    return jax.block_until_ready(run(arrays, state, x))


# Layers


@pytest.mark.parametrize("shape", ((7, 3), (4, 5, 2, 3)))
def test_batch_norm_is_the_closed_form(shape, rng):
    norm, state = make_norm(3)
    norm, scale, shift = affine(norm, rng)
    axes = tuple(range(len(shape) - 1))
    mean, var, n = np.zeros(3), np.ones(3), np.prod(shape[:-1])
    for update in range(3):
        x = images(rng, *shape) + np.float32(update)
        y, state = norm(jnp.array(x), state)
        x = x.astype(float)
        expected = (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-5) * scale + shift
        assert np.allclose(y, expected, rtol=1e-5, atol=1e-5)
        mean = 0.9 * mean + 0.1 * x.mean(axes)
        var = 0.9 * var + 0.1 * x.var(axes) * n / (n - 1)
    found = statistics(norm, state)
    assert np.allclose(found[0], mean, rtol=1e-6)
    assert np.allclose(found[1], var, rtol=1e-6)
    assert found[2] == 3
    x = images(rng, *shape)
    y, after = eqx.nn.inference_mode(norm)(jnp.array(x), state)
    assert np.allclose(y, (x - mean) / np.sqrt(var + 1e-5) * scale + shift, atol=1e-5)
    assert eqx.tree_equal(after, state)


@pytest.mark.parametrize("has_affine", (True, False))
def test_batch_norm_is_pytorchs(has_affine, rng, torch):
    norm, state = make_norm(3, affine=has_affine)
    theirs = torch.nn.BatchNorm2d(3, affine=has_affine)
    if has_affine:
        norm, scale, shift = affine(norm, rng)
        theirs.weight.data, theirs.bias.data = torch.tensor(scale), torch.tensor(shift)
    for mode in ("train", "train", "train", "eval"):
        x = images(rng, 4, 5, 2, 3)
        theirs.train(mode == "train")
        y, state = eqx.nn.inference_mode(norm, mode == "eval")(jnp.array(x), state)
        expected = theirs(torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        assert np.allclose(y, expected.detach(), rtol=1e-5, atol=1e-5)
        for name, found in zip(STATISTICS, statistics(norm, state), strict=True):
            assert np.allclose(found, getattr(theirs, name), rtol=1e-6)


@pytest.mark.parametrize("offset", (0.0, 1e3))
@pytest.mark.parametrize("run", (on_shards, on_devices))
def test_batch_norm_over_devices_is_that_of_the_whole_batch(run, offset, rng):
    x = images(rng, 8, 6, 5, 3, offset=offset)
    x[:4] += 2  # so that the shards differ
    whole, one = make_norm(3)
    y, one = whole(jnp.array(x), one)
    norm, many = make_norm(3, axis_name=DEVICE)
    shards, many = run(norm, many, split(jnp.array(x)))
    for found, expected in zip(statistics(norm, many), statistics(whole, one), strict=True):
        assert np.allclose(found, expected, rtol=1e-6, atol=1e-7)
    ulp = np.spacing(np.float32(offset + 2))  # the mean may differ in its last digits
    assert np.allclose(shards.reshape(y.shape), y, rtol=1e-5, atol=1e-6 + 4 * ulp)
    exact = x.astype(float)
    var = 0.9 + 0.1 * exact.var((0, 1, 2)) * 240 / 239
    assert np.allclose(statistics(norm, many)[1], var, rtol=1e-6)


def test_gradients_over_devices_are_those_of_the_whole_batch(key, rng):
    make = eqx.nn.make_with_state(resnet.BasicBlock)
    x = jnp.array(images(rng, 8, 4, 6, 3))

    def loss(arrays, x, static, state):
        y, after = eqx.combine(arrays, static)(x, copy(state))
        return jnp.mean(jnp.sin(y) + y**3), after

    def gradient(axis_name):
        block, state = make(3, 4, 2, axis_name=axis_name, key=key)
        arrays, static = eqx.partition(block, eqx.is_array)
        return arrays, lambda arrays, x: jax.value_and_grad(loss, (0, 1), has_aux=True)(
            arrays, x, static, state
        )

    def shard(arrays, x):
        (value, after), (of_arrays, of_x) = gradient(DEVICE)[1](arrays, x)
        return after, *lax.pmean((value, of_arrays), DEVICE), of_x

    arrays, whole = gradient(None)
    run = jax.vmap(shard, in_axes=(None, 0), out_axes=(None, None, None, 0), axis_name=DEVICE)
    *found, of_x = jax.jit(run)(gradient(DEVICE)[0], split(x))
    (value, after), (of_arrays, whole_of_x) = jax.jit(whole)(arrays, x)
    # Each shard's gradient is that of the sum of both losses, twice that of their mean.
    pairs = zip(
        jax.tree.leaves((found, of_x.reshape(x.shape) / 2)),
        jax.tree.leaves(((after, value, of_arrays), whole_of_x)),
        strict=True,
    )
    for a, b in pairs:
        assert close(a, b, 1e-5)


def test_statistics_stay_single_in_bfloat16(rng):
    x = jnp.array(images(rng, 16, 8, 8, 3, offset=100.0)).astype(jnp.bfloat16)
    norm, state = make_norm(3)
    y, state = norm(x, state)
    assert y.dtype == jnp.bfloat16
    exact = np.asarray(x, float)
    mean, var, _ = statistics(norm, state)
    assert mean.dtype == var.dtype == np.float32
    assert np.allclose(mean, 0.1 * exact.mean((0, 1, 2)), rtol=1e-6)
    assert np.allclose(var, 0.9 + 0.1 * exact.var((0, 1, 2)) * 1024 / 1023, rtol=1e-5)
    expected = (exact - exact.mean((0, 1, 2))) / exact.std((0, 1, 2))
    assert np.allclose(np.asarray(y, float), expected, rtol=2**-7, atol=1e-3)


def test_a_single_value_has_no_variance():
    norm, state = make_norm(3)
    with pytest.raises(ValueError, match="needs two values of each channel"):
        norm(jnp.ones((1, 3)), state)


def test_convolution_and_linear_start_as_pytorchs(key):
    conv = layers.Conv(16, 32, 3, 2, 1, key=key)
    weight = np.asarray(conv.weight)
    assert np.isclose(weight.std(), (2 / (9 * 32)) ** 0.5, rtol=0.05)
    assert abs(weight.mean()) < 0.01
    linear = layers.Linear(64, 100, bias=True, key=key)
    assert linear.bias is not None
    for x in map(np.asarray, (linear.weight, linear.bias)):
        assert 0.9 / 8 < abs(x).max() <= 1 / 8
        assert np.isclose(x.std(), 1 / 8 / 3**0.5, rtol=0.2)
    assert layers.Linear(3, 2, bias=False, key=key).bias is None


def test_linear_is_a_matrix_product(key, rng):
    linear = layers.Linear(4, 3, key=key)
    x = rng.normal(size=(5, 4)).astype(np.float32)
    expected = x @ np.asarray(linear.weight).T + np.asarray(linear.bias)
    assert np.allclose(linear(jnp.array(x)), expected, rtol=1e-5, atol=1e-6)
    assert linear(jnp.array(x, jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("kernel, stride, padding", ((1, 2, 0), (3, 1, 1), (3, 2, 1)))
def test_convolution_is_a_sum_over_the_window(kernel, stride, padding, key, rng):
    conv = layers.Conv(2, 3, kernel, stride, padding, key=key)
    x = rng.normal(size=(2, 6, 5, 2)).astype(np.float32)
    ends = (padding, padding)
    padded = np.pad(x, ((0, 0), ends, ends, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))
    expected = np.einsum("bhwikl,klio->bhwo", windows[:, ::stride, ::stride], conv.weight)
    assert np.allclose(conv(jnp.array(x)), expected, rtol=1e-5, atol=1e-6)
    assert conv(jnp.array(x, jnp.bfloat16)).dtype == jnp.bfloat16


def test_padding_never_is_the_largest(rng):
    x = -1 - rng.random(size=(2, 5, 4, 3)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    found = layers.max_pool(jnp.array(x), kernel=3, stride=2, padding=1)
    assert np.array_equal(found, windows[:, ::2, ::2].max((-1, -2)))


# ResNets


@pytest.mark.parametrize(
    "depth, stem, width, parameters",
    (
        (18, "imagenet", 64, 11_176_512),
        (18, "cifar", 64, 11_168_832),
        (50, "imagenet", 64, 23_508_032),
        (50, "cifar", 64, 23_500_352),
        (18, "cifar", 16, 700_176),
        (10, "cifar", 64, 4_898_112),
    ),
)
def test_sizes(depth, stem, width, parameters, key):
    model, state = eqx.filter_eval_shape(make_resnet, depth, stem, width, key=key)
    size = lambda x: int(np.prod(x.shape))
    assert sum(map(size, jax.tree.leaves(eqx.filter(model, _is_shape)))) == parameters
    assert model.features == width * (32 if depth == 50 else 8)
    side = {"cifar": 32, "imagenet": 96}[stem]
    x = jax.ShapeDtypeStruct((2, side, side, 3), jnp.bfloat16)
    y, after = eqx.filter_eval_shape(apply, model, state, x)
    assert (y.shape, y.dtype) == ((2, model.features), jnp.bfloat16)
    assert eqx.tree_equal(after, state)


@pytest.mark.parametrize(
    "arguments, message",
    (
        ((34, "cifar", 64), "depth 34: must be one of 10, 18, 50"),
        ((18, "stl", 64), "stem stl: must be one of cifar, imagenet"),
        ((18, "cifar", 0), "width 0: must be at least 1"),
    ),
)
def test_impossible_resnets(arguments, message, key):
    with pytest.raises(ValueError, match=message):
        resnet.ResNet(*arguments, key=key)


def test_the_gradient_reaches_every_weight(rng):
    model, state = drawn(10, "imagenet", 16, rng)
    arrays, static = eqx.partition(model, eqx.is_array)

    def loss(arrays, x):
        y, _ = eqx.combine(arrays, static)(x, copy(state))
        return jnp.mean(jnp.sin(y))

    gradient = jax.jit(jax.grad(loss))(arrays, jnp.array(images(rng, 4, 16, 16, 3)))
    for x in jax.tree.leaves(gradient):
        assert np.all(np.isfinite(x)) and np.any(np.asarray(x) != 0)


def test_every_batch_norm_knows_the_axis_and_inference_needs_none(rng):
    model, state = drawn(18, "imagenet", 4, rng, axis_name=DEVICE)
    is_norm = lambda x: isinstance(x, layers.BatchNorm)
    norms = [x for x in jax.tree.leaves(model, is_leaf=is_norm) if is_norm(x)]
    assert [norm.axis_name for norm in norms] == 20 * [DEVICE]
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    y, after = eqx.filter_eval_shape(apply, eqx.nn.inference_mode(model), state, x)
    assert y.shape == (1, 32)


@eqx.filter_jit
def evaluated_and_trained(model, state, x):
    y, _ = eqx.nn.inference_mode(model)(x, state)
    return y, *model(x, state)


@pytest.mark.parametrize(
    "depth, stem, side",
    (
        (18, "imagenet", 64),
        (18, "cifar", 16),
        (50, "imagenet", 64),
        pytest.param(50, "cifar", 16, marks=pytest.mark.slow),
    ),
)
def test_features_are_torchvisions(depth, stem, side, rng, torch, torchvision, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "weights.safetensors"
    pictures = images(rng, 4, side, side, 3)

    def theirs():
        torch.manual_seed(0)
        net = getattr(torchvision.models, f"resnet{depth}")()
        if stem == "cifar":
            net.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
            net.maxpool = torch.nn.Identity()
        return net

    def same(model, state, net):
        net.fc = torch.nn.Identity()
        net.double()  # single precision has errors of 1e-4, at depth 50 in training
        evaluated, trained, after = evaluated_and_trained(model, state, jnp.array(pictures))
        with torch.no_grad():
            x = torch.tensor(pictures).double().permute(0, 3, 1, 2)
            expected = [net.train(mode)(x) for mode in (False, True)]
        assert all(torch.all(y.std(0).mean() > 0) for y in expected)
        assert close(evaluated, expected[0], 1e-4)
        assert close(trained, expected[1], 1e-4)
        weights.save(path, model, after)
        found = safetensors.load_file(path)
        assert found.keys() == net.state_dict().keys()
        assert all(close(found[name], y, 1e-4) for name, y in net.named_buffers())

    model, state = drawn(depth, stem, 64, rng)
    weights.save(path, model, state)
    net = theirs()
    answer = net.load_state_dict(safetensors.load_file(path), strict=False)
    assert answer.missing_keys == ["fc.weight", "fc.bias"]
    assert not answer.unexpected_keys
    same(model, state, net)

    net = theirs()
    for name, x in net.state_dict().items():
        if x.ndim == 1:  # otherwise all weights of a BatchNorm are equal
            x.uniform_(*((-0.5, 0.5) if name.endswith(("bias", "mean")) else (0.5, 1.5)))
    safetensors.save_file(net.state_dict(), path)
    same(*weights.load(path, model, state), net)


def drawn(depth, stem, width, rng, **named):
    """A ResNet with random weights and statistics. Nothing is compiled to make it."""
    key = jr.key(0)
    shapes = eqx.filter_eval_shape(make_resnet, depth, stem, width, key=key, **named)

    def draw(x):
        if not _is_shape(x):
            return x
        if x.ndim == 4:
            scale = (2 / np.prod(x.shape[:3])) ** 0.5
            return jnp.array(scale * rng.normal(size=x.shape), x.dtype)
        uniform = rng.uniform(0.5, 1.5, size=x.shape)
        return jnp.array(uniform if x.ndim else 3, x.dtype)

    return jax.tree.map(draw, shapes)


def _is_shape(x):
    return isinstance(x, jax.ShapeDtypeStruct)

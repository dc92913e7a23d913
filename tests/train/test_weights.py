"""Tests of files of weights: loading gives what was saved, and errors name what is wrong."""

import json
import os
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lindyn.command import UsageError
from lindyn.train import resnet, weights


make_resnet = eqx.nn.make_with_state(resnet.ResNet)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


def numbered(key, *, depth=18, width=2, start=0):
    """A ResNet and its state with the values start, start + 1, ... Nothing is compiled."""
    shapes = eqx.filter_eval_shape(make_resnet, depth, "cifar", width, key=key)
    count = start

    def fill(x):
        nonlocal count
        if not isinstance(x, jax.ShapeDtypeStruct):
            return x
        first, count = count, count + int(np.prod(x.shape))
        return jnp.array(np.arange(first, count).reshape(x.shape), x.dtype)

    return jax.tree.map(fill, shapes)


def equal(a, b):
    """Whether two pytrees are bitwise equal.

    `eqx.tree_equal` would compile a program for each shape.
    """
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    alike = all(type(x) is type(y) and np.array_equal(x, y) for x, y in pairs)
    return alike and jax.tree.structure(a) == jax.tree.structure(b)


def header(path):
    content = path.read_bytes()
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


@pytest.mark.parametrize("depth", (18, 50))
def test_what_is_saved_is_loaded_bit_by_bit(depth, key, path):
    saved = numbered(key, depth=depth)
    weights.save(path, *saved)
    start = numbered(key, depth=depth, start=7)
    loaded = weights.load(path, *start)
    assert equal(loaded, saved)
    assert not equal(loaded, start)  # the state of `start` can still be used


def test_a_file_has_torchvisions_names_and_layouts(key, path):
    model, state = numbered(key)
    weights.save(path, model, state)
    tensors = load_file(path)
    norm = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    names = {"conv1.weight", *(f"bn1.{each}" for each in norm)}
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            at = f"layer{layer}.{block}"
            names |= {f"{at}.conv1.weight", f"{at}.conv2.weight"}
            names |= {f"{at}.bn{i}.{each}" for i in (1, 2) for each in norm}
        if layer > 1:
            at = f"layer{layer}.0.downsample"
            names |= {f"{at}.0.weight", *(f"{at}.1.{each}" for each in norm)}
    assert tensors.keys() == names
    assert tensors["layer2.0.conv1.weight"].shape == (4, 2, 3, 3)
    block = model.layer2[0]
    expected = np.einsum("hwio->oihw", block.conv1.weight)
    assert np.array_equal(tensors["layer2.0.conv1.weight"], expected)
    assert block.downsample is not None
    statistics = state.get(block.downsample[1].running_var)
    assert np.array_equal(tensors["layer2.0.downsample.1.running_var"], statistics)
    kinds = {name.split(".")[-1]: x.dtype for name, x in tensors.items()}
    assert kinds.pop("num_batches_tracked") == np.int64
    assert set(kinds.values()) == {np.dtype(np.float32)}


def test_the_header_takes_words(key, path):
    weights.save(path, *numbered(key), metadata={"seed": "3"})
    assert header(path)["__metadata__"] == {"format": "pt", "seed": "3"}


def test_a_file_is_whole_or_not_there(key, path, monkeypatch):
    def torn(self, content):
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    weights.save(path, *numbered(key))
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(pathlib.Path, "write_bytes", torn)
        with pytest.raises(UsageError, match="cannot be written .No space left on device"):
            weights.save(path, *numbered(key, start=1))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("kind", (np.float16, np.float64))
def test_what_pytorch_accepts_is_accepted(kind, key, path):
    """A file may have a classifier and other precisions. Old files lack the counters."""
    model, state = numbered(key)
    weights.save(path, model, state)
    tensors = {name: x for name, x in load_file(path).items() if x.ndim > 0}
    tensors = {name: x.astype(np.float16).astype(kind) for name, x in tensors.items()}
    tensors["fc.weight"], tensors["fc.bias"] = np.ones((10, 16), kind), np.ones(10, kind)
    save_file(tensors, path)
    model, state = weights.load(path, *numbered(key, start=7))
    assert state.get(model.bn1.num_batches_tracked) == 0
    found = state.get(model.bn1.running_var)
    assert found.dtype == jnp.float32
    assert np.array_equal(found, tensors["bn1.running_var"])


@pytest.mark.parametrize(
    "change, message",
    (
        ({"bn1.bias": None}, "missing tensor bn1.bias, which this ResNet has"),
        ({"bn9.bias": np.ones(2)}, "unexpected tensor bn9.bias, which this ResNet lacks"),
        (
            {"conv1.weight": np.ones((2, 3, 7, 5))},
            "tensor conv1.weight has shape (2, 3, 7, 5), where this ResNet has (2, 3, 3, 3)",
        ),
        (
            {"bn1.bias": np.ones((2, 1))},
            "tensor bn1.bias has shape (2, 1), where this ResNet has (2,)",
        ),
        (
            {"bn1.bias": np.ones(2, np.int8)},
            "tensor bn1.bias holds int8, where this ResNet has float32",
        ),
    ),
)
def test_a_tensor_that_does_not_fit(change, message, key, path):
    model, state = numbered(key)
    weights.save(path, model, state)
    tensors = {**load_file(path), **change}
    save_file({name: x for name, x in tensors.items() if x is not None}, path)
    with pytest.raises(UsageError) as error:
        weights.load(path, model, state)
    assert str(error.value) == f"{path}: {message}"
    assert equal((model, state), numbered(key))


@pytest.mark.parametrize("content", (b"", b"no header", b"\x80" * 100))
def test_a_file_of_another_kind(content, key, path):
    path.write_bytes(content)
    with pytest.raises(UsageError, match=f"^{path}: not a safetensors file .*$"):
        weights.load(path, *numbered(key))


def test_a_file_cut_short(key, path):
    weights.save(path, *numbered(key))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UsageError, match="not a safetensors file"):
        weights.load(path, *numbered(key))


def test_a_file_that_cannot_be_read_or_written(key, path):
    with pytest.raises(UsageError, match=f"^{path}: cannot be read .*$"):
        weights.load(path, *numbered(key))
    with pytest.raises(UsageError, match="cannot be written .No such file or directory"):
        weights.save(path.parent / "none" / "w.safetensors", *numbered(key))

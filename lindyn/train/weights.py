"""Reads and writes ResNet weights as safetensors files, with torchvision's names and layouts.

`torchvision.models.resnet18().load_state_dict(load_file(path), strict=False)` accepts a file
that `save` writes for the ImageNet stem and width 64. Only the classifier is then missing.
"""

import pathlib
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves_with_path, tree_map_with_path
from jaxtyping import Array
from safetensors import SafetensorError
from safetensors.numpy import load_file, save as as_bytes

from lindyn.command import UsageError, whole
from lindyn.train.resnet import ResNet


COUNTER = "num_batches_tracked"  # old files lack it, and PyTorch accepts that


def load(path: pathlib.Path, model: ResNet, state: eqx.nn.State) -> tuple[ResNet, eqx.nn.State]:
    """The model and state with the file's weights and running statistics.

    A classifier in the file (fc.weight, fc.bias) is ignored. The argument `state` stays valid.
    `UsageError` for a file that cannot be read or does not fit this ResNet.
    """
    tensors = _read(path)
    slots = _slots(model)
    for name in tensors:
        if name not in slots:
            raise UsageError(f"{path}: unexpected tensor {name}, which this ResNet lacks")
    arrays = {}
    for name, slot in slots.items():
        old = _value(slot, state)
        if name in tensors:
            arrays[name] = _from_torch(tensors[name], old, f"{path}: tensor {name}")
        elif name.endswith(COUNTER):
            arrays[name] = jnp.zeros_like(old)
        else:
            raise UsageError(f"{path}: missing tensor {name}, which this ResNet has")
    state = jax.tree.map(lambda x: x, state)  # a copy, since `set` makes the old state unusable
    for name, slot in slots.items():
        if isinstance(slot, eqx.nn.StateIndex):
            state = state.set(slot, arrays[name])
    replace = lambda where, leaf: arrays[_name(where)] if eqx.is_array(leaf) else leaf
    return tree_map_with_path(replace, model, is_leaf=_is_index), state


def save(
    path: pathlib.Path,
    model: ResNet,
    state: eqx.nn.State,
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes the file under a temporary name and then renames it.

    `metadata` goes into the file's header. `UsageError` if the file cannot be written.
    """
    tensors = {name: _to_torch(_value(slot, state)) for name, slot in _slots(model).items()}
    content = as_bytes(tensors, {"format": "pt", **(metadata or {})})
    try:
        whole(path, lambda other: other.write_bytes(content))
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({_reason(error)})") from None


def _slots(model: ResNet) -> dict[str, Array | eqx.nn.StateIndex]:
    """By tensor name: a weight of the model, or the index of a statistic in its state."""
    leaves = tree_leaves_with_path(model, is_leaf=_is_index)
    return {
        _name(where): leaf for where, leaf in leaves if eqx.is_array(leaf) or _is_index(leaf)
    }


def _name(where):
    return keystr(where, simple=True, separator=".")


def _is_index(x):
    return isinstance(x, eqx.nn.StateIndex)


def _value(slot, state) -> Array:
    return state.get(slot) if _is_index(slot) else slot


def _to_torch(x):
    x = np.asarray(x)
    if x.ndim == 4:
        return np.ascontiguousarray(x.transpose(3, 2, 0, 1))
    return x.astype(np.int64) if x.dtype == np.int32 else x


def _from_torch(x, old, what):
    if x.ndim == 4:
        x = x.transpose(2, 3, 1, 0)
    if x.shape != old.shape:
        shapes = [_layout(y.shape) for y in (x, old)]
        raise UsageError("{} has shape {}, where this ResNet has {}".format(what, *shapes))
    if jnp.issubdtype(x.dtype, jnp.integer) != jnp.issubdtype(old.dtype, jnp.integer):
        raise UsageError(f"{what} holds {x.dtype}, where this ResNet has {old.dtype}")
    return jnp.asarray(x.astype(old.dtype))


def _layout(shape):
    """A shape, in the order of axes that the file has."""
    return tuple(shape[i] for i in (3, 2, 0, 1)) if len(shape) == 4 else tuple(shape)


def _read(path):
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise UsageError(f"{path}: not a safetensors file ({_reason(error)})") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({_reason(error)})") from None
    return {name: x for name, x in tensors.items() if not name.startswith("fc.")}


def _reason(error):
    return getattr(error, "strerror", None) or " ".join(str(error).split())

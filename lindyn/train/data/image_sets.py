"""Image sets that fit in memory, and the order in which training takes their images.

Images are uint8 with the axes (row, column, channel). Labels count from 0.
"""

import contextlib
import functools
import hashlib
import math
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.random as jr
import numpy as np
from jaxtyping import Int32, UInt8

from lindyn.command import UsageError
from lindyn.train.data import pickled


CIFAR = (
    "CIFAR-10, unpacked: cifar-10-batches-bin (data_batch_1.bin to data_batch_5.bin, "
    "test_batch.bin, batches.meta.txt) or cifar-10-batches-py (data_batch_1 to data_batch_5, "
    "test_batch, batches.meta)"
)
STL = (
    "STL-10, unpacked: stl10_binary (train_X.bin, train_y.bin, unlabeled_X.bin, test_X.bin, "
    "test_y.bin, class_names.txt)"
)
CIFAR_PIXELS, STL_PIXELS = (3, 32, 32), (3, 96, 96)  # channels first, as stored
ORDER = 0x0D0E  # separates the random keys of orders from all other keys of the same seed


@dataclass(frozen=True, eq=False)
class Images:
    """A data set.

    `pretrain` is for training without labels. `train` and `test` are for evaluating features.
    """

    name: str
    pretrain: UInt8[np.ndarray, "pretrain side side 3"]
    train: UInt8[np.ndarray, "train side side 3"]
    train_labels: Int32[np.ndarray, " train"]
    test: UInt8[np.ndarray, "test side side 3"]
    test_labels: Int32[np.ndarray, " test"]
    classes: tuple[str, ...]
    checksum: str  # first 16 hex digits of the sha256 of the bytes read


def load(name: str, folder: pathlib.Path | None = None) -> Images:
    """The set of this name. All sets but digits are read from `folder`.

    `UsageError` for an unknown name, and for files that are missing or damaged.
    """
    if name == "digits":
        return digits()
    if name not in ("cifar10", "stl10"):
        raise UsageError(f"data {name}: must be one of cifar10, stl10, digits")
    read, files = (cifar10, CIFAR) if name == "cifar10" else (stl10, STL)
    if folder is None:
        raise UsageError(f"data {name}: needs the folder that holds {files}")
    return read(folder)


def cifar10(folder: pathlib.Path) -> Images:
    """CIFAR-10 from its official files, binary or pickled, which may be cut to fewer images."""
    folder = _find(
        folder, CIFAR, ("cifar-10-batches-bin", "cifar-10-batches-py"), "batches.meta*"
    )
    if folder.name == "cifar-10-batches-py" or (folder / "batches.meta").exists():
        names, read, meta, suffix = _pickled_names, _pickled_batch, "batches.meta", ""
    else:
        names, read, meta, suffix = _names, _binary_batch, "batches.meta.txt", ".bin"
    digest = hashlib.sha256()
    classes = names(folder / meta, digest)
    batches = [read(folder / f"data_batch_{i}{suffix}", digest) for i in range(1, 6)]
    train, labels = map(np.concatenate, zip(*batches, strict=True))
    test = read(folder / f"test_batch{suffix}", digest)
    return Images("cifar10", train, train, labels, *test, classes, _short(digest))


def stl10(folder: pathlib.Path) -> Images:
    """STL-10 from its official binary files.

    `pretrain` is train and unlabeled together, and `train` is a NumPy view of its first part.
    """
    folder = _find(folder, STL, ("stl10_binary",), "class_names.txt")
    digest = hashlib.sha256()
    classes = _names(folder / "class_names.txt", digest)
    pixels, labels = {}, {}
    for split in ("train", "unlabeled", "test"):
        records = _records(folder / f"{split}_X.bin", math.prod(STL_PIXELS), digest)
        pixels[split] = records.reshape(-1, *STL_PIXELS)
    for split in ("train", "test"):
        path = folder / f"{split}_y.bin"
        counted_from_1 = _records(path, 1, digest)[:, 0]
        labels[split] = _labels(path, counted_from_1, len(pixels[split]), first=1)
    n = len(pixels["train"])
    pretrain = _columns_first(pixels["train"], pixels["unlabeled"])
    train = (pretrain[:n], labels["train"])
    test = (_columns_first(pixels["test"]), labels["test"])
    return Images("stl10", pretrain, *train, *test, classes, _short(digest))


def digits() -> Images:
    """scikit-learn's 1797 handwritten digits, gray and 8 x 8. The last 360 are the test set."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UsageError("data digits: needs scikit-learn (pip install scikit-learn)") from None
    dataset: Any = load_digits()
    gray = np.rint(dataset.images * (255 / 16)).astype(np.uint8)
    images, labels = np.repeat(gray[..., None], 3, axis=-1), dataset.target.astype(np.int32)
    (train, test), (train_labels, test_labels) = (
        np.split(images, [-360]),
        np.split(labels, [-360]),
    )
    classes = tuple(map(str, dataset.target_names))
    checksum = _short(hashlib.sha256(gray.tobytes() + labels.tobytes()))
    return Images("digits", train, train, train_labels, test, test_labels, classes, checksum)


@functools.lru_cache(maxsize=4)
def order(n: int, *, seed: int, epoch: int) -> Int32[np.ndarray, " n"]:
    """The permutation of n images for one epoch, the same on every kind of device.

    It is drawn on the host's CPU, since another device may have steps to finish first.
    """
    host = jax.local_devices(backend="cpu")[0]
    with jax.ensure_compile_time_eval(), jax.default_device(host):
        key = jr.fold_in(jr.key(seed, impl="threefry2x32"), ORDER)
        return np.asarray(jr.permutation(jr.fold_in(key, epoch), n), np.int32)


def steps_per_epoch(n: int, batch: int) -> int:
    """The number of whole batches in n images. The rest of an epoch's order is dropped.

    `UsageError` unless 1 <= batch <= n.
    """
    if not 1 <= batch <= n:
        raise UsageError(f"batch {batch}: must be at least 1 and at most the set's {n} images")
    return n // batch


def batch_indices(n: int, batch: int, *, seed: int, step: int) -> Int32[np.ndarray, " batch"]:
    """Indices of the images in one step's batch, over all devices. Steps count from 0."""
    epoch, place = divmod(step, steps_per_epoch(n, batch))
    return order(n, seed=seed, epoch=epoch)[place * batch : (place + 1) * batch]


@contextlib.contextmanager
def readable(path: pathlib.Path) -> Iterator[None]:
    """A context that turns an `OSError` for `path`, or a file in it, into a `UsageError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"{error.filename or path}: no such file") from None
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"{error.filename or path}: cannot be read ({reason})") from None


def _find(folder, files, layouts, mark):
    """The folder that has one of the layouts: a folder inside `folder`, or `folder` itself."""
    with readable(folder):
        if not folder.is_dir():
            _refuse_packed(folder)
            raise UsageError(f"{folder}: no such folder; it should hold {files}")
        for layout in layouts:
            if (folder / layout).is_dir():
                return folder / layout
        if folder.name in layouts or any(folder.glob(mark)):
            return folder
        for path in sorted(folder.iterdir()):
            if path.name.startswith(("cifar-10-", "stl10_")):
                _refuse_packed(path)
    raise UsageError(f"{folder}: does not hold {files}")


def _refuse_packed(path):
    if path.is_file() and path.name.endswith((".tar.gz", ".tgz", ".tar", ".zip")):
        raise UsageError(f"{path}: is still packed; unpack it (tar -xf {path.name})")


def _read(path, digest):
    with readable(path):
        if path.stat().st_size == 0:
            raise UsageError(f"{path}: is empty")
        content = np.asarray(np.memmap(path, np.uint8, "r"))
        digest.update(content)
    return content


def _records(path, size, digest):
    content = _read(path, digest)
    if len(content) % size:
        reason = f"its {len(content)} bytes are not a whole number of records of {size}"
        raise UsageError(f"{path}: truncated: {reason}")
    return content.reshape(-1, size)


def _short(digest):
    return digest.hexdigest()[:16]


def _names(path, digest):
    return _ten(path, _read(path, digest).tobytes().decode("latin1").split())


def _ten(path, names):
    if len(set(names)) != 10:
        raise UsageError(f"{path}: must name 10 classes, and names {len(set(names))}")
    return tuple(names)


def _labels(path, labels, images, first=0):
    """Labels that count from 0, checked: one for each image, of 10 classes."""
    if len(labels) != images:
        raise UsageError(f"{path}: {len(labels)} labels for {images} images")
    wrong = labels[(labels < first) | (labels > first + 9)]
    if len(wrong):
        raise UsageError(f"{path}: label {wrong[0]}: must be {first} to {first + 9}")
    return labels.astype(np.int32) - first


def _binary_batch(path, digest):
    records = _records(path, 1 + math.prod(CIFAR_PIXELS), digest)
    return _rows_first(records[:, 1:]), _labels(path, records[:, 0], len(records))


def _rows_first(records):
    return np.ascontiguousarray(records.reshape(-1, *CIFAR_PIXELS).transpose(0, 2, 3, 1))


def _columns_first(*parts):
    """The images of all parts in one array. Its 2.9 GB (STL-10) are written only once."""
    images = np.empty((sum(map(len, parts)), 96, 96, 3), np.uint8)
    first = 0
    for part in parts:
        for channel in range(3):  # three times faster than all channels at once
            images[first : first + len(part), ..., channel] = part[:, channel].swapaxes(1, 2)
        first += len(part)
    return images


def _pickled_batch(path, digest):
    content = pickled.read(path, _read(path, digest).tobytes())
    try:
        images = _rows_first(content["data"].array())
        labels = np.array(content["labels"])
        if not len(images) or labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UsageError(
            f"{path}: must hold 'data', 3072 bytes an image, and 'labels'"
        ) from None
    return images, _labels(path, labels, len(images))


def _pickled_names(path, digest):
    names = pickled.read(path, _read(path, digest).tobytes()).get("label_names")
    return _ten(path, [pickled.text(x) for x in names] if isinstance(names, list) else [])

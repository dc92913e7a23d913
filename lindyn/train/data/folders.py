"""Folders of images in ImageNet's layout, decoded while training runs.

A batch depends only on the seed and the step. The number of threads or processes that decode it
does not matter, since grain keeps the order. Read `image_sets` first.
"""

import atexit
import contextlib
import hashlib
import multiprocessing
import os
import pathlib
import threading
import weakref
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Int32, UInt8

from lindyn.command import UsageError
from lindyn.train.data.image_sets import order, readable, steps_per_epoch


SUFFIXES = (".jpeg", ".jpg", ".png", ".webp", ".bmp")
LAYOUT = "train/CLASS/*.JPEG and val/CLASS/*.JPEG"
ENDLESS = 2**62  # number of images, larger than any run needs
THREADS = 16  # a tenth of the decoding holds the interpreter lock, so more do not help


@dataclass(frozen=True, eq=False)
class Split:
    """The files of one split, ordered by class and name, and their labels."""

    root: pathlib.Path
    files: tuple[str, ...]  # paths below root
    labels: Int32[np.ndarray, " images"]


@dataclass(frozen=True, eq=False)
class Folder:
    """A folder of images with two splits. Its classes are those of train."""

    train: Split
    val: Split
    classes: tuple[str, ...]
    checksum: str  # first 16 hex digits of the sha256 of file names and sizes


def folder(root: pathlib.Path) -> Folder:
    """Lists root/train/CLASS/* and root/val/CLASS/*, without reading an image.

    `UsageError` if a folder is missing or has no image, or val has a class that train lacks.
    """
    digest = hashlib.sha256()
    with readable(root):
        if not root.is_dir():
            raise UsageError(f"{root}: no such folder; it should hold {LAYOUT}")
        classes = _classes(root, "train")
        unknown = sorted(set(_classes(root, "val")) - set(classes))
        if unknown:
            raise UsageError(f"{root / 'val' / unknown[0]}: is no class of {root / 'train'}")
        train, val = (_split(root / split, classes, digest) for split in ("train", "val"))
    return Folder(train, val, classes, digest.hexdigest()[:16])


def thinned(split: Split, limit: int | None) -> Split:
    """At most `limit` images of the split, evenly spaced over it."""
    count = len(split.files)
    if limit is None or limit >= count:
        return split
    indices = np.linspace(0, count - 1, limit).round().astype(int)
    return Split(split.root, tuple(split.files[i] for i in indices), split.labels[indices])


def batches(
    split: Split,
    *,
    batch: int,
    size: int,
    seed: int,
    start: int = 0,
    workers: int = 0,
    index: int = 0,
    count: int = 1,
) -> Generator[UInt8[np.ndarray, "share size size 3"], None, None]:
    """Yields this process' part of each batch from step `start` on, without end.

    The parts of processes 0 to `count` - 1, in this order, make up a batch. Threads of this
    process decode the images, or `workers` processes if `workers` is not 0. Processes need a
    quarter more work for each image, which pays beyond about ten cores. `UsageError` for a
    batch that exceeds the split or is no multiple of `count`.
    """
    steps_per_epoch(len(split.files), batch)
    if batch % count:
        raise UsageError(f"batch {batch}: must be a multiple of the {count} processes")
    share = batch // count
    image = _Shuffled(split, size, seed, batch, index * share, share)
    return _decoded(image, start * share, ENDLESS, share, workers)


def labelled(
    split: Split, *, batch: int, size: int, workers: int = 0
) -> Iterator[tuple[UInt8[np.ndarray, "batch size size 3"], Int32[np.ndarray, " batch"]]]:
    """Yields all images of a split once, in order, with labels. The last batch may be short."""
    with contextlib.closing(
        _decoded(_InOrder(split, size), 0, len(split.files), batch, workers)
    ) as decoded:
        for i, images in enumerate(decoded):
            yield images, split.labels[i * batch : i * batch + len(images)]


def decode(path: pathlib.Path, size: int) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Decodes an image, resizes its short side to `size`, and crops the central square.

    Sizes are rounded as in torchvision. `UsageError` for a file that cannot be decoded.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            image = file if file.mode == "RGB" else file.convert("RGB")
            short = min(image.size)
            width, height = (side * size // short for side in image.size)
            image = image.resize((width, height), Image.Resampling.BILINEAR)
    except Image.UnidentifiedImageError:
        raise UsageError(f"{path}: is no image") from None
    except Exception as error:  # a broken image may raise any exception
        raise UsageError(f"{path}: cannot be decoded ({error})") from None
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))


@dataclass(frozen=True, eq=False)
class _InOrder:
    split: Split
    size: int

    def __call__(self, place: int):
        return decode(self.split.root / self.split.files[place], self.size)


@dataclass(frozen=True, eq=False)
class _Shuffled:
    """The image at a position in one process' stream, which joins its parts of all batches."""

    split: Split
    size: int
    seed: int
    batch: int
    first: int  # where this process' part begins in each batch
    share: int  # images in this part

    def __call__(self, place: int):
        n = len(self.split.files)
        step, within = divmod(place, self.share)
        epoch, step = divmod(step, n // self.batch)
        i = _order(n, self.seed, epoch)[step * self.batch + self.first + within]
        return decode(self.split.root / self.split.files[i], self.size)


_order_lock = threading.Lock()


def _order(n, seed, epoch):
    with _order_lock:  # of all threads that start an epoch, one computes the order
        return order(n, seed=seed, epoch=epoch)


def _decoded(image, start, stop, batch, workers) -> Generator[np.ndarray, None, None]:
    try:
        import grain
        from absl import flags
    except ImportError:
        raise UsageError("image folders: need grain (pip install grain)") from None
    threads = 1 if workers else min(os.cpu_count() or 1, THREADS)
    ahead = 1 if workers else max(threads, 2 * batch)
    images = grain.MapDataset.range(start, stop).map(image)
    dataset = images.to_iter_dataset(grain.ReadOptions(threads, ahead))
    if workers:
        if not flags.FLAGS.is_parsed():  # grain requires that the flags of absl are parsed
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(
            workers, per_worker_buffer_size=1 + batch // workers
        )
        dataset = dataset.mp_prefetch(options, worker_init_fn=_settle)
    batches = _until_closed(iter(dataset.batch(batch)))
    atexit.register(_close, weakref.ref(batches))  # closed before the interpreter shuts down
    return batches


def _until_closed(iterator: Any):
    try:
        yield from iterator
    finally:
        iterator.close()


def _close(reference):
    if (images := reference()) is not None:
        images.close()


def _settle(index: int, count: int) -> None:
    """Sets up a worker: it computes orders on the CPU, and ends when its parent is killed."""
    del index, count
    jax.config.update("jax_platforms", "cpu")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _classes(root, split):
    if not (root / split).is_dir():
        raise UsageError(f"{root}: has no {split}; it should hold {LAYOUT}")
    names = [entry.name for entry in os.scandir(root / split) if entry.is_dir()]
    classes = tuple(sorted(name for name in names if not name.startswith(".")))
    if not classes:
        raise UsageError(f"{root / split}: has no folder of a class; it should hold {LAYOUT}")
    return classes


def _split(root, classes, digest):
    files, labels = [], []
    for label, name in enumerate(classes):
        if not (root / name).is_dir():
            continue
        entries = os.scandir(root / name)
        sizes = {x.name: x.stat().st_size for x in entries if x.name.lower().endswith(SUFFIXES)}
        if not sizes:
            raise UsageError(f"{root / name}: holds no image ({', '.join(SUFFIXES)})")
        for file in sorted(sizes):
            files.append(f"{name}/{file}")
            labels.append(label)
            digest.update(f"{root.name}/{name}/{file} {sizes[file]}\n".encode())
    return Split(root, tuple(files), np.array(labels, np.int32))

"""The source of each step's images: arrays that stay on the devices, or a folder.

`Resident` and `Streamed` have the same interface, which `loop` uses.
"""

import hashlib
import itertools
from collections.abc import Callable, Generator
from typing import Any

import jax
import numpy as np

from lindyn.command import UsageError
from lindyn.train.config import Config
from lindyn.train.data import folders, gaussian, image_sets
from lindyn.train.evaluate import PART, Features, Judged
from lindyn.train.step import everywhere


# For each call: images, and the indices that each device takes.
Calls = Generator[tuple[Any, Any], None, None]


class Resident:
    """A set that each device holds whole. A step takes images from it by their indices."""

    resident = True

    def __init__(
        self,
        config: Config,
        pretrain: np.ndarray,
        checksum: str,
        judged: image_sets.Images | None,
    ):
        self._config, self._set = config, judged
        self._pretrain = pretrain[: config.limit]
        self.images, self.pixels = len(self._pretrain), self._pretrain.shape[1]
        self.checksum, self.labelled = checksum, judged is not None

    def calls(self, first: int, last: int, devices: list) -> Calls:
        """Yields images and indices for each call, from step `first` to `last` (exclusive)."""
        config = self._config
        images = everywhere(self._pretrain, devices)
        for start in range(first, last, config.steps_per_call):
            steps = range(start, min(start + config.steps_per_call, last))
            indices = [
                image_sets.batch_indices(self.images, config.batch, seed=config.seed, step=step)
                for step in steps
            ]
            parts = np.stack(indices).reshape(len(steps), len(devices), -1).swapaxes(0, 1)
            local = len(devices) // jax.process_count()
            yield images, parts[jax.process_index() * local :][:local]

    def features(self, of: Callable[[np.ndarray], Features]) -> tuple[Judged, Judged]:
        """The labelled training and test images, as features that `of` computes."""
        images, limit = self._set, self._config.limit
        assert images is not None
        train = Judged(of(images.train[:limit]), images.train_labels[:limit])
        return train, Judged(of(images.test[:limit]), images.test_labels[:limit])


class Streamed:
    """A folder whose images are decoded when a step needs them."""

    resident, labelled = False, True

    def __init__(self, config: Config, folder: folders.Folder):
        self._config, self._folder = config, folder
        self._train = folders.thinned(folder.train, config.limit)
        # Pixels a side of decoded images: more than a view has, as is usual.
        self._stored = round(config.image_size * 8 / 7)
        self.images, self.pixels = len(self._train.files), config.image_size
        self.checksum = folder.checksum

    def calls(self, first: int, last: int, devices: list) -> Calls:
        """Yields images and indices for each call, from step `first` to `last` (exclusive)."""
        config, local = self._config, len(devices) // jax.process_count()
        batches = folders.batches(
            self._train,
            batch=config.batch,
            size=self._stored,
            seed=config.seed,
            start=first,
            workers=config.workers,
            index=jax.process_index(),
            count=jax.process_count(),
        )
        try:
            for start in range(first, last, config.steps_per_call):
                steps = min(config.steps_per_call, last - start)
                images = np.stack(list(itertools.islice(batches, steps)))
                images = images.reshape(steps, local, -1, *images.shape[2:]).swapaxes(0, 1)
                images = images.reshape(local, -1, *images.shape[3:])
                chosen = np.arange(images.shape[1], dtype=np.int32).reshape(steps, -1)
                yield images, np.stack([chosen] * local)
        finally:
            batches.close()

    def features(self, of: Callable[[np.ndarray], Features]) -> tuple[Judged, Judged]:
        """The labelled training and test images, as features that `of` computes."""

        def all_of(split):
            split = folders.thinned(split, self._config.limit)
            batches = folders.labelled(split, batch=PART, size=self._config.image_size)
            parts, labels = zip(*((of(images), some) for images, some in batches), strict=True)
            return Judged(np.concatenate(parts), np.concatenate(labels))

        return all_of(self._folder.train), all_of(self._folder.val)


def of(config: Config) -> Resident | Streamed:
    """The source that `config` names. `UsageError` for missing or damaged files."""
    if config.data == "folder":
        assert config.data_dir is not None
        return Streamed(config, folders.folder(config.data_dir))
    if config.data == "gaussian":
        drawn = gaussian.vectors(config).astype(config.precision)
        return Resident(config, drawn, hashlib.sha256(drawn.tobytes()).hexdigest(), None)
    dataset = image_sets.load(config.data, config.data_dir)
    return Resident(config, dataset.pretrain, dataset.checksum, dataset)


def check_batch(config: Config, found: Resident | Streamed, devices: int) -> int:
    """The number of steps per epoch.

    `UsageError` for a batch that is no multiple of the devices, or that exceeds the images.
    """
    if config.batch % devices:
        raise UsageError(f"--batch {config.batch}: must be a multiple of the {devices} devices")
    return image_sets.steps_per_epoch(found.images, config.batch)

"""The state of a run on disk: written whole or not at all, and checked when it is read."""

import hashlib
import pathlib
import shutil
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from lindyn.command import UsageError


State = TypeVar("State", bound=PyTree)


class Checkpoints:
    """The newest `keep` states of a run, in a folder with one folder for each step.

    A state is written to a folder of another name, which is then renamed; writing goes on
    while training does.
    """

    def __init__(self, folder: pathlib.Path, keep: int):
        self._folder, own = folder, jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=own, active_processes={own}, barrier_sync_key_prefix=str(own)
        )
        several = jax.process_count() > 1
        if several:
            folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            cleanup_tmp_directories=own == 0,
            create=not several,  # refused where processes work alone
            multiprocessing_options=alone if several else ocp.options.MultiprocessingOptions(),
        )
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    @property
    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def write(self, step: int, state: PyTree) -> None:
        """A state `on_host`, by the first process. Does nothing for a step that is there."""
        if step in self._manager.all_steps():
            return
        arrays = _named(state)
        about = {"sha256": _digest(arrays), "arrays": len(arrays)}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(arrays), about=ocp.args.JsonSave(about)
        )
        self._manager.save(step, args=items)

    def restore(self, like: State, warn: Callable[[str], None]) -> tuple[int, State] | None:
        """The newest step whose state is whole, and the state; None if there is none.

        `like` has the shapes. A state that is damaged is told of and removed, and the one
        before it is taken. `UsageError` for a state of another network.
        """
        for step in reversed(self.steps):
            try:
                arrays = self._read(step)
            except Exception as error:  # whatever a damaged file makes a reader say
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                warn(f"{self._folder / str(step)}: damaged ({reason[:100]}), and left out")
                shutil.rmtree(self._folder / str(step), ignore_errors=True)
                self._manager.reload()
                continue
            return step, _filled(like, arrays, self._folder / str(step))
        return None

    def close(self) -> None:
        """Waits for what is being written."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _read(self, step):
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(), about=ocp.args.JsonRestore()
        )
        found = self._manager.restore(step, args=items)
        arrays = {name: np.asarray(x) for name, x in found["state"].items()}
        if _digest(arrays) != found["about"]["sha256"]:
            raise ValueError("its checksum differs")
        return arrays


def on_host(state: State) -> State:
    """A copy, that no later step can change: of all devices, this process' first has it."""
    first = lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x
    return jax.tree.map(np.array, jax.device_get(jax.tree.map(first, state)))


def _named(state: PyTree) -> dict[str, np.ndarray]:
    return {f"{i:05d}": x for i, x in enumerate(jax.tree.leaves(state))}


def _filled(like, arrays, place):
    leaves, structure = jax.tree.flatten(like)
    shapes = [(x.shape, np.dtype(x.dtype)) for x in leaves]
    found = [(x.shape, x.dtype) for _, x in sorted(arrays.items())]
    if shapes != found:
        raise UsageError(
            f"{place}: of another network, method or version; --overwrite starts anew"
        )
    return jax.tree.unflatten(structure, [x for _, x in sorted(arrays.items())])


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, x in sorted(arrays.items()):
        digest.update(f"{name} {x.dtype} {x.shape}".encode())
        digest.update(np.ascontiguousarray(x).data)
    return digest.hexdigest()

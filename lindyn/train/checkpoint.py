"""Checkpoints of a run: written whole or not at all, and verified when they are read."""

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
    """The newest `keep` states of a run, in a folder that has one subfolder for each step.

    A state is written to a subfolder with a temporary name, which is then renamed. Writing
    continues in the background while the run trains.
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
            create=not several,  # Orbax refuses True where processes work alone
            multiprocessing_options=alone if several else ocp.options.MultiprocessingOptions(),
        )
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options)

    @property
    def steps(self) -> list[int]:
        """The steps that have a checkpoint, in ascending order."""
        return sorted(self._manager.all_steps())

    def write(self, step: int, state: PyTree) -> None:
        """Writes a state that `on_host` has copied, unless the step has a checkpoint already.

        Only the first process calls it.
        """
        if step in self._manager.all_steps():
            return
        arrays = _named(state)
        about = {"sha256": _digest(arrays), "arrays": len(arrays)}
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(arrays), about=ocp.args.JsonSave(about)
        )
        self._manager.save(step, args=items)

    def restore(self, like: State, warn: Callable[[str], None]) -> tuple[int, State] | None:
        """The newest step with an intact state, and that state; None if there is none.

        `like` is a state of the expected structure and shapes. A damaged state is reported to
        `warn` and removed, and the state before it is read instead. `UsageError` for a state of
        another network.
        """
        for step in reversed(self.steps):
            try:
                arrays = self._read(step)
            except Exception as error:  # a damaged file may raise any exception
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                warn(f"{self._folder / str(step)}: damaged ({reason[:100]}), and left out")
                shutil.rmtree(self._folder / str(step), ignore_errors=True)
                self._manager.reload()
                continue
            return step, _filled(like, arrays, self._folder / str(step))
        return None

    def close(self) -> None:
        """Waits until all states are written, and ends the background writing."""
        self._manager.wait_until_finished()
        self._manager.close()

    def _read(self, step):
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(), about=ocp.args.JsonRestore()
        )
        stored = self._manager.restore(step, args=items)
        arrays = {name: np.asarray(x) for name, x in stored["state"].items()}
        if _digest(arrays) != stored["about"]["sha256"]:
            raise ValueError("its checksum differs")
        return arrays


def on_host(state: State) -> State:
    """A copy on the host, from this process' first device. No later step can change it."""
    first = lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x
    return jax.tree.map(np.array, jax.device_get(jax.tree.map(first, state)))


def _named(state: PyTree) -> dict[str, np.ndarray]:
    return {f"{i:05d}": x for i, x in enumerate(jax.tree.leaves(state))}


def _filled(like, arrays, place):
    leaves, structure = jax.tree.flatten(like)
    shapes = [(x.shape, np.dtype(x.dtype)) for x in leaves]
    stored_shapes = [(x.shape, x.dtype) for _, x in sorted(arrays.items())]
    if shapes != stored_shapes:
        raise UsageError(
            f"{place}: is of another network, method or version; --overwrite starts anew"
        )
    return jax.tree.unflatten(structure, [x for _, x in sorted(arrays.items())])


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, x in sorted(arrays.items()):
        digest.update(f"{name} {x.dtype} {x.shape}".encode())
        digest.update(np.ascontiguousarray(x).data)
    return digest.hexdigest()

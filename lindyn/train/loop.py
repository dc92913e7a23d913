"""Trains from the first step, or from the newest checkpoint, to the last step.

`prepare` makes a `Run`, and `train` executes it. Read `step` first.
"""

import dataclasses
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PyTree

from lindyn.command import progress
from lindyn.record import writing
from lindyn.record.measurements import Record
from lindyn.train import evaluate, setup, weights
from lindyn.train.checkpoint import Checkpoints, on_host
from lindyn.train.config import Config
from lindyn.train.data import source
from lindyn.train.step import everywhere, parallel
from lindyn.train.training_state import Method, TrainState


Say = Callable[[str], None]


class Interrupted(Exception):
    """A signal ended the run; its state is saved in a checkpoint."""


class NotFinite(Exception):
    """The loss or the gradient is infinite or NaN; the state before it is in a checkpoint."""


@dataclasses.dataclass
class Run:
    """The settings, the data, the method and the current state of one training run."""

    config: Config
    source: source.Resident | source.Streamed
    folder: writing.Folder
    method: Method
    static: PyTree
    state: TrainState
    devices: list  # of all processes
    per_epoch: int  # steps per epoch
    say: Say

    @property
    def steps(self) -> int:
        """Number of steps in all epochs."""
        return self.config.epochs * self.per_epoch


def prepare(
    config: Config, found: source.Resident | source.Streamed, devices: list, say: Say
) -> Run:
    """Makes the run before its first step, and its folder.

    Raises `UsageError` if the batch has more images than the data, or cannot be divided
    equally among the devices.
    """
    per_epoch = source.check_batch(config, found, len(devices))
    method = setup.method(config, config.epochs * per_epoch, per_epoch)
    state, static = setup.start(config, method, found.pixels)
    folder = writing.Folder(config.out, writes=jax.process_index() == 0)
    return Run(config, found, folder, method, static, state, devices, per_epoch, say)


def train(run: Run) -> dict[str, Any]:
    """Trains to the last step, from the newest checkpoint if there is one.

    Returns the summary: the last metrics and all accuracies. Raises `Interrupted` after a
    signal, and `NotFinite` for a loss or gradient that is infinite or NaN.
    """
    checkpoints = Checkpoints(run.folder.checkpoints, run.config.keep)
    try:
        step = 0
        restored = checkpoints.restore(run.state, run.say)
        if restored is not None:
            step, run.state = restored
            run.say(f"goes on from step {step} of {run.steps}")
        run.state = everywhere(run.state, run.devices)
        run.folder.forget_after(step)
        if step == 0:
            _evaluate(run, 0)
        with _signals() as stop, _writer() as writer:
            _steps(run, step, checkpoints, writer, stop)
        return _summary(run)
    except NotFinite:
        if run.folder.writes:
            checkpoints.write(int(run.state.step), on_host(run.state))
        raise
    finally:
        checkpoints.close()


def _steps(run, first, checkpoints, writer, stop):
    config, per_call = run.config, run.config.steps_per_call
    advance = parallel(run.devices, run.source.resident, static=run.static, method=run.method)
    starts = range(first, run.steps, per_call)
    calls = run.source.calls(first, run.steps, run.devices)
    late = _Late(run, writer)
    for start in progress(
        starts, "steps" if per_call == 1 else "calls", lambda _: late.message
    ):
        images, chosen = next(calls)
        run.state, measured = advance(run.state, images, chosen)
        step = start + len(chosen[0])
        if len(run.devices) > 1 and run.devices[0].platform == "cpu":
            # With several calls in the queue, host devices would hang.
            jax.block_until_ready(measured.loss)
        late.take(start, step, measured)
        last = step == run.steps
        due = lambda every, start=start, step=step: every and start // every < step // every
        if last or stop.is_set() or due(config.checkpoint_every):
            late.flush()
            if run.folder.writes:
                writer(checkpoints.write, step, on_host(run.state))
        if stop.is_set():
            raise Interrupted(f"interrupted at step {step}; --resume goes on from there")
        if last or due(config.evaluate_every * run.per_epoch):
            _evaluate(run, step)
    calls.close()


class _Writer:
    """Writes files in a background thread, in order, so that the device need not wait."""

    MOST = 4  # calls that may wait in the queue

    def __init__(self, thread: ThreadPoolExecutor):
        self._thread, self._waiting = thread, deque()

    def __call__(self, write: Callable, *args: Any) -> None:
        """Queues a call of `write`. Raises the exception of an earlier call, if it had one."""
        self.wait(self.MOST)
        self._waiting.append(self._thread.submit(write, *args))

    def wait(self, most: int = 0) -> None:
        """Waits until at most `most` calls are in the queue."""
        while self._waiting and (len(self._waiting) > most or self._waiting[0].done()):
            self._waiting.popleft().result()


@contextmanager
def _writer() -> Iterator[_Writer]:
    with ThreadPoolExecutor(1) as thread:
        writer = _Writer(thread)
        try:
            yield writer
        finally:
            writer.wait()


class _Late:
    """Fetches metrics one dispatch late, so that the device never waits for the host."""

    def __init__(self, run: Run, writer: _Writer):
        self._run, self._writer = run, writer
        self._waiting, self._losses = None, []
        self._since, self._images = time.perf_counter(), 0
        self.message = ""

    def take(self, start: int, step: int, measured: Record) -> None:
        """Keeps the metrics of the newest call, and fetches those of the call before."""
        self.flush()
        self._waiting = start, step, measured

    def flush(self) -> None:
        """Fetches the metrics that wait. `NotFinite` if the loss or gradient is not finite."""
        if self._waiting is None:
            return
        (start, step, measured), self._waiting = self._waiting, None
        fetch = lambda x: np.asarray(x.addressable_data(0))
        loss, gradient = fetch(measured.loss), fetch(measured.gradient)
        for name, values in (("loss", loss), ("gradient", gradient)):
            if not np.isfinite(values).all():
                bad = start + int(np.flatnonzero(~np.isfinite(values))[0])
                raise NotFinite(f"the {name} of step {bad} is {values[bad - start]}")
        self._losses.extend(loss.tolist())
        self._images += self._run.config.batch * len(loss)
        every = self._run.config.record_every
        if start // every < step // every or step == self._run.steps or start == 0:
            self._record(step, measured, float(gradient[-1]))

    def _record(self, step, measured, gradient):
        now = time.perf_counter()
        rate = self._images / (now - self._since)
        self._since, self._images = now, 0
        loss, self._losses = float(np.mean(self._losses)), []
        entry = dict(step=step, epoch=step / self._run.per_epoch, loss=loss, gradient=gradient)
        self._writer(self._write, measured, entry, rate)

    def _write(self, measured, entry, rate):
        run = self._run
        arrays, numbers = writing.spectrum(measured, 2 * run.config.batch)
        if run.config.model == "linear":
            arrays |= writing.weights(measured)
        run.folder.keep(f"spectra/{entry['step']:08d}.npz", arrays)
        run.folder.add("metrics.jsonl", entry | numbers | dict(images_per_second=rate))
        self.message = f"loss {entry['loss']:.4f}, {rate:.0f} images/s, {numbers['verdict']}"


def _evaluate(run, step):
    """Measures kNN accuracy.

    After the last step it also runs linear evaluation, and saves the encoder.
    """
    if jax.process_index() != 0 or not run.source.labelled:
        return
    local = lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x
    params, norm = jax.tree.map(local, (run.state.params, run.state.norm))
    online: Any = eqx.combine(params, run.static)
    recipe, encoder = setup.recipes(run.config)[0], online.branch.encoder
    train, test = run.source.features(lambda x: evaluate.features(encoder, norm, x, recipe))
    entry: dict[str, Any] = dict(step=step, epoch=step / run.per_epoch)
    entry |= dict(knn=evaluate.knn(train, test))
    if step == 0:
        entry |= dict(knn_pixels=evaluate.knn(*run.source.features(evaluate.pixels)))
    if step == run.steps and run.folder.writes:
        weights.save(run.folder.path / "encoder.safetensors", encoder, norm)
    if step == run.steps and run.config.linear:
        run.say("linear evaluation")
        scores = evaluate.linear(train, test, seed=run.config.seed)
        entry |= dict(linear_last=scores.last, linear_best=scores.best, linear=scores.curve)
    run.folder.add("evaluation.jsonl", entry)
    run.say(f"epoch {entry['epoch']:g}: kNN {100 * entry['knn']:.2f} %")


def _summary(run):
    metrics = run.folder.entries("metrics.jsonl")
    evaluations = run.folder.entries("evaluation.jsonl")
    last = metrics[-1] if metrics else {}
    keys = ("loss", "verdict", "rank", "of", "varying", "effective_rank", "tau", "alignment")
    summary = {key: last.get(key) for key in keys}
    for entry in evaluations:
        for key in ("knn", "knn_pixels", "linear_last", "linear_best"):
            if key in entry:
                summary[key] = entry[key]
    untrained = [entry["knn"] for entry in evaluations if entry["step"] == 0]
    return dict(steps=run.steps, knn_untrained=(untrained or [None])[0]) | summary


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets. A second signal interrupts at once."""
    stop = threading.Event()

    def handle(number, frame):
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {
        signum: signal.signal(signum, handle) for signum in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)

"""Executes training runs: on this machine, one on each GPU, or as an array of Slurm jobs."""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import plans
from plans import Job

from lindyn import command
from lindyn.command import UsageError
from lindyn.train.config import Config


TRAINER = (sys.executable, "-m", "lindyn.train")


@dataclasses.dataclass(frozen=True)
class Run(plans.Plan):
    """Executes the unfinished runs. An interrupt stops them, and a later call resumes them."""

    at_once: int | None = None
    """Number of simultaneous runs, each on its own GPU; by default one, on all GPUs. With
    --slurm: number of jobs of the array that may run at a time."""
    slurm: str | None = None
    """Submits the runs to this partition, as an array of requeueable jobs with one GPU each;
    sbatch reads further options from SBATCH_ACCOUNT and the like. local: a trial on this
    machine's CPU."""
    hours: float = 24.0
    """Time limit of a job; a job that reaches it is requeued."""


def slots(at_once):
    """CUDA_VISIBLE_DEVICES of each simultaneous run. "" leaves it as it is."""
    if at_once == 1:
        return [""]
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = given.split(",") if given else [str(i) for i in range(at_once)]
    if at_once > len(gpus):
        raise UsageError(f"--at-once {at_once}: CUDA_VISIBLE_DEVICES has {given}")
    return gpus[:at_once]


def train(
    jobs: Sequence[Job], slots: Sequence[str], time_left: Callable[[list[Job]], str]
) -> tuple[list[str], bool]:
    """Executes each job in its own process, at most one per slot at a time.

    Returns a line for each job that failed, and whether a signal ended the call.
    """
    waiting, running, failed, stopped = list(jobs), {}, [], False
    with _signals() as signals:
        while running or (waiting and not stopped):
            for slot in [slot for slot in slots if slot not in running]:
                if not waiting or stopped:
                    break
                job = waiting.pop(0)
                try:
                    running[slot] = job, started(job.config, slot), time.monotonic()
                    say(f"{job.name}: begins, {_log(job.config)}")
                except BlockingIOError:
                    failed.append(f"{job.name}: another process is at it")
            time.sleep(0.1)
            while signals:
                stopped, received = True, signals.pop(0)
                for _, process, _ in running.values():
                    process.send_signal(received)
            for slot, (job, process, since) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[slot]
                ended = _ended(job, process.returncode, stopped)
                ahead = [*waiting, *(each for each, _, _ in running.values())]
                if process.returncode and stopped:
                    ahead.append(job)
                elif process.returncode:
                    failed.append(f"{job.name}: {ended}, {_log(job.config)}")
                took = plans.clock(time.monotonic() - since)
                place = f"{len(jobs) - len(ahead)} of {len(jobs)}"
                say(f"{place}: {job.name}: {ended} after {took}; {time_left(ahead)}")
    return failed, stopped


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Catches SIGINT and SIGTERM; yields the list of those that have arrived."""
    signals: list[int] = []
    take = lambda received, _: signals.append(received)
    before = {each: signal.signal(each, take) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _ended(job, code, stopped):
    if code == 0:
        return "done"
    if stopped:
        return "interrupted"
    said = _log(job.config).read_text(errors="replace").strip().splitlines()[-1:]
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
    return ": ".join([how, *said])


def flags(config: Config) -> list[str]:
    """Arguments of `python -m lindyn.train` that begin the run, or resume it."""
    words = shlex.split(command.redraw("train", config, plans.ARMS[config.preset or ""]))[3:]
    resume = (config.out / "config.json").exists()
    return [*words, "--out", str(config.out), *["--resume"] * resume]


def started(config: Config, slot: str = "", **more) -> subprocess.Popen:
    """Starts the run in its own process, which holds a lock on its log.

    Raises BlockingIOError if another process already holds the lock.
    """
    _log(config).parent.mkdir(parents=True, exist_ok=True)
    with open(_log(config), "ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return subprocess.Popen(
            [*TRAINER, *flags(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | ({"CUDA_VISIBLE_DEVICES": slot} if slot else {}),
            start_new_session=True,  # so an interrupt reaches it once, sent by `train`
            **more,
        )


def _log(config):
    return config.out.with_name(f"{config.out.name}.log")


def submit(jobs: Sequence[Job], options: Run) -> list[Any]:
    """Submits one job for each run; returns the jobs of submitit."""
    try:
        import submitit
    except ImportError:
        raise UsageError("--slurm: needs submitit (pip install submitit)") from None
    local = options.slurm == "local"
    try:
        executor = submitit.AutoExecutor(
            options.out / "jobs",
            cluster="local" if local else "slurm",
            slurm_max_num_timeout=1000,
        )
    except RuntimeError as error:
        raise UsageError(f"--slurm {options.slurm}: {error}") from None
    executor.update_parameters(
        name="lindyn-tables",
        timeout_min=round(60 * options.hours),
        slurm_partition=options.slurm,
        slurm_gpus_per_node=1,
        slurm_array_parallelism=options.at_once or 1000,
    )
    paths = [str(pathlib.Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    # The jobs import this module.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    with executor.batch():
        return [executor.submit(Submitted(job.config)) for job in jobs]


class Submitted:
    """A run as a job of submitit. At a time limit or a preemption the process writes a
    checkpoint and ends, and the job is queued again."""

    def __init__(self, config: Config):
        self._config, self._process = config, None

    def __call__(self):
        if plans.state(self._config) == plans.FINISHED:
            return
        # SIGUSR2 is meant for submitit, which calls `checkpoint`.
        quiet = lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        self._process = started(self._config, preexec_fn=quiet)
        if code := self._process.wait():
            raise RuntimeError(f"exit {code}, {_log(self._config)}")

    def checkpoint(self):
        from submitit.helpers import DelayedSubmission

        if self._process is not None:
            self._process.terminate()
            # __call__ is inside wait() at this moment, so that Popen.wait would block here.
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(Submitted(self._config))


def say(text):
    print(text, file=sys.stderr, flush=True)

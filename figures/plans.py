"""The runs that the tables need: their configurations, their states and the time they take."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import published

from lindyn.command import UsageError, number
from lindyn.record import reading
from lindyn.train.command import FREE
from lindyn.train.config import Config, check
from lindyn.train.presets import presets


Name = Literal["t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8"]
ARMS = presets()
SEEDS = {"paper": 5, "small": 3}
SMALL = "limit depth width hidden dim batch ema target_start".split()  # taken from `quick`
SMALL += ["record_every", "checkpoint_every", "evaluate_every"]
SMALL_PACE = 250  # images/s of --budget small on CIFAR-10, on two idle cores
FINISHED, PARTLY, TO_DO = "finished", "part done", "to do"
# Fields in which a stored run may differ from the configuration that is asked for.
MAY_DIFFER = FREE - {"epochs", "linear"} | {"preset", "data_dir"}


@dataclasses.dataclass(frozen=True)
class Select:
    tables: tuple[Name, ...] = ("t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8")
    data: Literal["stl10", "cifar10", "digits"] = "stl10"
    """Images to train on. The paper uses STL-10, and in Table 8 also CIFAR-10."""
    budget: Literal["paper", "small"] = "paper"
    """small: sized for two CPU cores; its numbers are not comparable with the paper's."""
    out: pathlib.Path = pathlib.Path("runs/tables")
    """Folder of the run folders."""


@dataclasses.dataclass(frozen=True)
class Plan(Select):
    """Lists the runs that the tables need, their states, and the time that they take."""

    data_dir: pathlib.Path | None = None
    """Folder of the unpacked images, in their official layout."""
    seeds: int | None = None
    """Number of runs of each arm: by default 5, as in the paper, or 3 with --budget small."""


@dataclasses.dataclass(frozen=True)
class Job:
    """The training run of one arm of the paper with one seed."""

    config: Config  # its `out` is the run folder
    steps: int

    @property
    def name(self) -> str:
        return f"{self.config.preset} seed {self.config.seed}"


def planned(options: Plan) -> list[Job]:
    """The runs that the tables need, each once. `UsageError` if one is not possible."""
    seeds = SEEDS[options.budget] if options.seeds is None else options.seeds
    number("--seeds", seeds, 1, 1000)
    configs = [
        dataclasses.replace(wanted(arm, seed, options), data_dir=options.data_dir)
        for arm in arms(named(options))
        for seed in range(seeds)
    ]
    if not configs:
        return []
    for config in configs:
        check(config)
        state(config)
    from lindyn.train.data import source

    found = source.of(configs[0])
    per_epoch = source.check_batch(configs[0], found, 1)
    for config in configs:
        before = environment(config).get("data_checksum", found.checksum)
        if before != found.checksum:
            raise UsageError(f"{config.out}: is of data {before}, not {found.checksum}")
    return [Job(config, config.epochs * per_epoch) for config in configs]


def named(options: Select) -> tuple[Name, ...]:
    if not options.tables:
        raise UsageError("--tables: name at least one")
    return options.tables


def arms(tables: Sequence[str]) -> list[str]:
    """The arms that have to be run for these tables."""
    shown = [published.TABLES[name] for name in tables if name != "t4"]
    cells = [arm for table in shown for row in table.rows.values() for arm in row if arm]
    return list(dict.fromkeys(map(run_of, cells)))


@functools.cache
def run_of(arm: str) -> str:
    """The first arm with the same configuration: arms that differ only in name share a run."""
    nameless = lambda name: dataclasses.replace(ARMS[name], preset=None)
    return next(name for name in ARMS if nameless(name) == nameless(arm))


def wanted(arm: str, seed: int, options: Select) -> Config:
    """The configuration of the run of this arm."""
    out = options.out / options.data / arm / f"seed{seed}"
    changes = budget(options.budget, ARMS[arm].epochs)
    return dataclasses.replace(ARMS[arm], data=options.data, seed=seed, out=out, **changes)


def budget(name: str, epochs: int) -> dict[str, Any]:
    """The fields that the budget changes in an arm with this number of epochs."""
    if name == "paper":
        return {}
    quick = ARMS["quick"]
    small = {field: getattr(quick, field) for field in SMALL}
    return small | dict(predictor_hidden=quick.hidden, epochs=epochs * quick.epochs // 100)


def state(config: Config) -> str:
    """The state of the run folder. Raises `UsageError` if it holds a different run."""
    if not config.out.exists() or (config.out.is_dir() and not any(config.out.iterdir())):
        return TO_DO
    stored = reading.content(config.out, "config.json")
    for field in dataclasses.fields(Config):
        want, have = getattr(config, field.name), stored.get(field.name, field.default)
        if have != want and field.name not in MAY_DIFFER:
            flag = field.name.replace("_", "-")
            raise UsageError(f"{config.out}: is a run with --{flag} {have}, not {want}")
    return FINISHED if result(config) else PARTLY


def result(config: Config) -> dict[str, Any] | None:
    """The last evaluation of a finished run, else None."""
    last = (reading.lines(config.out / "evaluation.jsonl") or [{}])[-1]
    needed = "linear_last" if config.linear else "knn"
    return last if last.get("epoch") == config.epochs and needed in last else None


def trained(config: Config) -> tuple[int, float]:
    """The number of steps that a run has recorded, and the seconds that they took."""
    step, seconds = 0, 0.0
    for entry in reading.lines(config.out / "metrics.jsonl"):
        seconds += (entry["step"] - step) * config.batch / entry["images_per_second"]
        step = entry["step"]
    return step, seconds


def time_left(jobs, these, options):
    """A line that says how long the runs `these` still take, at the mean pace of all `jobs`."""
    so_far = {job: trained(job.config) for job in jobs}
    images = sum(step * job.config.batch for job, (step, _) in so_far.items())
    seconds = sum(took for _, took in so_far.values())
    ahead = sum((job.steps - so_far[job][0]) * job.config.batch for job in these)
    if not ahead:
        return "nothing left"
    if not seconds and options.budget == "paper":
        return "how long is known when one has begun"
    pace = images / seconds if seconds else SMALL_PACE
    guess = " (as CIFAR-10 on two idle cores)"
    left = ahead / pace / (getattr(options, "at_once", None) or 1)
    return f"about {clock(left)} left at {pace:.0f} images/s" + guess * (not seconds)


def clock(seconds):
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def environment(config):
    there = (config.out / "environment.json").exists()
    return reading.content(config.out, "environment.json") if there else {}

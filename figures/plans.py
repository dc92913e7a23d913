"""Which runs the tables need, what each is told, and what has become of it."""

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
SMALL = "limit depth width hidden dim batch ema target_start".split()  # what `quick` has
SMALL += ["record_every", "checkpoint_every", "evaluate_every"]
SMALL_PACE = 250  # images/s of --budget small, CIFAR-10, two idle cores
FINISHED, PARTLY, TO_DO = "finished", "part done", "to do"
MAY_DIFFER = FREE - {"epochs", "linear"} | {"preset", "data_dir"}  # in a run that counts


@dataclasses.dataclass(frozen=True)
class Select:
    tables: tuple[Name, ...] = ("t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8")
    data: Literal["stl10", "cifar10", "digits"] = "stl10"
    """The paper has STL-10, and in Table 8 CIFAR-10 too."""
    budget: Literal["paper", "small"] = "paper"
    """small: for two CPU cores, and not comparable with the paper."""
    out: pathlib.Path = pathlib.Path("runs/tables")
    """Where the run folders are."""


@dataclasses.dataclass(frozen=True)
class Plan(Select):
    """Lists the runs that tables need, what has become of them, and the time they take."""

    data_dir: pathlib.Path | None = None
    """Where the images are, in their official layout, unpacked."""
    seeds: int | None = None
    """Runs of each arm: by default 5, as the paper has, or 3 with --budget small."""


@dataclasses.dataclass(frozen=True)
class Job:
    """One arm with one seed."""

    config: Config  # its `out` is the run folder
    steps: int

    @property
    def name(self) -> str:
        return f"{self.config.preset} seed {self.config.seed}"


def planned(options: Plan) -> list[Job]:
    """The runs that the tables need, each once. `UsageError` if one could not be done."""
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
    """Those that have to be run for these tables."""
    shown = [published.TABLES[name] for name in tables if name != "t4"]
    cells = [arm for table in shown for row in table.rows.values() for arm in row if arm]
    return list(dict.fromkeys(map(run_of, cells)))


@functools.cache
def run_of(arm: str) -> str:
    """The first arm that is the same but for its name: one run does for both."""
    nameless = lambda name: dataclasses.replace(ARMS[name], preset=None)
    return next(name for name in ARMS if nameless(name) == nameless(arm))


def wanted(arm: str, seed: int, options: Select) -> Config:
    """What the run is told, in the end, that counts for this arm."""
    out = options.out / options.data / arm / f"seed{seed}"
    changes = budget(options.budget, ARMS[arm].epochs)
    return dataclasses.replace(ARMS[arm], data=options.data, seed=seed, out=out, **changes)


def budget(name: str, epochs: int) -> dict[str, Any]:
    """What a budget changes of an arm that has so many epochs."""
    if name == "paper":
        return {}
    quick = ARMS["quick"]
    small = {field: getattr(quick, field) for field in SMALL}
    return small | dict(predictor_hidden=quick.hidden, epochs=epochs * quick.epochs // 100)


def state(config: Config) -> str:
    """Of the run folder. `UsageError` if it holds something else than this run."""
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
    """The last evaluation of a run, if it is finished."""
    last = (reading.lines(config.out / "evaluation.jsonl") or [{}])[-1]
    needed = "linear_last" if config.linear else "knn"
    return last if last.get("epoch") == config.epochs and needed in last else None


def trained(config: Config) -> tuple[int, float]:
    """Steps that a run has recorded, and the seconds they took."""
    step, seconds = 0, 0.0
    for entry in reading.lines(config.out / "metrics.jsonl"):
        seconds += (entry["step"] - step) * config.batch / entry["images_per_second"]
        step = entry["step"]
    return step, seconds


def time_left(jobs, these, options):
    """Of these, at the pace of all."""
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

"""The command `python -m lindyn.predict`: its flags, their limits, and its printed answer."""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Annotated, Any, Literal

import tyro

from lindyn import command
from lindyn.command import UsageError, number
from lindyn.record import reading


Decay = Annotated[float, tyro.conf.arg(aliases=("--weight-decay",))]
CLOSED_FORMS = ("directpred", "directset", "directcopy", "optimal")


@dataclasses.dataclass(frozen=True)
class Config:
    """Says whether BYOL, SimSiam or DirectPred collapses with these settings, and why.

    The answer comes from the theory of linear networks, with the loss and the steps of the
    trainer; it needs no data. A mode is an eigenvalue p of the predictor with the variance s
    of the features along the same eigenvector. Modes that survive from usual initial weights
    are counted.
    """

    optimiser: Literal["sgd", "adam", "lars"] = "sgd"  # adam --decay decoupled is AdamW
    lr: float = 0.03  # learning rate of encoder and projector
    predictor_lr: float | None = None  # learning rate of the predictor; default: lr
    momentum: float = 0.9  # for adam, its first beta; the second is 0.999
    nesterov: bool = False
    wd: Decay = 4e-4  # weight decay, as passed to the optimiser
    wd_p: float | None = None  # weight decay of the predictor, if it differs
    wd_s: float | None = None  # weight decay of encoder and projector, if it differs
    decay: Literal["coupled", "decoupled"] = "coupled"
    """coupled: part of the gradient, as in PyTorch's SGD. decoupled: lr wd a step, as AdamW."""
    ema: float = 0.996  # fraction of the target that each step keeps
    target: Literal["ema", "none"] = "ema"  # none: the online network, as in SimSiam
    target_start: Literal["independent", "copy", "zero"] = "independent"
    """With --target ema: tau starts at 1 for a copy of the online network, else at 0."""
    loss: Literal["cosine", "l2"] = "cosine"  # cosine: -2 cos. l2: |.|^2/2
    both_directions: bool = True  # each view predicts the other
    stop_gradient: bool = True
    predictor: Literal[
        "linear", "two-layer", "none", "directpred", "directset", "directcopy", "optimal"
    ] = "linear"
    symmetric: bool = False  # Wp is kept symmetric
    a: float = 0.5  # for --predictor directset: p = max(s - c, 0)^a + eps
    eps: float = 0.1  # for a predictor in closed form
    c: float = 0.0  # for directpred and directset
    rho: float = 0.3  # weight of the past in the running F of a closed form
    sigma2: float = 0.3  # variance that views add to inputs of variance 1; 0.3 is a guess
    dim: int = 8  # outputs that the loss compares; more than 16 are simulated by 16
    inputs: int = 16  # inputs of that layer; more than 32 are simulated by 32
    batch: int = 128  # examples per step
    steps: int = 5000  # training steps of the run
    p0: float | None = None
    """With --loss l2: initial p of one mode, whose fate is then the verdict."""
    s0: float | None = None  # initial s of that mode; default: p0^2/alpha_p
    run: pathlib.Path | None = None
    """A run folder of lindyn train, or its config.json; other flags override its settings."""
    json: bool = False  # print one JSON object instead of the table
    fail_on_collapse: bool = False
    """Exit with 1 if training diverges, noise rules it, or less than half of the modes live."""


LIMITS = {  # flag: minimum, maximum, whether the minimum is excluded
    "lr": (1e-12, 1e4, False),
    "predictor-lr": (1e-12, 1e4, False),
    "momentum": (0, 0.9999, False),
    "wd": (0, 10, False),
    "wd-p": (0, 10, False),
    "wd-s": (0, 10, False),
    "ema": (0, 0.999999, False),
    "a": (0, 10, True),
    "eps": (0, 1e3, False),
    "c": (-1e3, 1e3, False),
    "sigma2": (0, 1e3, False),
    "rho": (0, 1, False),
    "dim": (2, 8192, False),
    "inputs": (1, 65_536, False),
    "batch": (2, 10**6, False),
    "p0": (-1e3, 1e3, False),
    "s0": (0, 1e6, True),
    "steps": (1, 100_000, False),
}
FIXED = {  # settings without a flag; a run's config.json overrides them
    "method": "byol",
    "normalisation": "spectral",
    "schedule": "constant",
    "warmup": 0.0,
    "ema_schedule": "constant",
    "predictor_bias": False,
}


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else list(argv)
    return command.run("predict", Config, functools.partial(_begin, argv), argv)


def _begin(argv, config):
    if config.run is None:
        return predict(config, FIXED)
    recorded = _recorded(config.run)
    with_run = functools.partial(predict, recorded=recorded)
    return command.run("predict", Config, with_run, [*_flags(recorded), *argv])


def predict(config: Config, recorded: Mapping[str, Any]) -> int:
    """Checks the flags, and prints the verdict and its reasons, as a table or as JSON.

    `recorded` holds the settings that have no flag: `FIXED`, or a run's config.json. Returns
    the exit code, which is 1 for a collapse with --fail-on-collapse. Raises `UsageError` for
    flags that are out of range or contradict each other.
    """
    from lindyn.predict import analysis, scenario as cases, wording

    _check(config)
    command.start()
    case = cases.Scenario.of({**recorded, **dataclasses.asdict(config)})
    answer = analysis.answer(case)
    answer["why"] = wording.why(case, answer)
    answer["suggestions"] = [wording.change(case, each) for each in answer["suggestions"]]
    if config.json:
        about = {
            "version": f"lindyn {version('lindyn')}",
            "settings": dataclasses.asdict(config),
        }
        print(command.as_json({**about, **answer}))
    else:
        _print(answer, wording.rows(case, answer))
    failed = config.fail_on_collapse and analysis.fails(answer)
    return command.FAILED if failed else command.DONE


def _recorded(path):
    """The settings in a run's config.json, which training writes before its first record."""
    file = path if path.suffix == ".json" else path / "config.json"
    recorded = reading.content(file.parent, file.name)
    recorded = {"nesterov": False, **recorded}  # older runs had no choice and lack it
    needed = [*FIXED, *_shared(), "alpha_p"]
    missing = [name for name in needed if name not in recorded]
    if missing:
        raise UsageError(f"--run {path}: {file.name} lacks {', '.join(missing)}")
    for name in ("lr", "alpha_p"):
        if not isinstance(recorded[name], int | float):
            raise UsageError(f"--run {path}: {name} is {recorded[name]!r}, which is no number")
    if recorded["method"] != "byol":
        raise UsageError(
            f"--run {path}: SimCLR has negative pairs; the theory covers runs without"
        )
    return recorded


def _shared():
    """Names of the flags that config.json also has, with the same meaning.

    Its sigma2 is not among them, since it describes synthetic data.
    """
    mine = ("predictor_lr", "sigma2", "inputs", "p0", "s0", "steps", "run", "json")
    names = [field.name for field in dataclasses.fields(Config)]
    return [name for name in names if name not in (*mine, "fail_on_collapse")]


def _flags(recorded):
    """The settings of a run, as flags of this command."""
    settings = {name: recorded[name] for name in _shared()}
    settings["predictor_lr"] = recorded["alpha_p"] * recorded["lr"]
    linear = recorded.get("data") == "gaussian"
    if linear:
        settings["sigma2"] = recorded["sigma2"]
    settings["inputs"] = recorded["inputs" if linear else "hidden"]
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{flag}" if value else f"--no-{flag}"
        elif value is not None:
            yield f"--{flag}={value}"


def _check(config):
    for flag, (least, most, above) in LIMITS.items():
        value = getattr(config, flag.replace("-", "_"))
        if value is not None:
            number(f"--{flag}", value, least, most, above=above)
    for flag in ("wd", "wd-p", "wd-s"):
        if 0 < (getattr(config, flag.replace("-", "_")) or 0) < 1e-12:
            raise UsageError(f"--{flag}: must be 0 or at least 1e-12")
    kind = config.predictor
    if config.symmetric and (kind in CLOSED_FORMS or kind == "none"):
        raise UsageError(f"--symmetric: not with --predictor {kind}")
    if config.nesterov and (config.optimiser != "sgd" or config.momentum == 0):
        raise UsageError("--nesterov: only with --optimiser sgd and a --momentum")
    if config.p0 is not None and config.loss == "cosine":
        raise UsageError(
            "--p0: modes of a cosine compete, and none has its own fate; use --loss l2"
        )
    if config.s0 is not None and config.p0 is None:
        raise UsageError("--s0: set the initial p with --p0")
    if config.p0 == 0 and config.s0 is None:
        raise UsageError("--p0 0: set the initial s with --s0")
    alike = not config.stop_gradient and config.target == "none"
    if config.p0 is not None and (alike or kind not in ("linear", "two-layer")):
        raise UsageError(
            "--p0: needs a trained predictor (linear or two-layer) and a stop-gradient"
        )


def _print(answer, rows):
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False, show_header=False)
    for name, value, meaning in rows:
        shown = "" if value is None else f"{value:.4g}".replace("nan", "?")
        table.add_row(name, shown, meaning)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    line = functools.partial(console.print, soft_wrap=True, markup=False)
    line(f"{answer['verdict']}: {answer['why']}")
    console.print(table)
    for change in answer["suggestions"]:
        line(f"what to change: {' '.join(change['flags'])} ({change['why']})")
    for limit in answer["beyond"]:
        line(f"beyond the theory: {limit}")
    line(f"assumed: {answer['assumed']}")
    if answer["phase"]:
        line(f"to see it: {answer['phase']}")

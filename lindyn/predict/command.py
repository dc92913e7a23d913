"""Will it collapse? A trainer's settings, read in the theory's units and answered."""

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

    It is the theory of linear networks that answers, with the loss and the steps of the
    trainer. A mode is an eigenvalue p of the predictor with the variance s of the features
    along the same eigenvector; those that usual starts leave are counted. It needs no data.
    """

    optimiser: Literal["sgd", "adam", "lars"] = "sgd"  # adam --decay decoupled is AdamW
    lr: float = 0.03  # of encoder and projector
    predictor_lr: float | None = None  # default: lr
    momentum: float = 0.9  # of adam its first beta; the second is 0.999
    nesterov: bool = False
    wd: Decay = 4e-4  # weight decay, as the optimiser is told
    wd_p: float | None = None  # of the predictor, if it differs
    wd_s: float | None = None  # of encoder and projector, if it differs
    decay: Literal["coupled", "decoupled"] = "coupled"
    """coupled: part of the gradient, as PyTorch's SGD; decoupled: lr wd a step, as AdamW."""
    ema: float = 0.996  # what the target keeps of itself at each step
    target: Literal["ema", "none"] = "ema"  # none: the online network itself, as SimSiam
    target_start: Literal["independent", "copy", "zero"] = "independent"
    """Of --target ema: tau starts at 1 for a copy of the online network, else at 0."""
    loss: Literal["cosine", "l2"] = "cosine"  # -2 cos, or |.|^2/2
    both_directions: bool = True  # each view predicts the other
    stop_gradient: bool = True
    predictor: Literal[
        "linear", "two-layer", "none", "directpred", "directset", "directcopy", "optimal"
    ] = "linear"
    symmetric: bool = False  # Wp is kept symmetric
    a: float = 0.5  # of --predictor directset, p = max(s - c, 0)^a + eps
    eps: float = 0.1  # of a predictor in closed form
    c: float = 0.0  # of directpred and directset
    rho: float = 0.3  # of the running F of a predictor in closed form
    sigma2: float = 0.3  # variance that views add to inputs of variance 1: a guess
    dim: int = 8  # outputs that are compared; 16 stand for more
    inputs: int = 16  # of the layer that makes them; 32 stand for more
    batch: int = 128
    steps: int = 5000  # of the run
    p0: float | None = None
    """Of --loss l2: start of a mode, whose own fate is then the answer."""
    s0: float | None = None  # default: p0^2/alpha_p
    run: pathlib.Path | None = None
    """A run folder of lindyn train, or its config.json: other flags change its settings."""
    json: bool = False  # print one JSON object instead of the table
    fail_on_collapse: bool = False
    """Exit with 1 if it diverges, if noise rules it, or if less than half of the modes live."""


LIMITS = {  # flag: least, most, whether the least is excluded
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
FIXED = {  # what the theory does not know, unless a run says otherwise
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
    """Check, answer and print; 1 for a collapse, if so asked."""
    from lindyn.predict import analysis, scenario as cases, wording

    _check(config)
    command.start()
    case = cases.Scenario.of({**recorded, **dataclasses.asdict(config)})
    found = analysis.answer(case)
    found["why"] = wording.why(case, found)
    found["suggestions"] = [wording.change(case, each) for each in found["suggestions"]]
    if config.json:
        about = {
            "version": f"lindyn {version('lindyn')}",
            "settings": dataclasses.asdict(config),
        }
        print(command.as_json({**about, **found}))
    else:
        _tell(found, wording.rows(case, found))
    failed = config.fail_on_collapse and analysis.fails(found)
    return command.FAILED if failed else command.DONE


def _recorded(path):
    """A run's config.json, which is there before anything is recorded."""
    file = path if path.suffix == ".json" else path / "config.json"
    recorded = reading.content(file.parent, file.name)
    recorded = {"nesterov": False, **recorded}  # as runs before there was a choice
    needed = [*FIXED, *_shared(), "alpha_p"]
    missing = [name for name in needed if name not in recorded]
    if missing:
        raise UsageError(f"--run {path}: {file.name} lacks {', '.join(missing)}")
    for name in ("lr", "alpha_p"):
        if not isinstance(recorded[name], int | float):
            raise UsageError(f"--run {path}: {name} is {recorded[name]!r}, which is no number")
    if recorded["method"] != "byol":
        raise UsageError(
            f"--run {path}: SimCLR has negative pairs; the theory is of runs without"
        )
    return recorded


def _shared():
    """Settings by the same name in config.json. Its sigma2 is that of made-up data."""
    mine = ("predictor_lr", "sigma2", "inputs", "p0", "s0", "steps", "run", "json")
    names = [field.name for field in dataclasses.fields(Config)]
    return [name for name in names if name not in (*mine, "fail_on_collapse")]


def _flags(recorded):
    """A run's settings as the flags that they would be."""
    given = {name: recorded[name] for name in _shared()}
    given["predictor_lr"] = recorded["alpha_p"] * recorded["lr"]
    linear = recorded.get("data") == "gaussian"
    if linear:
        given["sigma2"] = recorded["sigma2"]
    given["inputs"] = recorded["inputs" if linear else "hidden"]
    for name, value in given.items():
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
            "--p0: modes of a cosine compete, and none has a fate of its own; --loss l2"
        )
    if config.s0 is not None and config.p0 is None:
        raise UsageError("--s0: say where p starts with --p0")
    if config.p0 == 0 and config.s0 is None:
        raise UsageError("--p0 0: say where s starts with --s0")
    alike = not config.stop_gradient and config.target == "none"
    if config.p0 is not None and (alike or kind not in ("linear", "two-layer")):
        raise UsageError(
            "--p0: only a trained predictor with a stop-gradient has a say in fates"
        )


def _tell(found, rows):
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False, show_header=False)
    for name, value, meaning in rows:
        shown = "" if value is None else f"{value:.4g}".replace("nan", "?")
        table.add_row(name, shown, meaning)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    tell = functools.partial(console.print, soft_wrap=True, markup=False)
    tell(f"{found['verdict']}: {found['why']}")
    console.print(table)
    for change in found["suggestions"]:
        tell(f"what to change: {' '.join(change['flags'])} ({change['why']})")
    for line in found["beyond"]:
        tell(f"beyond the theory: {line}")
    tell(f"assumed: {found['assumed']}")
    if found["phase"]:
        tell(f"to see it: {found['phase']}")

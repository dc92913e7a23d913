"""The command `python -m lindyn.sweep`: its flags, presets and output files."""

import contextlib
import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Annotated, Literal, get_args

import jax
import numpy as np
import tyro

from lindyn import command
from lindyn.command import UsageError, save, whole
from lindyn.sweep import flow_maps, summary
from lindyn.sweep.checkpoints import Chunks
from lindyn.sweep.estimate import FEW, dry_run
from lindyn.sweep.flags import specification_of
from lindyn.sweep.quantities import HELP, QUANTITIES, Quantity


Name = Literal[
    "wd",
    "wd-p",
    "wd-s",
    "alpha-p",
    "beta",
    "sigma2",
    "tau",
    "p0",
    "s0",
    "lr",
    "momentum",
    "ema",
]
Scale = Literal["linear", "log"]
Format = Literal["png", "svg", "pdf", "npz", "json"]
FORMATS = get_args(Format)


@dataclasses.dataclass(frozen=True)
class Config:
    x: tuple[Name, float, float, int] = ("wd", 0.0, 0.3, 256)  # parameter, first, last, count
    y: tuple[Name, float, float, int] = ("tau", 0.3, 1.0, 256)  # wd sets both weight decays
    x_scale: Scale = "linear"  # spacing of the values
    y_scale: Scale = "linear"
    quantity: Annotated[Quantity, tyro.conf.arg(help=HELP)] = "collapse"
    field: Literal["fixed-tau", "modes", "steps"] | None = None
    """fixed-tau: (11)-(12), Wa = tau W. modes: (11)-(13), Wa follows W at the rate beta, and
    tau is its initial value. steps: steps of SGD, in a trainer's units. Default: steps for
    rank, or if lr, momentum or ema is given or an axis; else modes if beta is."""
    wd: float | None = None
    """Weight decay eta of both networks, default 0.01; for steps as in SGD, default 4e-4."""
    wd_p: float | None = None  # weight decay of the predictor, if it differs
    wd_s: float | None = None  # weight decay of the encoder, if it differs
    alpha_p: float | None = None  # learning rate of the predictor over the encoder's; default 1
    beta: float | None = None  # rate of the target's EMA; default 0.4 with --field modes
    sigma2: float | None = None  # variance that augmentation adds; default 0, for steps 0.3
    tau: float | None = None  # target ratio Wa = tau W; default 1, or 0 if the target moves
    p0: float | None = None  # initial p; default: a fraction of tau/(1 + sigma2), printed
    s0: float | None = None  # initial s; default: on the parabola, p0^2/alpha_p
    lr: float | None = None  # for steps: learning rate; default 0.03
    momentum: float | None = None  # for steps: momentum; default 0.9
    ema: float | None = None
    """For steps: fraction of the target that a step keeps. Default: the target is W itself."""
    nesterov: bool = False  # for steps
    decay: Literal["coupled", "decoupled"] | None = None  # for steps; decoupled: lr wd a step
    loss: Literal["cosine", "l2"] | None = None
    """For steps: l2, |.|^2/2; for rank: default cosine, -2 cos. Views predict each other."""
    dim: int | None = None  # for rank: outputs of the networks; default 8
    batch: int | None = None  # for rank: batch size; default 128
    time: float | None = None
    """Time at which p, s and alignment are taken; for others, the longest time of a solve.
    For steps: their number; default 5000."""
    starts: int | None = None  # random starts per cell; default 100, for rank 4
    p_range: tuple[float, float] | None = None  # for basin: initial p in units of p*; -1 2
    s_range: tuple[float, float] | None = None  # for basin: s in units of p*^2/alpha_p; 0 2
    seed: int = 0  # seed of the random starts
    rtol: float = 1e-8  # relative tolerance of the solver, per step
    chunk: int = 1 << 18  # solves per checkpoint, from which a killed sweep resumes
    preset: (
        Literal["collapse", "basin", "ema", "start", "window", "speed", "rate", "rank"] | None
    ) = None
    """A set of values; other flags override them. collapse: the critical decay. basin: the
    share of a rectangle of starts that collapses. ema: slow targets cause collapse. start:
    basins in the (p, s) plane. window: alignment all the way, without collapse. speed: time
    until modes escape. rate: learning rate and decay, in steps. rank: the same for
    networks with a cosine loss and an EMA."""
    format: tuple[Format, ...] = ()  # default: the suffix of --out, or png; always npz, json
    out: pathlib.Path = pathlib.Path("lindyn-out")  # a folder, or a file with a suffix
    json: bool = False  # print one JSON object instead of the table
    dry_run: bool = False  # print what would be computed and how long it takes, and stop
    show: bool = False  # open a window as well


PRESETS = {
    "collapse": Config(preset="collapse", x=("wd", 0.0, 0.3, 512), y=("tau", 0.3, 1.0, 512)),
    "basin": Config(
        preset="basin",
        quantity="basin",
        x=("wd", 0.0, 0.3, 128),
        y=("tau", 0.3, 1.0, 128),
    ),
    "ema": Config(
        preset="ema",
        x=("beta", 0.01, 10.0, 256),
        x_scale="log",
        y=("tau", 0.0, 1.0, 256),
        wd=0.1,
        p0=0.15,
    ),
    "start": Config(
        preset="start", x=("p0", -1.0, 2.5, 384), y=("s0", 0.005, 2.0, 384), wd=0.05
    ),
    "window": Config(
        preset="window",
        quantity="alignment-margin",
        x=("wd", 0.0, 0.3, 512),
        y=("tau", 0.3, 1.0, 512),
    ),
    "speed": Config(
        preset="speed",
        quantity="escape-time",
        x=("wd", 0.0, 0.3, 256),
        y=("p0", 0.01, 0.6, 256),
        y_scale="log",
    ),
    "rate": Config(
        preset="rate",
        x=("lr", 1e-3, 30.0, 256),
        x_scale="log",
        y=("wd", 0.0, 0.5, 256),
        momentum=0.0,
        time=20_000.0,
    ),
    "rank": Config(
        preset="rank",
        quantity="rank",
        x=("lr", 1e-3, 30.0, 24),
        x_scale="log",
        y=("wd", 1e-3, 10.0, 20),
        y_scale="log",
        ema=0.996,
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("sweep", Config, sweep, argv, PRESETS)


def sweep(config: Config) -> int:
    """Checks the flags, computes the missing chunks, writes the map and prints a summary.

    Returns the exit code. Raises `UsageError` for flags that are out of range or contradict
    each other.
    """
    setting = specification_of(config)
    if config.show and not import_module("lindyn.plot").can_show():
        raise UsageError("--show: there is no display to open a window on")
    files = command.targets(
        config.out, "sweep", config.format, FORMATS, make=not config.dry_run
    )
    for suffix in ("npz", "json"):
        files.setdefault(suffix, next(iter(files.values())).with_suffix(f".{suffix}"))
    about = command.provenance("sweep", config, PRESETS.get(config.preset or ""))
    content = {"version": about["version"], "setting": dataclasses.asdict(setting)}
    each = max(1, config.chunk // setting.starts)
    each = min(each, FEW) if setting.quantity == "rank" else each
    chunks = Chunks(files["npz"], content, setting.cells, each)
    command.start(accelerator=True)
    with contextlib.suppress(RuntimeError):  # JAX has already fixed its devices
        jax.config.update("jax_num_cpu_devices", os.cpu_count())
    if config.dry_run:
        return dry_run(config, setting, chunks, files)
    with ThreadPoolExecutor(1) as meanwhile:  # matplotlib loads while XLA compiles
        plotting = meanwhile.submit(import_module, "lindyn.plot")
        rate = _compute(setting, chunks)
    drawn = summary.chart(setting, chunks.gather())
    report = {**about, **summary.report(drawn)}
    _write(config, plotting.result(), drawn, report, files)
    chunks.remove()
    if config.json:
        print(command.as_json({**report, "files": list(files.values())}))
    else:
        _table(drawn, report, rate)
        for path in files.values():
            print(path)
    return command.DONE


def _compute(setting, chunks):
    """Computes the missing chunks, and returns the solves per second."""
    missing = chunks.missing()
    begin, solves = time.perf_counter(), [0]
    rate = lambda: sum(solves) / (time.perf_counter() - begin)
    label = lambda _: f"{rate():.3g} solves/s" if len(solves) > 1 else ""
    try:
        for span in command.progress(missing, "chunks", label):
            chunks.keep(span, flow_maps.compute(setting, np.arange(*span)))
            solves.append((span[1] - span[0]) * setting.starts)
    except KeyboardInterrupt:
        kept = len(chunks.spans) - len(chunks.missing())
        print(
            f"{kept} of {len(chunks.spans)} chunks are kept: {chunks.folder}", file=sys.stderr
        )
        raise
    return rate()


def _write(config, plot, drawn, report, files):
    about = {**report, "closed_form": None}  # its curves are in the JSON file alone
    arrays = {"x": drawn.x, "y": drawn.y, **drawn.values}
    arrays["about"] = np.array(command.as_json(about))
    whole(files["npz"], lambda path: save(path, arrays))
    pictures = [path for suffix, path in files.items() if suffix not in ("npz", "json")]
    if pictures or config.show:
        words = summary.title(drawn.setting), summary.note(drawn.setting)
        fig = plot.map_figure(drawn, *words, show=config.show)
        for path in pictures:
            plot.save(fig, path, report)
    whole(files["json"], lambda path: path.write_text(command.as_json(report) + "\n"))
    if config.show:
        plot.show()


def _table(drawn, report, rate):
    from rich import box
    from rich.console import Console
    from rich.table import Table

    setting, form = drawn.setting, report["closed_form"]
    rows = {"starts" if setting.quantity == "basin" else "start": report["start"]}
    if setting.quantity not in ("collapse", "basin"):
        rows[setting.quantity] = f"{report['least']:.6g} to {report['greatest']:.6g}"
    if report["share"] is not None:
        rows[str(QUANTITIES[setting.quantity].share)] = f"{report['share']:.2%}"
    if form is None:
        rows["closed form"] = "none for this map"
    elif form["distance_in_cells"] is not None:
        rows["closed form"] = (
            f"{form['distance_in_cells']:.3g} cells from the computed boundary at most,"
            f" {form['distance_along_x']:.2g} in {setting.x.name}" + " decades" * setting.x.log
        )
        rows["cells that differ from it"] = f"{form['cells_that_differ']}"
    for name, meaning in summary.COUNTS.items():
        if name in report:
            rows[meaning] = f"{report[name]}"
    rows["undecided, failed"] = f"{report['undecided']}, {report['failed']}"
    rows["solves"] = f"{report['solves']}, {rate:.3g} a second" if rate else "done before"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    for row in rows.items():
        table.add_row(*row)
    Console(highlight=False, width=None if sys.stdout.isatty() else 110).print(table)

"""Maps over two parameters: what collapses, how fast modes escape, whether they align."""

import contextlib
import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Literal, get_args

import jax
import numpy as np

from lindyn import command
from lindyn.command import UsageError, save, whole
from lindyn.sweep import flow_maps, summary
from lindyn.sweep.checkpoints import Chunks
from lindyn.sweep.estimate import FEW, dry_run
from lindyn.sweep.flags import specification_of


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
Quantity = Literal[
    "collapse", "basin", "p", "s", "escape-time", "alignment-margin", "alignment", "rank"
]
Scale = Literal["linear", "log"]
Format = Literal["png", "svg", "pdf", "npz", "json"]
FORMATS = get_args(Format)


@dataclasses.dataclass(frozen=True)
class Config:
    x: tuple[Name, float, float, int] = ("wd", 0.0, 0.3, 256)  # name, from, to, how many
    y: tuple[Name, float, float, int] = ("tau", 0.3, 1.0, 256)  # wd sets both decays
    x_scale: Scale = "linear"  # spacing of the values
    y_scale: Scale = "linear"
    quantity: Quantity = "collapse"
    """collapse: whether a mode does. basin: the share of random starts that do. p, s: at
    --time. escape-time: until p is half of p+*. alignment-margin: the least eigenvalue of K
    on the way, which (17) wants positive. alignment: log10 of the factor by which a small
    commutator [F, Wp] of two such modes has changed at --time, by (9). rank: how many modes
    are left in linear networks that are trained, as `lindyn predict` counts them."""
    field: Literal["fixed-tau", "modes", "steps"] | None = None
    """fixed-tau: (11)-(12), Wa = tau W. modes: (11)-(13), Wa follows W at the rate beta,
    and tau is where it starts. steps: of SGD, in the units of a trainer. Default: steps if
    lr, momentum or ema is given or an axis, else modes if beta is."""
    wd: float | None = None
    """Weight decay eta of both, 0.01 if it is no axis; of steps as SGD is told, 4e-4."""
    wd_p: float | None = None  # the predictor's, where it differs
    wd_s: float | None = None  # the encoder's, where it differs
    alpha_p: float | None = None  # learning rate of the predictor over the encoder's, 1
    beta: float | None = None  # rate of the target's EMA, 0.4 with --field modes
    sigma2: float | None = None  # variance that the augmentation adds, 0; of steps 0.3
    tau: float | None = None  # target ratio Wa = tau W; 1, with --field modes 0
    p0: float | None = None  # start; default: a part of tau/(1 + sigma2), which is printed
    s0: float | None = None  # default: on the parabola, p0^2/alpha_p
    lr: float | None = None  # of steps: learning rate, 0.03
    momentum: float | None = None  # of steps, 0.9
    ema: float | None = None
    """Of steps: what the target keeps of itself. Without it the target is the network."""
    nesterov: bool = False  # of steps
    decay: Literal["coupled", "decoupled"] | None = None  # of steps; decoupled: lr wd a step
    loss: Literal["cosine", "l2"] | None = None
    """Of steps: |.|^2/2; of rank -2 cos, unless this says l2. Each view predicts the other."""
    dim: int | None = None  # of rank: outputs of the networks, 8
    batch: int | None = None  # of rank, 128
    time: float | None = None
    """Of p, s and alignment; the longest that others are solved for. Of steps: their number,
    5000."""
    starts: int | None = None  # of basin and rank in each cell, 100 and 4
    p_range: tuple[float, float] | None = None  # of them in units of p*, -1 2
    s_range: tuple[float, float] | None = None  # of them in units of p*^2/alpha_p, 0 2
    seed: int = 0  # of the starts
    rtol: float = 1e-8  # of the solver, per step
    chunk: int = 1 << 18  # solves between files: a sweep that is killed goes on from there
    preset: (
        Literal["collapse", "basin", "ema", "start", "window", "speed", "rate", "rank"] | None
    ) = None
    """Values to start from; other flags change them. collapse: the critical decay. basin:
    the share of a rectangle of starts. ema: slow targets collapse. start: basins in (p, s).
    window: always aligned, not doomed. speed: how long modes take to escape. rate: learning
    rate and decay, in steps. rank: the same for networks with a cosine loss and an EMA."""
    format: tuple[Format, ...] = ()  # default: the suffix of --out, or png; npz and JSON
    out: pathlib.Path = pathlib.Path("lindyn-out")  # a folder, or a file with a suffix
    json: bool = False  # print one JSON object instead of the table
    dry_run: bool = False  # tell what would be computed and how long it takes, and stop
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
    """Check, compute what is not there yet, write the map, and print the table."""
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
    with contextlib.suppress(RuntimeError):  # JAX runs already, with the devices that it has
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
    """Fills what is missing, and returns solves a second."""
    missing = chunks.missing()
    begin, solves = time.perf_counter(), [0]
    rate = lambda: sum(solves) / (time.perf_counter() - begin)
    told = lambda _: f"{rate():.3g} solves/s" if len(solves) > 1 else ""
    try:
        for span in command.progress(missing, "chunks", told):
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
    about = {**report, "closed_form": None}  # without the points of its curves
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
        rows[summary.SHARES[setting.quantity]] = f"{report['share']:.2%}"
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

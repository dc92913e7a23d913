"""The command `lindyn compare`: checks a training run against the theory, with a figure.

Read `analysis` first, which runs the checks.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Annotated, Literal, get_args

import numpy as np
import tyro

from lindyn import command
from lindyn.command import UsageError, number
from lindyn.compare import report
from lindyn.compare.analysis import FEWEST, analyse, begin
from lindyn.record.reading import load_run


Format = Literal["png", "svg", "pdf", "json"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Compares a run of lindyn train with the theory. The run may be unfinished.

    Checks invariance, balance, alignment, trajectories and fate. The results are a figure, a
    table, JSON and npz.
    """

    run: Annotated[pathlib.Path, tyro.conf.Positional]
    """The run folder."""
    epoch: float | None = None
    """Epoch where laws and forecasts start; by default after a tenth of the run."""
    format: tuple[Format, ...] = ()
    """Default: the suffix of --out, or png; always JSON and npz too."""
    out: pathlib.Path = pathlib.Path("lindyn-out")
    """A folder, or a file with a suffix."""
    json: bool = False
    """Print one JSON object instead of the table."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse `argv`, run the command, and return its exit code."""
    return command.run("compare", Config, _main, argv)


def _main(config: Config) -> int:
    run = load_run(config.run)
    first = _first(config, run)
    stem = f"compare-{run.path.resolve().name}"
    files = command.targets(config.out, stem, config.format, get_args(Format))
    command.start()
    with ThreadPoolExecutor(1) as executor:  # matplotlib is imported while XLA compiles
        plotting = executor.submit(import_module, "lindyn.plot.runs")
        analysis = analyse(run, first)
    summary = report.numbers(analysis)
    about = command.provenance("compare", config)
    _write(plotting.result(), analysis, summary, about, files)
    if config.json:
        print(command.as_json({**about, **summary, "files": list(files.values())}))
    else:
        _show(summary)
        for path in files.values():
            print(path)
    return command.DONE


def _first(config, run):
    if config.epoch is None:
        return begin(run)
    number("--epoch", config.epoch, 0, float(run.epoch[-1]))
    first = int(np.searchsorted(run.epoch, config.epoch))
    if len(run.step) - first < FEWEST:
        raise UsageError(f"--epoch {config.epoch:g}: fewer than {FEWEST} records from there on")
    return first


def _write(plot, analysis, summary, about, files):
    pictures = {suffix: path for suffix, path in files.items() if suffix != "json"}
    if pictures:
        name, note = analysis.run.path.resolve().name, "; ".join(_note(summary))
        fig = plot.figure(analysis, name, note)
        for path in pictures.values():
            plot.save(fig, path, about)
    stem = next(iter(files.values()))
    files.setdefault("json", stem.with_suffix(".json")).write_text(
        command.as_json({**about, **summary}) + "\n"
    )
    files["npz"] = stem.with_suffix(".npz")
    command.save(files["npz"], report.record(analysis))


def _note(summary):
    unit = summary["units"]
    beta = f"{unit['beta']:.3g}" if np.isfinite(unit["beta"]) else r"\infty"
    yield rf"$\alpha_p = {unit['alpha_p']:.3g}$, $\beta = {beta}$"
    yield rf"$\eta_p = {unit['eta_p']:.3g}$, $\eta_s = {unit['eta_s']:.3g}$"
    yield rf"a step is {unit['step']:.3g} of time"


def _show(summary):
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    for note in (*summary["units"]["notes"], *summary["units"]["beyond"]):
        console.print(f"  {note}", style="dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    for name, line in report.lines(summary):
        table.add_row(name, line)
    for name, reason in summary["silent"].items():
        table.add_row(name, f"not said: {reason}")
    console.print(f"from epoch {summary['from_epoch']:.3g} on")
    console.print(table)

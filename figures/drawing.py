"""Shared by all figure scripts: command line, page layout, and saving with metadata.

Each script defines a frozen dataclass of its parameters (usually `Setting`), a function
`compute(setting)` that returns the arrays, and a function `draw(setting, arrays)` that returns
the figure. `run` below calls them. The comment "ours" marks a value that we chose, since the
paper does not state it.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import shlex
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lindyn import command, plot


SCALE = (plot.BLUE, plot.GREEN, plot.ORANGE, plot.RED)  # colours of ordered values
WIDTH, LEFT, RIGHT = 7.2, 0.55, 0.12  # inches


class Asked(NamedTuple):
    quick: bool
    out: pathlib.Path
    command: str  # the command that draws the same picture


def run(
    file: str,
    settings: tuple[Any, Any],
    compute: Callable,
    draw: Callable[..., Figure],
    argv: Sequence[str] | None,
) -> int:
    """Runs a whole script; `settings` are the full parameters and those of --quick."""
    asked = ask(file, argv)
    setting = settings[asked.quick]
    save(draw(setting, compute(setting)), asked, setting)
    return 0


def ask(file: str, argv: Sequence[str] | None) -> Asked:
    """Parses the command line of the script `file` and configures JAX."""
    script = pathlib.Path(file)
    parser = argparse.ArgumentParser(prog=f"python figures/{script.name}")
    parser.add_argument("--quick", action="store_true", help="a rougher picture in seconds")
    parser.add_argument("--out", type=pathlib.Path, default=script.with_suffix(".png"))
    given = parser.parse_args(argv)
    if given.out.suffix != ".png":
        parser.error(f"--out {given.out}: must end in .png")
    command.start()
    with contextlib.suppress(RuntimeError):  # raised if JAX has already started its devices
        jax.config.update("jax_num_cpu_devices", os.cpu_count())
    words = ["python", f"figures/{script.name}", *["--quick"] * given.quick]
    return Asked(given.quick, given.out, shlex.join(words))


def save(fig: Figure, asked: Asked, setting: Any) -> None:
    """Saves the figure. Its metadata names the command that redraws it, and the bytes are the
    same each time."""
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(asked.out, metadata=about(asked, setting))
    print(asked.out)


def about(asked: Asked, setting: Any) -> dict[str, str]:
    return {
        "Title": asked.command,
        "Software": f"lindyn {version('lindyn')}",
        "Description": json.dumps(dataclasses.asdict(setting)),
    }


def page(
    rows: int,
    columns: int,
    *,
    tall: float,
    gap: float = 0.36,
    head: float = 0.28,
    between: float = 0.5,
    foot: float = 0.75,
    left: float = LEFT,
    right: float = RIGHT,
) -> tuple[Figure, np.ndarray]:
    """A figure of page width, and its axes as an array (rows, columns). Lengths are in inches.

    `head` is the space above each row, `between` the space below each row except the last, and
    `foot` the space below the last row.
    """
    mpl.rcParams.update(plot.STYLE)
    wide = (WIDTH - left - right - gap * (columns - 1)) / columns
    height = rows * (head + tall) + (rows - 1) * between + foot
    fig = Figure(figsize=(WIDTH, height), dpi=200)
    axes = np.empty((rows, columns), object)
    for row, column in np.ndindex(rows, columns):
        x = left + column * (wide + gap)
        y = height - (row + 1) * (head + tall) - row * between
        place = (x / WIDTH, y / height, wide / WIDTH, tall / height)
        axes[row, column] = fig.add_axes(place, label=f"{row} {column}")
    return fig, axes


def note(fig: Figure, text: str) -> None:
    """Writes the fixed parameters at the foot of the page."""
    fig.text(0.5, 0.07 / fig.get_figheight(), text, ha="center", fontsize=7.5, color=plot.INK)


def legend(fig: Figure, handles: dict[str, Any], columns: int | None = None) -> None:
    """Draws the legend above the note."""
    fig.legend(
        handles=[*handles.values()],
        labels=[*handles],
        loc="lower center",
        bbox_to_anchor=(0.5, 0.23 / fig.get_figheight()),
        ncols=columns or len(handles),
        fontsize=7.5,
        handlelength=2.4,
        columnspacing=1.6,
        labelspacing=0.3,
        borderpad=0,
        borderaxespad=0,
    )


def line(color: Any = plot.INK, **how: Any) -> Line2D:
    """A legend handle; `how` are keyword arguments as for `Axes.plot`."""
    return Line2D([], [], **{"color": color, "lw": 1.3, **how})


def band(ax: Any, ts: np.ndarray, runs: np.ndarray, color: str, *, log=False, **how: Any):
    """Draws the mean over runs and a band of one standard deviation around it.

    `runs` has axes (run, time). With `log`, mean and deviation are those of the logarithms.
    """
    into, back = (np.log, np.exp) if log else (_same, _same)
    mean, spread = into(runs).mean(axis=0), into(runs).std(axis=0)
    edges = back(mean - spread), back(mean + spread)
    ax.fill_between(ts, *edges, color=color, alpha=0.18, lw=0)
    ax.plot(ts, back(mean), **{"color": color, "lw": 1.2, **how})


def _same(x):
    return x

"""Which hyperparameters collapse: surviving modes over learning rate and weight decay.

Not in the paper. One map for each loss. The maps are those of `lindyn sweep --quantity rank`:
linear networks trained by SGD with an EMA target, whose surviving modes are counted. A circle
is a network that the trainer's own step trained with these hyperparameters, in the same
colours; the circles come from the record of benchmarks/referee.py --lattice. The lines are
closed forms: the critical decay, the learning rate above which the goal is unstable, and the
learning rate above which weight decay alone overshoots.
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import drawing
import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from lindyn import plot
from lindyn.sweep import flow_maps, summary
from lindyn.sweep.flags import TRAINER
from lindyn.sweep.specification import Axis, Specification as Map
from lindyn.sweep.summary import ComputedMap


RECORD = pathlib.Path(__file__).parents[1] / "benchmarks" / "results" / "lattice.json"
TITLES = {"l2": "squared loss", "cosine": "cosine loss"}


@dataclasses.dataclass(frozen=True)
class Setting:
    lr: tuple[float, float, int] = (0.001, 30.0, 32)
    wd: tuple[float, float, int] = (3e-4, 10.0, 26)
    steps: int = 4800
    networks: int = 4  # sampled networks per cell
    momentum: float = 0.9
    ema: float = 0.996
    sigma2: float = 0.3
    dim: int = 8
    batch: int = 128


QUICK = Setting(lr=(0.001, 30.0, 8), wd=(3e-4, 10.0, 6), steps=300, networks=2)


def compute(setting: Setting) -> dict[str, ComputedMap]:
    return {loss: _map(setting, loss) for loss in TITLES}


def _map(setting, loss):
    asked = Map(
        quantity="rank",
        x=Axis("lr", *setting.lr, log=True),
        y=Axis("wd", *setting.wd, log=True),
        fixed={
            "momentum": setting.momentum,
            "ema": setting.ema,
            "alpha-p": 1.0,
            "sigma2": setting.sigma2,
            "tau": 0.0,
        },
        moving=True,
        time=float(setting.steps),
        starts=setting.networks,
        trainer={**TRAINER, "loss": loss, "dim": setting.dim, "batch": setting.batch},
    )
    return summary.chart(asked, flow_maps.compute(asked, np.arange(asked.cells)))


def draw(setting: Setting, drawn: dict[str, ComputedMap]) -> Figure:
    fig, axes = drawing.page(1, 2, tall=2.7, gap=0.5, foot=0.82, right=0.72)
    handles: dict[str, Any] = {}
    for ax, (loss, found) in zip(axes[0], drawn.items(), strict=True):
        mesh, marks = plot.draw_map(ax, found)
        ax.set_title(TITLES[loss], fontsize=9.5, pad=4)
        plot.draw_lines(ax, found.lines)
        _trained(ax, loss, mesh.cmap, Normalize(0, setting.dim))
        handles |= marks
    axes[0, 1].set_ylabel("")
    box = axes[0, 1].get_position()
    bar = fig.add_axes((box.x1 + 0.012, box.y0, 0.014, box.height))
    fig.colorbar(mesh, cax=bar).outline.set_linewidth(0.6)
    bar.set_ylabel("modes that are left", labelpad=3)
    names = {"diverged": "diverges", "noise": "ruled by noise"}
    handles = {names[name]: handle for name, handle in handles.items()}
    handles["a network that was trained"] = drawing.line(
        marker="o", ls="", mfc=plot.SURVIVING, mec=plot.INK, mew=0.7, markersize=5
    )
    drawing.legend(fig, handles)
    drawing.note(
        fig,
        f"$m = {setting.momentum:g}$,  $\\gamma_a = {setting.ema:g}$,"
        f"  $\\sigma^2 = {setting.sigma2:g}$,  batch {setting.batch},  {setting.steps} steps,"
        f"  {setting.networks} networks a cell;  benchmarks/results/lattice.json",
    )
    return fig


def _trained(ax, loss, colours, norm):
    for each in json.loads(RECORD.read_text())["settings"]:
        told, seen = each["told"], each["observed"]
        if told["loss"] != loss:
            continue
        lost = seen["kind"] == "diverges"
        color = plot.DIVERGED if lost else colours(norm(seen["rank"]))
        ax.plot(told["lr"], told["wd"], "o", mfc=color, mec=plot.INK, mew=0.7, markersize=5)


def main(argv: Sequence[str] | None = None) -> int:
    return drawing.run(__file__, (Setting(), QUICK), compute, draw, argv)


if __name__ == "__main__":
    main()

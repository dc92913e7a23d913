"""Predictions of `lindyn predict` for 300 random hyperparameters, against trained networks.

From the record of benchmarks/referee.py. Left: the fraction of the modes that survives,
predicted and observed; the bar spans the predictions for eight initial conditions. Right: the
learning rate over the learning rate from which divergence is predicted; runs that are predicted
to diverge late, below that rate, are left out. A ring marks a wrong prediction.
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import drawing
import numpy as np
from matplotlib.figure import Figure

from lindyn import plot


RECORD = pathlib.Path(__file__).parents[1] / "benchmarks" / "results" / "referee.json"
COLOURS = {"cosine": plot.BLUE, "l2": plot.ORANGE}
NAMES = {"cosine": "cosine", "l2": "squared loss"}


@dataclasses.dataclass(frozen=True)
class Setting:
    shake: float = 0.012  # random displacement, so that dots do not cover each other
    seed: int = 0


QUICK = Setting()


def compute(setting: Setting) -> dict[str, Any]:
    record = json.loads(RECORD.read_text())
    each = record["settings"]
    loss = np.array([x["told"].get("loss", "cosine") for x in each])
    guess, seen = [x["predicted"] for x in each], [x["observed"] for x in each]
    number = lambda values: np.array([np.nan if x is None else x for x in values], float)
    modes = number(x["modes"] for x in guess)
    rate = np.array([x["told"]["lr"] for x in each])
    rate = rate / number(x["diverges_from_lr"] for x in guess)
    late = np.array([x["kind"] == "diverges" for x in guess]) & (rate < 1)
    return dict(
        loss=loss,
        right=np.array([x["right"] for x in each]),
        predicted=number(x["rank"] for x in guess) / modes,
        least=np.array([x["ranks"][0] for x in guess]) / modes,
        most=np.array([x["ranks"][1] for x in guess]) / modes,
        observed=number(x["rank"] for x in seen) / modes,
        diverged=np.array([x["kind"] == "diverges" for x in seen]),
        rate=np.where(late, np.nan, rate),
        good=record["right"],
        date=record["date"],
    )


def draw(setting: Setting, found: dict[str, Any]) -> Figure:
    fig, axes = drawing.page(1, 2, tall=2.9, gap=0.95, foot=0.78, left=0.6)
    rng = np.random.default_rng(setting.seed)
    shake = setting.shake * rng.normal(size=(2, len(found["loss"])))
    _modes(axes[0, 0], found, shake)
    _rates(axes[0, 1], found, rng)
    count = len(found["loss"])
    drawing.note(
        fig,
        f"linear networks, {count} random settings, {found['good']} right;"
        f" ring: wrong;  benchmarks/referee.py, {found['date']}",
    )
    return fig


def _modes(ax, found, shake):
    ax.plot([0, 1], [0, 1], color=plot.GREY, lw=0.8, zorder=0)
    for loss, color in COLOURS.items():
        here = (found["loss"] == loss) & ~np.isnan(found["observed"])
        here &= ~np.isnan(found["predicted"])
        x, y = found["predicted"][here] + shake[0, here], found["observed"][here]
        y = y + shake[1, here]
        ax.hlines(y, found["least"][here], found["most"][here], color=color, lw=0.5, alpha=0.4)
        ax.plot(x, y, ".", color=color, markersize=4.5, alpha=0.8, mew=0)
        ax.plot([], [], ".", color=color, markersize=7, label=NAMES[loss])
        wrong = ~found["right"][here]
        _ring(ax, x[wrong], y[wrong])
    ax.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    ax.set(xlabel="part of the modes left, predicted", ylabel="in the trained network")
    ax.legend(loc="upper left", fontsize=8, frameon=False, handletextpad=0.2)


def _rates(ax, found, rng):
    rows = [("l2", True), ("l2", False), ("cosine", True), ("cosine", False)]
    for place, (loss, diverged) in enumerate(rows):
        here = (found["loss"] == loss) & (found["diverged"] == diverged)
        here &= ~np.isnan(found["rate"])
        x, y = found["rate"][here], place + 0.22 * rng.uniform(-1, 1, int(here.sum()))
        ax.plot(x, y, ".", color=COLOURS[loss], markersize=4.5, alpha=0.8, mew=0)
        wrong = ~found["right"][here]
        _ring(ax, x[wrong], y[wrong])
    ax.axvline(1, color=plot.GREY, lw=0.8, zorder=0)
    words = [f"{NAMES[loss]}\n{'diverged' if bad else 'did not'}" for loss, bad in rows]
    ax.set_yticks(range(len(rows)), words, fontsize=7.5)
    ax.set(xscale="log", xlabel="learning rate over the rate that is named")


def _ring(ax, x, y):
    ax.plot(x, y, "o", mfc="none", mec=plot.RED, markersize=6.5, mew=0.9)


def main(argv: Sequence[str] | None = None) -> int:
    return drawing.run(__file__, (Setting(), QUICK), compute, draw, argv)


if __name__ == "__main__":
    main()

"""Fig. 6: accuracy against alpha_p, with a symmetrised Wp and no EMA.

The paper's claim: alpha_p > 1 compensates for the missing EMA. The paper trains for 100 epochs
with 5 seeds and reports the accuracy of a linear classifier; we train for 24 epochs with one
seed and report the accuracy of nearest neighbours.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import drawing
import numpy as np
import records
from matplotlib.figure import Figure

from lindyn import plot


@dataclasses.dataclass(frozen=True)
class Setting:
    alphas: tuple[float, ...] = (1.0, 4.0, 16.0, 64.0)
    runs: tuple[str, ...] = ("sym-no-ema-24", "alpha4-24", "alpha16-24", "alpha64-24")
    with_ema: str = "sym-24"  # the run with EMA, at alpha_p = 1


QUICK = Setting()
BESIDE: Any = dict(textcoords="offset points", va="center")


def compute(setting: Setting) -> dict[str, np.ndarray]:
    """kNN accuracy before training and at the end, and the final rank of the outputs."""
    names = (*setting.runs, setting.with_ema)
    runs, answers = map(records.arrays, names), map(records.answers, names)
    knn = np.array([run["evaluation_knn"][[0, -1]] for run in runs])
    rank = np.array([each["fate"]["observed"]["rank"] for each in answers])
    return dict(untrained=knn[:, 0], knn=knn[:, 1], rank=rank)


def draw(setting: Setting, found: dict[str, np.ndarray]) -> Figure:
    fig, axes = drawing.page(1, 2, tall=2.2, gap=0.55, foot=0.62, head=0.12)
    panels = zip(axes[0], (100 * found["knn"], found["rank"]), strict=True)
    for (ax, values), color in zip(panels, (plot.BLUE, plot.GREEN), strict=True):
        ax.plot(setting.alphas, values[:-1], "o-", color=color, lw=1.3)
        ax.plot([1], values[-1:], "D", color=plot.ORANGE)
        ax.annotate("with EMA", (1, values[-1]), (7, 0), **BESIDE, color=plot.ORANGE)
    of_accuracy, of_rank = axes[0]
    least = 100 * found["untrained"][0]
    of_accuracy.axhline(least, color=plot.GREY, lw=0.8, ls=(0, (4, 2)))
    above = (setting.alphas[-1], least), (0, 6)
    of_accuracy.annotate("untrained", *above, **BESIDE, ha="right", color=plot.GREY)
    of_accuracy.set_ylabel("kNN accuracy, %")
    of_rank.set(ylabel="rank of the outputs, of 32", ylim=(0, 34))
    for ax in axes[0]:
        ax.set_xscale("log")
        ax.set_xticks(setting.alphas, [f"{alpha:g}" for alpha in setting.alphas])
        ax.minorticks_off()
        ax.set_xlabel(r"$\alpha_p$")
    drawing.note(
        fig, "ours: CIFAR-10, 10 000 images, ResNet-10 of width 16, d = 32, 24 epochs, one seed"
    )
    return fig


def main(argv: Sequence[str] | None = None) -> int:
    return drawing.run(__file__, (Setting(), QUICK), compute, draw, argv)


if __name__ == "__main__":
    main()

"""Accuracy of nearest neighbours during training, for our small runs.

The paper's slides show this for BYOL and DirectPred on ImageNet, over 300 epochs. Look at which
runs fall below the untrained network, and below nearest neighbours on the raw pixels.
"""

import dataclasses
from collections.abc import Sequence

import drawing
import numpy as np
import records
from matplotlib.figure import Figure

from lindyn import plot


@dataclasses.dataclass(frozen=True)
class Setting:
    runs: tuple[str, ...] = (
        "directpred",
        "quick-linear",
        "sgd-linear",
        "sym",
        "sym-no-ema",
        "no-stop-gradient",
    )


QUICK = Setting()
LABELS = {
    "directpred": "DirectPred",
    "quick-linear": r"SGD, $\alpha_p = 8$",
    "sgd-linear": r"SGD, $\alpha_p = 1$",
    "sym": "SGD, symmetrised",
    "sym-no-ema": "symmetrised, no EMA",
    "no-stop-gradient": "no stop-gradient",
}
COLOURS = (plot.BLUE, plot.GREEN, plot.ORANGE, plot.PURPLE, plot.RED, plot.INK)


def compute(setting: Setting) -> dict[str, dict[str, np.ndarray]]:
    return {name: records.arrays(name) for name in setting.runs}


def draw(setting: Setting, runs: dict[str, dict[str, np.ndarray]]) -> Figure:
    fig, axes = drawing.page(1, 1, tall=2.9, right=1.6, foot=0.62, head=0.12)
    ax = axes[0, 0]
    ends = []
    for color, (name, run) in zip(COLOURS, runs.items(), strict=True):
        epoch, knn = run["evaluation_epoch"], 100 * run["evaluation_knn"]
        ax.plot(epoch, knn, "o-", color=color, lw=1.3, markersize=3)
        ends.append((float(knn[-1]), LABELS[name], color))
    first = next(iter(runs.values()))
    last = float(first["evaluation_epoch"][-1])
    pixels = 100 * float(first["evaluation_knn_pixels"][0])
    ax.axhline(pixels, color=plot.GREY, lw=0.8, ls=(0, (4, 2)))
    ends.append((pixels, "raw pixels", plot.GREY))
    for (_, label, color), y in zip(sorted(ends), apart(sorted(ends)), strict=True):
        ax.text(1.02 * last, y, label, color=color, va="center", fontsize=8, clip_on=False)
    ax.set(xlim=(0, last), xlabel="epoch", ylabel="kNN accuracy, %")
    drawing.note(fig, f"{records.SIZE};  k = 200;  epoch 0 is the network untrained")
    return fig


def apart(ends: list, least: float = 0.9) -> list[float]:
    """Heights of the labels, moved up so that neighbours are at least `least` apart."""
    places = []
    for y, *_ in ends:
        places.append(max(y, places[-1] + least) if places else y)
    return places


def main(argv: Sequence[str] | None = None) -> int:
    return drawing.run(__file__, (Setting(), QUICK), compute, draw, argv)


if __name__ == "__main__":
    main()

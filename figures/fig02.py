"""Fig. 2: a real BYOL run, without and with a symmetrised predictor.

The paper's claim: the eigenvalues of F and of Wp grow together, the eigenvectors of F become
eigenvectors of Wp (their cosine tends to 1), and an unconstrained Wp becomes more symmetric by
itself. The paper's run is on STL-10 for 100 epochs; ours is small.
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
    runs: tuple[str, str] = ("sgd-linear", "sym")
    modes: int = 12  # number of modes drawn, evenly spaced among all


QUICK = Setting()
ROWS = ("$W_p$ free", "$W_p$ symmetrised")
HEADINGS = (
    ("own_s", r"$s_j$, eigenvalues of $F$"),
    ("own_p", r"$p_j$, eigenvalues of $W_p$"),
    ("own_alignment", r"cosine of $W_p u_j$ and $u_j$"),
    ("own_asymmetry", r"$\|W_p - W_p^T\|/\|W_p\|$"),
)


def compute(setting: Setting) -> list[dict[str, np.ndarray]]:
    return [records.arrays(name) for name in setting.runs]


def draw(setting: Setting, runs: list[dict[str, np.ndarray]]) -> Figure:
    fig, axes = drawing.page(2, 4, tall=1.25, gap=0.42, between=0.3, foot=0.62)
    for row, (name, run) in enumerate(zip(ROWS, runs, strict=True)):
        for ax, (key, heading) in zip(axes[row], HEADINGS, strict=True):
            ys = run[key]
            if ys.ndim == 1:
                ax.plot(run["epoch"], ys, color=plot.BLUE, lw=1.2)
                ax.set_ylim(-0.05, 1.5)
            else:
                in_order = np.sort(ys)[:, ::-1] if key == "own_p" else ys
                draw_modes(ax, run["epoch"], in_order, setting.modes)
            if row == 0:
                ax.set_title(heading, fontsize=9, pad=4)
            else:
                ax.set_xlabel("epoch", labelpad=2)
        axes[row, 0].set_yscale("log")
        axes[row, 0].set_ylabel(name)
    drawing.note(fig, f"{records.SIZE};  dark: the largest $s_j$, or $p_j$")
    return fig


def draw_modes(ax, epoch, ys, count) -> None:
    chosen = np.unique(np.linspace(0, ys.shape[1] - 1, count).astype(int))
    for place, mode in enumerate(chosen):
        shade = plot.FADED(1 - 0.75 * place / len(chosen))
        ax.plot(epoch, ys[:, mode], color=shade, lw=0.9)


def main(argv: Sequence[str] | None = None) -> int:
    return drawing.run(__file__, (Setting(), QUICK), compute, draw, argv)


if __name__ == "__main__":
    main()

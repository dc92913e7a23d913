"""The separatrix of collapse in the (p, s) plane, for weight decays up to the critical one.

Not in the paper, which gives the edge p-* only on the parabola. In the plane, the edge is the
stable manifold of the saddle (p-*, p-*^2 / alpha_p): modes that start below it collapse. Look
at how a small decay nearly empties the basin that eta = 0 has to the right of
p = tau / (1 + sigma2), and at how more decay lifts the edge, until at the critical decay the
saddle meets the goal.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import drawing
import numpy as np
from matplotlib.figure import Figure

from lindyn import plot
from lindyn.phase import portrait
from lindyn.phase.flow_lines import Window
from lindyn.theory.states import Params


@dataclasses.dataclass(frozen=True)
class Setting:
    etas: tuple[float, ...] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)
    alpha_p: float = 1.0
    sigma2: float = 0.0
    tau: float = 1.0
    p_range: tuple[float, float] = (-0.8, 1.8)
    s_range: tuple[float, float] = (0.0, 1.2)
    points: int = 401  # number of values of p on the drawn parabola


QUICK = Setting(etas=(0.0, 0.05, 0.25))


class Edge(NamedTuple):
    eta: float
    curve: np.ndarray  # (points, 2): (p, s); a mode below this curve collapses
    saddle: np.ndarray  # (2,)
    goal: np.ndarray
    kinds: list[str]  # classes of the saddle and of the goal


def compute(setting: Setting) -> list[Edge]:
    window = Window(setting.p_range, setting.s_range)
    edges = []
    for eta in setting.etas:
        params = Params(
            alpha_p=setting.alpha_p, eta=eta, sigma2=setting.sigma2, tau=setting.tau
        )
        drawn = portrait.portrait("p-s", params, window, grid=2, rtol=1e-8)
        edges.append(Edge(eta, drawn.basin, *drawn.points[1:], kinds=drawn.fixed.names[1:]))
    return edges


def draw(setting: Setting, edges: list[Edge]) -> Figure:
    fig, axes = drawing.page(1, 1, tall=3.5, head=0.12, foot=0.95, right=0.65)
    ax = axes[0, 0]
    p = np.linspace(*setting.p_range, setting.points)
    parabola: Any = dict(color=plot.INK, lw=1.0, ls=(0, (2.5, 1.5)))
    ax.plot(p, p**2 / setting.alpha_p, **parabola)
    handles = {
        "separatrix: below it modes collapse": drawing.line(plot.SHARE(0.7), lw=1.6),
        r"$s = p^2\!/\alpha_p$": drawing.line(**parabola),
    }
    for edge, shade in zip(edges, np.linspace(0.4, 1, len(edges)), strict=True):
        color = plot.SHARE(shade) if edge.eta > 0 else plot.GREY
        ax.plot(*edge.curve.T, color=color, lw=1.6)
        _name(ax, edge.eta, edge.curve[-1], color)
        for kind, at in zip(edge.kinds, (edge.saddle, edge.goal), strict=True):
            if edge.eta > 0:
                style = {
                    "ls": "",
                    "markeredgecolor": "w",
                    "markeredgewidth": 0.6,
                    **plot.MARKS[kind],
                }
                ax.plot(*at, **style, zorder=4)
                handles[kind] = drawing.line(**style)
    ax.set(xlim=setting.p_range, ylim=setting.s_range)
    ax.set_xlabel(plot.LABELS["p-s"][0], labelpad=2)
    ax.set_ylabel(plot.LABELS["p-s"][1], labelpad=3)
    drawing.legend(fig, handles)
    values = rf"$\alpha_p = {setting.alpha_p:g}$,  $\sigma^2 = {setting.sigma2:g}$"
    drawing.note(fig, values + rf",  $\tau = {setting.tau:g}$")
    return fig


# Positions of the labels of curves that leave the picture at the top, by eta.
PLACES = {0.0: (1.14, 0.26), 0.25: (-0.3, 0.66)}


def _name(ax, eta, end, color):
    """Labels the curve at its right end, or at its place in `PLACES`."""
    x, y = PLACES.get(eta, (end[0] + 0.03, end[1]))
    words = rf"$\eta = {eta:g}$" + ", the critical decay" * (eta == 0.25)
    ax.text(x, y, words, color=color, va="center")


def main(argv: Sequence[str] | None = None) -> int:
    return drawing.run(__file__, (Setting(), QUICK), compute, draw, argv)


if __name__ == "__main__":
    main()

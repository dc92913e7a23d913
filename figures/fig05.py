"""Fig. 5: decoupled modes (11)-(13) over time, with a target that starts at zero.

The paper's claim: weight decay eta and a slow target (small beta) both keep the eigenvalue of K
positive, and so keep alignment; too much of either loses modes or costs time. Top row: eta
varies; bottom row: beta varies. Look at where the first column falls below zero, and at how
late p and tau rise.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import drawing
import numpy as np
from matplotlib.figure import Figure

from lindyn import plot, theory
from lindyn.solve import ensemble
from lindyn.theory import fields
from lindyn.theory.states import Modes, Params


@dataclasses.dataclass(frozen=True)
class Setting:
    eta: float = 0.04
    beta: float = 0.4
    etas: tuple[float, ...] = (0.0, 0.04, 0.1, 0.2)  # ours, except 0.04
    betas: tuple[float, ...] = (0.04, 0.1, 0.4, 4.0)  # ours, except 0.4
    p0: tuple[float, ...] = (0.5, 0.3, 0.1)  # ours, one value per mode
    s0: float = 0.1  # ours
    tau0: float = 0.0
    alpha_p: float = 1.0  # ours
    sigma2: float = 0.0  # ours
    time: float = 60.0  # ours
    points: int = 601


QUICK = Setting(points=121)
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)))


class Row(NamedTuple):
    """Trajectories for several values of a parameter; arrays have axes (value, mode, time)."""

    K: np.ndarray  # the eigenvalue of K that belongs to the mode
    p: np.ndarray
    s: np.ndarray
    tau: np.ndarray


class Sweeps(NamedTuple):
    ts: np.ndarray
    by_eta: Row
    by_beta: Row


def compute(setting: Setting) -> Sweeps:
    ts = np.linspace(0.0, setting.time, setting.points)
    return Sweeps(
        ts=ts,
        by_eta=_row(setting, ts, setting.etas, setting.beta),
        by_beta=_row(setting, ts, setting.eta, setting.betas),
    )


def _row(setting, ts, etas, betas):
    column = lambda x: np.reshape(x, (-1, 1))
    eta, beta, p0 = np.broadcast_arrays(column(etas), column(betas), setting.p0)
    rest = dict(alpha_p=setting.alpha_p, sigma2=setting.sigma2)
    params = Params(eta=eta.ravel(), beta=beta.ravel(), **rest)
    start = Modes.of(p=p0.ravel(), s=setting.s0, tau=setting.tau0)
    y = ensemble.states(fields.modes, start, params, ts, rtol=1e-10, quick=True).y
    p, s, tau = map(np.asarray, (y.p, y.s, y.tau))
    K = theory.alignment_margin(p, s, Params(eta=eta.reshape(-1, 1), tau=tau, **rest))
    return Row(*(np.reshape(x, (*eta.shape, -1)) for x in (K, p, s, tau)))


def draw(setting: Setting, sweeps: Sweeps) -> Figure:
    fig, axes = drawing.page(2, 4, tall=1.3, gap=0.34, head=0.44, between=0.28, foot=0.8)
    held = rf"$\beta = {setting.beta:g}$", rf"$\eta = {setting.eta:g}$"
    names = r"\eta", r"\beta"
    swept = setting.etas, setting.betas
    for across, row, *words in zip(axes, sweeps[1:], held, names, swept, strict=True):
        _draw_row(setting, across, row, sweeps.ts)
        _head(fig, across[0].get_position().y1, *words)
    for column in axes.T:
        low, high = np.transpose([ax.dataLim.intervaly for ax in column])
        room = 0.06 * (high.max() - low.min())
        for ax in column:
            ax.set_ylim(low.min() - room, high.max() + room)
    handles = {
        f"$p_j(0) = {p0:g}$": drawing.line(ls=dashes)
        for p0, dashes in zip(setting.p0, DASHES, strict=True)
    }
    drawing.legend(fig, handles)
    values = rf"$\tau(0) = {setting.tau0:g}$,  $\alpha_p = {setting.alpha_p:g}$"
    values += rf",  $\sigma^2 = {setting.sigma2:g}$,  $s_j(0) = {setting.s0:g}$"
    drawing.note(fig, values + r"   (ours, and all but $\eta = 0.04$ and $\beta = 0.4$)")
    return fig


TITLES = r"eigenvalue $\lambda_j$ of $K(t)$", "$p_j$", "$s_j$", r"$\tau_j$"


def _draw_row(setting, across, row, ts):
    for ax, title, arrays in zip(across, TITLES, row, strict=True):
        for value, color in zip(arrays, drawing.SCALE, strict=True):
            for mode, dashes in zip(value, DASHES, strict=True):
                ax.plot(ts, mode, color=color, ls=dashes, lw=1.0)
        ax.set_title(title, fontsize=9, pad=3)
        ax.set_xlim(0, setting.time)
        ax.set_xlabel("$t$", labelpad=1)
    across[0].axhline(0, color=plot.GREY, lw=0.7, zorder=0)


def _head(fig, top, held, name, values):
    """Writes the fixed parameter above a row, and the varied one with a colour per value."""
    height = top + 0.25 / fig.get_figheight()
    words = [(held + ",", plot.INK)]
    words += [
        (f"${name} = {value:g}$", color)
        for value, color in zip(values, drawing.SCALE, strict=True)
    ]
    for i, (word, color) in enumerate(words):
        x = (drawing.LEFT + 0.75 * i) / drawing.WIDTH
        fig.text(x, height, word, color=color, fontsize=9)


def main(argv: Sequence[str] | None = None) -> int:
    return drawing.run(__file__, (Setting(), QUICK), compute, draw, argv)


if __name__ == "__main__":
    main()

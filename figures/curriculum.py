"""The EMA target as a curriculum, as a picture (PNG) and as an animation (GIF beside it).

The paper states this in words (its observation 8). The modes lie on the parabola
s = p^2 / alpha_p. One set has an EMA target that starts at zero and follows (13); the other has
tau = 1 from the start. Look at the blue area, where the mode's eigenvalue of K is negative.
Without the EMA every mode has to cross this area, and misalignment grows; with a slow EMA, tau
rises along its edge. The price of the EMA is the brown area, in which modes collapse, and time.
"""

import dataclasses
import io
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import drawing
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from lindyn import plot, theory
from lindyn.phase import portrait
from lindyn.phase.flow_lines import Window
from lindyn.solve import ensemble
from lindyn.theory import fields
from lindyn.theory.states import Modes, Params


@dataclasses.dataclass(frozen=True)
class Setting:
    p0: tuple[float, ...] = (0.3, 0.4, 0.5)
    eta: float = 0.04
    beta: float = 0.1
    alpha_p: float = 1.0
    sigma2: float = 0.0
    time: float = 60.0
    frames: int = 75  # frames of the GIF, `every` time points apart
    every: int = 4


QUICK = Setting(frames=2, every=100)


class Course(NamedTuple):
    """Trajectories of the modes. Arrays have axes (mode, time), except `apart`."""

    p: np.ndarray
    tau: np.ndarray
    K: np.ndarray
    apart: np.ndarray  # (time,): largest entry of [F, Wp], relative to its initial value


class Courses(NamedTuple):
    ts: np.ndarray
    ema: Course
    fixed: Course  # tau = 1
    basin: np.ndarray  # (points, 2): curve (p, tau); left of it, modes with an EMA collapse


def compute(setting: Setting) -> Courses:
    ts = np.linspace(0.0, setting.time, setting.frames * setting.every + 1)
    params = Params(
        alpha_p=setting.alpha_p, beta=setting.beta, eta=setting.eta, sigma2=setting.sigma2
    )
    p = np.array(setting.p0)
    start = Modes.of(p=p, s=p**2 / setting.alpha_p, tau=0.0)
    ema = ensemble.states(fields.modes, start, params, ts, rtol=1e-10, quick=True).y
    fixed = ensemble.states(fields.parabola, p, params, ts, rtol=1e-10, quick=True).y
    plane = portrait.portrait("p-tau", params, WINDOW, grid=2)
    return Courses(
        ts=ts,
        ema=_course(params, ts, np.asarray(ema.p), np.asarray(ema.tau)),
        fixed=_course(params, ts, fixed, np.ones_like(fixed)),
        basin=plane.basin,
    )


WINDOW = Window((0.0, 1.1), (0.0, 1.1))


def _course(params, ts, p, tau):
    K = margin(params, p, tau)
    steps = np.diff(ts) * (K[:, 1:] + K[:, :-1]) / 2
    grown = -np.cumsum(np.pad(steps, ((0, 0), (1, 0))), axis=1)  # -int K dt, for each mode
    pairs = [(i, j) for i in range(len(p)) for j in range(i)]
    apart = np.max([np.exp(grown[i] + grown[j]) for i, j in pairs], axis=0)  # (9)
    return Course(p, tau, K, apart)


def margin(params: Params, p: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """The eigenvalue of K that belongs to a mode on the parabola."""
    here = Params(alpha_p=params.alpha_p, eta=params.eta_s, sigma2=params.sigma2, tau=tau)
    return np.asarray(theory.alignment_margin(p, p**2 / params.alpha_p, here))


def draw(setting: Setting, found: Courses, until: int) -> Figure:
    """The picture with the trajectories up to the time of index `until`."""
    fig, axes = drawing.page(2, 2, tall=1.2, gap=0.6, head=0.12, between=0.2, foot=0.7)
    plane, (top, bottom) = axes[0, 0], axes[:, 1]
    low, high = axes[1, 0].get_position(), plane.get_position()
    plane.set_position((low.x0, low.y0, low.width, high.y1 - low.y0))
    axes[1, 0].remove()
    _draw_plane(setting, plane, found)
    for course, color in ((found.fixed, plot.RED), (found.ema, plot.BLUE)):
        for p, tau in zip(course.p, course.tau, strict=True):
            plane.plot(p[: until + 1], tau[: until + 1], color=color, lw=1.2)
            plane.plot(p[0], tau[0], "o", color=color, ms=4, mfc="w")
            plane.plot(p[until], tau[until], "o", color=color, ms=5.5, mec="w", mew=0.7)
        for ax, values in ((top, course.K.min(axis=0)), (bottom, course.apart)):
            ax.plot(found.ts[: until + 1], values[: until + 1], color=color, lw=1.2)
            ax.plot(found.ts[until], values[until], "o", color=color, ms=4.5, mec="w", mew=0.7)
            ax.set_xlim(0, setting.time)
    _dress(setting, found, plane, top, bottom)
    drawing.note(fig, _note(setting))
    return fig


def _draw_plane(setting, ax, found):
    params = Params(alpha_p=setting.alpha_p, eta=setting.eta, sigma2=setting.sigma2)
    p, tau = (np.linspace(*ends, 201) for ends in WINDOW)
    parts = margin(params, *np.meshgrid(p[1:], tau))
    ax.contourf(p[1:], tau, parts, levels=[-np.inf, 0], colors=[plot.SURVIVING])
    edge, at = found.basin.T
    ax.fill_betweenx(at, 0, np.minimum(edge, WINDOW.x[1]), color=plot.COLLAPSED, lw=0)
    ax.plot(p[1:], (1 + setting.sigma2) * p[1:] + setting.eta / p[1:], **GOAL)
    ax.set(xlim=WINDOW.x, ylim=WINDOW.y)
    ax.set_xlabel(plot.LABELS["p-tau"][0], labelpad=2)
    ax.set_ylabel(plot.LABELS["p-tau"][1], labelpad=3)


GOAL = dict(color=plot.GREY, lw=1.1, ls=(0, (6, 2)))


def _dress(setting, found, plane, top, bottom):
    plane.text(0.3, 0.85, "$K < 0$", ha="center")
    plane.text(0.028, 0.3, "collapses", rotation=90, ha="center", va="center", fontsize=8)
    plane.text(0.62, 1.02, r"$\tau = 1$ from the start", color=plot.RED, ha="center")
    plane.text(0.44, 0.25, r"EMA from $\tau = 0$", color=plot.BLUE)
    plane.text(0.66, 0.56, "goal $p_+^*$ at this $\\tau$", color=plot.GREY)
    top.axhline(0, color=plot.GREY, lw=0.7, zorder=0)
    top.set(ylim=_around(found.fixed.K.min(axis=0)))
    top.set_ylabel("least eigenvalue of $K$", labelpad=3)
    bottom.axhline(1, color=plot.GREY, lw=0.7, zorder=0)
    bottom.set(yscale="log", ylim=(1e-3, 5))
    bottom.set_ylabel(r"$|[F, W_p]|$, over its start", labelpad=3)
    bottom.set_xlabel("$t$", labelpad=2)
    top.tick_params(labelbottom=False)


def _around(values):
    room = 0.1 * np.ptp(values)
    return values.min() - room, values.max() + room


def _note(setting):
    return (
        rf"$\eta = {setting.eta:g}$,  $\beta = {setting.beta:g}$,"
        rf"  $\alpha_p = {setting.alpha_p:g}$,  $\sigma^2 = {setting.sigma2:g}$"
    )


def animate(setting: Setting, found: Courses, path: pathlib.Path, comment: str) -> None:
    frames = []
    for frame in range(setting.frames + 1):
        written = io.BytesIO()
        draw(setting, found, frame * setting.every).savefig(written, format="png", dpi=140)
        frames.append(Image.open(written).convert("RGB"))
    palette = frames[-1].quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    frames = [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in frames]
    frames[0].save(
        path,
        save_all=True,
        append_images=frames[1:],
        duration=[80] * setting.frames + [2000],
        loop=0,
        comment=comment,
    )
    print(path)


def main(argv: Sequence[str] | None = None) -> int:
    asked = drawing.ask(__file__, argv)
    setting = QUICK if asked.quick else Setting()
    found = compute(setting)
    drawing.save(draw(setting, found, len(found.ts) - 1), asked, setting)
    comment = "\n".join(drawing.about(asked, setting).values())
    animate(setting, found, asked.out.with_suffix(".gif"), comment)
    return 0


if __name__ == "__main__":
    main()

"""Fig. 4: the flow (16) on the parabola s = p^2 / alpha_p, and its fixed points.

The paper's claim: with weak decay p = 0 becomes stable, the unstable fixed point p-* bounds its
basin of attraction, and the stable fixed point p+* is the goal. With strong decay only p = 0 is
left. Look at the zeros of the curve, and at the inset, which separates p-* from p = 0.
"""

import dataclasses
from collections.abc import Sequence

import drawing
from matplotlib.figure import Figure

from lindyn import plot
from lindyn.phase import portrait
from lindyn.phase.portrait import Line
from lindyn.theory.states import Params


@dataclasses.dataclass(frozen=True)
class Setting:
    etas: tuple[float, ...] = (0.0, 0.01, 1.0)
    tau: float = 1.0
    sigma2: float = 0.0  # ours
    p_range: tuple[float, float] = (-0.5, 1.3)  # ours
    near_zero: tuple[float, float] = (-0.01, 0.025)  # p range of the inset


QUICK = Setting()
TITLES = ("no decay", "weak decay", "strong decay")


def compute(setting: Setting) -> list[Line]:
    """The flow for each decay, and for the weak decay again near p = 0 (the inset)."""
    params = [Params(eta=eta, tau=setting.tau, sigma2=setting.sigma2) for eta in setting.etas]
    lines = [portrait.line(each, setting.p_range) for each in params]
    return [*lines, portrait.line(params[1], setting.near_zero)]


def draw(setting: Setting, lines: list[Line]) -> Figure:
    *panels, near = lines
    titles = [
        rf"{name}, $\eta = {eta:g}$" for name, eta in zip(TITLES, setting.etas, strict=True)
    ]
    values = rf"$\tau = {setting.tau:g}$,  $\alpha_p$ cancels"
    ours = rf"$\sigma^2 = {setting.sigma2:g}$ and ranges: ours"
    fig = plot.figure(panels, titles, f"{values},  {ours}")
    inset = fig.axes[1].inset_axes((0.1, 0.1, 0.5, 0.3))
    plot.draw_line(inset, near)
    inset.tick_params(labelsize=6.5, pad=2)
    inset.set_xticks([0.0, 0.01, 0.02])
    inset.set_yticks([0.0])
    return fig


def main(argv: Sequence[str] | None = None) -> int:
    return drawing.run(__file__, (Setting(), QUICK), compute, draw, argv)


if __name__ == "__main__":
    main()

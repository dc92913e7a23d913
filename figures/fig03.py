"""Fig. 3: phase portraits of a mode, (11)-(12), with no, weak and strong weight decay.

The paper's claim: without decay there are two lines of fixed points, s = 0 and
p = tau / (1 + sigma2). With weak decay three fixed points remain: the goal, the edge (a saddle)
and the collapsed point. All three lie on the parabola s = p^2 / alpha_p, to which the flow
converges. With strong decay only the collapsed point remains. Look at the shaded basin of
collapse, which is smallest for weak decay.
"""

import dataclasses
from collections.abc import Sequence

import drawing
from matplotlib.figure import Figure

from lindyn import plot
from lindyn.phase import portrait
from lindyn.phase.flow_lines import Window
from lindyn.phase.portrait import Portrait
from lindyn.theory.states import Params


@dataclasses.dataclass(frozen=True)
class Setting:
    etas: tuple[float, ...] = (0.0, 0.01, 1.0)
    alpha_p: float = 1.0
    tau: float = 1.0
    sigma2: float = 0.0  # ours
    p_range: tuple[float, float] = (-0.5, 1.5)  # ours
    s_range: tuple[float, float] = (0.0, 1.6)  # ours
    grid: int = 16  # flow lines start from a grid of this many points per side


QUICK = Setting(grid=6)
TITLES = ("no decay", "weak decay", "strong decay")


def compute(setting: Setting) -> list[Portrait]:
    window = Window(setting.p_range, setting.s_range)
    rest = dict(alpha_p=setting.alpha_p, tau=setting.tau, sigma2=setting.sigma2)
    return [
        portrait.portrait("p-s", Params(eta=eta, **rest), window, grid=setting.grid)
        for eta in setting.etas
    ]


def draw(setting: Setting, panels: list[Portrait]) -> Figure:
    titles = [
        rf"{name}, $\eta = {eta:g}$" for name, eta in zip(TITLES, setting.etas, strict=True)
    ]
    values = rf"$\alpha_p = {setting.alpha_p:g}$,  $\tau = {setting.tau:g}$"
    ours = rf"$\sigma^2 = {setting.sigma2:g}$ and ranges: ours"
    layers = [layer for layer in plot.LAYERS if layer != "field"]
    return plot.figure(panels, titles, f"{values},  {ours}", layers)


def main(argv: Sequence[str] | None = None) -> int:
    return drawing.run(__file__, (Setting(), QUICK), compute, draw, argv)


if __name__ == "__main__":
    main()

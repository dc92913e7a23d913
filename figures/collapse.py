"""Which modes collapse, over weight decay and their start, and what the closed form says.

Not in the paper. Every cell is a mode on the parabola, solved to its fate. The lines are not
fitted: below the critical decay tau^2 / 4(1 + sigma2) the edge is p-*, the lower root of
(16); beyond it there is none, and everything collapses. Look at how the edge turns over.
"""

import dataclasses
from collections.abc import Sequence

import drawing
import numpy as np
from matplotlib.figure import Figure

from lindyn import chart, maps, plot
from lindyn.chart import Chart
from lindyn.setting import Axis, Setting as Map


@dataclasses.dataclass(frozen=True)
class Setting:
    etas: tuple[float, float] = (0.0, 0.3)
    p0: tuple[float, float] = (0.005, 1.0)
    cells: int = 512  # a side
    alpha_p: float = 1.0
    sigma2: float = 0.0
    tau: float = 1.0


QUICK = Setting(cells=48)


def compute(setting: Setting) -> Chart:
    asked = Map(
        quantity="collapse",
        x=Axis("wd", *setting.etas, setting.cells),
        y=Axis("p0", *setting.p0, setting.cells),
        fixed={"alpha-p": setting.alpha_p, "sigma2": setting.sigma2, "tau": setting.tau},
    )
    return chart.chart(asked, maps.compute(asked, np.arange(asked.cells)))


def draw(setting: Setting, drawn: Chart) -> Figure:
    return plot.map_figure(drawn, chart.title(drawn.setting), chart.note(drawn.setting))


def main(argv: Sequence[str] | None = None) -> int:
    return drawing.run(__file__, (Setting(), QUICK), compute, draw, argv)


if __name__ == "__main__":
    main()

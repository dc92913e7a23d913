"""Draws phase portraits: planes with their flow, and dp/dt over p on the parabola.

Read `style` first.
"""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lindyn.plot.style import (
    BLUE,
    COLLAPSED,
    GREEN,
    GREY,
    INK,
    MARKS,
    PALE,
    RED,
    STYLE,
    legend,
    new_window,
)


LABELS = {
    "p-s": (r"$p_j$, eigenvalue of $W_p$", r"$s_j$, eigenvalue of $F$"),
    "p-tau": (r"$p_j$, eigenvalue of $W_p$", r"$\tau$, target ratio"),
    "cosine": (r"$p_j$, in root mean squares of all $p$", r"$s_j$, in mean squares of $p$"),
    "p": (r"$p_j$, eigenvalue of $W_p$", r"$\mathrm{d}p_j/\mathrm{d}t$"),
}
NAMES = {"p": r"\dot p", "s": r"\dot s", "tau": r"\dot\tau"}
LAYERS = (
    "field",
    "flow",
    "nullclines",
    "fixed_points",
    "parabola",
    "constants",
    "separatrix",
    "basin",
)


def figure(panels, titles, note, layers=LAYERS, *, show=False) -> Figure:
    """A figure of several panels, three in a row, in the width of a paper's column or page.

    `panels` are `portrait.Portrait` or `portrait.Line`, and `titles` has one for each. `note`
    is written below the legend. `show` ties the figure to a window, which `plot.show` opens.
    """
    mpl.rcParams.update(STYLE)
    fig = (new_window if show else Figure)(dpi=200)
    axes, handles = [], {}
    for panel, heading in zip(panels, titles, strict=True):
        ax = fig.add_axes((0, 0, 1, 1), label=str(len(axes)))
        draw = draw_line if panel.plane == "p" else draw_portrait
        handles |= draw(ax, panel, layers)
        ax.set_title(heading, fontsize=9.5, pad=4)
        ax.set_xlabel(LABELS[panel.plane][0], labelpad=2)
        if len(axes) % 3 == 0:
            ax.set_ylabel(LABELS[panel.plane][1], labelpad=3)
        axes.append(ax)
    columns = min(len(panels), 3)
    entries = {1: 3, 2: 4, 3: 5}[columns]  # of the legend in one line
    legend_height = 0.14 * -(-len(handles) // entries)
    width, height = _place(fig, axes, columns, foot=0.2 + legend_height)
    fig.text(0.5, 0.06 / height, note, ha="center", fontsize=7.5, color=INK)
    columns = min(len(handles), entries)
    spacing = dict(handlelength=2.4, columnspacing=1.4, labelspacing=0.3)
    legend(fig, handles, (0.5, 0.24 / height), columns, fontsize=7.5, **spacing)
    return fig


def _place(fig, axes, columns, foot):
    """Place the axes in the figure. Returns its width and height in inches."""
    left, right, gap, title, below = 0.55, 0.12, 0.33, 0.26, 0.5
    width = {1: 4.0, 2: 5.6, 3: 7.2}[columns]
    side = (width - left - right - gap * (columns - 1)) / columns
    tall = side * (0.86 if columns > 1 else 0.78)
    height = foot + -(-len(axes) // columns) * (title + tall + below)
    fig.set_size_inches(width, height)
    for i, ax in enumerate(axes):
        row, column = divmod(i, columns)
        x = left + column * (side + gap)
        y = height - (row + 1) * (title + tall) - row * below
        ax.set_position((x / width, y / height, side / width, tall / height))
    return width, height


def draw_portrait(ax, portrait, layers=LAYERS) -> dict:
    """Draw a plane with its flow on `ax`. Returns legend handles by label."""
    window, handles = portrait.window, {}
    ax.set(xlim=window.x, ylim=window.y)
    if "basin" in layers:
        handles |= _draw_basin(ax, portrait)
    if "constants" in layers and portrait.constants:
        curves = [curve for _, curve in portrait.constants]
        handles[r"$s - p^2\!/\alpha_p = c$"] = _draw_curves(ax, curves, PALE, 0.7, ":")
    if "field" in layers:
        x, y, u, v = portrait.arrows.T
        length = 0.55 / np.sqrt(len(x))
        ax.quiver(
            *(x, y, u * length * window.spans[0], v * length * window.spans[1]),
            **dict(angles="xy", scale_units="xy", scale=1, pivot="mid", color=PALE),
            **dict(
                units="inches",
                width=0.007,
                headwidth=3.6,
                headlength=4,
                headaxislength=3.6,
            ),
        )
    if "flow" in layers and portrait.flow:
        handles["flow"] = _draw_flow(ax, portrait)
    if "nullclines" in layers:
        for name, color, dashes in (
            ("p", BLUE, (0, (6, 2))),
            ("s", GREEN, (0, (5, 1.5, 1, 1.5))),
        ):
            name = name if name in portrait.nullclines else "tau"
            curves = portrait.nullclines[name]
            handles[rf"${NAMES[name]} = 0$"] = _draw_curves(ax, curves, color, 1.1, dashes)
    if "parabola" in layers and portrait.parabola is not None:
        curve = [portrait.parabola]
        handles[r"$s = p^2\!/\alpha_p$"] = _draw_curves(ax, curve, INK, 1.1, (0, (2.5, 1.5)))
    if "separatrix" in layers and portrait.separatrix:
        handles["separatrix"] = _draw_curves(ax, portrait.separatrix, RED, 1.7, "-")
    if "fixed_points" in layers:
        for curve, stable in portrait.resting:
            color, dashes = (BLUE, "-") if stable else (RED, (0, (0.6, 0.9)))
            label = f"{'stable' if stable else 'unstable'} line of fixed points"
            handles[label] = _draw_curves(ax, [curve], color, 3.0, dashes, clip_on=False)
        handles |= _draw_points(ax, portrait.points, portrait.fixed)
    return handles


def draw_line(ax, line, layers=LAYERS) -> dict:
    """Draw dp/dt over p on `ax`. Returns legend handles by label.

    Arrows along the axis show the direction of the flow, and marks its fixed points.
    """
    handles: dict = {}
    low, high = line.p[[0, -1]]
    top = 2.5 * np.quantile(np.abs(line.rate), 0.7) or 1.0
    ax.set(xlim=(low, high), ylim=(-top, top))
    if "basin" in layers and line.edge > low:
        ax.axvspan(low, min(line.edge, high), color=COLLAPSED, lw=0)
        handles["collapses"] = Patch(color=COLLAPSED, lw=0)
    ax.axhline(0, color=GREY, lw=0.7)
    if "flow" in layers:
        (handles[r"$\mathrm{d}p/\mathrm{d}t$"],) = ax.plot(line.p, line.rate, color=INK, lw=1.2)
        at = np.linspace(low, high, 25)[1:-1:2]
        signs = np.sign(np.interp(at, line.p, line.rate))
        for sign, marker in ((1, ">"), (-1, "<")):
            here = at[signs == sign]
            ax.plot(here, 0 * here, marker, color=GREY, markersize=3.5)
    if "fixed_points" in layers:
        handles |= _draw_points(ax, line.points, line.fixed)
    return handles


def _draw_basin(ax, portrait):
    if portrait.share == 0:
        return {}
    x, y = portrait.basin.T
    upright = portrait.plane != "p-tau"
    low, high = portrait.window.y if upright else portrait.window.x
    pad = high - low
    if upright:
        ax.fill_between(x, low - pad, np.minimum(y, high + pad), color=COLLAPSED, lw=0)
    else:
        ax.fill_betweenx(y, low - pad, np.minimum(x, high + pad), color=COLLAPSED, lw=0)
    handles = {"collapses": Patch(color=COLLAPSED, lw=0)}
    if portrait.rivals is not None and (portrait.rivals[:, 1] < high).any():
        x, y = portrait.rivals.T
        hatched: Any = dict(facecolor="none", edgecolor=COLLAPSED, hatch="////", lw=0)
        ax.fill_between(x, np.minimum(y, high), high, **hatched)
        handles["all others collapse"] = Patch(**hatched)
    return handles


def _draw_flow(ax, portrait):
    _draw_curves(ax, portrait.flow, GREY, 0.7, "-")
    heads, ways = [], []
    for curve in portrait.flow:
        middle = len(curve) // 2
        heads.append(curve[middle])
        ways.append(curve[min(middle + 1, len(curve) - 1)] - curve[middle - 1])
    (x, y), (u, v) = np.transpose(heads), np.transpose(ways / portrait.window.spans)
    length = 0.02 / np.maximum(np.hypot(u, v), 1e-12)
    ax.quiver(
        *(
            x,
            y,
            u * length * portrait.window.spans[0],
            v * length * portrait.window.spans[1],
        ),
        **dict(angles="xy", scale_units="xy", scale=1, pivot="mid", color=GREY),
        **dict(units="inches", width=0.0095, headwidth=7, headlength=8, headaxislength=7),
    )
    return Line2D([], [], color=GREY, lw=0.8, marker=">", markersize=3, markevery=[0])


def _draw_curves(ax, curves, color, width, dashes, **more):
    ax.add_collection(
        LineCollection(curves, colors=color, linewidths=width, linestyles=dashes, **more),
        autolim=False,
    )
    return Line2D([], [], color=color, lw=width, ls=dashes)


def _draw_points(ax, points, fixed):
    handles = {}
    for i in (
        0,
        2,
        1,
    ):  # the saddle last, on top: it may be close to the collapsed point
        (x, y), name = points[i], fixed.names[i]
        low, high = np.sort(ax.get_xlim()), np.sort(ax.get_ylim())
        if name not in MARKS or not (low[0] <= x <= low[1] and high[0] <= y <= high[1]):
            continue
        style = {
            "linestyle": "",
            "markeredgecolor": "w",
            "markeredgewidth": 0.7,
        } | MARKS[name]
        if "markerfacecolor" in style:
            style |= {"markeredgecolor": style["color"], "markeredgewidth": 1.4}
        ax.plot([x], [y], **style, clip_on=False, zorder=5)
        handles[name] = Line2D([], [], **style)
    return handles

"""Draws maps over two parameters, with the curves of closed forms on top.

Read `style` first.
"""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import (
    CenteredNorm,
    LinearSegmentedColormap,
    ListedColormap,
    LogNorm,
    Normalize,
    PowerNorm,
)
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from lindyn.plot.style import (
    BLUE,
    COLLAPSED,
    DIVERGED,
    GREY,
    INK,
    PALE,
    STYLE,
    SURVIVING,
    legend,
    new_window,
)


AXES = {
    "wd": r"$\eta$, weight decay",
    "wd-p": r"$\eta_p$, weight decay of the predictor",
    "wd-s": r"$\eta_s$, weight decay of the encoder",
    "alpha-p": r"$\alpha_p$, relative learning rate of the predictor",
    "beta": r"$\beta$, rate of the target's EMA",
    "sigma2": r"$\sigma^2$, variance of the augmentation",
    "tau": r"$\tau$, target ratio",
    "p0": r"$p_0$, eigenvalue of $W_p$ at the start",
    "s0": r"$s_0$, eigenvalue of $F$ at the start",
    "lr": "learning rate",
    "momentum": "momentum",
    "ema": r"$\gamma_a$, what the target keeps of itself",
}
MOST_DRAWN = 1024  # cells along each axis
FADED = LinearSegmentedColormap.from_list("faded", ["#f7fafd", "#9ec5e0", BLUE, "#00324f"])
LEFT = LinearSegmentedColormap.from_list(
    "left", ["#8a3d00", "#d98a3a", COLLAPSED, "#f4efe6", SURVIVING]
)
SHARE = LinearSegmentedColormap.from_list("share", ["#fdfaf5", COLLAPSED, "#d98a3a", "#8a3d00"])
SIGNED = LinearSegmentedColormap.from_list(
    "signed", ["#8a3d00", "#e0a060", "#f7f7f5", "#7fb2d6", "#00436b"]
)


def map_figure(chart, title, note, *, show=False) -> Figure:
    """The figure of a `sweep.summary.ComputedMap`, with `note` below it.

    `show` ties the figure to a window, which `plot.show` opens.
    """
    mpl.rcParams.update(STYLE)
    fig = (new_window if show else Figure)(dpi=200)
    ax = fig.add_axes((0, 0, 1, 1))
    mesh, handles = draw_map(ax, chart)
    label = chart.label
    left, side, tall, foot = 0.56, 3.6, 3.0, 0.84 if handles else 0.66
    width, height = left + side + (0.75 if label else 0.12), foot + tall + 0.27
    fig.set_size_inches(width, height)
    ax.set_position((left / width, foot / height, side / width, tall / height))
    ax.set_title(title, fontsize=10, pad=5)
    draw_lines(ax, chart.lines)
    if label:
        beside = (left + side + 0.08) / width
        bar = fig.add_axes((beside, foot / height, 0.12 / width, tall / height))
        fig.colorbar(mesh, cax=bar).outline.set_linewidth(0.6)
        bar.set_ylabel(label, labelpad=3)
    middle = (left + side / 2) / width
    fig.text(middle, 0.08 / height, note, ha="center", fontsize=7.5, color=INK)
    if handles:
        spacing = dict(handlelength=1.4, columnspacing=1.6)
        legend(fig, handles, (middle, 0.24 / height), 4, fontsize=8, **spacing)
    return fig


def draw_map(ax, chart) -> tuple[Any, dict]:
    """Draw the map on `ax`. Returns the mesh for a colour bar, and legend handles by label."""
    quantity, setting, handles = chart.setting.quantity, chart.setting, {}
    skip = [-(-axis.count // MOST_DRAWN) for axis in (setting.y, setting.x)]
    values = {name: x[:: skip[0], :: skip[1]] for name, x in chart.values.items()}
    x, y, value = chart.x[:: skip[1]], chart.y[:: skip[0]], values["value"]
    options: Any = dict(shading="nearest", rasterized=True)
    of = setting.trainer["dim"] if quantity == "rank" else value
    mesh = ax.pcolormesh(x, y, value, **_colours(quantity, of), **options)
    if quantity == "collapse":
        handles |= {name: Patch(color=color) for name, color in FATES.items()}
    elif quantity == "escape-time" and np.isnan(value).any():
        ax.set_facecolor(COLLAPSED)
        handles["collapses"] = Patch(color=COLLAPSED)
    for name, color, hatch in MARKED:
        if name not in values:
            continue
        where = (values[name] > 0) & (np.isnan(value) | (name == "noise"))
        if where.any():
            shown = np.ma.masked_where(~where, where.astype(float))
            look: Any = dict(hatch=hatch, edgecolor=INK if hatch else color, lw=0)
            look["antialiased"] = bool(hatch)
            ax.pcolor(x, y, shown, cmap=ListedColormap([color]), **look, **options)
            handles[name] = Patch(facecolor=color, **look)
    for name, axis in (("x", setting.x), ("y", setting.y)):
        moves = setting.moving and axis.name == "tau"
        label = r"$\tau_0$, target ratio at the start" if moves else AXES[axis.name]
        if setting.trainer is not None:
            label = label.removeprefix(r"$\eta$, ")
        ax.set(**{f"{name}label": label, f"{name}scale": "log" if axis.log else "linear"})
        ax.set(**{f"{name}lim": axis.at(np.array([-0.5, axis.count - 0.5]))})
    return mesh, handles


MARKED = (
    ("undecided", GREY, None),
    ("failed", PALE, "xxxx"),
    ("diverged", DIVERGED, None),
    ("noise", "none", "...."),
)
FATES = {"survives": SURVIVING, "collapses": COLLAPSED}


def _colours(quantity, value):
    if quantity == "collapse":
        return dict(cmap=ListedColormap([*FATES.values()]), vmin=0, vmax=1)
    if quantity == "basin":
        return dict(cmap=SHARE, norm=PowerNorm(0.5, 0, 1))
    if quantity in ("alignment-margin", "alignment"):
        flip = quantity == "alignment"
        return dict(cmap=SIGNED.reversed() if flip else SIGNED, norm=CenteredNorm())
    most = np.nanmax(value, initial=0)
    if quantity == "rank":
        return dict(cmap=LEFT, norm=Normalize(0, most))
    if quantity == "escape-time" and most > 0:
        least = np.nanmin(value, where=value > 0, initial=most)
        return dict(cmap=FADED, norm=LogNorm(max(least, most / 1e3), most, clip=True))
    return dict(cmap=FADED)


def draw_lines(ax, lines):
    """Draw curves, and write the name of each beside it, where there is most room."""
    place, points = ax.transData.transform, ax.figure.dpi / 72
    named = {}
    for line in lines:
        sign = np.ma.masked_invalid(line.sign)
        contours = ax.contour(line.x, line.y, sign, levels=[0], colors=INK, linewidths=1.6)
        pieces = [place(piece) for piece in contours.allsegs[0] if len(piece) > 1]
        if pieces:
            named[line.name] = max(pieces, key=lambda piece: np.ptp(piece, axis=0).sum())
    taken, box = [*named.values()], ax.get_window_extent()
    for name, piece in named.items():
        half = (2 * len(name) + 3) * points
        spots = [
            _beside(piece, part, side * 7 * points, half, box)
            for part in (0.5, 0.35, 0.65, 0.2, 0.8)
            for side in (1, -1)
        ]
        at, angle = max(spots, key=lambda spot: _room(*spot, half, taken))
        ax.text(
            *ax.transData.inverted().transform(at),
            name,
            rotation=np.degrees(angle),
            rotation_mode="anchor",
            ha="center",
            va="center",
            fontsize=8,
            path_effects=[withStroke(linewidth=2, foreground="w")],
        )


def _beside(piece, part, away, half, box):
    """The middle of a text beside a curve, and its angle.

    The text has length 2 `half`. It is placed at the fraction `part` of the length of the curve
    `piece`, at the distance `away` from it, and inside the rectangle `box`.
    """
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(piece, axis=0), axis=1)))
    spots = np.clip(part * length[-1] + np.array([-half, 0, half]), 0, length[-1])
    first, middle, last = (
        np.array([np.interp(spot, length, x) for x in piece.T]) for spot in spots
    )
    dx, dy = last - first
    angle = (np.arctan2(dy, dx) + 0.499 * np.pi) % np.pi - 0.499 * np.pi
    way, across = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    reach = np.abs(way) * half + np.abs(away * across)
    return np.clip(middle + away * across, box.min + reach, box.max - reach), angle


def _room(at, angle, half, taken):
    """The distance from a text to the nearest curve, or 0.3 `half`, which is enough room."""
    text = at + np.linspace(-half, half, 9)[:, None] * (np.cos(angle), np.sin(angle))
    gaps = [np.linalg.norm(curve[:, None] - text, axis=-1).min() for curve in taken]
    return round(min(*gaps, 0.3 * half))

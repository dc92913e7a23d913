"""Drawing of arrays that other modules have computed: `draw_x(ax, arrays)`.

One palette, keyed by meaning (Okabe and Ito's colours, which the colour-blind can tell
apart), and a marker shape for each class of fixed point, so that grey prints read too.
"""

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import (
    CenteredNorm,
    LinearSegmentedColormap,
    ListedColormap,
    LogNorm,
    Normalize,
    PowerNorm,
)
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke


INK, GREY, PALE = "#202020", "#8c8c8c", "#c8c8c8"
BLUE, ORANGE, GREEN, RED, PURPLE = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7"
COLLAPSED = "#f3dcc2"
STYLE: Any = {
    "font.family": "STIXGeneral",
    "font.size": 9,
    "mathtext.fontset": "stix",
    "axes.linewidth": 0.6,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "lindyn",
    "pdf.fonttype": 42,
}
MARKS = {
    "stable node": dict(marker="o", color=BLUE, markersize=6.5),
    "stable focus": dict(marker="h", color=BLUE, markersize=7),
    "saddle": dict(marker="X", color=RED, markersize=5.5, markeredgewidth=0.5),
    "unstable node": dict(marker="o", color=RED, markersize=6.5, markerfacecolor="w"),
    "unstable focus": dict(marker="h", color=RED, markersize=7, markerfacecolor="w"),
    "centre": dict(marker="P", color=PURPLE, markersize=7),
    "line of fixed points": dict(marker="s", color=BLUE, markersize=5.5),
    "degenerate": dict(marker="D", color=ORANGE, markersize=5.5),
}
LABELS = {
    "p-s": (r"$p_j$, eigenvalue of $W_p$", r"$s_j$, eigenvalue of $F$"),
    "p-tau": (r"$p_j$, eigenvalue of $W_p$", r"$\tau$, target ratio"),
    "cosine": (r"$p_j$, in root mean squares of all $p$", r"$s_j$, in mean squares of $p$"),
    "p": (r"$p_j$, eigenvalue of $W_p$", r"$\mathrm{d}p_j/\mathrm{d}t$"),
}
NAMES = {"p": r"\dot p", "s": r"\dot s", "tau": r"\dot\tau"}
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
BARS = {
    "rank": "modes that are left",
    "basin": "share that collapses",
    "p": "$p$",
    "s": "$s$",
    "escape-time": "time, in 1 / learning rate of the encoder",
    "alignment-margin": "least eigenvalue of $K$ on the way",
    "alignment": r"$\log_{10}$ of the change of $[F, W_p]$",
}
MOST_DRAWN = 1024  # cells a side
SURVIVING, DIVERGED = "#d3e5f2", "#5b4a66"
FADED = LinearSegmentedColormap.from_list("faded", ["#f7fafd", "#9ec5e0", BLUE, "#00324f"])
LEFT = LinearSegmentedColormap.from_list(
    "left", ["#8a3d00", "#d98a3a", COLLAPSED, "#f4efe6", SURVIVING]
)
SHARE = LinearSegmentedColormap.from_list("share", ["#fdfaf5", COLLAPSED, "#d98a3a", "#8a3d00"])
SIGNED = LinearSegmentedColormap.from_list(
    "signed", ["#8a3d00", "#e0a060", "#f7f7f5", "#7fb2d6", "#00436b"]
)
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
    """Panels side by side, three a row, in the width of a paper's column or page.

    `panels` are `portrait.Portrait` or `portrait.Line`; `note` stands below the legend.
    `show` ties the figure to a window, which `plot.show` opens.
    """
    mpl.rcParams.update(STYLE)
    fig = (_window if show else Figure)(dpi=200)
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
    entries = {1: 3, 2: 4, 3: 5}[columns]  # of the legend, in a line
    legend_height = 0.14 * -(-len(handles) // entries)
    width, height = _place(fig, axes, columns, foot=0.2 + legend_height)
    fig.text(0.5, 0.06 / height, note, ha="center", fontsize=7.5, color=INK)
    columns = min(len(handles), entries)
    spacing = dict(handlelength=2.4, columnspacing=1.4, labelspacing=0.3)
    _legend(fig, handles, (0.5, 0.24 / height), columns, fontsize=7.5, **spacing)
    return fig


def _legend(fig, handles, at, columns, **how):
    """Below the axes, its lower edge in the middle of the figure's width or of theirs."""
    fig.legend(
        handles=[*handles.values()],
        labels=[*handles],
        loc="lower center",
        bbox_to_anchor=at,
        ncols=columns,
        borderpad=0,
        borderaxespad=0,
        **how,
    )


def _place(fig, axes, columns, foot):
    """Size of the figure, in inches, after the axes have found their places in it."""
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


def save(fig: Figure, path, about: dict) -> None:
    """Write PNG, SVG or PDF by suffix: the same bytes each time, with what redraws it."""
    suffix = path.suffix.removeprefix(".")
    command = about["command"]
    metadata = {
        "png": {"Title": command, "Software": about["version"]},
        "svg": {"Title": command, "Creator": about["version"], "Date": None},
        "pdf": {"Title": command, "Creator": about["version"], "CreationDate": None},
    }[suffix]
    fig.savefig(path, metadata=metadata)


def draw_portrait(ax, portrait, layers=LAYERS) -> dict:
    """A plane with its flow. Returns the handles of what was drawn, by label."""
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
    """dp/dt over p: arrows along the axis where it flows, fixed points where it rests."""
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
        how: Any = dict(facecolor="none", edgecolor=COLLAPSED, hatch="////", lw=0)
        ax.fill_between(x, np.minimum(y, high), high, **how)
        handles["all others collapse"] = Patch(**how)
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
    ):  # the saddle on top, since it may lie close to the collapsed point
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


def map_figure(chart, title, note, *, show=False) -> Figure:
    """A `chart.Chart`; `note` stands below it."""
    mpl.rcParams.update(STYLE)
    fig = (_window if show else Figure)(dpi=200)
    ax = fig.add_axes((0, 0, 1, 1))
    mesh, handles = draw_map(ax, chart)
    label = BARS.get(chart.setting.quantity)
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
        _legend(fig, handles, (middle, 0.24 / height), 4, fontsize=8, **spacing)
    return fig


def draw_map(ax, chart) -> tuple[Any, dict]:
    """The map alone. Returns what a colour bar needs, and handles by label."""
    quantity, setting, handles = chart.setting.quantity, chart.setting, {}
    skip = [-(-axis.count // MOST_DRAWN) for axis in (setting.y, setting.x)]
    seen = {name: x[:: skip[0], :: skip[1]] for name, x in chart.values.items()}
    x, y, value = chart.x[:: skip[1]], chart.y[:: skip[0]], seen["value"]
    how: Any = dict(shading="nearest", rasterized=True)
    of = setting.trainer["dim"] if quantity == "rank" else value
    mesh = ax.pcolormesh(x, y, value, **_colours(quantity, of), **how)
    if quantity == "collapse":
        handles |= {name: Patch(color=color) for name, color in FATES.items()}
    elif quantity == "escape-time" and np.isnan(value).any():
        ax.set_facecolor(COLLAPSED)
        handles["collapses"] = Patch(color=COLLAPSED)
    for name, color, hatch in MARKED:
        if name not in seen:
            continue
        where = (seen[name] > 0) & (np.isnan(value) | (name == "noise"))
        if where.any():
            shown = np.ma.masked_where(~where, where.astype(float))
            dressed: Any = dict(hatch=hatch, edgecolor=INK if hatch else color, lw=0)
            dressed["antialiased"] = bool(hatch)
            ax.pcolor(x, y, shown, cmap=ListedColormap([color]), **dressed, **how)
            handles[name] = Patch(facecolor=color, **dressed)
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
    """Curves, and their names beside them, where there is most room."""
    place, points = ax.transData.transform, ax.figure.dpi / 72
    named = {}
    for line in lines:
        sign = np.ma.masked_invalid(line.sign)
        found = ax.contour(line.x, line.y, sign, levels=[0], colors=INK, linewidths=1.6)
        pieces = [place(piece) for piece in found.allsegs[0] if len(piece) > 1]
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
    """The middle of a text of length 2 `half`, along a part of a curve, and its angle."""
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
    """From a text to the nearest curve, up to what is enough."""
    text = at + np.linspace(-half, half, 9)[:, None] * (np.cos(angle), np.sin(angle))
    gaps = [np.linalg.norm(curve[:, None] - text, axis=-1).min() for curve in taken]
    return round(min(*gaps, 0.3 * half))


def show() -> None:
    """Open the windows of the figures made with `show=True`, and wait."""
    from matplotlib import pyplot

    pyplot.show()


def can_show() -> bool:
    """Whether matplotlib has found a display to open windows on."""
    from matplotlib import pyplot
    from matplotlib.backends.registry import BackendFilter, backend_registry

    windows = backend_registry.list_builtin(BackendFilter.INTERACTIVE)
    return pyplot.get_backend().lower() in {name.lower() for name in windows}


def _window(**size):
    from matplotlib import pyplot  # a backend is chosen only for a window

    return pyplot.figure(**size)

"""Shared by all figures: colours, fonts, marks of fixed points, files and windows."""

from typing import Any

from matplotlib.figure import Figure


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
SURVIVING, DIVERGED = "#d3e5f2", "#5b4a66"


def legend(fig, handles, at, columns, **how):
    """Draw a legend in `columns`, below the axes: `at` is the middle of its lower edge."""
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


def save(fig: Figure, path, about: dict) -> None:
    """Write a PNG, SVG or PDF file, as the suffix of `path` says.

    The same figure gives the same bytes. The file holds the command that redraws the figure.
    """
    suffix = path.suffix.removeprefix(".")
    command = about["command"]
    metadata = {
        "png": {"Title": command, "Software": about["version"]},
        "svg": {"Title": command, "Creator": about["version"], "Date": None},
        "pdf": {"Title": command, "Creator": about["version"], "CreationDate": None},
    }[suffix]
    fig.savefig(path, metadata=metadata)


def show() -> None:
    """Open the windows of all figures made with `show=True`, and wait until they are closed."""
    from matplotlib import pyplot

    pyplot.show()


def can_show() -> bool:
    """Whether matplotlib has found a display to open windows on."""
    from matplotlib import pyplot
    from matplotlib.backends.registry import BackendFilter, backend_registry

    windows = backend_registry.list_builtin(BackendFilter.INTERACTIVE)
    return pyplot.get_backend().lower() in {name.lower() for name in windows}


def new_window(**size):
    from matplotlib import pyplot  # pyplot chooses a backend, which only a window needs

    return pyplot.figure(**size)

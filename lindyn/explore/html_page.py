"""Builds the page as one HTML file, which needs no server and no network.

The file contains the style sheet, BokehJS, the translated equations, the scripts of the folder
page/ and the initial state as JSON.
"""

import dataclasses
import html
import pathlib
import string
from importlib.metadata import version
from typing import Any

from bokeh.resources import Resources

from lindyn import command
from lindyn.explore import equations, plots
from lindyn.explore.presets import MENU, MOST_STARTS, PRESETS, Config, check, pairs


PAGE = pathlib.Path(__file__).parent / "page"
SCRIPTS = (
    "solve.js",
    "flow.js",
    "network.js",
    "words.js",
    "observations.js",
    "state.js",
    "found.js",
    "draw.js",
    "controls.js",
    "input.js",
    "overlay.js",
    "export.js",
    "page.js",
)


@dataclasses.dataclass(frozen=True)
class Page:
    """An interactive page. A notebook shows it in a frame, which needs neither the kernel nor a
    network connection."""

    html: str = dataclasses.field(repr=False)
    height: int = 820  # height of the frame, in pixels

    def save(self, path: pathlib.Path | str) -> pathlib.Path:
        path = pathlib.Path(path)
        path.write_text(self.html, encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        style = f"width:100%;height:{self.height}px;border:0"
        content = html.escape(self.html)
        return f'<iframe title="lindyn" style="{style}" srcdoc="{content}"></iframe>'


def build(
    config: Config,
    *,
    run: dict[str, Any] | None = None,
    follow: bool = False,
    about: str = "",
    height: int = 820,
) -> Page:
    """The page that starts with the values of `config`.

    `run` is the result of `movie.movie`: its modes are drawn over the plane. With `follow`,
    the page takes its parameters from the run. `about` is a line of text for the head of the
    HTML file. Raises `UsageError` if `config` has a value that cannot be drawn.
    """
    check(config)
    presets = {name: _state(preset) for name, preset in PRESETS.items()}
    state = _state(config)
    state["preset"] = next((name for name in presets if presets[name] == state), "")
    if run is not None:
        if config.start == Config().start:
            state["starts"] = []
        state |= {"record": len(run["epochs"]) - 1, "follow": follow}
    given = {
        "version": f"lindyn {version('lindyn')}",
        "figures": plots.document(),
        "marks": plots.marks(),
        "roles": list(plots.LIGHT),
        "presets": {
            name: {"label": label, "group": group, "state": presets[name]}
            for group, names in MENU.items()
            for name, label in names.items()
        },
        "most_starts": MOST_STARTS,
        "state": state,
        "run": run,
    }
    script = [equations.source(), *map(_text, SCRIPTS)]
    resources = Resources(mode="inline", components=["bokeh"], log_level="warn")
    page = string.Template(_text("page.html")).substitute(
        about=html.escape(about or given["version"]),
        style="\n".join([_variables(), _text("page.css")]),
        bokeh="\n".join(resources.js_raw),
        given=command.as_json(given).replace("<", "\\u003c"),
        script="\n".join(script),
    )
    return Page(page, height)


def _state(config):
    """The initial state of the page, in the form that state.js uses."""
    window = {"x": config.p_range, "y": config.s_range}
    decays = [
        config.wd if config.wd_p is None else config.wd_p,
        config.wd if config.wd_s is None else config.wd_s,
    ]
    return {
        "regime": config.regime,
        "params": {
            "alpha_p": config.alpha_p,
            "beta": config.beta,
            "eta_p": decays[0],
            "eta_s": decays[1],
            "sigma2": config.sigma2,
            "tau": config.tau,
        },
        "rule": {"a": 0.5, "eps": config.eps, "c": 0.0},
        "split": decays[0] != decays[1],
        "fitted": window == {"x": None, "y": None},
        "window": window,
        "starts": pairs(config.start),
        "time": config.time,
    }


def _variables():
    """The light and the dark palette, as variables of the style sheet."""
    rules = ((":root", plots.LIGHT), (':root[data-theme="dark"]', plots.DARK))
    lines = lambda palette: "".join(f" --{role}: {color};" for role, color in palette.items())
    return "\n".join(f"{selector} {{{lines(palette)} }}" for selector, palette in rules)


def _text(name):
    return (PAGE / name).read_text(encoding="utf-8")

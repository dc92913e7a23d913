"""An interactive page of the learning dynamics, in one HTML file.

Read `presets` first (the settings), then `html_page` (the page's parts).

May import: command, compare, phase, plot, record, theory.
"""

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from lindyn.explore.html_page import Page
    from lindyn.explore.presets import Regime
    from lindyn.theory.states import Params


def figure(
    params: "Params | None" = None,
    *,
    regime: "Regime" = "fixed",
    starts: Sequence[tuple[float, float]] | None = None,
    run: pathlib.Path | str | None = None,
    eps: float = 0.1,
    time: float = 40.0,
    height: int = 820,
) -> "Page":
    """The interactive page. A notebook displays it, and its `save` writes it to a file.

    `starts` are the initial conditions (p, s) of the trajectories; None takes the default
    ones. `run` is a run folder of `lindyn.train`: the page draws its modes, and if `params` is
    None, it also takes its parameters from the run. Raises ValueError (`UsageError`) if a
    value is outside the range that the page can draw.
    """
    from lindyn.explore import html_page
    from lindyn.explore.presets import Config

    values: dict[str, Any] = {}
    if params is not None:
        decays = {"wd": "eta_s", "wd_p": "eta_p", "wd_s": "eta_s"}
        same = {name: name for name in ("alpha_p", "beta", "sigma2", "tau")}
        values = {name: float(getattr(params, of)) for name, of in (decays | same).items()}
    if starts is not None:
        values["start"] = tuple(float(x) for start in starts for x in start)
    config = Config(regime=regime, eps=eps, time=time, **values)
    return html_page.build(config, run=_modes(run), follow=params is None, height=height)


def main(argv: Sequence[str] | None = None) -> int:
    from lindyn.explore.command import main

    return main(argv)


def _modes(run):
    if run is None:
        return None
    from lindyn.explore import movie

    return movie.movie(run)

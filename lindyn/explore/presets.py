"""The flags of the command, their checks, and the presets of the page's menu.

This module imports neither JAX nor Bokeh, so that --help stays fast.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Literal, get_args

from lindyn.command import UsageError, interval, number


Name = Literal[
    "fig3-none",
    "fig3-weak",
    "fig3-strong",
    "critical",
    "window",
    "split",
    "simsiam",
    "ema",
    "directpred",
    "cosine",
    "cosine-slow",
]
Regime = Literal["fixed", "ema", "directpred", "cosine"]
MOST_STARTS = 24


@dataclasses.dataclass(frozen=True)
class Config:
    wd: float = 0.01  # weight decay eta
    wd_p: float | None = None  # weight decay of the predictor, if different
    wd_s: float | None = None  # weight decay of the encoder, if different
    alpha_p: float = 1.0  # learning rate of the predictor, divided by that of the encoder
    beta: float = 0.4  # rate of the target's EMA
    sigma2: float = 0.0  # variance that the augmentation adds
    tau: float = 1.0  # Wa = tau W: held fixed, or the initial value with --regime ema
    regime: Regime = "fixed"  # kind of target, predictor and loss; "cosine" couples all starts
    eps: float = 0.1  # eps of DirectPred: p = sqrt(s) + eps
    start: tuple[float, ...] = (0.1, 0.9, 0.6, 0.08, -0.3, 0.5, -0.35, 0.05)
    """Initial conditions of the trajectories: p and s of each in turn."""
    time: float = 40.0  # length of the trajectories, in time units
    p_range: tuple[float, float] | None = None  # p axis; default: holds all fixed points
    s_range: tuple[float, float] | None = None  # s axis; default: holds all fixed points
    preset: Name | None = None
    """Named values; other flags override them. The page's menu has the same presets."""
    run: pathlib.Path | None = None  # run folder of lindyn.train, whose modes are drawn
    out: pathlib.Path = pathlib.Path("lindyn-out")  # a folder, or a file with suffix .html
    json: bool = False  # print one JSON object
    show: bool = False  # open the page in a browser


_P, _S = (-0.5, 1.5), (0.0, 1.6)  # axis limits of Fig. 3
_FIG5 = (0.5, 0.1, 0.3, 0.1, 0.1, 0.1)  # p and s of each mode in figures/fig05.py
PRESETS = {
    "fig3-none": Config(preset="fig3-none", wd=0.0, p_range=_P, s_range=_S),
    "fig3-weak": Config(preset="fig3-weak", time=100.0, p_range=_P, s_range=_S),
    "fig3-strong": Config(preset="fig3-strong", wd=1.0, time=10.0, p_range=_P, s_range=_S),
    "critical": Config(preset="critical", wd=0.25),
    "window": Config(preset="window", wd=0.18),
    "split": Config(preset="split", wd=0.1, wd_s=0.05),
    "simsiam": Config(preset="simsiam", wd=0.04, alpha_p=2.0),
    "ema": Config(preset="ema", wd=0.04, tau=0.0, regime="ema", start=_FIG5, time=60.0),
    "directpred": Config(
        preset="directpred", wd=0.04, regime="directpred", start=(0.0, 0.02, 0.0, 1.2)
    ),
    "cosine": Config(
        preset="cosine",
        regime="cosine",
        start=(0.25, 0.5, 0.5, 0.35, 0.8, 0.55, 1.15, 0.08, 0.9, 0.1),
    ),
    "cosine-slow": Config(
        preset="cosine-slow",
        regime="cosine",
        alpha_p=0.1,
        start=(0.1, 0.2, 0.45, 0.25, 0.5, 0.3, 0.6, 0.5),
    ),
}
MENU = {
    "Figures 3 and 4": {
        "fig3-none": "no weight decay",
        "fig3-weak": "weak weight decay",
        "fig3-strong": "strong weight decay",
    },
    "Weight decay": {
        "critical": "at the critical decay",
        "window": "in the aligned window",
        "split": "predictor and encoder apart",
    },
    "Target and predictor": {
        "simsiam": "SimSiam: target = encoder",
        "ema": "EMA, from zero (Fig. 5)",
        "directpred": "DirectPred",
    },
    "Cosine loss": {
        "cosine": "modes compete",
        "cosine-slow": "one takes all",
    },
}


def check(config: Config) -> None:
    """Raises `UsageError` if a value is outside the range that the page can draw."""
    if config.regime not in get_args(Regime):
        raise UsageError(f"--regime {config.regime}: one of {', '.join(get_args(Regime))}")
    for flag, decay in (
        ("--wd", config.wd),
        ("--wd-p", config.wd_p),
        ("--wd-s", config.wd_s),
    ):
        if decay is not None:
            number(flag, decay, 0, 1e3)
            if 0 < decay < 1e-12:
                raise UsageError(f"{flag} {decay:g}: must be 0 or at least 1e-12")
    number("--alpha-p", config.alpha_p, 0, 1e6, above=True)
    number("--beta", config.beta, 0, 1e6, above=True, why="else the target never moves")
    number("--sigma2", config.sigma2, 0, 1e6)
    still = config.regime != "ema"
    number("--tau", config.tau, 0, 1, above=still, why="the target averages past encoders")
    number("--eps", config.eps, 0, 1e3)
    number("--time", config.time, 0, 1e5, above=True)
    if config.p_range:
        interval("--p-range", config.p_range)
    if config.s_range:
        interval("--s-range", config.s_range)
        number("--s-range", config.s_range[0], 0, why="F has no negative eigenvalues")
    if len(config.start) % 2:
        raise UsageError(f"--start: {len(config.start)} numbers; p and s of each start in turn")
    if len(config.start) > 2 * MOST_STARTS:
        raise UsageError(f"--start: at most {MOST_STARTS} starts can be told apart")
    for p, s in pairs(config.start):
        number("--start", p, -1e6, 1e6)
        number("--start", s, 0, 1e6, why="F has no negative eigenvalues")


def pairs(numbers: Sequence[float]) -> list[tuple[float, float]]:
    return list(zip(numbers[::2], numbers[1::2], strict=True))

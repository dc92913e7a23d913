"""The command `lindyn phase`: phase diagrams of linear BYOL, such as the paper's Figs. 3 and 4.

Read `portrait` first, which computes them.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import Literal, get_args

from lindyn import command
from lindyn.command import UsageError, interval, number
from lindyn.phase import cosine_portrait, portrait
from lindyn.phase.flow_lines import Window
from lindyn.phase.summary import VARIABLES, curves, note, numbers, print_table, title
from lindyn.theory.states import Params


Format = Literal["png", "svg", "pdf", "json"]
FORMATS = get_args(Format)
MOST_PANELS = 12


@dataclasses.dataclass(frozen=True)
class Config:
    wd: tuple[float, ...] = (0.01,)  # weight decay eta; each value is a panel
    wd_p: float | None = None  # weight decay of the predictor, if different
    wd_s: float | None = None  # weight decay of the encoder, if different
    alpha_p: float = 1.0  # learning rate of the predictor over that of the encoder
    beta: float = 0.4  # rate of the target's EMA, for --plane p-tau
    sigma2: float = 0.0  # variance that the augmentation adds
    tau: float = 1.0  # target ratio, Wa = tau W, fixed in --plane p-s and p
    plane: Literal["p-s", "p", "p-tau", "cosine"] = "p-s"
    """p and p-tau: on the parabola. cosine: one mode among equal ones, under cosine loss."""
    modes: tuple[int, ...] = (8,)  # modes in --plane cosine; each number is a panel
    p_range: tuple[float, float] | None = None  # default: all fixed points, with a margin
    s_range: tuple[float, float] | None = None
    tau_range: tuple[float, float] | None = None
    grid: int = 16  # arrows per side; flow lines have grid^2 starts, at most 400
    rtol: float = 1e-6  # relative tolerance of the solver, per step
    field: bool = False  # direction field
    flow: bool = True  # flow lines, integrated
    nullclines: bool = True
    fixed_points: bool = True
    parabola: bool = True  # the invariant parabola s = p^2/alpha_p
    constants: bool = True  # curves of constant c = s - p^2/alpha_p
    separatrix: bool = True  # stable manifold of the saddle
    basin: bool = True  # shade the states that collapse
    preset: Literal["fig3", "fig4", "critical", "ema", "split", "window", "cosine"] | None = (
        None
    )
    """Values to start from; other flags override them. fig3 and fig4: the paper's panels
    (sigma2 and the ranges are ours). critical: around the critical decay. ema: a moving
    target. split: two decays that differ. window: always aligned (K > 0), and modes can
    survive. cosine: modes compete."""
    format: tuple[Format, ...] = ()  # default: the suffix of --out, or png; always JSON too
    out: pathlib.Path = pathlib.Path("lindyn-out")  # a folder, or a file with a suffix
    json: bool = False  # print one JSON object instead of the table
    show: bool = False  # also open a window


PRESETS = {
    "fig3": Config(preset="fig3", wd=(0.0, 0.01, 1.0), p_range=(-0.5, 1.5), s_range=(0.0, 1.6)),
    "fig4": Config(preset="fig4", wd=(0.0, 0.01, 1.0), plane="p", p_range=(-0.5, 1.3)),
    "critical": Config(preset="critical", wd=(0.2, 0.25, 0.3)),
    "ema": Config(preset="ema", wd=(0.0, 0.04, 0.2), plane="p-tau"),
    "split": Config(preset="split", wd=(0.1,), wd_s=0.05),
    "window": Config(preset="window", wd=(1 / 9, 0.18, 0.25)),
    "cosine": Config(preset="cosine", plane="cosine", modes=(2, 8, 64)),
}


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("phase", Config, draw, argv, PRESETS)


def draw(config: Config) -> int:
    """Compute the portraits, write the figure and its JSON, and print the table.

    Returns the exit code. `UsageError` for flags that are out of range or do not fit together.
    """
    panels = _panels(config)
    ranges = _ranges(config, panels)
    if config.plane == "cosine":
        _check_modes(config, panels[0], ranges)
    if config.show and not import_module("lindyn.plot").can_show():
        raise UsageError("--show: there is no display to open a window on")
    files = command.targets(config.out, "phase", config.format, FORMATS)
    command.start()
    with ThreadPoolExecutor(1) as executor:  # matplotlib is imported while XLA compiles
        plotting = executor.submit(import_module, "lindyn.plot")
        drawn = _computed(config, panels, ranges)
    about = command.provenance("phase", config, PRESETS.get(config.preset or ""))
    summaries = [numbers(panel) for panel in drawn]
    _write(config, plotting.result(), drawn, about, summaries, files)
    if config.json:
        report = {**about, "panels": summaries, "files": list(files.values())}
        print(command.as_json(report))
    else:
        print_table(drawn, summaries)
        for path in files.values():
            print(path)
    return command.DONE


def _panels(config):
    if not 1 <= len(config.wd) <= MOST_PANELS:
        raise UsageError(f"--wd: {len(config.wd)} values; 1 to {MOST_PANELS} panels fit a page")
    decays = [("--wd", decay) for decay in config.wd]
    decays += [("--wd-p", config.wd_p), ("--wd-s", config.wd_s)]
    for flag, decay in decays:
        if decay is not None:
            number(flag, decay, 0, 1e3)
            if 0 < decay < 1e-12:
                raise UsageError(f"{flag} {decay:g}: must be 0 or at least 1e-12")
    number("--alpha-p", config.alpha_p, 0, 1e6, above=True)
    number("--sigma2", config.sigma2, 0, 1e6)
    number("--tau", config.tau, 0, 1, above=True, why="the target averages past encoders")
    number("--beta", config.beta, 0, 1e6, above=True, why="else the target never moves")
    number("--grid", config.grid, 2, 64)
    number("--rtol", config.rtol, 1e-12, 1e-2)
    return [
        Params(
            alpha_p=config.alpha_p,
            beta=config.beta,
            eta_p=decay if config.wd_p is None else config.wd_p,
            eta_s=decay if config.wd_s is None else config.wd_s,
            sigma2=config.sigma2,
            tau=config.tau,
        )
        for decay in config.wd
    ]


def _check_modes(config, params, ranges):
    """Weight decay, tau and sigma2 have no effect in the plane of the cosine loss."""
    if config.wd != Config.wd or config.wd_p is not None or config.wd_s is not None:
        raise UsageError(
            "--wd: --plane cosine has no weight decay: under the cosine loss, one decay of both"
            " networks shrinks all modes alike and changes no fate"
        )
    if not 1 <= len(config.modes) <= MOST_PANELS:
        limit = f"1 to {MOST_PANELS} panels fit a page"
        raise UsageError(f"--modes: {len(config.modes)} values; {limit}")
    for count in config.modes:
        number("--modes", count, 2, 10_000)
        p, s = cosine_portrait.limits(count, params)
        for flag, ends, most in (("--p-range", ranges["p"], p), ("--s-range", ranges["s"], s)):
            for end in ends or ():
                why = f"the sum over {count} modes is fixed"
                number(flag, end, -most if flag == "--p-range" else 0, most, why=why)


def _ranges(config, panels):
    shown = VARIABLES[config.plane]
    ranges = {"p": config.p_range, "s": config.s_range, "tau": config.tau_range}
    for name, ends in ranges.items():
        if ends is None:
            continue
        if name not in shown:
            raise UsageError(f"--{name}-range: --plane {config.plane} does not show {name}")
        interval(f"--{name}-range", ends)
    if config.s_range and config.s_range[0] < 0:
        raise UsageError(f"--s-range {config.s_range[0]:g}: F has no negative eigenvalues")
    apart = any(params.eta_p != params.eta_s for params in panels)
    if config.plane != "p-s" and apart:
        raise UsageError(f"--plane {config.plane}: the parabola needs --wd-p equal to --wd-s")
    return ranges


def _computed(config, panels, ranges):
    if config.plane == "p":
        ends = ranges["p"] or portrait.window("p-s", panels[0]).x
        return [portrait.line(params, ends) for params in panels]
    if config.plane == "cosine":
        of_modes = [(count, panels[0]) for count in config.modes]
        planes = [
            (partial(cosine_portrait.portrait, *x), cosine_portrait.window(*x))
            for x in of_modes
        ]
    else:
        of_decays = [(config.plane, params) for params in panels]
        planes = [(partial(portrait.portrait, *x), portrait.window(*x)) for x in of_decays]
    x, y = (ranges[name] for name in VARIABLES[config.plane])
    options = dict(grid=config.grid, rtol=config.rtol)
    return [
        compute(Window(x or auto.x, y or auto.y), **options)
        for compute, auto in command.progress(planes, "panels")
    ]


def _write(config, plot, drawn, about, summaries, files):
    pictures = {suffix: path for suffix, path in files.items() if suffix != "json"}
    if pictures or config.show:
        layers = [layer for layer in plot.LAYERS if getattr(config, layer)]
        titles = [title(panel.params, panel.modes) for panel in drawn]
        fig = plot.figure(drawn, titles, note(config), layers, show=config.show)
        for path in pictures.values():
            plot.save(fig, path, about)
    json_path = files.setdefault("json", next(iter(files.values())).with_suffix(".json"))
    panels = [
        {**summary, "curves": curves(panel)}
        for summary, panel in zip(summaries, drawn, strict=True)
    ]
    json_path.write_text(command.as_json({**about, "panels": panels}) + "\n")
    if config.show:
        plot.show()

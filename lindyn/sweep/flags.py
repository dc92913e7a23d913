"""Converts the flags of the sweep command into a `Specification`, and rejects bad ones."""

import dataclasses
from typing import Any

from lindyn.command import UsageError, interval, number
from lindyn.predict import command as predict
from lindyn.predict.network_fates import DIM
from lindyn.sweep.quantities import QUANTITIES
from lindyn.sweep.specification import Axis, Specification


STEPS = ("lr", "momentum", "ema")  # parameters of steps that a flow does not have
NAMES = ("wd", "wd-p", "wd-s", "alpha-p", "beta", "sigma2", "tau", "p0", "s0", *STEPS)
# Flags of predict that are not settings of a trainer.
NO_SETTING = ("run", "json", "fail_on_collapse", "p0", "s0")
TRAINER = {  # the default settings of `lindyn predict`
    name: value
    for name, value in {**predict.FIXED, **dataclasses.asdict(predict.Config())}.items()
    if name not in NO_SETTING
}
MOST_STEPS = 100_000
MOST_CELLS, MOST_SOLVES = 20_000_000, 1_000_000_000


def specification_of(config: Any) -> Specification:
    """The map that the flags of the sweep command (`Config`) describe.

    Raises `UsageError` for flags that are out of range or contradict each other.
    """
    names = (config.x[0], config.y[0])
    if names[0] == names[1]:
        raise UsageError(f"--y {names[1]}: --x is the same parameter")
    given = {*names, *(n for n in NAMES if getattr(config, n.replace("-", "_")) is not None)}
    field = config.field
    if field is None and (config.quantity == "rank" or {*STEPS} & given):
        field = "steps"
    elif field is None:
        field = "modes" if "beta" in given else "fixed-tau"
    moving = field == "modes" or (field == "steps" and "ema" in given)
    trainer = _trainer(config, field, given)
    x, y = (_axis(config, flag, moving) for flag in ("x", "y"))
    fixed = _fixed(config, moving, field == "steps", names)
    cells = x.count * y.count
    if cells > MOST_CELLS:
        raise UsageError(f"--x, --y: {cells} cells; a map has at most {MOST_CELLS}")
    longest = 5000 if field == "steps" else QUANTITIES[config.quantity].time
    longest = longest if config.time is None else config.time
    number("--time", longest, 0, MOST_STEPS if field == "steps" else 1e9, above=True)
    if field == "steps" and longest != int(longest):
        raise UsageError(f"--time {longest:g}: a number of steps, which must be whole")
    number("--seed", config.seed, 0, 2**31)
    number("--rtol", config.rtol, 1e-12, 1e-2)
    number("--chunk", config.chunk, 1, 1 << 24)
    return Specification(
        quantity=config.quantity,
        x=x,
        y=y,
        fixed=fixed,
        moving=moving,
        time=float(longest),
        seed=config.seed,
        rtol=config.rtol,
        trainer=trainer,
        **_random(config, cells, {*names, *fixed}),
    )


def _trainer(config, field, given):
    """The settings of a `Scenario` besides the parameters of the map; None for a flow."""
    names = ("loss", "nesterov", "decay", "dim", "batch")
    settings: dict[str, Any] = {name: getattr(config, name) for name in names}
    settings = {name: value for name, value in settings.items() if value not in (None, False)}
    if field != "steps":
        for name in (*(name for name in STEPS if name in given), *settings):
            raise UsageError(f"--{name}: only steps have it, and --field {field} is a flow")
        if config.quantity == "rank":
            raise UsageError(f"--quantity rank: of networks in steps, not of --field {field}")
        return None
    if not QUANTITIES[config.quantity].of_steps:
        raise UsageError(f"--quantity {config.quantity}: of the flow alone, not of steps")
    networks = config.quantity == "rank"
    if "beta" in given:
        raise UsageError("--beta: the target of steps follows at --ema")
    axes = {config.x[0]: "--x", config.y[0]: "--y"}
    for name, why in _without(networks, given):
        if name in axes:
            flag = axes[name]
            raise UsageError(f"{flag} {name}: {why}; use another {flag}, such as wd 0 0.5 64")
        if name in given:
            raise UsageError(f"--{name}: {why}")
    if networks and "sigma2" in axes:
        flag = axes["sigma2"]
        raise UsageError(f"{flag} sigma2: all cells of --quantity rank have the same data")
    for name in ("dim", "batch"):
        if name in settings and not networks:
            raise UsageError(f"--{name}: only networks have one; use --quantity rank")
    if not networks and settings.get("loss") == "cosine":
        raise UsageError(
            "--loss cosine: its modes compete, and none has its own fate; use --quantity rank"
        )
    settings = {**TRAINER, **({} if networks else {"loss": "l2"}), **settings}
    number("--dim", settings["dim"], 2, DIM, why="larger networks are simulated at this size")
    number("--batch", settings["batch"], 2, 10**6)
    return settings


def _without(networks, given):
    """Names of parameters that steps of networks, or of one mode, do not have, with reasons."""
    if networks:
        yield from ((name, "networks start at random") for name in ("tau", "p0", "s0"))
    elif "ema" not in given:
        yield "tau", "without --ema the target is the online network, tau = 1"


def _random(config, cells, given):
    """The fields of the random starts, for "basin" and "rank"; empty for other quantities."""
    names = ("starts", "p_range", "s_range")
    flags: dict[str, Any] = {name: getattr(config, name) for name in names}
    flags = {name: value for name, value in flags.items() if value is not None}
    if config.quantity == "rank" and "starts" in flags:
        number("--starts", flags["starts"], 1, 32)
    if config.quantity == "rank" and {*flags} <= {"starts"}:
        return {**flags, "starts": flags.get("starts", 4)}
    if config.quantity != "basin":
        for name in flags:
            owners = "basin and rank have" if name == "starts" else "basin has"
            raise UsageError(f"--{name.replace('_', '-')}: only --quantity {owners} it")
        return {}
    if {"p0", "s0"} & given:
        raise UsageError("--quantity basin: its starts are random, without p0 and s0")
    flags = {"starts": 100} | flags
    number("--starts", flags["starts"], 1, 1e6)
    if cells * flags["starts"] > MOST_SOLVES:
        solves = cells * flags["starts"]
        raise UsageError(f"--starts: {solves} solves; a map has at most {MOST_SOLVES}")
    for name in ("p_range", "s_range"):
        if name in flags:
            interval(f"--{name.replace('_', '-')}", flags[name])
    if "s_range" in flags:
        number("--s-range", flags["s_range"][0], 0, why="F has no negative eigenvalues")
    return flags


def _axis(config, flag, moving):
    name, low, high, count = getattr(config, flag)
    axis = Axis(name, low, high, count, getattr(config, f"{flag}_scale") == "log")
    number(f"--{flag} {name}: count", count, 2, MOST_CELLS)
    for end in (low, high):
        _value(f"--{flag} {name}", name, end, moving)
    interval(f"--{flag} {name}", (low, high))
    if axis.log:
        number(f"--{flag} {name}", low, 0, above=True, why="its scale is log")
    return axis


def _fixed(config, moving, steps, axes):
    """The values of the parameters that are no axis. p0 and s0 are absent unless given."""
    given = {name: getattr(config, name.replace("-", "_")) for name in NAMES}
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if name in axes:
            raise UsageError(f"--{name} {value:g}: {name} is an axis")
        _value(f"--{name}", name, value, moving)
    for name in ("wd-p", "wd-s"):
        if "wd" in axes and name in (*axes, *given):
            raise UsageError(f"--{name}: the axis wd sets both decays")
    if not moving and "beta" in (*axes, *given):
        raise UsageError("--beta: the target does not move with --field fixed-tau")
    usual = {"wd": 0.01, "alpha-p": 1.0, "sigma2": 0.0, "tau": 0.0 if moving else 1.0}
    if steps:
        usual |= {"wd": 4e-4, "lr": 0.03, "momentum": 0.9, "sigma2": 0.3}
    elif moving:
        usual |= {"beta": 0.4}
    if {"wd-p", "wd-s"} <= {*axes, *given}:
        del usual["wd"]
    return {name: x for name, x in {**usual, **given}.items() if name not in axes}


def _value(flag, name, value, moving):
    if name in ("wd", "wd-p", "wd-s"):
        number(flag, value, 0, 1e3)
        if 0 < value < 1e-12:
            raise UsageError(f"{flag} {value:g}: must be 0 or at least 1e-12")
    elif name == "tau":
        why = "the target averages past encoders"
        number(flag, value, 0, 1, above=not moving, why=why)
    elif name == "sigma2":
        number(flag, value, 0, 1e6)
    elif name == "momentum":
        number(flag, value, 0, 0.9999)
    elif name == "ema":
        number(flag, value, 0, 0.999999)
    elif name == "p0":
        number(flag, value, -1e3, 1e3)
    else:
        why = {"beta": "else the target never moves", "s0": "else the mode stays at 0"}
        number(flag, value, 0, 1e6, above=True, why=why.get(name, ""))

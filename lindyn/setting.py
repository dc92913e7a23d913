"""What a map over two parameters is of: its axes, its quantity, and what it holds fixed."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lindyn.command import UsageError, interval, number
from lindyn.fields import Numbers, Params


NAMES = ("wd", "wd-p", "wd-s", "alpha-p", "beta", "sigma2", "tau", "p0", "s0")
MOST_CELLS, MOST_SOLVES = 20_000_000, 1_000_000_000
PARTS = {"escape-time": 0.1, "alignment-margin": 0.2, "alignment": 0.2}  # the others: 0.5
TIMES = {"p": 1e3, "s": 1e3, "alignment-margin": 1e3, "alignment": 20.0}  # the others: 1e6


@dataclasses.dataclass(frozen=True)
class Axis:
    """Values of one parameter, evenly spaced, with both ends among them."""

    name: str  # as the flag: "wd", "wd-p", "wd-s", "alpha-p", ..., "p0", "s0"
    low: float
    high: float
    count: int
    log: bool = False

    def at(self, index: Any) -> Any:
        """The values at indices, or between them."""
        part = np.asarray(index) / (self.count - 1)
        if self.log:
            return self.low ** (1 - part) * self.high**part
        return (1 - part) * self.low + part * self.high


class Cells(NamedTuple):
    """What is solved in each cell."""

    params: Params  # tau = 1 if the target moves
    p: Numbers
    s: Numbers
    tau: Numbers  # where the target starts


@dataclasses.dataclass(frozen=True)
class Setting:
    """All that a map depends on. Cells are numbered along x, then y."""

    quantity: str
    x: Axis
    y: Axis
    fixed: Mapping[str, float]  # the rest, by the names of axes
    moving: bool = False  # target: `fields.modes`, else `fields.modes_fixed_tau`
    time: float = 1e6  # at which the quantity is taken, or by which a fate is to be certain
    starts: int = 1  # of "basin", in a cell
    p_range: tuple[float, float] = (-1.0, 2.0)  # of them, in units of p* = tau/a
    s_range: tuple[float, float] = (0.0, 2.0)  # and of p*^2/alpha_p
    seed: int = 0
    rtol: float = 1e-8

    @property
    def cells(self) -> int:
        return self.x.count * self.y.count

    @property
    def part(self) -> float:
        """Where modes start if no p0 is given, in units of p*: in the middle, or with a way."""
        return PARTS.get(self.quantity, 0.5)

    def place(self, i: Any, j: Any) -> Cells:
        """The cells at indices i along x and j along y."""
        at = {**self.fixed, self.x.name: self.x.at(i), self.y.name: self.y.at(j)}
        params = Params(
            alpha_p=at["alpha-p"],
            beta=at.get("beta", 1.0),
            eta_p=at["wd-p"] if "wd-p" in at else at["wd"],
            eta_s=at["wd-s"] if "wd-s" in at else at["wd"],
            sigma2=at["sigma2"],
            tau=1.0 if self.moving else at["tau"],
        )
        goal = params.tau / (1 + params.sigma2)
        p = at["p0"] if "p0" in at else self.part * goal
        s = at["s0"] if "s0" in at else p**2 / params.alpha_p
        return Cells(params, p, s, at["tau"])


def asked(config: Any) -> Setting:
    """What the flags of the sweep command ask for; `UsageError` if that makes no map."""
    names = (config.x[0], config.y[0])
    if names[0] == names[1]:
        raise UsageError(f"--y {names[1]}: --x is that already")
    moving = config.field == "modes" or (
        config.field is None and (config.beta is not None or "beta" in names)
    )
    x, y = (_axis(config, flag, moving) for flag in ("x", "y"))
    fixed = _fixed(config, moving, names)
    cells = x.count * y.count
    if cells > MOST_CELLS:
        raise UsageError(f"--x, --y: {cells} cells; at most {MOST_CELLS} make a map")
    longest = TIMES.get(config.quantity, 1e6) if config.time is None else config.time
    number("--time", longest, 0, 1e9, above=True)
    number("--seed", config.seed, 0, 2**31)
    number("--rtol", config.rtol, 1e-12, 1e-2)
    number("--chunk", config.chunk, 1, 1 << 24)
    return Setting(
        quantity=config.quantity,
        x=x,
        y=y,
        fixed=fixed,
        moving=moving,
        time=float(longest),
        seed=config.seed,
        rtol=config.rtol,
        **_random(config, cells, {*names, *fixed}),
    )


def _random(config, cells, given):
    """The starts of a basin, and no others."""
    names = ("starts", "p_range", "s_range")
    flags: dict[str, Any] = {name: getattr(config, name) for name in names}
    flags = {name: value for name, value in flags.items() if value is not None}
    if config.quantity != "basin":
        for name in flags:
            raise UsageError(f"--{name.replace('_', '-')}: only --quantity basin has it")
        return {}
    if {"p0", "s0"} & given:
        raise UsageError("--quantity basin: its starts are random, without p0 and s0")
    flags = {"starts": 100} | flags
    number("--starts", flags["starts"], 1, 1e6)
    if cells * flags["starts"] > MOST_SOLVES:
        solves = cells * flags["starts"]
        raise UsageError(f"--starts: {solves} solves; at most {MOST_SOLVES} are made")
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


def _fixed(config, moving, axes):
    """The values of all that is no axis. p0 and s0 are not there if they follow."""
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
    usual |= {"beta": 0.4} if moving else {}
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
    elif name == "p0":
        number(flag, value, -1e3, 1e3)
    else:
        why = {"beta": "else the target never moves", "s0": "else the mode stays at 0"}
        number(flag, value, 0, 1e6, above=True, why=why.get(name, ""))

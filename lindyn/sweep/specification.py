"""What a map over two parameters is of: its axes, its quantity, and what it holds fixed."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from lindyn.predict.scenario import Scenario
from lindyn.theory.states import Numbers, Params
from lindyn.theory.steps import SGD


PARTS = {"escape-time": 0.1, "alignment-margin": 0.2, "alignment": 0.2}  # the others: 0.5


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
    sgd: SGD | None = None  # whose steps are taken; else it is the flow
    case: Scenario | None = None  # a trainer's settings, as arrays


@dataclasses.dataclass(frozen=True)
class Specification:
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
    trainer: Mapping[str, Any] | None = None  # steps in its units, as many as `time`

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
        if self.trainer is not None:
            case = _case(self.trainer, at, int(self.time))
            params, sgd = case.params, case.sgd
            if not self.moving:  # the target is the online network after each step
                params = eqx.tree_at(lambda params: params.beta, params, 1 / sgd.time)
            return Cells(params, *self._start(at, params), at["tau"], sgd, case)
        params = Params(
            alpha_p=at["alpha-p"],
            beta=at.get("beta", 1.0),
            eta_p=at["wd-p"] if "wd-p" in at else at["wd"],
            eta_s=at["wd-s"] if "wd-s" in at else at["wd"],
            sigma2=at["sigma2"],
            tau=1.0 if self.moving else at["tau"],
        )
        return Cells(params, *self._start(at, params), at["tau"])

    def _start(self, at, params):
        goal = params.tau / (1 + params.sigma2)
        p = at["p0"] if "p0" in at else self.part * goal
        return p, at["s0"] if "s0" in at else p**2 / params.alpha_p


def wide(*trees: Any) -> Any:
    """Arrays of one length: one number for each solve."""
    size = np.broadcast_shapes(*(np.shape(x) for x in jax.tree.leaves(trees)))
    return jax.tree.map(lambda x: np.broadcast_to(np.asarray(x, float), size), trees)


def _case(trainer, at, count):
    target = "ema" if "ema" in at else "none"
    told = {
        **trainer,
        "lr": at["lr"],
        "predictor_lr": at["alpha-p"] * at["lr"],
        "momentum": at["momentum"],
        "ema": at.get("ema", 0.0),
        "target": target,
        "wd": at.get("wd", 0.0),
        "wd_p": at.get("wd-p"),
        "wd_s": at.get("wd-s"),
        "sigma2": at["sigma2"],
        "steps": count,
    }
    return Scenario.of(told)

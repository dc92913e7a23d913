"""The specification of a map: its two axes, its quantity and its fixed parameters."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from lindyn.predict.scenario import Scenario
from lindyn.sweep.quantities import QUANTITIES
from lindyn.theory.states import Numbers, Params
from lindyn.theory.steps import SGD


@dataclasses.dataclass(frozen=True)
class Axis:
    """Values of one parameter, evenly spaced (with `log`, in its logarithm), with both ends."""

    name: str  # the flag's name: "wd", "wd-p", "wd-s", "alpha-p", ..., "p0", "s0"
    low: float
    high: float
    count: int
    log: bool = False

    def at(self, index: Any) -> Any:
        """The values at these indices, which may be fractional."""
        part = np.asarray(index) / (self.count - 1)
        if self.log:
            return self.low ** (1 - part) * self.high**part
        return (1 - part) * self.low + part * self.high


class Cells(NamedTuple):
    """The problems to solve. A field holds one number, or an array with one entry per cell."""

    params: Params  # tau = 1 if the target moves
    p: Numbers
    s: Numbers
    tau: Numbers  # initial tau of the target
    sgd: SGD | None = None  # the SGD whose steps are taken; None for the flow
    case: Scenario | None = None  # the trainer's settings, as arrays; None for the flow


@dataclasses.dataclass(frozen=True)
class Specification:
    """Everything that a map depends on. Cells are numbered along x first, then along y."""

    quantity: str
    x: Axis
    y: Axis
    fixed: Mapping[str, float]  # the other parameters, by the names of axes
    moving: bool = False  # True: `fields.modes`; False: `fields.modes_fixed_tau`
    time: float = 1e6  # at which the quantity is taken, or an undecided solve ends
    starts: int = 1  # random starts in a cell, for "basin" and "rank"
    p_range: tuple[float, float] = (-1.0, 2.0)  # of random starts, in units of p* = tau/a
    s_range: tuple[float, float] = (0.0, 2.0)  # of random starts, in units of p*^2/alpha_p
    seed: int = 0
    rtol: float = 1e-8
    trainer: Mapping[str, Any] | None = None
    """Settings of a trainer, for `time` steps of SGD in its units; None for the flow."""

    @property
    def cells(self) -> int:
        """The number of cells."""
        return self.x.count * self.y.count

    @property
    def part(self) -> float:
        """The default initial p, in units of p*; smaller for quantities of the way to p*."""
        return QUANTITIES[self.quantity].part

    def place(self, i: Any, j: Any) -> Cells:
        """The cells at indices i along x and j along y, which may be fractional."""
        at = {**self.fixed, self.x.name: self.x.at(i), self.y.name: self.y.at(j)}
        if self.trainer is not None:
            case = _case(self.trainer, at, int(self.time))
            params, sgd = case.params, case.sgd
            if not self.moving:  # with this beta the target is W after each step
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
    """The same trees with all leaves broadcast to one shape, with one number for each solve."""
    size = np.broadcast_shapes(*(np.shape(x) for x in jax.tree.leaves(trees)))
    return jax.tree.map(lambda x: np.broadcast_to(np.asarray(x, float), size), trees)


def _case(trainer, at, count):
    target = "ema" if "ema" in at else "none"
    settings = {
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
    return Scenario.of(settings)

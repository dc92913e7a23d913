"""What becomes of linear networks that are trained with a case's settings, by their theory.

`population` takes them through as many steps as the run has, from usual starts and with the
noise of its batches. What is said here is a count over those starts.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from lindyn.predict import linear_networks
from lindyn.predict.linear_networks import Hyperparameters, Outcome, Shape
from lindyn.predict.scenario import DIES, LIVES, TRAINED, Scenario
from lindyn.theory.steps import LARS, Adam, decay_limit


LOSES, DIVERGES, NOISE = "loses modes", "diverges", "is ruled by noise"
DIM, INPUTS = 16, 32  # that are enough for a share of modes; larger networks are taken as these
STARTS = 8
LADDER, ENOUGH = (-4, 9), 500  # of rates in quarters of a decade, and the steps of each
MOST_LOST = 0.1  # part of the modes, up to which it is not said that modes are lost
RUNAWAY = 1e6  # growth of s that counts as divergence
DOUBT = 0.5  # of the agreement, below which noise rules


class Trial(NamedTuple):
    """Of one setting, from `STARTS` starts."""

    steps: int
    modes: int
    diverged: float  # share of the starts
    rank: float  # the median
    ranks: tuple[int, int]  # from the least to the most
    agreement: float  # correlation of prediction and target, over what could be; median
    memory: float  # steps in which decay takes weights down by e

    @property
    def kind(self) -> str:
        if self.diverged >= 0.5:
            return DIVERGES
        if self.rank == 0:
            return DIES
        if self.agreement < DOUBT and self.memory < self.steps:
            return NOISE
        return LOSES if self.rank < (1 - MOST_LOST) * self.modes else LIVES


def trial(case: Scenario) -> Trial:
    """Of all starts."""
    return _counted(case, _run(case, shaped(case), placed(case)))


def trials(cases: Sequence[Scenario], starts: int = STARTS) -> list[Trial]:
    """Of settings that share all but numbers: one program for all."""
    found = _run(cases[0], shaped(cases[0]), _together(cases), starts=starts)
    each = [Outcome(*(x[:, i] for x in found)) for i in range(len(cases))]
    return [_counted(case, outcome) for case, outcome in zip(cases, each, strict=True)]


def kinds(cases: Sequence[Scenario]) -> list[str]:
    """What `trials` comes to."""
    return [each.kind for each in trials(cases)]


def diverging_rate(case: Scenario) -> float | None:
    """The least --lr, all else the same, at which most starts diverge early; None without one.

    The squared loss by trials, in steps of a quarter of a decade. A cosine's gradient holds
    weights up however long a step is, and only decay can overshoot: at `steps.decay_limit`.
    """
    told = case.told
    if told["optimiser"] != "sgd":
        return None
    if told["loss"] == "cosine":
        limit = float(decay_limit(case.params, case.sgd)) / case.kappa
        return limit if math.isfinite(limit) else None
    rates = told["lr"] * 10.0 ** (np.arange(*LADDER) / 4)
    cases = [case.but(lr=lr, predictor_lr=told["alpha_p"] * lr) for lr in rates]
    found = _run(case, shaped(case), _together(cases), count=min(told["steps"], ENOUGH))
    most = _lost(found).mean(0) >= 0.5
    return float(rates[np.argmax(most)]) if most.any() else None


def _together(cases):
    return jax.tree.map(lambda *x: np.array(x, float), *map(placed, cases))


def _run(case, shape, setting, count=None, starts=STARTS):
    told = case.told
    return linear_networks.train(
        shape,
        setting,
        count or told["steps"],
        batch=told["batch"],
        sigma2=told["sigma2"],
        starts=starts,
    )


def _lost(outcome):
    with np.errstate(invalid="ignore"):
        return outcome.diverged | (outcome.s[..., -1] > RUNAWAY * outcome.s0)


def counted(found: Outcome, steps: int, memory: float, cosine: bool) -> Trial:
    """What has become of these networks, trained or made up."""
    diverged = _lost(found)
    rank = found.rank(cosine)[~diverged]
    middle = lambda x: float(np.median(x)) if len(x) else math.nan
    return Trial(
        steps=steps,
        modes=found.s.shape[-1],
        diverged=float(diverged.mean()),
        rank=middle(rank),
        ranks=(int(rank.min()), int(rank.max())) if len(rank) else (0, 0),
        agreement=middle(found.agreement[~diverged]),
        memory=memory,
    )


def _counted(case, found):
    return counted(found, case.told["steps"], case.memory, not case.squared)


def shaped(case: Scenario) -> Shape:
    told = case.told
    return Shape(
        dim=min(told["dim"], DIM),
        inputs=min(told["inputs"], INPUTS),
        cosine=told["loss"] == "cosine",
        moving=told["target"] == "ema",
        start=told["target_start"],
        both_directions=told["both_directions"],
        symmetric=told["symmetric"],
        predictor="linear" if told["predictor"] in TRAINED else told["predictor"],
        normalisation=told["normalisation"],
    )


def placed(case: Scenario) -> Hyperparameters:
    """Of SGD, in the units of the case. Adam and LARS do not see the scale of a gradient."""
    told, params = case.told, case.params
    rule = {name: told[name] for name in ("a", "eps", "c", "rho")}
    decoupled = told["decay"] == "decoupled"
    if told["optimiser"] == "sgd":
        return Hyperparameters(params, case.sgd, rule)
    of = {"adam": Adam, "lars": LARS}[told["optimiser"]]
    optimiser = of(rate=told["lr"], momentum=told["momentum"], decoupled=decoupled)
    decay = 1 / (case.kappa if not decoupled else optimiser.time / told["lr"])
    wd_s, wd_p = (told["wd"] if told[key] is None else told[key] for key in ("wd_s", "wd_p"))
    free = dataclasses.replace(
        params,
        beta=(1 - told["ema"]) / optimiser.time,
        eta_s=decay * wd_s,
        eta_p=decay * params.alpha_p * wd_p,
    )
    return Hyperparameters(free, optimiser, rule)

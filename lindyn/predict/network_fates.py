"""Fates of linear networks that are trained with a scenario's settings.

Read `linear_networks` first: it trains the networks for as many steps as the run has, from
usual initial weights and with the noise of its batches. This module counts over these starts.
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
DIM, INPUTS = 16, 32  # largest sizes that are trained; enough for a share of modes
STARTS = 8  # random initial weights
LADDER, ENOUGH = (-4, 9), 500  # learning rates in quarters of a decade, and steps at each
MOST_LOST = 0.1  # fraction of the modes that may die without the verdict `LOSES`
RUNAWAY = 1e6  # growth of s that counts as divergence
DOUBT = 0.5  # agreement below which noise rules


class Trial(NamedTuple):
    """The result of training with one setting, from several starts."""

    steps: int
    modes: int
    diverged: float  # fraction of the starts that diverge
    rank: float  # median number of modes that survive
    ranks: tuple[int, int]  # smallest and largest number of modes that survive
    agreement: float  # median correlation of prediction and target, over its maximum
    memory: float  # steps in which weight decay shrinks weights by the factor e

    @property
    def kind(self) -> str:
        """The verdict: a constant of this module, `DIES` or `LIVES`."""
        if self.diverged >= 0.5:
            return DIVERGES
        if self.rank == 0:
            return DIES
        if self.agreement < DOUBT and self.memory < self.steps:
            return NOISE
        return LOSES if self.rank < (1 - MOST_LOST) * self.modes else LIVES


def trial(case: Scenario) -> Trial:
    """Trains one scenario from `STARTS` starts."""
    return _counted(case, _run(case, shaped(case), placed(case)))


def trials(cases: Sequence[Scenario], starts: int = STARTS) -> list[Trial]:
    """Trains scenarios that differ in numbers only, in one compiled program."""
    together = _run(cases[0], shaped(cases[0]), _together(cases), starts=starts)
    outcomes = [Outcome(*(x[:, i] for x in together)) for i in range(len(cases))]
    return [_counted(case, outcome) for case, outcome in zip(cases, outcomes, strict=True)]


def kinds(cases: Sequence[Scenario]) -> list[str]:
    """The verdicts of `trials`."""
    return [each.kind for each in trials(cases)]


def diverging_rate(case: Scenario) -> float | None:
    """The smallest --lr at which at least half of the starts diverge early; None without one.

    The other settings stay the same. For the squared loss networks are trained at rates a
    quarter of a decade apart. With the cosine loss the gradient keeps weights from vanishing
    at any step size, and only weight decay can overshoot: at `steps.decay_limit`. None for
    optimisers other than SGD.
    """
    settings = case.settings
    if settings["optimiser"] != "sgd":
        return None
    if settings["loss"] == "cosine":
        limit = float(decay_limit(case.params, case.sgd)) / case.kappa
        return limit if math.isfinite(limit) else None
    rates = settings["lr"] * 10.0 ** (np.arange(*LADDER) / 4)
    cases = [case.but(lr=lr, predictor_lr=settings["alpha_p"] * lr) for lr in rates]
    outcome = _run(case, shaped(case), _together(cases), count=min(settings["steps"], ENOUGH))
    most = _diverged(outcome).mean(0) >= 0.5
    return float(rates[np.argmax(most)]) if most.any() else None


def _together(cases):
    return jax.tree.map(lambda *x: np.array(x, float), *map(placed, cases))


def _run(case, shape, setting, count=None, starts=STARTS):
    settings = case.settings
    return linear_networks.train(
        shape,
        setting,
        count or settings["steps"],
        batch=settings["batch"],
        sigma2=settings["sigma2"],
        starts=starts,
    )


def _diverged(outcome):
    with np.errstate(invalid="ignore"):
        return outcome.diverged | (outcome.s[..., -1] > RUNAWAY * outcome.s0)


def counted(found: Outcome, steps: int, memory: float, cosine: bool) -> Trial:
    """The trial of networks with this outcome, which may come from training or be constructed.

    `steps` and `memory` are fields of the trial; `cosine` is the argument of `Outcome.rank`.
    """
    diverged = _diverged(found)
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


def _counted(case, outcome):
    return counted(outcome, case.settings["steps"], case.memory, not case.squared)


def shaped(case: Scenario) -> Shape:
    """The static settings of a scenario, with at most `DIM` outputs and `INPUTS` inputs."""
    settings = case.settings
    return Shape(
        dim=min(settings["dim"], DIM),
        inputs=min(settings["inputs"], INPUTS),
        cosine=settings["loss"] == "cosine",
        moving=settings["target"] == "ema",
        start=settings["target_start"],
        both_directions=settings["both_directions"],
        symmetric=settings["symmetric"],
        predictor="linear" if settings["predictor"] in TRAINED else settings["predictor"],
        normalisation=settings["normalisation"],
    )


def placed(case: Scenario) -> Hyperparameters:
    """The numbers of a scenario: parameters, optimiser, and rule of a closed-form predictor.

    For SGD they are in the units of the scenario. Adam and LARS do not depend on the scale of
    the gradient: they keep the trainer's learning rate, to which EMA and decays are rescaled.
    """
    settings, params = case.settings, case.params
    rule = {name: settings[name] for name in ("a", "eps", "c", "rho")}
    decoupled = settings["decay"] == "decoupled"
    if settings["optimiser"] == "sgd":
        return Hyperparameters(params, case.sgd, rule)
    kind = {"adam": Adam, "lars": LARS}[settings["optimiser"]]
    optimiser = kind(rate=settings["lr"], momentum=settings["momentum"], decoupled=decoupled)
    decay = 1 / (case.kappa if not decoupled else optimiser.time / settings["lr"])
    own = (settings[key] for key in ("wd_s", "wd_p"))
    wd_s, wd_p = (settings["wd"] if wd is None else wd for wd in own)
    rescaled = dataclasses.replace(
        params,
        beta=(1 - settings["ema"]) / optimiser.time,
        eta_s=decay * wd_s,
        eta_p=decay * params.alpha_p * wd_p,
    )
    return Hyperparameters(rescaled, optimiser, rule)

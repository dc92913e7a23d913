"""A trainer's settings, converted to the parameters of the theory.

Throughout a = 1 + sigma2, and tau = 1, to which the target comes to rest. p-* <= p+*, the edge
of the basin of collapse and the goal of a mode, are the roots of a p^2 - p + eta_s.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from lindyn.theory import closed_forms, equilibria, hyperparameters
from lindyn.theory.hyperparameters import Scales, effective
from lindyn.theory.predictors import Power
from lindyn.theory.states import Numbers, Params
from lindyn.theory.steps import SGD


DIES, LIVES, DEPENDS = "collapses", "does not collapse", "depends on the start"
POWERS = {"directpred": 0.5, "directset": None, "directcopy": 1.0}  # p = (s - c)^a + eps
TRAINED = ("linear", "two-layer")


class Scenario(NamedTuple):
    """A trainer's settings and the parameters of the theory that follow from them."""

    settings: Mapping[str, Any]  # by the names of config.json and of the flags
    params: Params
    step: Numbers  # time of a training step, in the units of `params`
    kappa: Numbers  # time in the units of `params` over time in those of `hyperparameters`

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Scenario":
        """The scenario of these settings.

        Numbers in `settings` may be arrays of many settings. The properties that decide by the
        size of a number, such as `edge` and `memory`, then cannot be used.
        """
        rate = settings["lr"] if settings["predictor_lr"] is None else settings["predictor_lr"]
        settings = {**settings, "alpha_p": rate / settings["lr"]}
        units = hyperparameters.units(settings)
        params, kappa = effective(units, Scales(excess=settings["sigma2"]))
        return cls(settings, params, kappa * units.step, kappa)

    def but(self, **changes: Any) -> "Scenario":
        """The scenario with these changes of its settings."""
        return Scenario.of({**self.settings, **changes})

    def each(self, count: int) -> list["Scenario"]:
        """The `count` scenarios of a scenario whose numbers are arrays of this length."""
        wide = {
            name: np.broadcast_to(x, (count,)).tolist() for name, x in self.settings.items()
        }
        return [Scenario.of({name: x[i] for name, x in wide.items()}) for i in range(count)]

    @property
    def sgd(self) -> SGD:
        """The trainer's SGD for `fields`, with its learning rate in the units of `params`."""
        settings = self.settings
        return SGD(
            rate=self.kappa * settings["lr"],
            momentum=settings["momentum"],
            nesterov=settings["nesterov"],
            decoupled=settings["decay"] == "decoupled",
        )

    @property
    def a(self) -> float:
        """1 + sigma2."""
        return 1 + self.params.sigma2

    @property
    def part(self) -> float:
        """eta_s divided by the critical decay."""
        return self.params.eta_s / closed_forms.critical_decay(self.params)

    @property
    def trained(self) -> bool:
        """Whether the predictor is trained, and no gradient reaches the target."""
        return self.settings["predictor"] in TRAINED and not self.through_target

    @property
    def through_target(self) -> bool:
        """Whether a gradient reaches the target. It never reaches an EMA, whatever the flag."""
        return not self.settings["stop_gradient"] and self.settings["target"] == "none"

    @property
    def squared(self) -> bool:
        """Whether the loss is the squared loss, for which (11)-(13) hold."""
        return self.settings["loss"] == "l2"

    @property
    def memory(self) -> float:
        """Steps in which decay alone shrinks weights by a factor e; infinite without decay."""
        decay = self.params.eta_s * self.step
        return 1 / decay if decay > 0 else math.inf

    @property
    def frozen(self) -> bool:
        """Whether W decays and Wp does not: p then comes to rest while s dies."""
        return self.params.eta_p == 0 < self.params.eta_s

    @property
    def roots(self) -> tuple[float, float]:
        """p-* and p+*; NaN above the critical decay."""
        low, high = np.asarray(_roots(arrays(self.params)))
        return float(low), float(high)

    @property
    def rule(self) -> Power:
        """The rule p(s) of a closed-form predictor in `POWERS`."""
        settings, power = self.settings, POWERS[self.settings["predictor"]]
        c = 0.0 if settings["predictor"] == "directcopy" else settings["c"]
        return Power(a=settings["a"] if power is None else power, eps=settings["eps"], c=c)

    @property
    def edge(self) -> float:
        """The edge of the basin of collapse: below it a mode dies.

        It is a value of s for a closed-form predictor, and else of p on the parabola. Infinite
        if every mode dies.
        """
        if self.settings["predictor"] in POWERS:
            rule = arrays(self.rule)
            return float(_directset_edge(arrays(self.params), rule.a, rule.eps, rule.c))
        return math.inf if self.frozen or math.isnan(self.roots[0]) else self.roots[0]

    @property
    def rate(self) -> float | None:
        """A lower bound of the rate at which every W shrinks; None if the start decides.

        Without a stop-gradient it is eta_s + a - 1/a, the minimum over all Wp of the least
        eigenvalue of H in Theorem 2, at Wp = I/a. Without a predictor (3)-(4) are linear, with
        dw/dt = wa - (a + eta_s) w. The least-squares predictor leaves no residual, so that W
        only decays, at the rate eta_s. (Derived, for X = I and X' = sigma2 I.)
        """
        eta, beta = self.params.eta_s, self.params.beta
        if self.through_target:
            return eta + self.a - 1 / self.a
        if self.settings["predictor"] == "none":
            pull = eta + self.params.sigma2
            both = 1 + (1 + pull) / beta
            return 2 * pull / (both + math.sqrt(both**2 - 4 * pull / beta))
        return eta if self.settings["predictor"] == "optimal" else None


def arrays(tree: Any) -> Any:
    """`tree` with arrays of floats as leaves: jit would compile anew for other number types."""
    return jax.tree.map(lambda x: np.asarray(x, float), tree)


_roots = jax.jit(equilibria.decay_roots)
_directset_edge = jax.jit(closed_forms.directset_edge)

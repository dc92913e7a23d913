"""A trainer's settings in the theory's units.

Throughout a = 1 + sigma2 and tau = 1, where the target ends; p-* <= p+*, the edge and the
goal of a mode, are the roots of a p^2 - p + eta_s.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from lindyn import theory
from lindyn.theory import hyperparameters
from lindyn.theory.hyperparameters import Scales, effective
from lindyn.theory.predictors import Power
from lindyn.theory.states import Numbers, Params
from lindyn.theory.steps import SGD


DIES, LIVES, DEPENDS = "collapses", "does not collapse", "depends on the start"
POWERS = {"directpred": 0.5, "directset": None, "directcopy": 1.0}  # p = (s - c)^a + eps
TRAINED = ("linear", "two-layer")


class Scenario(NamedTuple):
    """Settings, by the names of config.json and of the command's flags, as parameters."""

    told: Mapping[str, Any]
    params: Params
    step: Numbers  # time of a step, in the units of `params`
    kappa: Numbers

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Scenario":
        """Numbers of `told` may be arrays, for what needs no verdict in words."""
        rate = told["lr"] if told["predictor_lr"] is None else told["predictor_lr"]
        told = {**told, "alpha_p": rate / told["lr"]}
        found = hyperparameters.units(told)
        params, kappa = effective(found, Scales(excess=told["sigma2"]))
        return cls(told, params, kappa * found.step, kappa)

    def but(self, **changes: Any) -> "Scenario":
        return Scenario.of({**self.told, **changes})

    def each(self, count: int) -> list["Scenario"]:
        """One case for each entry of its arrays of numbers, `count` of them."""
        wide = {name: np.broadcast_to(x, (count,)).tolist() for name, x in self.told.items()}
        return [Scenario.of({name: x[i] for name, x in wide.items()}) for i in range(count)]

    @property
    def sgd(self) -> SGD:
        """Steps down `fields`, at the rate of its units."""
        told = self.told
        return SGD(
            rate=self.kappa * told["lr"],
            momentum=told["momentum"],
            nesterov=told["nesterov"],
            decoupled=told["decay"] == "decoupled",
        )

    @property
    def a(self) -> float:
        return 1 + self.params.sigma2

    @property
    def part(self) -> float:
        """eta_s over the critical decay."""
        return self.params.eta_s / theory.critical_decay(self.params)

    @property
    def trained(self) -> bool:
        return self.told["predictor"] in TRAINED and not self.through_target

    @property
    def through_target(self) -> bool:
        """No gradient reaches a target that is an EMA, with or without a stop-gradient."""
        return not self.told["stop_gradient"] and self.told["target"] == "none"

    @property
    def squared(self) -> bool:
        """(11)-(13) are of this loss."""
        return self.told["loss"] == "l2"

    @property
    def memory(self) -> float:
        """Steps in which decay takes weights down by e, unless steps hold them up."""
        decay = self.params.eta_s * self.step
        return 1 / decay if decay > 0 else math.inf

    @property
    def frozen(self) -> bool:
        """p does not decay, and comes to rest where s dies."""
        return self.params.eta_p == 0 < self.params.eta_s

    @property
    def roots(self) -> tuple[float, float]:
        low, high = np.asarray(_roots(arrays(self.params)))
        return float(low), float(high)

    @property
    def rule(self) -> Power:
        """p(s) of a closed form."""
        told, power = self.told, POWERS[self.told["predictor"]]
        c = 0.0 if told["predictor"] == "directcopy" else told["c"]
        return Power(a=told["a"] if power is None else power, eps=told["eps"], c=c)

    @property
    def edge(self) -> float:
        """In s for a closed form, else in p on the parabola. Infinite if everything dies."""
        if self.told["predictor"] in POWERS:
            rule = arrays(self.rule)
            return float(_directset_edge(arrays(self.params), rule.a, rule.eps, rule.c))
        return math.inf if self.frozen or math.isnan(self.roots[0]) else self.roots[0]

    @property
    def rate(self) -> float | None:
        """At which every W dies at least; None where that is for its start to say.

        Theorem 2: H >= eta_s + a - 1/a, the least over all Wp, at Wp = I/a. Without a
        predictor (3)-(4) are linear: dw/dt = wa - (a + eta_s) w. The least-squares one
        leaves no residual, and W its decay alone. (Derived, for X = I, X' = sigma2 I.)
        """
        eta, beta = self.params.eta_s, self.params.beta
        if self.through_target:
            return eta + self.a - 1 / self.a
        if self.told["predictor"] == "none":
            pull = eta + self.params.sigma2
            both = 1 + (1 + pull) / beta
            return 2 * pull / (both + math.sqrt(both**2 - 4 * pull / beta))
        return eta if self.told["predictor"] == "optimal" else None


def arrays(tree: Any) -> Any:
    """Python's numbers would be compiled for again and again."""
    return jax.tree.map(lambda x: np.asarray(x, float), tree)


_roots = jax.jit(theory.decay_roots)
_directset_edge = jax.jit(theory.directset_edge)

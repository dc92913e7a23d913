"""The predict command's answer, and which changes of the settings would help."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from lindyn import theory
from lindyn.predict.mode_fates import box, escape, given, start
from lindyn.predict.network_fates import (
    DIM,
    DIVERGES,
    INPUTS,
    LOSES,
    NOISE,
    diverging_rate,
    trial,
)
from lindyn.predict.scenario import DEPENDS, DIES, POWERS, Scenario, arrays
from lindyn.predict.suggestions import suggestions
from lindyn.theory import fields, hyperparameters, steps


def answer(case: Scenario) -> dict[str, Any]:
    """The verdict, and all that leads to it."""
    params, told = case.params, case.told
    of_modes = case.trained and case.squared  # (11)-(13), which speak of no other loss
    points = fixed_points(case) if of_modes else []
    proven = certain(case)
    tried = None if proven else trial(case)
    found = tried.kind if tried else str(proven)
    begun = start(case) if told["p0"] is not None else None
    if begun and case.edge < math.inf:
        found = begun["fate"]
    closed = case.rate is None and case.squared
    return {
        "verdict": found,
        "trial": tried and tried._asdict(),
        "diverges_from_lr": _named_rate(case, tried) if tried else None,
        "stable_up_to_lr": stable_rate(case, points),
        "effective": {
            "step": case.step,
            "kappa": case.kappa,
            **{x.name: getattr(params, x.name) for x in dataclasses.fields(params)},
        },
        "eta_if_the_decay_is": readings(case),
        "critical_decay": theory.critical_decay(params) if case.squared else None,
        "part_of_critical_decay": case.part if case.squared else None,
        "memory": case.memory,
        "edge": case.edge if closed else None,
        "goal": case.roots[1] if closed else None,
        "rate_of_collapse": case.rate if case.squared else None,
        "fixed_points": points,
        "box": box(case) if of_modes else None,
        "start": begun,
        "alignment": alignment(case) if of_modes else None,
        "escape": escape(case) if of_modes else None,
        "suggestions": suggestions(case, found, tried),
        "phase": _phase(params) if of_modes else None,
        "notes": [*hyperparameters.notes(case.told)],
        "beyond": list(_beyond(case)),
        "assumed": "encoder and predictor are a matrix each; inputs have variance 1, to which"
        f" views add {told['sigma2']:g} (--sigma2)",
    }


def stable_rate(case: Scenario, points: list[dict[str, Any]]) -> float | None:
    """The --lr below which steps are stable at the goal, of SGD and the squared loss."""
    if len(points) < 3 or case.told["optimiser"] != "sgd":
        return None
    told, params = case.told, arrays(case.params)
    momentum, nesterov, moving = told["momentum"], told["nesterov"], told["target"] == "ema"
    return float(_stable_rate(params, momentum, nesterov, moving)) / case.kappa


def _named_rate(case, tried):
    """None too for a case that diverges below it: late, and not for the length of its steps."""
    rate = diverging_rate(case)
    late = tried.kind == DIVERGES and rate is not None and rate > case.told["lr"]
    return None if late else rate


def certain(case: Scenario) -> str | None:
    """What needs no trial: a loss that is least where outputs have collapsed.

    Of (1) Theorem 2 and its like. A cosine is 1 for outputs on which both views of everything
    agree, a constant above all; isotropic inputs have none such, and real ones do.
    """
    alike = case.through_target or case.told["predictor"] == "none"
    if not alike:
        return None
    if not case.squared:
        return DIES if case.told["sigma2"] > 0 else DEPENDS
    return DIES if case.rate else DEPENDS


def fails(found: Mapping[str, Any]) -> bool:
    """Nothing finite, noise, or less than half of the modes."""
    if found["verdict"] in (DIES, DIVERGES, NOISE):
        return True
    tried = found["trial"]
    return found["verdict"] == LOSES and 2 * tried["rank"] < tried["modes"]


def readings(case: Scenario) -> dict[str, float]:
    """eta_s, were the same weight decay applied in another way."""
    told = case.told
    wd = told["wd"] if told["wd_s"] is None else told["wd_s"]
    return {
        "coupled": wd / case.kappa,
        "decoupled": (1 - told["momentum"]) * wd / case.kappa,
        "wd_a_step": wd / case.step,
    }


def fixed_points(case: Scenario) -> list[dict[str, Any]]:
    found = jax.tree.map(np.asarray, _fixed_points(arrays(case.params)))
    return [
        {"name": name, "p": float(p), "s": float(s), "eigenvalues": values, "class": kind}
        for name, p, s, values, kind in zip(
            ("collapsed", "edge", "goal"),
            found.y.p,
            found.y.s,
            found.eigenvalues,
            found.names,
            strict=True,
        )
        if kind != "none"
    ]


def alignment(case: Scenario) -> dict[str, Any]:
    """Theorem 3: the least K of (17) along s = p^2/alpha_p, and what would make it positive.

    It is eta_p/2 + eta_s - 1/(6a), at p = 1/(3a). Whatever p, K > 0 if alpha_p a s is above
    1/(2a) - 2 eta_s - eta_p. For a start, K > 0 from 2 Delta/(a s + eta_p/alpha_p) = alpha_p
    on, as eta_p follows alpha_p (derived).
    """
    params, a, told = case.params, case.a, case.told
    p, needed = 1 / (3 * a), 1 / (2 * a) - 2 * params.eta_s - params.eta_p
    least = theory.alignment_margin(p, p**2 / params.alpha_p, params)
    found = {"least_K": least, "at_p": p, "always": bool(least >= 0 and case.edge < math.inf)}
    found["s_from"] = max(0.0, needed / (a * params.alpha_p))
    ratio = params.eta_p / params.eta_s if params.eta_s > 0 else 1.0
    found["eta_from"] = 1 / (6 * a) / (1 + ratio / 2)
    found["predictor_lr_from"] = None
    if told["p0"] is not None:
        p0, s0 = given(case)
        alpha_p = 2 * fields.growth(p0, params) / (a * s0 + params.eta_p / params.alpha_p)
        found["predictor_lr_from"] = max(0.0, alpha_p * told["lr"])
    return found


def _phase(params):
    """The command that draws this plane."""
    flags = {"wd-p": params.eta_p, "wd-s": params.eta_s}
    if params.eta_p == params.eta_s:
        flags = {"wd": params.eta_s}
    flags |= {"alpha-p": params.alpha_p, "sigma2": params.sigma2}
    return " ".join(["python -m lindyn.phase", *(f"--{x} {y:.15g}" for x, y in flags.items())])


def _beyond(case):
    """What the theory does not cover, or takes for granted."""
    told = case.told
    yield from hyperparameters.beyond(case.told)
    if told["dim"] > DIM or told["inputs"] > INPUTS:
        modes = min(told["dim"], DIM)
        yield f"{modes} modes stand for {told['dim']}, and at most {INPUTS} inputs"
    if case.trained and case.squared and not told["symmetric"]:
        yield "Wp may lose its symmetry, which (11)-(12) count on (--symmetric keeps it)"
    if told["predictor"] in POWERS:
        yield "F is divided by its largest eigenvalue or norm: s and eps are in that unit"
    if not told["stop_gradient"] and told["target"] == "ema":
        yield "no gradient reaches an EMA target: Theorem 2 is of --target none"


_fixed_points = jax.jit(theory.fixed_points)
_stable_rate = jax.jit(steps.stable_rate, static_argnums=(2, 3))

"""Computes the predict command's answer: the verdict and the numbers behind it.

Read `scenario` first, then `mode_fates` and `network_fates`.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

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
from lindyn.theory import closed_forms, equilibria, fields, hyperparameters, steps


def answer(case: Scenario) -> dict[str, Any]:
    """The verdict on a scenario and the numbers behind it, by the keys of the JSON output."""
    params, settings = case.params, case.settings
    of_modes = case.trained and case.squared  # (11)-(13) hold for the squared loss alone
    points = fixed_points(case) if of_modes else []
    proven = certain(case)
    result = None if proven else trial(case)
    verdict = result.kind if result else str(proven)
    start_fate = start(case) if settings["p0"] is not None else None
    if start_fate and case.edge < math.inf:
        verdict = start_fate["fate"]
    closed = case.rate is None and case.squared
    return {
        "verdict": verdict,
        "trial": result and result._asdict(),
        "diverges_from_lr": _reported_rate(case, result) if result else None,
        "stable_up_to_lr": stable_rate(case, points),
        "effective": {
            "step": case.step,
            "kappa": case.kappa,
            **{x.name: getattr(params, x.name) for x in dataclasses.fields(params)},
        },
        "eta_if_the_decay_is": readings(case),
        "critical_decay": closed_forms.critical_decay(params) if case.squared else None,
        "part_of_critical_decay": case.part if case.squared else None,
        "memory": case.memory,
        "edge": case.edge if closed else None,
        "goal": case.roots[1] if closed else None,
        "rate_of_collapse": case.rate if case.squared else None,
        "fixed_points": points,
        "box": box(case) if of_modes else None,
        "start": start_fate,
        "alignment": alignment(case) if of_modes else None,
        "escape": escape(case) if of_modes else None,
        "suggestions": suggestions(case, verdict, result),
        "phase": _phase(params) if of_modes else None,
        "notes": [*hyperparameters.notes(case.settings)],
        "beyond": list(_beyond(case)),
        "assumed": "encoder and predictor are a matrix each; inputs have variance 1, to which"
        f" views add {settings['sigma2']:g} (--sigma2)",
    }


def stable_rate(case: Scenario, points: list[dict[str, Any]]) -> float | None:
    """The learning rate (--lr) below which steps of SGD are stable at the goal.

    `points` is the result of `fixed_points`, or empty for the cosine loss. None if it contains
    no goal, and for other optimisers than SGD.
    """
    if len(points) < 3 or case.settings["optimiser"] != "sgd":
        return None
    settings, params, moving = (
        case.settings,
        arrays(case.params),
        case.settings["target"] == "ema",
    )
    rate = _stable_rate(params, settings["momentum"], settings["nesterov"], moving)
    return float(rate) / case.kappa


def _reported_rate(case, result):
    """`diverging_rate`, or None if the trial diverges although --lr is below that rate.

    Such a trial diverges late, and not because its steps are too long.
    """
    rate = diverging_rate(case)
    late = result.kind == DIVERGES and rate is not None and rate > case.settings["lr"]
    return None if late else rate


def certain(case: Scenario) -> str | None:
    """The verdict without a trial, if the loss is minimal at collapsed outputs; else None.

    That is so without a stop-gradient, and without a predictor. For the squared loss (1) it
    follows from Theorem 2 and its analogue without a predictor. The cosine is 1 for outputs
    that agree for both views of every example, above all for a constant output. Isotropic
    inputs have no such outputs; real inputs do.
    """
    alike = case.through_target or case.settings["predictor"] == "none"
    if not alike:
        return None
    if not case.squared:
        return DIES if case.settings["sigma2"] > 0 else DEPENDS
    return DIES if case.rate else DEPENDS


def fails(found: Mapping[str, Any]) -> bool:
    """Whether --fail-on-collapse makes the command fail; `found` is the result of `answer`.

    It does if all modes die, if training diverges, if noise rules it, or if less than half of
    the modes survive.
    """
    if found["verdict"] in (DIES, DIVERGES, NOISE):
        return True
    result = found["trial"]
    return found["verdict"] == LOSES and 2 * result["rank"] < result["modes"]


def readings(case: Scenario) -> dict[str, float]:
    """eta_s for each of the ways in which optimisers apply this weight decay."""
    settings = case.settings
    wd = settings["wd"] if settings["wd_s"] is None else settings["wd_s"]
    return {
        "coupled": wd / case.kappa,
        "decoupled": (1 - settings["momentum"]) * wd / case.kappa,
        "wd_a_step": wd / case.step,
    }


def fixed_points(case: Scenario) -> list[dict[str, Any]]:
    """The fixed points of a mode that exist, with eigenvalues and class of their Jacobians."""
    points = jax.tree.map(np.asarray, _fixed_points(arrays(case.params)))
    return [
        {"name": name, "p": float(p), "s": float(s), "eigenvalues": values, "class": kind}
        for name, p, s, values, kind in zip(
            ("collapsed", "edge", "goal"),
            points.y.p,
            points.y.s,
            points.eigenvalues,
            points.names,
            strict=True,
        )
        if kind != "none"
    ]


def alignment(case: Scenario) -> dict[str, Any]:
    """Theorem 3: the least K of (17) along s = p^2/alpha_p, and the settings that make K > 0.

    The least K is eta_p/2 + eta_s - 1/(6a), at p = 1/(3a). At any p, K > 0 if alpha_p a s is
    above 1/(2a) - 2 eta_s - eta_p. At a given start, K > 0 if alpha_p is larger than
    2 Delta/(a s + eta_p/alpha_p). This bound does not depend on alpha_p, since eta_p is
    proportional to alpha_p (derived).
    """
    params, a, settings = case.params, case.a, case.settings
    p, needed = 1 / (3 * a), 1 / (2 * a) - 2 * params.eta_s - params.eta_p
    least = closed_forms.alignment_margin(p, p**2 / params.alpha_p, params)
    result = {"least_K": least, "at_p": p, "always": bool(least >= 0 and case.edge < math.inf)}
    result["s_from"] = max(0.0, needed / (a * params.alpha_p))
    ratio = params.eta_p / params.eta_s if params.eta_s > 0 else 1.0
    result["eta_from"] = 1 / (6 * a) / (1 + ratio / 2)
    result["predictor_lr_from"] = None
    if settings["p0"] is not None:
        p0, s0 = given(case)
        alpha_p = 2 * fields.growth(p0, params) / (a * s0 + params.eta_p / params.alpha_p)
        result["predictor_lr_from"] = max(0.0, alpha_p * settings["lr"])
    return result


def _phase(params):
    """The `lindyn.phase` command that draws the (p, s) plane of these parameters."""
    flags = {"wd-p": params.eta_p, "wd-s": params.eta_s}
    if params.eta_p == params.eta_s:
        flags = {"wd": params.eta_s}
    flags |= {"alpha-p": params.alpha_p, "sigma2": params.sigma2}
    return " ".join(["python -m lindyn.phase", *(f"--{x} {y:.15g}" for x, y in flags.items())])


def _beyond(case):
    """Sentences on what the theory does not cover, and on what it assumes."""
    settings = case.settings
    yield from hyperparameters.beyond(case.settings)
    if settings["dim"] > DIM or settings["inputs"] > INPUTS:
        modes = min(settings["dim"], DIM)
        yield f"{modes} modes stand for {settings['dim']}, and at most {INPUTS} inputs"
    if case.trained and case.squared and not settings["symmetric"]:
        yield "Wp may lose its symmetry, which (11)-(12) count on (--symmetric keeps it)"
    if settings["predictor"] in POWERS:
        yield "F is divided by its largest eigenvalue or norm: s and eps are in that unit"
    if not settings["stop_gradient"] and settings["target"] == "ema":
        yield "no gradient reaches an EMA target: Theorem 2 is of --target none"


_fixed_points = jax.jit(equilibria.fixed_points)
_stable_rate = jax.jit(steps.stable_rate, static_argnums=(2, 3))

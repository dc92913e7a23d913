"""The predict command's answer, and which changes of the settings would keep from collapse."""

import dataclasses
import math
from bisect import bisect_left
from typing import Any

import jax
import numpy as np

from lindyn import fields, theory
from lindyn.maps import SURVIVES
from lindyn.outlook import (
    LIVES,
    POWERS,
    Case,
    arrays,
    box,
    escape,
    given,
    solved,
    start,
    verdict,
)


DECADES, NICE = 6, (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)


def answer(case: Case) -> dict[str, Any]:
    """The verdict, and all that leads to it."""
    params, told = case.params, case.told
    points = fixed_points(case) if case.trained else []
    shares = box(case) if case.trained else None
    found = verdict(case, shares)
    begun = start(case) if told["p0"] is not None else None
    if begun and case.edge < math.inf:
        found = begun["fate"]
    return {
        "verdict": found,
        "effective": {
            "step": case.step,
            "kappa": case.kappa,
            **{x.name: getattr(params, x.name) for x in dataclasses.fields(params)},
        },
        "eta_if_the_decay_is": readings(case),
        "critical_decay": theory.critical_decay(params),
        "part_of_critical_decay": case.part,
        "edge": case.edge if case.rate is None else None,
        "goal": case.roots[1] if case.rate is None else None,
        "rate_of_collapse": case.rate,
        "fixed_points": points,
        "box": shares,
        "start": begun,
        "alignment": alignment(case) if case.trained else None,
        "escape": escape(case) if case.trained else None,
        "suggestions": suggestions(case, found),
        "phase": _phase(params) if case.trained else None,
        "notes": case.notes,
        "beyond": list(_beyond(case, points)),
        "assumed": "encoder and predictor are a matrix each; inputs have variance 1, to which"
        f" views add {told['sigma2']:g} (--sigma2)",
    }


def readings(case: Case) -> dict[str, float]:
    """eta_s, were the same weight decay applied in another way."""
    told = case.told
    wd = told["wd"] if told["wd_s"] is None else told["wd_s"]
    return {
        "coupled": wd / case.kappa,
        "decoupled": (1 - told["momentum"]) * wd / case.kappa,
        "wd_a_step": wd / case.step,
    }


def fixed_points(case: Case) -> list[dict[str, Any]]:
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


def alignment(case: Case) -> dict[str, Any]:
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


def suggestions(case: Case, found: str) -> list[dict[str, Any]]:
    """Changes of settings, each of which alone turns `found` into `LIVES`."""
    told, changes = case.told, {}
    if found == LIVES:
        return []
    if case.through_target:
        changes["stop_gradient"] = True
    if told["predictor"] in ("none", "optimal"):
        changes["predictor"] = "linear"
    if case.frozen and told["predictor"] not in POWERS:
        changes["wd_p"] = told["wd"] if told["wd_s"] is None else told["wd_s"]
    if told["predictor"] in POWERS and case.part > 1 and not 0 < told["eps"] < 1 / case.a:
        changes["eps"] = float(f"{1 / (4 * case.a):.1g}")
    if told["p0"] is not None:
        return _by_solves(case, changes)
    if changes and verdict(case.but(**changes)) == LIVES:
        return [changes]
    ways = [_less_decay(case.told, changes)]
    if told["predictor"] in POWERS and case.part <= 1:
        ways.append([{"eps": x} for x in _way(told["eps"], sum(case.roots) / 2)])
    good = lambda each: verdict(case.but(**{**changes, **each})) == LIVES
    best = [way[bisect_left(way, True, key=good) :] for way in ways]
    return [{**changes, **way[0]} for way in best if way]


def _by_solves(case, changes):
    """Of the start's own fate: the first round numbers at which it survives."""
    told = case.told
    rate = told["predictor_lr"] or told["lr"]
    ways = [
        _less_decay(told, changes),
        [{**changes, "predictor_lr": x} for x in _way(rate, 100 * rate)],
    ]
    if told["target"] == "ema":
        ways.append([{**changes, "ema": round(1 - x, 9)} for x in _way(1 - told["ema"], 1.0)])
    cases = [case.but(**each) for way in ways for each in way]
    code = solved(cases, *np.transpose([given(case)] * len(cases)))[0]
    fates = np.split(code == SURVIVES, np.cumsum([len(way) for way in ways])[:-1])
    return [
        way[np.argmax(alive)] for way, alive in zip(ways, fates, strict=True) if alive.any()
    ]


def _less_decay(told, changes):
    """Of everything, in proportion; `changes` are among them."""
    told = {**told, **changes}
    name = "wd" if told["wd_s"] is None else "wd_s"
    split = told["wd_s"] is not None or told["wd_p"] is not None
    other = told["wd"] if told["wd_p"] is None else told["wd_p"]
    ways = [{**changes, name: x} for x in _way(told[name], 0.0)]
    if split and told[name] > 0:
        ways = [{**way, "wd_p": float(f"{other * way[name] / told[name]:.3g}")} for way in ways]
    return ways


def _way(now, end):
    """Round numbers from `now` to `end`, and `end` itself."""
    low, high = sorted((now, end))
    top = math.floor(math.log10(high)) if high > 0 else 0
    tens = [float(f"{x}e{power}") for power in range(top - DECADES, top + 1) for x in NICE]
    between = [x for x in tens if max(low, 1e-12) <= x < high and x != low]
    return [*(between if now < end else between[::-1]), end]


def _phase(params):
    """The command that draws this plane."""
    flags = {"wd-p": params.eta_p, "wd-s": params.eta_s}
    if params.eta_p == params.eta_s:
        flags = {"wd": params.eta_s}
    flags |= {"alpha-p": params.alpha_p, "sigma2": params.sigma2}
    return " ".join(["python -m lindyn.phase", *(f"--{x} {y:.15g}" for x, y in flags.items())])


def _beyond(case, points):
    """What the theory does not cover, or takes for granted."""
    told, speed = case.told, np.abs([point["eigenvalues"] for point in points]).max(initial=0)
    yield from case.beyond
    if case.step * speed > 1:
        times = f"{case.step * speed:.3g} times the shortest time at the goal"
        yield f"a step is {times}, and large steps are no flow"
    if told["loss"] == "cosine":
        scale = f"|Wp f| |f_a| stays {told['scale']:g} (--scale)"
        yield f"a cosine leaves the scale of features free; here {scale}"
    if case.trained and not told["symmetric"]:
        yield "Wp may lose its symmetry, which (11)-(12) count on (--symmetric keeps it)"
    if told["predictor"] in POWERS:
        yield "F is divided by its largest eigenvalue or norm: s and eps are in that unit"
    if not told["stop_gradient"] and told["target"] == "ema":
        yield "no gradient reaches an EMA target: Theorem 2 is of --target none"


_fixed_points = jax.jit(theory.fixed_points)

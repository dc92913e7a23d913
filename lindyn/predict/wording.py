"""Texts of the predict command's answer: reasons, suggestions and rows of the table."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from lindyn.predict.network_fates import DIVERGES, NOISE, STARTS
from lindyn.predict.scenario import DIES, LIVES, Scenario
from lindyn.theory.cosine import noisy_decay


Row = tuple[str, float | None, str]  # name, number, meaning
READ = {"coupled": "coupled", "decoupled": "decoupled", "wd_a_step": "wd itself is the step"}
FATES = {DIES: "dies", LIVES: "survives"}
WHY = {
    "stop_gradient": "what the encoder aims at must not follow it",
    "predictor": "without one, outputs gain by being all alike",
    "lr": "or less",
    "wd": "or less",
    "wd_s": "or less",
    "wd_p": "the predictor's too",
    "predictor_lr": "or more: modes whose p starts low have the time to rise",
    "ema": "or less: the target follows in time",
    "eps": "every mode has at least this p",
}


def why(case: Scenario, found: Mapping[str, Any]) -> str:
    """The reason for the verdict. `found` is the result of `analysis.answer`."""
    trial, start = found["trial"], found["start"]
    if trial is None:
        return _of_rate(case) if case.squared else _of_agreement(case)
    if start and case.edge < math.inf:
        fate = FATES.get(start["fate"], "is at the edge")
        return (
            f"the mode from p = {start['p']:.3g}, s = {start['s']:.3g} {fate};"
            f" {_part(case.part)}"
        )
    left = _left(trial)
    if found["verdict"] == DIVERGES:
        return _of_divergence(case, found)
    if found["verdict"] == NOISE:
        samples = found["memory"] * case.settings["batch"]
        return (
            f"decay makes weights forget in {found['memory']:.3g} steps, {samples:.3g} samples,"
            f" and prediction and target agree to {trial['agreement']:.0%} of what they could"
            f"{_of_noise(case)}"
        )
    if not case.squared:
        return f"{left}; {_of_cosine(case, found)}"
    if case.settings["predictor"] == "optimal":
        return f"{left}; the least-squares predictor leaves no gradient but noise's"
    if case.frozen and case.trained:
        return f"{left}; the encoder decays and the predictor does not: p rests, and s dies"
    if case.part > 1:
        return f"{left}; {_part(case.part)}, so zero is the only fixed point"
    return f"{left}; {_part(case.part) if case.trained else _of_closed_form(case)}"


def _of_noise(case):
    settings = case.settings
    if case.squared or settings["optimiser"] != "sgd" or settings["target"] != "ema":
        return ""
    decay = case.params.eta_s * case.step
    limit = noisy_decay(settings["inputs"], settings["batch"], settings["sigma2"])
    if decay < limit:
        return "; steps overshoot, as lr wd is large"
    return (
        f"; noise of {settings['batch']} samples does that from wd lr/(1 - momentum) ="
        f" {limit:.2g} on, and it is {decay:.2g}"
    )


def _left(trial):
    low, high = trial["ranks"]
    between = f"{low}" if low == high else f"{low} to {high}"
    return f"{between} of {trial['modes']} modes live after {trial['steps']} steps"


def _of_cosine(case, found):
    if found["verdict"] == DIES:
        return "nothing is left that a step can change"
    if found["verdict"] == LIVES:
        return "a cosine leaves the scale free, so that decay kills no mode"
    return "modes with p below zero, or far above the others', lose to these"


def _of_agreement(case):
    if case.settings["sigma2"] == 0:
        return "views do not differ, and every output agrees with itself"
    lacking = "a stop-gradient" if case.through_target else "a predictor"
    return (
        f"without {lacking} a cosine is largest for outputs that views do not change, a"
        " constant above all, and these outgrow the rest"
    )


def _of_divergence(case, found):
    rate = found["diverges_from_lr"]
    if rate is None:
        return "outputs grow without end, and not for the length of the steps alone"
    if not case.squared:
        return f"from --lr {rate:.2g} on, decay takes more in a step than is there"
    steady = found["stable_up_to_lr"]
    at_goal = f", and at the goal below {steady:.2g}" if steady else ""
    return f"steps overshoot: from usual starts they are stable below --lr {rate:.2g}{at_goal}"


def change(case: Scenario, changes: Mapping[str, Any]) -> dict[str, Any]:
    """A suggestion as flags of the command, with its reason."""
    flags = []
    for name, value in changes.items():
        flags.append(f"--{name.replace('_', '-')}")
        if value is not True:
            flags.append(value if isinstance(value, str) else f"{value:g}")
    reasons = [WHY[name] for name in changes]
    if {"wd", "wd_s"} & {*changes} and case.squared:
        reasons[-1] += f": {_part(case.but(**changes).part)}"
    return {"flags": flags, "why": "; ".join(dict.fromkeys(reasons))}


def rows(case: Scenario, found: Mapping[str, Any]) -> Iterator[Row]:
    """The rows of the table: the numbers behind the verdict, with their meaning."""
    params, settings, trial = case.params, case.settings, found["trial"]
    if trial:
        low, high = trial["ranks"]
        of = f"of {trial['modes']}, the median of {STARTS} usual starts ({low} to {high})"
        yield "modes left", trial["rank"], f"{of} after {trial['steps']} steps"
        yield "agreement", trial["agreement"], "of prediction and target, over what could be"
    if found["diverges_from_lr"] is not None:
        yield "diverges", found["diverges_from_lr"], "from this --lr on, all else the same"
    if found["stable_up_to_lr"] is not None:
        yield "stable", found["stable_up_to_lr"], "below this --lr, at the goal"
    yield "time of a step", case.step, f"kappa lr/(1 - momentum), with kappa = {case.kappa:g}"
    if case.trained:
        yield "alpha_p", params.alpha_p, "the predictor's learning rate over the encoder's"
    of = f"weight decay of the encoder; {params.eta_p:.4g} of Wp" if _split(case) else ""
    yield "eta", params.eta_s, of or "weight decay"
    others = found["eta_if_the_decay_is"].items()
    yield "", None, "; ".join(f"{value:.3g} if {READ[how]}" for how, value in others)
    if math.isfinite(found["memory"]):
        yield "memory", found["memory"], "steps in which decay takes weights down by e"
    if case.squared:
        yield "critical decay", found["critical_decay"], "beyond it every mode dies"
    if settings["target"] == "ema":
        slow = ", slower than the decay" if params.beta <= params.eta_s else ""
        steps = f"{1 / (1 - settings['ema']):.3g} steps"
        yield "beta", params.beta, f"rate of the target: it follows in {steps}{slow}"
    if found["rate_of_collapse"] is not None:
        yield "rate", case.rate, "at which W shrinks, at least"
    elif found["goal"] is not None and not math.isnan(found["goal"]):
        of = "s" if not case.trained else "p" if _split(case) else "p on s = p^2/alpha_p"
        yield "edge", found["edge"], f"of {of}: from below it a mode dies"
        yield "goal", found["goal"], "of p: where a mode ends that lives"
    if found["box"]:
        yield from _of_modes(found, settings["alpha_p"] * settings["lr"])


def _of_modes(found, rate) -> Iterator[Row]:
    box, start, aligned, escape = (found[x] for x in ("box", "start", "alignment", "escape"))
    where = f"|p| <= {box['p'][1]:.3g}, s <= {box['s'][1]:.3g}, tau = {box['tau']:g} at first"
    unclear = f" ({box['undecided']} undecided)" * bool(box["undecided"])
    yield "share that dies", box["share"], f"of the box of starts {where}{unclear}"
    yield "of usual starts", box["usual_share"], f"those with p above {box['usual_p']:.2g}"
    if start and start["edge_p"] is not None:
        yield "distance", start["away"], f"from the edge at this s, p = {start['edge_p']:.4g}"
    need = "Wp and F align all along s = p^2/alpha_p (Theorem 3)"
    if aligned["least_K"] < 0:
        need = f"Wp and F may turn apart near p = {aligned['at_p']:.3g}; not from eta ="
        need += f" {aligned['eta_from']:.3g} on, nor while s > {aligned['s_from']:.3g}"
    yield "least K", aligned["least_K"], need
    if (aligned["predictor_lr_from"] or 0) > rate:
        least = f"{aligned['predictor_lr_from']:.3g}"
        yield "", None, f"K > 0 at this start from --predictor-lr {least} on"
    if escape:
        late = {None: "", True: ", within the run", False: "; the run is too short"}
        way = f"from p = {escape['p']:.3g} to half of the goal"
        yield "steps to grow", escape["steps"], way + late[escape["in_the_run"]]


def _of_rate(case):
    why = "without a stop-gradient (Theorem 2) W shrinks"
    if not case.through_target:
        why = "without a predictor W shrinks"
    if case.rate == 0:
        return f"{why} by weight decay and augmentation alone, and here is neither"
    steps = math.log(2) / (case.rate * case.step)
    return f"{why} from any start, to a half in about {steps:.3g} steps"


def _of_closed_form(case):
    (low, high), zero = case.roots, f"p(0) = {float(case.rule(0.0)):.3g}"
    if case.edge == 0:
        return f"{zero} is between p-* = {low:.3g} and p+* = {high:.3g}: no mode stays at s = 0"
    if case.edge < math.inf:
        return f"{zero} is not above p-* = {low:.3g}: modes from s below {case.edge:.3g} die"
    return f"{zero} is not below p+* = {high:.3g}: every mode shrinks"


def _part(part):
    return f"eta is {100 * part:.3g} % of the critical decay"


def _split(case):
    return case.params.eta_p != case.params.eta_s

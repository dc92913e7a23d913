"""The predict command's answer, in words."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from lindyn.outlook import DIES, LIVES, Case


Row = tuple[str, float | None, str]  # name, number, meaning
READ = {"coupled": "coupled", "decoupled": "decoupled", "wd_a_step": "wd itself is the step"}
FATES = {DIES: "dies", LIVES: "survives"}
WHY = {
    "stop_gradient": "what the encoder aims at must not follow it",
    "predictor": "only with a predictor do modes grow",
    "wd": "or less",
    "wd_s": "or less",
    "wd_p": "the predictor's too",
    "predictor_lr": "or more",
    "ema": "or less: the target follows in time",
    "eps": "which is between p-* and p+*",
}


def why(case: Case, found: Mapping[str, Any]) -> str:
    """The verdict's reason."""
    if case.rate is not None:
        return _of_rate(case)
    part = _part(case.part)
    if case.part > 1:
        return f"{part}, so zero is the only fixed point"
    if not case.trained:
        return _of_closed_form(case)
    if case.frozen:
        return "the encoder decays and the predictor does not: p comes to rest, and s dies"
    box, start = found["box"], found["start"]
    if start:
        fate = FATES.get(start["fate"], "is at the edge")
        return f"the mode from p = {start['p']:.3g}, s = {start['s']:.3g} {fate}; {part}"
    if box["share"] == 1:
        return f"every start in the box dies, though {part}"
    if box["usual_share"] > 0:
        usual = f"starts with p above {box['usual_p']:.2g}"
        return f"{box['usual_share']:.0%} of the {usual} die; {part}"
    if math.isnan(box["usual_share"]):
        return f"the solves are too long to tell; {part}"
    usual = f"modes that start with p above {box['usual_p']:.2g}"
    return f"{part}; {usual} come to p = {case.roots[1]:.3g}"


def change(case: Case, changes: Mapping[str, Any]) -> dict[str, Any]:
    """A suggestion as flags, and why."""
    flags = []
    for name, value in changes.items():
        flags.append(f"--{name.replace('_', '-')}")
        if value is not True:
            flags.append(f"{value:g}" if isinstance(value, float) else value)
    said = [WHY[name] for name in changes]
    if {"wd", "wd_s"} & {*changes}:
        said[-1] += f": {_part(case.but(**changes).part)}"
    return {"flags": flags, "why": "; ".join(said)}


def rows(case: Case, found: Mapping[str, Any]) -> Iterator[Row]:
    """What the verdict comes from."""
    params, told = case.params, case.told
    yield "time of a step", case.step, f"kappa lr/(1 - momentum), with kappa = {case.kappa:g}"
    if case.trained:
        yield "alpha_p", params.alpha_p, "the predictor's learning rate over the encoder's"
    of = f"weight decay of the encoder; {params.eta_p:.4g} of Wp" if _split(case) else ""
    yield "eta", params.eta_s, of or "weight decay"
    others = found["eta_if_the_decay_is"].items()
    yield "", None, "; ".join(f"{value:.3g} if {READ[how]}" for how, value in others)
    yield "critical decay", found["critical_decay"], "beyond it every mode dies"
    if told["target"] == "ema":
        slow = ", slower than the decay" if params.beta <= params.eta_s else ""
        steps = f"{1 / (1 - told['ema']):.3g} steps"
        yield "beta", params.beta, f"rate of the target: it follows in {steps}{slow}"
    if case.rate is not None:
        yield "rate", case.rate, "at which W shrinks, at least"
    elif not math.isnan(found["goal"]):
        of = "s" if not case.trained else "p" if _split(case) else "p on s = p^2/alpha_p"
        yield "edge", found["edge"], f"of {of}: from below it a mode dies"
        yield "goal", found["goal"], "of p: where a mode ends that lives"
    if case.trained:
        yield from _of_modes(found, told["predictor_lr"] or told["lr"])


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
        why = {
            "none": "without a predictor W shrinks",
            "optimal": "the least-squares predictor leaves no gradient, and W shrinks",
        }[case.told["predictor"]]
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

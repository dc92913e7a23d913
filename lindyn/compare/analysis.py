"""All that the theory says of a run, and of what it says nothing."""

from typing import NamedTuple

import numpy as np

from lindyn.command import UsageError
from lindyn.compare import alignment, balance, collapse, forecast, invariance, run_moments
from lindyn.compare.alignment import Alignment
from lindyn.compare.balance import Balance
from lindyn.compare.collapse import Fate
from lindyn.compare.forecast import Forecast, ModeSeries
from lindyn.compare.invariance import Invariance
from lindyn.compare.run_moments import RunMoments
from lindyn.record.reading import Run
from lindyn.theory import predictors
from lindyn.theory.hyperparameters import Units, units


CLOSED = ("directpred", "directset", "directcopy")
FEWEST = 4  # records of which anything is said


class Analysis(NamedTuple):
    """None where the theory says nothing of such a run; `silent` says why."""

    run: Run
    units: Units
    measured: RunMoments
    first: int  # record where laws and forecasts begin
    invariance: Invariance | None
    balance: Balance | None
    alignment: Alignment | None
    seen: ModeSeries | None
    given: Forecast | None  # what the record and the set-up give
    fitted: Forecast | None
    whole: Forecast | None  # given, from the first record of all
    fate: Fate | None
    silent: dict[str, str]


def analyse(run: Run, first: int) -> Analysis:
    """All that can be said of a run, from its record `first` on."""
    quiet = silent(run)
    unit, m = measured(run)
    ask = lambda name, answer: None if name in quiet else answer()
    seen = given = fitted = whole = outcome = None
    if "trajectories" not in quiet:
        rule = _rule(run.config)
        seen = forecast.observed(m, first)
        window = (len(seen.t) + 1) // 2
        given, fitted = forecast.forecast(seen, unit, m.scales(first), window=window, rule=rule)
        start = forecast.observed(m, 0)
        whole = forecast.given(start, unit, m.scales(0), rule=rule)
        if rule is None:
            outcome = collapse.fate(seen, unit, m.scales(first), float(m.tau[first]))
    return Analysis(
        run=run,
        units=unit,
        measured=m,
        first=first,
        invariance=ask(
            "invariance", lambda: invariance.invariance(m.at(slice(first, None)), unit)
        ),
        balance=ask("balance", lambda: balance.balance(m, unit, first)),
        alignment=ask("alignment", lambda: alignment.alignment(m, unit)),
        seen=seen,
        given=given,
        fitted=fitted,
        whole=whole,
        fate=outcome,
        silent=quiet,
    )


def measured(run: Run) -> tuple[Units, RunMoments]:
    """A run in the theory's terms. `UsageError` if it holds anything that is not finite."""
    unit = units(run.config)
    m = run_moments.measured(run, unit)
    if not all(x is None or np.isfinite(x).all() for x in m):
        raise UsageError(f"{run.path}: its records are not finite")
    return unit, m


def begin(run: Run) -> int:
    """The record from which laws are asked by default: a tenth of the run has gone by."""
    first = int(np.searchsorted(run.epoch, 0.1 * float(run.epoch[-1])))
    return max(0, min(first, len(run.step) - FEWEST))


def silent(run: Run) -> dict[str, str]:
    """By answer, why the theory does not give it."""
    config, reasons = run.config, {}
    predictor = config["predictor"]
    everything = ("invariance", "balance", "identity", "alignment", "trajectories", "plane")
    if config["method"] != "byol":
        return dict.fromkeys(everything, "negative pairs; there is no predictor")
    if len(run.step) < FEWEST:
        return dict.fromkeys(everything, f"fewer than {FEWEST} records")
    law = "" if config["stop_gradient"] else "Theorem 1 needs the stop-gradient"
    if predictor in (*CLOSED, "optimal"):
        law = "Theorem 1 is of a predictor that is trained"
        reasons["alignment"] = "Theorem 3 is of a predictor that is trained"
    elif predictor == "none":
        law = reasons["alignment"] = "there is no predictor"
    if law:
        reasons |= dict(invariance=law, balance=law, identity=law)
    else:
        reasons |= _law(run)
    if not config["stop_gradient"]:
        reasons["alignment"] = "Theorem 3 needs the stop-gradient"
        reasons["trajectories"] = "without stop-gradient, Theorem 2: all decays"
    elif predictor in ("none", "two-layer", "optimal"):
        reasons["trajectories"] = f"no mode equations for the predictor {predictor}"
    if "trajectories" in reasons:
        reasons["plane"] = reasons["trajectories"]
    elif predictor in CLOSED:
        reasons["plane"] = "p is a function of s: the flow is on a line"
    return reasons


def _law(run):
    """What is not given of Theorem 1 where it holds."""
    config, reasons = run.config, {}
    if config["predictor"] == "two-layer":
        reasons["invariance"] = "the invariance is of a predictor that is one matrix"
        if "balance_first" not in run.arrays:
            reasons["balance"] = "the predictor's first layer is not recorded"
    elif units(config).eta is None:
        reasons["invariance"] = "the invariance needs one weight decay for both networks"
    if config["optimiser"] != "sgd":
        reasons["identity"] = "Theorem 1 for steps is of SGD"
    elif "balance_steps" not in run.arrays:
        reasons["identity"] = "an older version of lindyn did not enter the steps"
    return reasons


def _rule(config):
    if config["predictor"] not in CLOSED:
        return None
    names = ("a", "eps", "c", "normalisation")
    return predictors.on_eigenvalues(
        config["predictor"], **{name: config[name] for name in names}
    )

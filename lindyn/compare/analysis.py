"""Runs every check on a run, and lists those that do not apply to it, with the reason."""

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
from lindyn.theory.hyperparameters import GAINS, Units, units


CLOSED = ("directpred", "directset", "directcopy")  # predictors in closed form
FEWEST = 4  # records that a run must have for any check


class Analysis(NamedTuple):
    """The results of all checks. Those that do not apply are None; `silent` says why."""

    run: Run
    units: Units
    measured: RunMoments
    first: int  # index of the record where laws and forecasts start
    invariance: Invariance | None
    balance: Balance | None
    alignment: Alignment | None
    seen: ModeSeries | None  # the measured modes, from record `first` on
    given: Forecast | None  # with parameters from that record and the configuration
    fitted: Forecast | None  # with factors that are fitted to the first half of `seen`
    whole: Forecast | None  # as `given`, but from the first record of the run
    fate: Fate | None
    silent: dict[str, str]  # the reason, by the name of a check that does not apply


def analyse(run: Run, first: int) -> Analysis:
    """Run all checks that apply to a run; laws and forecasts start at its record `first`.

    `UsageError` if a record is not finite.
    """
    reasons = silent(run)
    unit, m = measured(run)
    result = lambda name, check: None if name in reasons else check()
    seen = given = fitted = whole = outcome = None
    if "trajectories" not in reasons:
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
        invariance=result(
            "invariance", lambda: invariance.invariance(m.at(slice(first, None)), unit)
        ),
        balance=result("balance", lambda: balance.balance(m, unit, first)),
        alignment=result("alignment", lambda: alignment.alignment(m, unit)),
        seen=seen,
        given=given,
        fitted=fitted,
        whole=whole,
        fate=outcome,
        silent=reasons,
    )


def measured(run: Run) -> tuple[Units, RunMoments]:
    """The units of a run, and its matrices in the units of the theory.

    `UsageError` if a record is not finite.
    """
    unit = units(run.config)
    m = run_moments.measured(run, unit)
    if not all(x is None or np.isfinite(x).all() for x in m):
        raise UsageError(f"{run.path}: its records are not finite")
    return unit, m


def begin(run: Run) -> int:
    """The default record at which laws and forecasts start: after a tenth of the run.

    It is earlier if fewer than `FEWEST` records would be left from there on.
    """
    first = int(np.searchsorted(run.epoch, 0.1 * float(run.epoch[-1])))
    return max(0, min(first, len(run.step) - FEWEST))


def silent(run: Run) -> dict[str, str]:
    """The checks that do not apply to a run: the reason, by the name of the check."""
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
    if config["loss"] not in GAINS:
        known = " and ".join(GAINS)
        reasons["alignment"] = f"Theorem 3 is of the losses {known}"
        reasons["trajectories"] = f"the mode equations are of the losses {known}"
    if "trajectories" in reasons:
        reasons["plane"] = reasons["trajectories"]
    elif predictor in CLOSED:
        reasons["plane"] = "p is a function of s: the flow is on a line"
    return reasons


def _law(run):
    """The checks of Theorem 1 that do not apply although the theorem holds, with reasons."""
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

"""A run of the trainer against the theory: five answers, a figure, and their numbers."""

import dataclasses
import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Annotated, Any, Literal, NamedTuple, get_args

import numpy as np
import tyro

from lindyn import chunks, command, fate, forecast, laws, predictors
from lindyn.command import UsageError, number
from lindyn.fate import Fate
from lindyn.forecast import FREE, Forecast, Observed
from lindyn.laws import Alignment, Balance, Invariance, Measured
from lindyn.runs import Run, load_run
from lindyn.units import Units, units


Format = Literal["png", "svg", "pdf", "json"]
CLOSED = ("directpred", "directset", "directcopy")
FEWEST = 4  # records of which anything is said


@dataclasses.dataclass(frozen=True)
class Config:
    """Compares a run folder of lindyn train, finished or not, with the theory.

    Invariance, balance, alignment, trajectories, fate: a figure, a table, JSON and npz.
    """

    run: Annotated[pathlib.Path, tyro.conf.Positional]
    """The run folder."""
    epoch: float | None = None
    """Where laws and forecasts begin; a tenth of the run by default."""
    format: tuple[Format, ...] = ()
    """The suffix of --out, or png; and JSON and npz."""
    out: pathlib.Path = pathlib.Path("lindyn-out")
    """A folder, or a file with a suffix."""
    json: bool = False
    """One JSON object on stdout."""


class Answers(NamedTuple):
    """None where the theory says nothing of such a run; `silent` says why."""

    run: Run
    units: Units
    measured: Measured
    first: int  # record where laws and forecasts begin
    invariance: Invariance | None
    balance: Balance | None
    alignment: Alignment | None
    seen: Observed | None
    given: Forecast | None  # what the record and the set-up give
    fitted: Forecast | None
    whole: Forecast | None  # given, from the first record of all
    fate: Fate | None
    silent: dict[str, str]


def main(argv: list[str] | None = None) -> int:
    return command.run("compare", Config, _main, argv)


def _main(config: Config) -> int:
    run = load_run(config.run)
    first = _first(config, run)
    stem = f"compare-{run.path.resolve().name}"
    files = command.targets(config.out, stem, config.format, get_args(Format))
    command.start()
    with ThreadPoolExecutor(1) as meanwhile:  # matplotlib loads while XLA compiles
        plotting = meanwhile.submit(import_module, "lindyn.plot_run")
        found = answers(run, first)
    told = _told(found)
    about = command.provenance("compare", config)
    _write(plotting.result(), found, told, about, files)
    if config.json:
        print(command.as_json({**about, **told, "files": list(files.values())}))
    else:
        _show(told)
        for path in files.values():
            print(path)
    return command.DONE


def _first(config, run):
    last = float(run.epoch[-1])
    if config.epoch is None:
        first = int(np.searchsorted(run.epoch, 0.1 * last))
        return max(0, min(first, len(run.step) - FEWEST))
    number("--epoch", config.epoch, 0, last)
    first = int(np.searchsorted(run.epoch, config.epoch))
    if len(run.step) - first < FEWEST:
        raise UsageError(f"--epoch {config.epoch:g}: fewer than {FEWEST} records follow")
    return first


def answers(run: Run, first: int) -> Answers:
    """All that can be said of a run, from its record `first` on."""
    unit, quiet = units(run.config), silent(run)
    m = laws.measured(run, unit)
    if not all(np.isfinite(x).all() for x in m):
        raise UsageError(f"{run.path}: its records are not finite")
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
            outcome = fate.fate(seen, unit, m.scales(first), float(m.tau[first]))
    return Answers(
        run=run,
        units=unit,
        measured=m,
        first=first,
        invariance=ask("invariance", lambda: laws.invariance(m.at(slice(first, None)), unit)),
        balance=ask("balance", lambda: laws.balance(m, unit, first)),
        alignment=ask("alignment", lambda: laws.alignment(m, unit)),
        seen=seen,
        given=given,
        fitted=fitted,
        whole=whole,
        fate=outcome,
        silent=quiet,
    )


def silent(run: Run) -> dict[str, str]:
    """By answer, why the theory does not give it."""
    config, reasons = run.config, {}
    predictor = config["predictor"]
    everything = ("invariance", "balance", "alignment", "trajectories", "plane")
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
    elif predictor == "two-layer":
        law = "Theorem 1 is of a predictor that is one matrix"
    elif units(config).eta is None:
        law = "Theorem 1 needs one weight decay for both networks"
    if law:
        reasons |= dict(invariance=law, balance=law)
    if not config["stop_gradient"]:
        reasons["trajectories"] = "without stop-gradient, Theorem 2: all decays"
    elif predictor in ("none", "two-layer", "optimal"):
        reasons["trajectories"] = f"no mode equations for the predictor {predictor}"
    if "trajectories" in reasons:
        reasons["plane"] = reasons["trajectories"]
    elif predictor in CLOSED:
        reasons["plane"] = "p is a function of s: the flow is on a line"
    return reasons


def _rule(config):
    if config["predictor"] not in CLOSED:
        return None
    names = ("a", "eps", "c", "normalisation")
    return predictors.on_eigenvalues(
        config["predictor"], **{name: config[name] for name in names}
    )


def _told(found: Answers) -> dict[str, Any]:
    """What JSON holds and the table shows."""
    run, unit = found.run, found.units
    told: dict[str, Any] = {
        "run": run.path.name,
        "records": len(run.step),
        "from_epoch": float(run.epoch[found.first]),
        "epochs": float(run.epoch[-1]),
        "units": {
            "step": unit.step,
            "alpha_p": unit.alpha_p,
            "beta": unit.beta,
            "eta_p": unit.eta_p,
            "eta_s": unit.eta_s,
            "notes": unit.notes,
            "beyond": unit.beyond,
        },
        "silent": found.silent,
    }
    if found.invariance is not None:
        told["invariance"] = {"expected": found.invariance.expected} | {
            name: _fit(found, getattr(found.invariance, name))
            for name in ("features", "weights")
        }
    if (b := found.balance) is not None:
        told["balance"] = {
            "rate": b.rate,
            "expected_rate": b.expected,
            "largest_residual": float(b.residual[found.first :].max()),
            "norm_before": float(b.norm[0]),
            "norm_at_end": float(b.norm[-1]),
            "predicted_at_end": float(b.predicted[-1]),
        }
    if (al := found.alignment) is not None:
        names = ("holds_and_falls", "holds_and_rises", "fails_and_falls", "fails_and_rises")
        told["alignment"] = {
            "mean_cosine": float(al.cosine[-1].mean()),
            "asymmetry": float(al.asymmetry[-1]),
            "relative_commutator": [float(al.relative[0]), float(al.relative[-1])],
            "least_eigenvalue_of_K": [float(al.least.min()), float(al.least[-1])],
            "intervals": dict(zip(names, al.counts, strict=True)),
            "log_over_bound": laws.over_bound(al),
        }
    if found.seen is not None:
        told["trajectories"] = _trajectories(found)
    told["fate"] = _fate(found)
    return told


def _fit(found, fit):
    record, mode = fit.worst
    return {
        "a": fit.a,
        "error": fit.error,
        "r2": fit.r2,
        "largest_residual": float(np.abs(fit.residual).max()),
        "at_epoch": float(found.run.epoch[found.first + record]),
        "of_mode": mode,
    }


def _trajectories(found):
    assert found.seen is not None and found.fitted is not None
    window = found.first + (len(found.seen.t) + 1) // 2
    told: dict[str, Any] = {
        "judged_from_epoch": float(found.run.epoch[min(window, len(found.run.step) - 1)]),
        "modes": found.seen.p.shape[1],
        "factors": dict(zip(FREE, found.fitted.factors.tolist(), strict=True)),
    }
    for name in ("given", "fitted"):
        told[name] = {"error_p": getattr(found, name).error_p}
        told[name]["error_s"] = getattr(found, name).error_s
    told["constant"] = {"error_p": found.fitted.naive_p, "error_s": found.fitted.naive_s}
    return told


def _fate(found):
    config, last = found.run.config, found.run.metrics[-1]
    told: dict[str, Any] = {
        "observed": {name: last.get(name) for name in ("verdict", "rank", "of")}
    }
    if not config["stop_gradient"] or config["predictor"] == "none":
        told["predicted"] = "collapse: Theorem 2, whatever the start"
    elif found.whole is not None:
        rank, of = fate.predicted_rank(found.whole), found.whole.s.shape[1]
        told["predicted"] = "no collapse" if 2 * rank >= of else "collapse"
        told["predicted_rank"] = [rank, of]
    if (f := found.fate) is not None:
        told |= {
            "at_epoch": float(found.run.epoch[found.first]),
            "eta": f.params.eta_s,
            "critical_decay": f.critical,
            "edge": f.edge,
            "goal": f.goal,
            "tau": f.params.tau,
            "alpha_p": f.params.alpha_p,
            "sigma2": f.params.sigma2,
            "kappa": f.kappa,
            "doomed": int(f.doomed.sum()),
            "modes": len(f.doomed),
            "nearest_to_separatrix": float(f.distance[np.argmin(np.abs(f.distance))]),
        }
    return told


def _write(plot, found, told, about, files):
    pictures = {suffix: path for suffix, path in files.items() if suffix != "json"}
    if pictures:
        fig = plot.figure(found, f"{found.run.path.resolve().name}", "; ".join(_note(told)))
        for path in pictures.values():
            plot.save(fig, path, about)
    stem = next(iter(files.values()))
    files.setdefault("json", stem.with_suffix(".json")).write_text(
        command.as_json({**about, **told}) + "\n"
    )
    files["npz"] = stem.with_suffix(".npz")
    chunks.save(files["npz"], record(found))


def record(found: Answers) -> dict[str, np.ndarray]:
    """What the figure is drawn from, as arrays: a run as small as it can be kept."""
    arrays = {"step": found.run.step, "epoch": found.run.epoch, "t": found.measured.t}
    for name in ("invariance", "balance", "alignment", "seen", "given", "fitted", "whole"):
        answer = getattr(found, name)
        parts = {} if answer is None else answer._asdict()
        for kind in [part for part in parts if isinstance(parts[part], laws.Fit)]:
            parts |= {f"{kind}_{key}": x for key, x in parts.pop(kind)._asdict().items()}
        arrays |= {f"{name}_{key}": np.asarray(x) for key, x in parts.items()}
    own = ("s", "p", "alignment", "asymmetry")  # in the basis of each record's own F
    arrays |= {f"own_{name}": found.run.arrays[name] for name in own}
    judged = found.run.evaluation
    for name in ("epoch", "knn", "knn_pixels", "linear_last", "linear_best"):
        values = np.array([entry[name] for entry in judged if name in entry])
        arrays[f"evaluation_{name}"] = values
    exact = lambda x: x.astype(np.float32) if x.dtype == np.float64 and x.ndim > 1 else x
    return {name: exact(x) for name, x in arrays.items()}


def _note(told):
    unit = told["units"]
    beta = f"{unit['beta']:.3g}" if np.isfinite(unit["beta"]) else r"\infty"
    yield rf"$\alpha_p = {unit['alpha_p']:.3g}$, $\beta = {beta}$"
    yield rf"$\eta_p = {unit['eta_p']:.3g}$, $\eta_s = {unit['eta_s']:.3g}$"
    yield rf"a step is {unit['step']:.3g} of time"


def _show(told):
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    for note in (*told["units"]["notes"], *told["units"]["beyond"]):
        console.print(f"  {note}", style="dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    for name, line in _lines(told):
        table.add_row(name, line)
    for name, reason in told["silent"].items():
        table.add_row(name, f"not said: {reason}")
    console.print(f"from epoch {told['from_epoch']:.3g} on")
    console.print(table)


def _lines(told):
    for name, source in (("features", "s of W X W^T"), ("weights", "s of W W^T")):
        if "invariance" in told:
            fit, expected = told["invariance"][name], told["invariance"]["expected"]
            yield (
                f"invariance, {source}",
                f"s = a p^2 + c_j e^(-2 eta t): a = {fit['a']:.4g} +- {fit['error']:.2g},"
                f" 1/alpha_p = {expected:.4g}, R^2 = {fit['r2']:.4f}; worst at epoch"
                f" {fit['at_epoch']:.3g}",
            )
    if (b := told.get("balance")) is not None:
        yield (
            "balance",
            f"|B| decays at {b['rate']:.3g}, 2 eta = {b['expected_rate']:.3g}; largest"
            f" residual {b['largest_residual']:.2g} of |B|; before, |B| was"
            f" {b['norm_before']:.2g} of that",
        )
    if (al := told.get("alignment")) is not None:
        n = al["intervals"]
        yield (
            "alignment",
            f"mean cosine {al['mean_cosine']:.3f}, asymmetry {al['asymmetry']:.2g}; of"
            f" {sum(n.values())} intervals K > 0 in"
            f" {n['holds_and_falls'] + n['holds_and_rises']}, and the commutator falls in"
            f" {n['holds_and_falls']} of those and {n['fails_and_falls']} of the others",
        )
    if (t := told.get("trajectories")) is not None:
        for key in ("error_p", "error_s"):
            yield (
                f"trajectories, {key[-1]}",
                f"error {t['given'][key]:.3g} given, {t['fitted'][key]:.3g} fitted,"
                f" {t['constant'][key]:.3g} if nothing changed",
            )
    f = told["fate"]
    seen = f["observed"]
    line = f"observed: {seen['verdict']}, rank {seen['rank']} of {seen['of']}"
    if "predicted" in f:
        rank = " (rank {} of {})".format(*f["predicted_rank"]) if "predicted_rank" in f else ""
        line += f"; predicted at the start: {f['predicted']}{rank}"
    yield "fate", line
    if "critical_decay" in f:
        yield (
            f"plane at epoch {f['at_epoch']:.3g}",
            f"eta = {f['eta']:.3g} of a critical {f['critical_decay']:.3g}; edge"
            f" p = {f['edge']:.3g}, goal {f['goal']:.3g}; {f['doomed']} of {f['modes']} modes"
            f" on the side that collapses, the nearest {abs(f['nearest_to_separatrix']):.2g}"
            " goals from the separatrix",
        )


if __name__ == "__main__":
    command.leave(main())

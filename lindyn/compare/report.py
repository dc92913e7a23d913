"""The results of an analysis: as numbers for JSON, as rows of a table, and as arrays.

Read `analysis` first.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lindyn.compare import alignment, collapse, invariance
from lindyn.compare.analysis import Analysis
from lindyn.compare.forecast import FREE
from lindyn.theory import hyperparameters


STIFF = "the equations are too stiff to solve"


def numbers(found: Analysis) -> dict[str, Any]:
    """The numbers of an analysis that JSON holds and the table shows."""
    run, unit = found.run, found.units
    summary: dict[str, Any] = {
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
            "notes": [*hyperparameters.notes(run.config)],
            "beyond": [*hyperparameters.beyond(run.config)],
        },
        "silent": found.silent,
    }
    if found.invariance is not None:
        summary["invariance"] = {"expected": found.invariance.expected} | {
            name: _fit(found, getattr(found.invariance, name))
            for name in ("features", "weights")
        }
    if (b := found.balance) is not None:
        summary["balance"] = {
            "rate": b.rate,
            "expected_rate": b.expected,
            "largest_residual": float(b.residual[found.first :].max()),
            "norm_before": float(b.norm[0]),
            "norm_at_end": float(b.norm[-1]),
            "predicted_at_end": float(b.predicted[-1]),
        }
        for name in ("averaged", "unexplained"):
            if (law := getattr(b, name)) is not None:
                first = found.first if name == "averaged" else 0
                summary["balance"][f"largest_{name}"] = float(law[first:].max())
    if (al := found.alignment) is not None:
        names = ("holds_and_falls", "holds_and_rises", "fails_and_falls", "fails_and_rises")
        summary["alignment"] = {
            "mean_cosine": float(al.cosine[-1].mean()),
            "asymmetry": float(al.asymmetry[-1]),
            "relative_commutator": [float(al.relative[0]), float(al.relative[-1])],
            "least_eigenvalue_of_K": [float(al.least.min()), float(al.least[-1])],
            "intervals": dict(zip(names, al.counts, strict=True)),
            "log_over_bound": alignment.over_bound(al),
        }
    if found.seen is not None:
        summary["trajectories"] = _trajectories(found)
    summary["fate"] = _fate(found)
    return summary


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
    summary: dict[str, Any] = {
        "judged_from_epoch": float(found.run.epoch[min(window, len(found.run.step) - 1)]),
        "modes": found.seen.p.shape[1],
        "factors": dict(zip(FREE, found.fitted.factors.tolist(), strict=True)),
    }
    for name in ("given", "fitted"):
        summary[name] = {"error_p": getattr(found, name).error_p}
        summary[name]["error_s"] = getattr(found, name).error_s
    summary["constant"] = {"error_p": found.fitted.naive_p, "error_s": found.fitted.naive_s}
    return summary


def _fate(found):
    config, last = found.run.config, found.run.metrics[-1]
    summary: dict[str, Any] = {
        "observed": {name: last.get(name) for name in ("verdict", "rank", "of")}
    }
    if not config["stop_gradient"] or config["predictor"] == "none":
        why = "onto what views do not change" if found.units.cosine else "Theorem 2"
        summary["predicted"] = f"collapse: {why}, whatever the start"
    elif found.whole is not None:
        rank, of = collapse.predicted_rank(found.whole), found.whole.s.shape[1]
        if rank is None:
            summary["predicted"] = f"nothing: {STIFF}"
        else:
            summary["predicted"] = "no collapse" if 2 * rank >= of else "collapse"
            summary["predicted_rank"] = [rank, of]
    if (f := found.fate) is not None:
        summary |= {
            "at_epoch": float(found.run.epoch[found.first]),
            "lengths_held": found.units.cosine,  # else a cosine has no critical decay
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
    return summary


def record(found: Analysis) -> dict[str, np.ndarray]:
    """The arrays from which the figure is drawn, for the npz file.

    To keep the file small, float64 arrays of more than one axis are stored as float32.
    """
    arrays = {"step": found.run.step, "epoch": found.run.epoch, "t": found.measured.t}
    for name in ("invariance", "balance", "alignment", "seen", "given", "fitted", "whole"):
        result = getattr(found, name)
        parts = {} if result is None else result._asdict()
        for kind in [part for part in parts if isinstance(parts[part], invariance.Fit)]:
            parts |= {f"{kind}_{key}": x for key, x in parts.pop(kind)._asdict().items()}
        present = {key: x for key, x in parts.items() if x is not None}
        arrays |= {f"{name}_{key}": np.asarray(x) for key, x in present.items()}
    own = ("s", "p", "alignment", "asymmetry")  # in the basis of each record's own F
    arrays |= {f"own_{name}": found.run.arrays[name] for name in own}
    evaluation = found.run.evaluation
    for name in ("epoch", "knn", "knn_pixels", "linear_last", "linear_best"):
        values = np.array([entry[name] for entry in evaluation if name in entry])
        arrays[f"evaluation_{name}"] = values
    shortened = lambda x: x.astype(np.float32) if x.dtype == np.float64 and x.ndim > 1 else x
    return {name: shortened(x) for name, x in arrays.items()}


def lines(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The rows of the table, as a name and a text."""
    for name, source in (("features", "s of W X W^T"), ("weights", "s of W W^T")):
        if "invariance" in summary:
            fit, expected = summary["invariance"][name], summary["invariance"]["expected"]
            yield (
                f"invariance, {source}",
                f"s = a p^2 + c_j e^(-2 eta t): a = {fit['a']:.4g} +- {fit['error']:.2g},"
                f" 1/alpha_p = {expected:.4g}, R^2 = {fit['r2']:.4f}; worst at epoch"
                f" {fit['at_epoch']:.3g}",
            )
    if (b := summary.get("balance")) is not None:
        expected = b["expected_rate"]
        one = "decays differ" if np.isnan(expected) else f"2 eta = {expected:.3g}"
        yield (
            "balance, flow",
            f"|B| decays at {b['rate']:.3g}, {one}; largest residual"
            f" {b['largest_residual']:.2g} of |B|; before, |B| was"
            f" {b['norm_before']:.2g} of that",
        )
        if "largest_averaged" in b:
            yield "balance, averaged", f"largest residual {b['largest_averaged']:.2g} of |B|"
            yield (
                "balance, steps",
                f"{b['largest_unexplained']:.2g} of |B| unexplained, from the first step on",
            )
    if (al := summary.get("alignment")) is not None:
        n = al["intervals"]
        yield (
            "alignment",
            f"mean cosine {al['mean_cosine']:.3f}, asymmetry {al['asymmetry']:.2g}; of"
            f" {sum(n.values())} intervals K > 0 in"
            f" {n['holds_and_falls'] + n['holds_and_rises']}, and the commutator falls in"
            f" {n['holds_and_falls']} of those and {n['fails_and_falls']} of the others",
        )
    if (t := summary.get("trajectories")) is not None:
        for key in ("error_p", "error_s"):
            given, fitted = (_error(t[name][key]) for name in ("given", "fitted"))
            yield (
                f"trajectories, {key[-1]}",
                f"error {given} given, {fitted} fitted,"
                f" {t['constant'][key]:.3g} if nothing changed",
            )
    f = summary["fate"]
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
            f" goals from the separatrix{'; the lengths of outputs held' * f['lengths_held']}",
        )


def _error(value):
    return f"{value:.3g}" if np.isfinite(value) else f"none ({STIFF})"

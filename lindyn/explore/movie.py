"""Reads a run folder of `lindyn.train` into plain data that the page can play as a movie."""

import math
import pathlib
from typing import Any

import jax
import numpy as np

from lindyn.command import UsageError
from lindyn.compare import analysis, collapse, forecast
from lindyn.record.reading import load_run
from lindyn.theory import hyperparameters


RECORDS, MODES = 400, 64  # largest numbers that the page shows
NAMES = ("alpha_p", "beta", "eta_p", "eta_s", "sigma2", "tau")
DIGITS = 6  # significant digits of each number
COSINE = (
    "the cosine is taken with its lengths of each moment: 1 + sigma2 holds E[f_a . Wp f] over"
    " E|Wp f|^2 as a factor, so that sigma2 may be negative"
)


def movie(path: pathlib.Path | str) -> dict[str, Any]:
    """A run of `python -m lindyn.train`, finished or not, as a dictionary for JSON.

    "p" and "s" are lists over records, and each entry is a list over modes. The modes are
    those of `lindyn.compare`, in the basis that F and Wp share after a tenth of the run.
    "params" holds the effective parameters of each record: (11)-(12) with these parameters
    describes the flow at that record. Its "beta" is None if the target is the online network.
    Raises `UsageError`, with the reason, if the run has no modes to show.
    """
    run = load_run(path)
    if reason := analysis.silent(run).get("trajectories"):
        raise UsageError(f"{run.path}: shows no modes: {reason}")
    unit, m = analysis.measured(run)
    with jax.enable_x64(True):
        basis_of = analysis.begin(run)
        seen = forecast.observed(m, 0, basis_of=basis_of)
    shown = [i for i in range(len(m.t)) if _has_scales(m, i, unit.cosine)]
    if len(shown) < analysis.FEWEST or not seen.p.shape[1]:
        raise UsageError(f"{run.path}: shows no modes: its outputs are zero")
    kept = [shown[i] for i in _evenly(len(shown))]
    left = len(m.t) - len(shown)
    m = m.at(kept)
    params = [collapse.held(unit, m.scales(i), float(m.tau[i]))[0] for i in range(len(kept))]
    notes = [
        f"modes are in the basis that F and Wp share at epoch {run.epoch[basis_of]:.3g}",
        *_left_out(seen.p.shape[1], left),
        *hyperparameters.notes(run.config),
        *[COSINE] * unit.cosine,
        *hyperparameters.beyond(run.config),
        *filter(None, [analysis.silent(run).get("plane")]),
    ]
    return {
        "name": run.path.resolve().name,
        "epochs": _plain(run.epoch[kept]),
        "steps": run.step[kept].tolist(),
        "p": _plain(seen.p[kept, :MODES]),
        "s": _plain(seen.s[kept, :MODES]),
        "tau": _plain(m.tau),
        "params": [{name: _plain(getattr(each, name)) for name in NAMES} for each in params],
        "notes": notes,
    }


def _evenly(count):
    return np.unique(np.linspace(0, count - 1, RECORDS).round().astype(int))


def _has_scales(m, index, cosine):
    """Whether the record has finite scales. It has none if the outputs are zero, or if the
    loss is a cosine and the target is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scales = m.scales(index)
    return bool(np.isfinite(scales).all()) and (scales.norms > 0 or not cosine)


def _left_out(modes, records):
    if modes > MODES:
        yield f"the {MODES} largest modes of {modes} are shown"
    if records:
        yield f"{records} records of outputs or a target that are zero are left out"


def _plain(x):
    """An array as nested lists of rounded numbers, with None for a number that is not
    finite."""
    if isinstance(x, np.ndarray | list):
        return [_plain(each) for each in x]
    return float(f"{x:.{DIGITS}g}") if math.isfinite(x) else None

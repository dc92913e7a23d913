"""A computed map with the curves over it, its report and its title. Read `boundaries` first."""

from typing import Any, NamedTuple

import numpy as np

from lindyn.sweep import boundaries
from lindyn.sweep.boundaries import Agreement, Closed
from lindyn.sweep.quantities import QUANTITIES
from lindyn.sweep.specification import Specification


FINE = 601  # points per axis of the grid on which curves are traced
COUNTS = {"diverged": "solves that diverge", "noise": "cells that noise rules"}
SYMBOLS = {
    "wd": r"\eta",
    "wd-p": r"\eta_p",
    "wd-s": r"\eta_s",
    "alpha-p": r"\alpha_p",
    "beta": r"\beta",
    "sigma2": r"\sigma^2",
    "tau": r"\tau",
    "p0": "p_0",
    "s0": "s_0",
    "lr": r"\mathrm{lr}",
    "momentum": "m",
    "ema": r"\gamma_a",
}


class Line(NamedTuple):
    """A curve: the zeros of `sign`, which has one row for each of `y`."""

    name: str
    x: np.ndarray
    y: np.ndarray
    sign: np.ndarray
    points: np.ndarray  # (many, 2): (x, y) where it passes between neighbouring cells


class ComputedMap(NamedTuple):
    """The values of a map, its closed form, and the curves to draw."""

    setting: Specification
    values: dict[str, np.ndarray]  # of `flow_maps.compute`, with a row for each value of y
    form: Closed | None
    agreement: Agreement | None  # of the map with its form, if the map says yes or no
    lines: list[Line]

    @property
    def label(self) -> str | None:
        """The label of the colour bar; None for a map of two colours."""
        return QUANTITIES[self.setting.quantity].label

    @property
    def x(self) -> np.ndarray:
        """The values along x."""
        return self.setting.x.at(np.arange(self.setting.x.count))

    @property
    def y(self) -> np.ndarray:
        """The values along y."""
        return self.setting.y.at(np.arange(self.setting.y.count))


def chart(setting: Specification, values: dict[str, np.ndarray]) -> ComputedMap:
    """The computed map; `values` are those of `flow_maps.compute` for all cells in order."""
    shape = setting.y.count, setting.x.count
    values = {name: x.reshape(shape) for name, x in values.items()}
    form, answers = boundaries.closed(setting), boundaries.as_yes_or_no(setting, values)
    if form is None:
        return ComputedMap(setting, values, None, None, [])
    compared = None
    if answers is not None and form.holds is not None:
        compared = boundaries.agreement(setting, form, answers)
    lines = [_line(setting, curve) for curve in form.curves]
    return ComputedMap(setting, values, form, compared, lines)


def _line(setting, curve):
    x, y = setting.x, setting.y
    j, i = np.indices((y.count, x.count)).astype(float)
    at_cells = boundaries.over(setting, curve.sign, i, j)
    i_zero, j_zero = boundaries.zeros(setting, curve.sign, at_cells).T
    points = np.stack([x.at(i_zero), y.at(j_zero)], axis=1)
    i, j = (np.linspace(0, axis.count - 1, FINE) for axis in (x, y))
    sign = boundaries.over(setting, curve.sign, *np.meshgrid(i, j))
    return Line(curve.name, x.at(i), y.at(j), sign, points[np.lexsort(points.T)])


def report(chart: ComputedMap) -> dict[str, Any]:
    """The report of a map as content for JSON, without the values of the cells."""
    setting, values = chart.setting, chart.values
    value = values["value"]
    known = np.isfinite(value)
    content = {
        "field": _field(setting),
        "fixed": dict(setting.fixed),
        "start": _start(setting),
        "time": setting.time,
        "solves": setting.cells * setting.starts,
        "least": float(np.min(value[known], initial=np.inf)),
        "greatest": float(np.max(value[known], initial=-np.inf)),
        "share": _share(setting.quantity, value, values["undecided"] + values["failed"]),
        "undecided": int(values["undecided"].sum()),
        "failed": int(values["failed"].sum()),
        **_of_steps(setting, values),
        "closed_form": None,
    }
    if chart.form is None:
        return content
    agreement = chart.agreement
    content["closed_form"] = {
        "says": chart.form.says,
        "distance_in_cells": agreement and agreement.cells,
        "distance_along_x": agreement and agreement.along_x,
        "cells_that_differ": agreement and agreement.differ,
        "curves": {
            line.name: [[float(f"{x:.6g}") for x in point] for point in line.points]
            for line in chart.lines
        },
    }
    return content


def _field(setting):
    if setting.trainer is not None:
        return "steps"
    return "modes" if setting.moving else "fixed-tau"


def _of_steps(setting, values):
    """For steps: the trainer's settings, and the numbers of diverged and noisy solves."""
    if setting.trainer is None:
        return {}
    counts = {name: int(values[name].sum()) for name in ("diverged", "noise") if name in values}
    return {"trainer": dict(setting.trainer), **counts}


def _share(quantity, value, open_):
    kind = QUANTITIES[quantity]
    # NaN is an answer where it counts as yes; elsewhere it is a cell without one.
    decided = open_ == 0 if kind.yes is np.isnan else np.isfinite(value)
    if kind.share is None or not decided.any():
        return None
    return float(np.mean(kind.counted(value)[decided]))


def _start(setting):
    over = "/(1 + sigma2)"
    goal = f"1{over}" if setting.moving else f"tau{over}"
    if setting.quantity == "basin":
        (low, high), (bottom, top) = setting.p_range, setting.s_range
        return (
            f"{setting.starts} at random in every cell, p from {low:g} to {high:g} p* and"
            f" s from {bottom:g} to {top:g} p*^2/alpha_p, p* = {goal}"
        )
    if setting.quantity == "rank":
        return f"{setting.starts} networks in every cell, as PyTorch's layers start"
    given = {setting.x.name, setting.y.name, *setting.fixed}
    p = (
        "p0"
        if "p0" in given
        else f"p0 = {setting.part:g}{over if setting.moving else f' {goal}'}"
    )
    return p + (", s0" if "s0" in given else ", s0 = p0^2/alpha_p")


def title(setting: Specification) -> str:
    """The title of the figure."""
    at = f"at $t = {setting.time:.4g}$"
    if setting.trainer is not None:
        at = f"after {setting.time:.0f} steps"
    words = QUANTITIES[setting.quantity].title
    if setting.trainer is not None and "{at}" not in words:
        words += ", {at}"
    return words.replace("{at}", at)


def note(setting: Specification) -> str:
    """The note of the figure: the fixed parameters and the initial condition."""
    symbols = SYMBOLS | ({"tau": r"\tau_0"} if setting.moving else {})
    symbols |= {"wd": r"\mathrm{wd}"} if setting.trainer is not None else {}
    parts = [f"${symbols[name]} = {x:.4g}$" for name, x in setting.fixed.items()]
    goal = r"/(1+\sigma^2)" if setting.moving else r"\,\tau/(1+\sigma^2)"
    square = goal.replace(r"\tau", r"\tau^2") + "^2"
    given = {setting.x.name, setting.y.name, *setting.fixed}
    if setting.quantity == "basin":
        (low, high), (bottom, top) = setting.p_range, setting.s_range
        parts.append(rf"$p_0\in[{low:g}, {high:g}]{goal}$")
        parts.append(rf"$\alpha_p s_0\in[{bottom:g}, {top:g}]{square}$")
    elif setting.quantity == "rank":
        trainer = setting.trainer or {}
        loss = {"cosine": "cosine loss", "l2": "squared loss"}[trainer["loss"]]
        parts += [loss, f"batch {trainer['batch']}", f"{setting.starts} networks a cell"]
    elif "p0" not in given:
        parts.append(rf"$p_0 = {setting.part:g}{goal}$")
    if setting.quantity not in ("basin", "rank") and "s0" not in given:
        parts.append(r"$s_0 = p_0^2/\alpha_p$")
    return ",  ".join(parts)

"""Changes of a scenario's settings that would keep its modes alive."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from lindyn.predict.mode_fates import given, solved
from lindyn.predict.network_fates import (
    DIVERGES,
    NOISE,
    Trial,
    kinds,
)
from lindyn.predict.scenario import LIVES, POWERS, Scenario
from lindyn.theory.basins import SURVIVES


LESS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.01, 1e-3)  # of a number, in the order they are tried
MORE = (2.0, 3.0, 5.0, 10.0, 30.0, 100.0)


def suggestions(case: Scenario, found: str, tried: Trial | None) -> list[dict[str, Any]]:
    """Changes of settings, each of which alone turns `found` into `LIVES`."""
    told, changes = case.told, {}
    if found == LIVES:
        return []
    if case.through_target:
        changes["stop_gradient"] = True
    if told["predictor"] in ("none", "optimal"):
        changes["predictor"] = "linear"
    if case.frozen and case.squared and told["predictor"] not in POWERS:
        changes["wd_p"] = told["wd"] if told["wd_s"] is None else told["wd_s"]
    if told["p0"] is not None:
        return _by_solves(case, changes)
    if changes and kinds([case.but(**changes)]) == [LIVES]:
        return [changes]
    ways = [way for way in _ways(case, changes, tried) if way]
    outcomes = iter(kinds([case.but(**each) for way in ways for each in way]) if ways else [])
    tried_ways = [[(each, next(outcomes)) for each in way] for way in ways]
    good = [[each for each, kind in way if kind == LIVES] for way in tried_ways]
    return [way[0] for way in good if way]


def _ways(case, changes, tried) -> Iterator[list[dict[str, Any]]]:
    """Lists of changes, each list from the least change to the greatest."""
    told = case.told
    ratio = told["alpha_p"]
    if tried is not None and tried.kind in (DIVERGES, NOISE):
        slower = [_round(part * told["lr"]) for part in LESS]
        kept = lambda lr: {} if told["predictor_lr"] is None else {"predictor_lr": ratio * lr}
        yield [{**changes, "lr": lr, **kept(lr)} for lr in slower]
    yield _less_decay(told, changes)
    if case.trained:
        yield [{**changes, "predictor_lr": _round(x * ratio * told["lr"])} for x in MORE]
    if told["predictor"] in POWERS:
        least = 1 / (20 * case.a)
        yield [{**changes, "eps": _round(max(told["eps"], least) * x)} for x in (1, *MORE)]


def _by_solves(case, changes):
    """Of the start's own fate: the first of these at which it survives."""
    told = case.told
    rate = told["predictor_lr"] or told["lr"]
    ways = [
        _less_decay(told, changes),
        [{**changes, "predictor_lr": _round(x * rate)} for x in MORE],
    ]
    if told["target"] == "ema":
        faster = [_round(x * (1 - told["ema"])) for x in MORE]
        ways.append([{**changes, "ema": round(1 - x, 9)} for x in [*faster, 1.0] if x <= 1])
    cases = [case.but(**each) for way in ways for each in way]
    code = solved(cases, *np.transpose([given(case)] * len(cases)))[0]
    fates = np.split(code == SURVIVES, np.cumsum([len(way) for way in ways])[:-1])
    return [
        way[np.argmax(alive)] for way, alive in zip(ways, fates, strict=True) if alive.any()
    ]


def _less_decay(told, changes):
    """Of everything, in proportion, down to none; `changes` are among them."""
    told = {**told, **changes}
    names = [name for name in ("wd_s", "wd_p") if told[name] is not None]
    if len(names) < 2:
        names = ["wd", *names]
    if not any(told[name] for name in names):
        return []
    return [{**changes, **{name: _round(x * told[name]) for name in names}} for x in (*LESS, 0)]


def _round(x):
    return float(f"{x:.1g}")

"""Changes of a scenario's settings that keep its modes alive. Read `network_fates` first."""

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


LESS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.01, 1e-3)  # factors that are tried, in this order
MORE = (2.0, 3.0, 5.0, 10.0, 30.0, 100.0)


def suggestions(case: Scenario, found: str, tried: Trial | None) -> list[dict[str, Any]]:
    """Changes of the settings, each of which alone turns the verdict `found` into `LIVES`.

    `tried` is the trial behind the verdict; None if the verdict needed no trial.
    """
    settings, changes = case.settings, {}
    if found == LIVES:
        return []
    if case.through_target:
        changes["stop_gradient"] = True
    if settings["predictor"] in ("none", "optimal"):
        changes["predictor"] = "linear"
    if case.frozen and case.squared and settings["predictor"] not in POWERS:
        changes["wd_p"] = settings["wd"] if settings["wd_s"] is None else settings["wd_s"]
    if settings["p0"] is not None:
        return _by_solves(case, changes)
    if changes and kinds([case.but(**changes)]) == [LIVES]:
        return [changes]
    lists = [candidates for candidates in _candidates(case, changes, tried) if candidates]
    cases = [case.but(**candidate) for candidates in lists for candidate in candidates]
    verdicts = iter(kinds(cases) if lists else [])
    judged = [[(candidate, next(verdicts)) for candidate in candidates] for candidates in lists]
    good = [[candidate for candidate, kind in pairs if kind == LIVES] for pairs in judged]
    return [candidates[0] for candidates in good if candidates]


def _candidates(case, changes, tried) -> Iterator[list[dict[str, Any]]]:
    """Lists of candidates; each list is ordered from the smallest change to the largest."""
    settings = case.settings
    ratio = settings["alpha_p"]
    if tried is not None and tried.kind in (DIVERGES, NOISE):
        slower = [_round(part * settings["lr"]) for part in LESS]
        same_ratio = lambda lr: (
            {} if settings["predictor_lr"] is None else {"predictor_lr": ratio * lr}
        )
        yield [{**changes, "lr": lr, **same_ratio(lr)} for lr in slower]
    yield _less_decay(settings, changes)
    if case.trained:
        yield [{**changes, "predictor_lr": _round(x * ratio * settings["lr"])} for x in MORE]
    if settings["predictor"] in POWERS:
        least = 1 / (20 * case.a)
        yield [{**changes, "eps": _round(max(settings["eps"], least) * x)} for x in (1, *MORE)]


def _by_solves(case, changes):
    """For a mode that starts at p0 and s0: from each list, the first change that saves it."""
    settings = case.settings
    rate = settings["predictor_lr"] or settings["lr"]
    lists = [
        _less_decay(settings, changes),
        [{**changes, "predictor_lr": _round(x * rate)} for x in MORE],
    ]
    if settings["target"] == "ema":
        faster = [_round(x * (1 - settings["ema"])) for x in MORE]
        lists.append([{**changes, "ema": round(1 - x, 9)} for x in [*faster, 1.0] if x <= 1])
    cases = [case.but(**candidate) for candidates in lists for candidate in candidates]
    code = solved(cases, *np.transpose([given(case)] * len(cases)))[0]
    fates = np.split(
        code == SURVIVES, np.cumsum([len(candidates) for candidates in lists])[:-1]
    )
    return [
        candidates[np.argmax(alive)]
        for candidates, alive in zip(lists, fates, strict=True)
        if alive.any()
    ]


def _less_decay(settings, changes):
    """`changes`, with all weight decays reduced in proportion, down to zero."""
    settings = {**settings, **changes}
    names = [name for name in ("wd_s", "wd_p") if settings[name] is not None]
    if len(names) < 2:
        names = ["wd", *names]
    if not any(settings[name] for name in names):
        return []
    return [
        {**changes, **{name: _round(x * settings[name]) for name in names}} for x in (*LESS, 0)
    ]


def _round(x):
    return float(f"{x:.1g}")

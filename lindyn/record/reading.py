"""Reads the folder of a training run into arrays.

Read `writing` first: it defines the files.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lindyn.command import UsageError


# Arrays that every record must hold.
NEEDS = ("F", "across", "cross", "Wp", "balance_W", "balance_Wp", "power", "tau")


class Run(NamedTuple):
    """A training run. Arrays have a leading axis over the recorded steps."""

    path: pathlib.Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    step: Int[np.ndarray, " times"]
    epoch: Float[np.ndarray, " times"]
    arrays: Mapping[str, np.ndarray]  # keyed by their names in spectra/*.npz
    metrics: list[dict[str, Any]]  # one for each recorded step; empty if none was written
    evaluation: list[dict[str, Any]]
    X: Float[np.ndarray, "n1 n1"] | None  # of Gaussian data, as is X_aug; else None
    X_aug: Float[np.ndarray, "n1 n1"] | None


def load_run(path: pathlib.Path | str) -> Run:
    """Read a folder that `python -m lindyn.train` has written. The run may be unfinished.

    `UsageError`, a ValueError, for a folder that holds no run or no records, for records of an
    older version that lack arrays, and for a damaged file.
    """
    path = pathlib.Path(path)
    config = {"nesterov": False} | content(path, "config.json")
    files = sorted((path / "spectra").glob("[0-9]*.npz"))
    if not files:
        raise UsageError(f"{path}: no spectra are recorded yet")
    records = [_arrays(file) for file in files]
    for file, record in zip(files, records, strict=True):
        missing = [name for name in (*NEEDS, *records[0]) if name not in record]
        if missing:
            raise UsageError(f"{file}: lacks {', '.join(missing)}; an older version wrote it")
    step = np.array([int(file.stem) for file in files])
    entries = {entry["step"]: entry for entry in lines(path / "metrics.jsonl")}
    metrics = [entries.get(number, {}) for number in step.tolist()]
    per_epoch = next((x["step"] / x["epoch"] for x in metrics if x.get("epoch")), np.nan)
    data: dict[str, np.ndarray] = {}
    if (path / "covariances.npz").exists():
        data = _arrays(path / "covariances.npz")
    return Run(
        path=path,
        config=config,
        environment=content(path, "environment.json"),
        step=step,
        epoch=step / per_epoch,
        arrays={name: np.stack([x[name] for x in records]) for name in records[0]},
        metrics=metrics,
        evaluation=lines(path / "evaluation.jsonl"),
        X=data.get("X"),
        X_aug=data.get("X_aug"),
    )


def content(path: pathlib.Path, name: str) -> dict[str, Any]:
    """The content of the JSON file `name` in a run folder.

    `UsageError` if there is no such file, or if it is not one complete JSON object.
    """
    try:
        parsed = json.loads((path / name).read_text())
    except OSError:
        raise UsageError(f"{path}: holds no run of lindyn train (no {name})") from None
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise UsageError(f"{path / name}: is not whole")
    return parsed


def lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """The entries of a jsonl file; none if there is no such file.

    An incomplete last line is left out. `UsageError` if any other line is damaged.
    """
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    except ValueError:
        raise UsageError(f"{path}: is damaged") from None


def _arrays(path):
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # a damaged file raises exceptions of many types
        raise UsageError(f"{path}: is damaged ({str(error).splitlines()[0][:80]})") from None

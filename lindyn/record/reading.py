"""A run of the trainer, read from its files."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lindyn.command import UsageError


NEEDS = ("F", "across", "cross", "Wp", "balance_W", "balance_Wp", "power", "tau")


class Run(NamedTuple):
    """Arrays have a leading axis of the steps that were recorded."""

    path: pathlib.Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    step: Int[np.ndarray, " times"]
    epoch: Float[np.ndarray, " times"]
    arrays: Mapping[str, np.ndarray]  # by the names of spectra/*.npz
    metrics: list[dict[str, Any]]  # one for each of the steps
    evaluation: list[dict[str, Any]]
    X: Float[np.ndarray, "n1 n1"] | None  # of gaussian data
    X_aug: Float[np.ndarray, "n1 n1"] | None


def load_run(path: pathlib.Path | str) -> Run:
    """What `python -m lindyn.train` has left in a folder, finished or not.

    `UsageError`, a ValueError, for a folder that holds no run or none of its records.
    """
    path = pathlib.Path(path)
    config = {"nesterov": False} | content(path, "config.json")
    files = sorted((path / "spectra").glob("[0-9]*.npz"))
    if not files:
        raise UsageError(f"{path}: no spectra are recorded yet")
    kept = [_arrays(file) for file in files]
    missing = [name for name in NEEDS if name not in kept[0]]
    if missing:
        raise UsageError(f"{files[0]}: lacks {', '.join(missing)}; an older version wrote it")
    step = np.array([int(file.stem) for file in files])
    told = {entry["step"]: entry for entry in lines(path / "metrics.jsonl")}
    metrics = [told.get(each, {}) for each in step.tolist()]
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
        arrays={name: np.stack([x[name] for x in kept]) for name in kept[0]},
        metrics=metrics,
        evaluation=lines(path / "evaluation.jsonl"),
        X=data.get("X"),
        X_aug=data.get("X_aug"),
    )


def content(path: pathlib.Path, name: str) -> dict[str, Any]:
    """Of a JSON file in a run folder. `UsageError` if it is not there, or not whole."""
    try:
        found = json.loads((path / name).read_text())
    except OSError:
        raise UsageError(f"{path}: holds no run of lindyn train (no {name})") from None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{path / name}: is not whole")
    return found


def lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """The entries of a jsonl file that are whole; none if it is not there."""
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
    except Exception as error:  # whatever a damaged file makes a reader say
        raise UsageError(f"{path}: is damaged ({str(error).splitlines()[0][:80]})") from None

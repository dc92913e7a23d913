"""Reads the npz files that `lindyn.compare` wrote for our own CIFAR-10 runs.

The runs are small (README.md lists their commands). With these files the pictures can be
redrawn without training.
"""

import json
import pathlib
from typing import Any

import numpy as np


FOLDER = pathlib.Path(__file__).parent / "records"
SIZE = "ours: CIFAR-10, 10 000 images, ResNet-10 of width 16, d = 32, 8 epochs"


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"compare-{name}.npz") as file:
        return {key: file[key] for key in file.files}


def answers(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"compare-{name}.json").read_text())

"""Our own CIFAR-10 runs, as the npz files that `lindyn.compare` has made of them.

The runs are small ones (README.md has their commands): pictures redraw without training.
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

"""One device, several, and several processes train the same."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from lindyn.train.checkpoint import Checkpoints


FLAGS = (
    "--depth 10 --width 4 --dim 8 --hidden 16 --batch 64 --limit 640 --epochs 2 --no-linear"
    " --record-every 1 --checkpoint-every 20 --evaluate-every 0"
).split()


def started(out, *flags):
    # More threads than cores: host devices wait for each other on threads of one pool.
    environment = os.environ | {"NPROC": "8", "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-m", "lindyn.train", *FLAGS, "--out", str(out), *flags],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(*processes):
    for process in processes:
        _, said = process.communicate(timeout=400)
        assert process.returncode == 0, said


def losses(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def arrays(folder):
    checkpoints = Checkpoints(folder / "checkpoints", keep=9)
    found = checkpoints._read(20)
    checkpoints.close()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("method", ("byol", "simclr"))
def test_two_and_four_devices_and_two_processes_train_as_one_device_does(tmp_path, method):
    runs = {name: tmp_path / name for name in ("1", "2", "4", "processes")}
    for name in ("1", "2", "4"):
        finished(started(runs[name], "--devices", name, "--method", method))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        place = f"localhost:{free.getsockname()[1]}"
    together = ["--coordinator", place, "--processes", "2", "--method", method]
    finished(*[started(runs["processes"], *together, "--process", str(i)) for i in (0, 1)])
    expected, state = losses(runs["1"]), arrays(runs["1"])
    assert len(expected) == 20
    for name in ("2", "4", "processes"):
        assert np.allclose(losses(runs[name]), expected, rtol=1e-5), name
        found = arrays(runs[name])
        for key, x in state.items():  # parameters, both BatchNorm states, momentum, F
            assert np.allclose(found[key], x, rtol=1e-3, atol=1e-4), (name, key)

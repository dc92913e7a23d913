"""Tests of whole training runs by the command, on the digits and with a small network."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from lindyn.train import main
from lindyn.train.checkpoint import Checkpoints
from lindyn.train.config import Config
from lindyn.train.presets import presets


SMALL = (
    "--depth 10 --width 2 --dim 8 --hidden 16 --batch 256 --limit 768 --epochs 4"
    " --record-every 2 --checkpoint-every 3 --evaluate-every 2 --no-linear"
    " --predictor directpred"
).split()
STEPS = 12


def train(*flags, out):
    return main([*SMALL, "--devices", "1", "--out", str(out), *map(str, flags)])


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def state_of(folder):
    """The step and the arrays of the newest checkpoint."""
    checkpoints = Checkpoints(folder / "checkpoints", keep=9)
    step = checkpoints.steps[-1]
    arrays = checkpoints._read(step)
    checkpoints.close()
    return step, arrays


def same(one, other):
    (step, arrays), (step_, others) = state_of(one), state_of(other)
    assert step == step_ and arrays.keys() == others.keys()
    return all(np.array_equal(x, others[name]) for name, x in arrays.items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run without interruption. It also fills the cache of compiled programs."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    with jax.enable_x64(False):
        assert train(out=out) == 0
    return out


def test_a_run_leaves_what_it_says(whole, capsys):
    config = json.loads((whole / "config.json").read_text())
    assert config["predictor"] == "directpred" and config["wd"] == 4e-4
    environment = json.loads((whole / "environment.json").read_text())
    assert environment["versions"]["jax"] == jax.__version__
    metrics = lines(whole / "metrics.jsonl")
    assert [entry["step"] for entry in metrics] == [1, 2, 4, 6, 8, 10, 12]
    assert metrics[-1]["loss"] < metrics[0]["loss"]
    judged = lines(whole / "evaluation.jsonl")
    assert [entry["step"] for entry in judged] == [0, 6, 12]
    assert all(0 < entry["knn"] <= 1 for entry in judged) and judged[0]["knn_pixels"] > 0.8
    spectra = sorted(p.name for p in (whole / "spectra").iterdir())
    assert spectra == [f"{entry['step']:08d}.npz" for entry in metrics]
    with np.load(whole / "spectra" / spectra[-1]) as kept:
        F, Wp, U = kept["F"], kept["Wp"], kept["U"]
        assert np.allclose((U * kept["s"]) @ U.T, F, rtol=1e-4, atol=1e-4)
        assert np.allclose(kept["balance_Wp"], Wp.T @ Wp, rtol=1e-5)
        assert kept["running"].shape == F.shape == (8, 8)
    assert state_of(whole)[0] == STEPS


def test_a_run_that_was_stopped_and_resumed_is_bitwise_the_same(whole, tmp_path, monkeypatch):
    out = tmp_path / "run"
    from lindyn.train import loop

    real, calls = loop._Late.take, []

    def take(self, *given):
        calls.append(given)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        return real(self, *given)

    monkeypatch.setattr(loop._Late, "take", take)
    assert train(out=out) == 130
    assert state_of(out)[0] == 5
    with open(out / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "half a li')
    monkeypatch.undo()
    assert main(["--resume", "--out", str(out), "--devices", "1"]) == 0
    assert same(out, whole)
    timeless = lambda entry: {k: v for k, v in entry.items() if k != "images_per_second"}
    after = [timeless(x) for x in lines(out / "metrics.jsonl")]
    before = [timeless(x) for x in lines(whole / "metrics.jsonl")]
    assert [x["step"] for x in after] == [x["step"] for x in before]
    assert after[-1] | {"loss": 0} == before[-1] | {"loss": 0}


def test_a_ledger_goes_on_bitwise_where_a_run_was_left(tmp_path):
    flags = ("--preset", "linear", "--precision", "float64", "--momentum", "0.9")
    flags += ("--alpha-p", "2", "--wd-p", "0.03", "--nesterov")

    def linear(name, epochs, *more):
        with jax.enable_x64(True):
            return main([*flags, "--epochs", epochs, "--out", str(tmp_path / name), *more])

    assert linear("whole", "200") == linear("run", "100") == 0
    assert linear("run", "200", "--resume") == 0
    assert same(tmp_path / "run", tmp_path / "whole")
    for file in sorted((tmp_path / "whole" / "spectra").iterdir()):
        with np.load(file) as kept, np.load(tmp_path / "run" / "spectra" / file.name) as other:
            assert all(np.array_equal(kept[name], other[name]) for name in kept.files)
            Q = kept["balance_W"] - kept["balance_first"] / 2
            assert np.allclose(Q, kept["balance_steps"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("harm", ("cut", "changed", "gone"))
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    whole, tmp_path, capsys, harm
):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    for file in (out / "checkpoints" / "12" / "state").rglob("*"):
        if not file.is_file():
            continue
        content = bytearray(file.read_bytes())
        middle = len(content) // 2
        if harm == "gone":
            file.unlink()
        elif harm == "cut":
            file.write_bytes(content[:middle])
        else:
            content[middle : middle + 64] = bytes(b ^ 0x55 for b in content[middle:][:64])
            file.write_bytes(content)
    assert train("--resume", out=out) == 0
    said = capsys.readouterr().err
    assert "12: damaged" in said and "goes on from step 9 of 12" in said
    assert same(out, whole)


def test_a_finished_run_that_is_resumed_says_its_result_again(whole, capsys):
    assert train("--resume", "--json", out=whole) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == STEPS


@pytest.mark.parametrize(
    "flags, said",
    (
        (["--data", "cifar10"], "--data cifar10: say where it is with --data-dir"),
        (["--batch", "1000"], "batch 1000: must be at least 1 and at most the set's 768"),
        (["--lr", "nan"], "--lr nan: must be finite and above 0 and at most"),
        (["--wd", "-1"], "--wd -1"),
        (["--preset", "t99"], "no such arm; --preset list shows all"),
        (["--predictor", "directpred", "--symmetric"], "--symmetric: not with"),
        (["--resume", "--overwrite"], "holds no run"),
        (["--devices", "64"], "--devices 64: there are"),
        (["--nesterov", "--momentum", "0"], "--nesterov: needs a --momentum above 0"),
        (["--nesterov", "--optimiser", "lars"], "--nesterov: not with --optimiser lars"),
        (["--record-every", "3", "--steps-per-call", "2"], "must be a multiple of"),
        (["--processes", "2"], "--processes and --process: give both"),
        (["--data-dir", "nowhere", "--data", "stl10"], "nowhere"),
    ),
)
def test_bad_input_is_refused_in_one_line(flags, said, tmp_path, capsys):
    assert train(*flags, out=tmp_path / "run") == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error


def test_a_run_is_not_overwritten_by_mistake(whole, tmp_path, capsys):
    assert train(out=whole) == 2
    assert "--resume goes on, --overwrite removes" in capsys.readouterr().err
    (tmp_path / "letter.txt").write_text("dear")
    assert train("--overwrite", out=tmp_path) == 2
    assert (tmp_path / "letter.txt").exists()
    assert train("--resume", "--lr", "7", out=whole) == 2
    assert "--lr 7.0: the run that is resumed has 0.03" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_state_before(tmp_path, capsys):
    flags = ("--predictor", "linear", "--loss", "l2", "--lr", "1e4", "--target", "none")
    assert train(*flags, out=tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert "of step" in said and "is nan" in said or "is inf" in said
    step, arrays = state_of(tmp_path / "run")
    assert step < STEPS
    assert all(np.isfinite(x).all() for x in arrays.values() if x.dtype == np.float32)


def test_presets_are_the_papers_arms():
    arms = presets()
    assert all(arm.preset == name for name, arm in arms.items())
    assert arms["t8-directpred-100"].eps == 0.1 and arms["t8-directpred-100"].rho == 0.3
    assert arms["t3-sym-no-ema"].symmetric and arms["t3-sym-no-ema"].target == "none"
    assert arms["t5-wdp-sym"].decays == (0.0, 4e-4)
    assert len(arms) == len(set(map(repr, arms.values())))
    paper = arms["t3"]
    kept = (paper.lr, paper.momentum, paper.wd, paper.ema, paper.batch, paper.epochs)
    assert kept == (0.03, 0.9, 4e-4, 0.996, 128, 100)
    assert paper == Config(preset="t3", data="stl10")


def test_a_list_of_presets_is_printed(capsys):
    assert main(["--preset", "list"]) == 0
    assert "t7-c-0.1-freq2" in capsys.readouterr().out.split()


def start(out, *flags):
    command = [sys.executable, "-m", "lindyn.train", *SMALL, "--devices", "1"]
    return subprocess.Popen(
        [*command, "--checkpoint-every", "1", "--out", str(out), *flags],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def moments(out, rng):
    """Functions that tell whether the time to kill the run has come, one for each kill."""
    checkpoints = out / "checkpoints"
    written = lambda: any("tmp" in p.name for p in _inside(checkpoints))
    steps = lambda: len([p for p in _inside(checkpoints) if p.name.isdigit()])

    def after(seconds):
        end = time.monotonic() + seconds
        return lambda: time.monotonic() > end

    yield after(rng.uniform(0, 3))  # while the run starts
    yield lambda: (out / "evaluation.jsonl").exists()  # while it compiles
    yield written  # while a checkpoint is written
    yield lambda: steps() > 0
    yield after(rng.uniform(4, 8))
    yield written
    before = max((int(p.name) for p in _inside(checkpoints) if p.name.isdigit()), default=0)
    yield lambda: (checkpoints / str(before + 2)).exists()
    yield written


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_bitwise_as_one_that_is_not(whole, tmp_path):
    out, kills = tmp_path / "run", 0
    for now in moments(out, np.random.default_rng()):
        resume = ["--resume"] if (out / "config.json").exists() else []
        process = start(out, *resume)
        while process.poll() is None and not now():
            time.sleep(0.001)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 6
    assert start(out, "--resume").wait() == 0
    assert same(out, whole)


def _inside(folder: pathlib.Path):
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []

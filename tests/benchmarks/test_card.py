"""Tests of benchmarks/card.py and card.sh: all stages run, even after one has failed."""

import contextlib
import importlib
import json
import os
import pathlib
import subprocess
import sys

import pytest


BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))
card = importlib.import_module("card")
train_step = importlib.import_module("train_step")
Stage = card.Stage


def python(*lines):
    return [sys.executable, "-c", "\n".join(lines)]


def stage(*commands, limit=60.0, **more):
    return Stage(limit, lambda: list(commands), **more)


@pytest.fixture
def runner(tmp_path, monkeypatch):
    monkeypatch.setattr(card, "LEAST", 0.1)
    with contextlib.ExitStack() as stack:
        make = lambda *names, minutes=9.0: card.Runner(tmp_path, minutes, names)
        yield lambda *names, **more: stack.enter_context(make(*names, **more))


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def test_a_stage_that_fails_leaves_the_others_alone(runner, tmp_path):
    half = tmp_path / "half.json"
    write = f"open({str(half)!r}, 'w').write('[1]')"
    stages = {
        "slow": stage(python("import time; print('begun'); time.sleep(60)"), limit=1.0),
        "broken": stage(python("import sys; print('no such card'); sys.exit(3)")),
        "half": stage(python(write, "raise ValueError('lost')")),
        "none": Stage(60.0, lambda: 1 / 0),
        "fine": stage(python("print('well')")),
    }
    run = runner(*stages, "later")
    for name, each in stages.items():
        run.stage(name, each)
    found = summary(tmp_path)
    assert {name: each["status"] for name, each in found.items()} == {
        "slow": "out of time",
        "broken": "failed",
        "half": "failed",
        "none": "failed",
        "fine": "done",
        "later": "not reached",
    }
    assert found["slow"]["seconds"] < 10
    assert found["broken"]["error"] == "no such card"
    assert found["half"]["error"] == "ValueError: lost"
    assert found["none"]["error"].startswith("ZeroDivisionError")
    assert half.read_text() == "[1]" and "well" in (tmp_path / "log.txt").read_text()


def test_a_command_that_fails_leaves_those_of_its_stage_alone(runner, tmp_path):
    run = runner("some")
    run.stage("some", stage(python("raise SystemExit('odd')"), python("print('second')")))
    assert summary(tmp_path)["some"]["status"] == "failed"
    assert summary(tmp_path)["some"]["error"] == "odd"
    assert "second" in (tmp_path / "log.txt").read_text()


def test_children_of_a_stage_are_ended_with_it(runner, tmp_path):
    file = tmp_path / "child"
    child = f"import time; time.sleep(3); open({str(file)!r}, 'w')"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    runner("parent").stage("parent", stage(python(parent), limit=1.0))
    wait = python("import time; time.sleep(3)")
    subprocess.run(wait, check=True)
    assert not file.exists()


def test_a_run_is_asked_to_stop_before_it_is_killed(runner, tmp_path):
    waits = python(
        "import signal, sys, time",
        "signal.signal(signal.SIGINT, lambda *_: (print('kept'), sys.exit(130)))",
        "time.sleep(60)",
    )
    told = []
    run = runner("run")
    run.stage(
        "run",
        stage(waits, limit=10.0, stop=8.0, fine=(0, 130), report=lambda: told.append(1)),
    )
    assert summary(tmp_path)["run"]["status"] == "done" and told
    assert "kept" in (tmp_path / "log.txt").read_text()


def test_what_has_no_time_left_is_not_reached(runner, tmp_path):
    runner("first", minutes=0.0).stage("first", stage(python("print('never')")))
    assert summary(tmp_path)["first"] == {"status": "not reached", "seconds": 0.0}
    run = runner("first", minutes=1.0)
    run.stage("first", stage(python("print('never')")), reserve=60.0)
    assert summary(tmp_path)["first"]["status"] == "not reached"


def test_kernels_of_a_trace_are_those_on_streams():
    kernels = train_step.kernels
    name = lambda kind, pid, tid, value: dict(
        ph="M", name=kind, pid=pid, tid=tid, args={"name": value}
    )
    run = lambda what, tid, begin, took, pid=1: dict(
        ph="X", name=what, pid=pid, tid=tid, ts=begin, dur=took
    )
    events = [
        name("process_name", 1, 0, "/device:GPU:0"),
        name("process_name", 2, 0, "/host:CPU"),
        name("thread_name", 1, 7, "Stream #7(Compute)"),
        name("thread_name", 1, 8, "XLA Ops"),
        name("thread_name", 2, 7, "Stream of words"),
        run("conv", 7, 0.0, 400.0),
        run("add", 7, 300.0, 200.0),
        run("conv", 7, 900.0, 100.0),
        run("conv", 8, 0.0, 1000.0),
        run("python", 7, 0.0, 1000.0, pid=2),
    ]
    found = kernels(events, 2)
    assert found["kernels"] == [
        dict(name="conv", ms=0.25, count=1.0),
        dict(name="add", ms=0.1, count=0.5),
    ]
    assert found["count"] == 1.5 and found["ms of all"] == pytest.approx(0.35)
    assert found["idle"] == pytest.approx(0.4)
    with pytest.raises(ValueError, match="no stream of a GPU"):
        kernels(events[1:], 2)


def run_card(out, *flags):
    command = ["bash", str(BENCHMARKS / "card.sh"), "--out", str(out), *flags]
    environment = {**os.environ, "PYTHON": sys.executable, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    return done, {file.stem: json.loads(file.read_text()) for file in out.glob("*.json")}


def test_the_ceilings_of_a_machine(tmp_path):
    done, found = run_card(tmp_path, "--tiny", "--stages", "facts")
    assert done.returncode == 0, done.stdout + (tmp_path / "log.txt").read_text()
    assert found["facts"]["gigabytes a second"] > 0
    rates = found["facts"]["teraflops a second"]
    assert len(rates) == 4 and min(rates.values()) > 0
    assert "GB/s" in done.stdout and found["summary"]["facts"]["status"] == "done"


def check_kernel(found):
    for name, each in found["kernel"]["kernel"].items():
        most = 1e-7 if "float64" in name else 1e-4
        assert each["relative error"] < most and each["failed"] == 0
        assert each["labels that agree"] > 0.9 and each["kernel"] is False


def test_without_a_gpu_it_says_so_in_a_line(tmp_path):
    done, found = run_card(tmp_path)
    assert done.returncode == 2 and not found
    assert done.stderr == "card.py: JAX sees no GPU here; --tiny does without\n"


@pytest.mark.slow
def test_all_of_it(tmp_path):
    done, found = run_card(tmp_path, "--tiny", "--arm", "sgd")
    assert done.returncode == 0, done.stdout + (tmp_path / "log.txt").read_text()
    names = {"facts", "kernel", "ensembles", "matrices", "step", "arm", "summary"}
    assert set(found) == names and len(list(tmp_path.iterdir())) == 8
    assert {each["status"] for each in found["summary"].values()} == {"done"}
    check_kernel(found)
    for dtype in ("float64", "float32"):
        for each in found["ensembles"]["ensembles"][dtype].values():
            assert set(each["contestants"]) == {"lindyn", "lindyn-xla", "diffrax-vmap"}
            assert each["alone"]["seconds a solve"] > 0
    assert found["matrices"]["sizes"]["2"]["4"]["lindyn"]["failed"] == 0
    (step,) = found["step"].values()
    assert step["lindyn"]["images_per_second"] > 0 and "no stream" in step["profile"]["error"]
    assert set(step["parts"]) >= {"forward", "forward and backward", "EMA", "SGD"}
    assert found["arm"]["arm"] == "t8-sgd-100" and found["arm"]["epochs"] == 2.0
    assert found["arm"]["paper"] == 84.49 and found["arm"]["evaluation"][-1]["epoch"] == 2.0

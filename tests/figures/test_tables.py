"""Tests of the paper's tables: their cells, and the planning, running and printing of runs.

One file, since all tests use the same flags and run folders.
"""

import dataclasses
import fcntl
import importlib
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import threading
import time

import pytest

from lindyn import command
from lindyn.train.config import Config


try:  # imported here, since later it would close the handlers of logging that pytest reads
    import submitit
except ImportError:
    submitit = None
FIGURES = pathlib.Path(__file__).parents[2] / "figures"
sys.path.append(str(FIGURES))
tables = importlib.import_module("tables")
plans = importlib.import_module("plans")
runner = importlib.import_module("runner")
printed = importlib.import_module("printed")
published = importlib.import_module("published")
ARMS = plans.ARMS
ALL = ("t1", "t2", "t3", "t5", "t6", "t7", "t8")
TINY = dict(
    depth=10,
    width=2,
    dim=8,
    hidden=16,
    batch=64,
    limit=256,
    epochs=10,
    record_every=5,
    checkpoint_every=50,
    evaluate_every=0,
    linear=False,
    devices=1,
)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The flags of `tables.py run` for one cell, with runs of 40 steps."""
    monkeypatch.setattr(plans, "budget", lambda name, epochs: TINY)
    table = published.Table("one", ("regular",), {"linear": ("t3",)})
    monkeypatch.setitem(published.TABLES, "t3", table)
    return ["--tables", "t3", "--data", "digits", "--out", str(tmp_path)]


STAND_IN = """
import dataclasses, json, sys, time
from lindyn import command
from lindyn.train.config import Config
from lindyn.train.presets import presets

def main(config):
    def add(name, **entry):
        with open(config.out / name, "a") as file:
            file.write(json.dumps(entry) + chr(10))

    config.out.mkdir(parents=True, exist_ok=True)
    plain = dataclasses.asdict(config) | dict(out=str(config.out))
    (config.out / "config.json").write_text(json.dumps(plain))
    if config.resume:
        print("goes on from step 1")
    else:
        add("metrics.jsonl", step=1, images_per_second=100.0)
        time.sleep(60 * (config.seed == 0))
    add("metrics.jsonl", step=40, images_per_second=100.0)
    add("evaluation.jsonl", epoch=config.epochs, knn=0.5)
    return 0

sys.exit(command.run("train", Config, main, None, presets()))
"""


@pytest.fixture(params=("stand-in", pytest.param("real", marks=pytest.mark.slow)))
def trainer(request, monkeypatch):
    """The trainer that the runs call: lindyn.train, or a stand-in.

    The stand-in writes the same files, and waits to be interrupted.
    """
    if request.param == "stand-in":
        monkeypatch.setattr(runner, "TRAINER", (sys.executable, "-c", STAND_IN))


def cells(name):
    return [arm for row in published.TABLES[name].rows.values() for arm in row if arm]


def test_every_cell_is_an_arm_and_every_arm_of_these_tables_is_in_a_cell():
    shown = [arm for name in ALL for arm in cells(name)]
    assert set(shown) == {name for name in ARMS if name[:2] in ALL}
    assert set(shown) == set(published.STL10) and set(cells("t8")) == set(published.CIFAR10)
    twice = {arm for arm in shown if shown.count(arm) > 1}
    assert twice == set(cells("t2"))
    for table in published.TABLES.values():
        assert all(len(row) == len(table.columns) for row in table.rows.values())


def test_headings_say_what_the_arms_do():
    for name, table in published.TABLES.items():
        for label, row in table.rows.items():
            for column, arm in zip(table.columns, row, strict=True):
                if not arm:
                    continue
                config, said = ARMS[arm], f"{label}, {column}"
                assert config.predictor_bias == ("bias" in said)
                if name in ("t3", "t5"):
                    assert config.symmetric == ("sym" in said)
                    assert (config.predictor == "two-layer") == ("two layers" in said)
                if name in ("t1", "t2", "t3", "t5"):
                    assert (config.target == "none") == ("no EMA" in said)
                for key, value in {
                    "t1": (("freq", column.removeprefix("N = ")),),
                    "t6": (("rho", label[-3:]), ("eps", column.removeprefix("eps = "))),
                    "t7": (("c", column.removeprefix("c = ")),),
                    "t8": (("epochs", column.split()[0]),),
                }.get(name, ()):
                    assert getattr(config, key) == float(value)


def test_the_plan_has_each_cell_once_and_one_run_for_what_is_the_same():
    arms = plans.arms(ALL)
    assert len(arms) == len(set(arms))
    assert {plans.run_of(arm) for name in ALL for arm in cells(name)} == set(arms)
    same = {arm: plans.run_of(arm) for name in ALL for arm in cells(name)}
    assert {arm: run for arm, run in same.items() if arm != run} == {
        "t8-directpred-100": "t6-rho0.3-eps0.1",
        "t8-sgd-100": "t3",
    }
    options = plans.Plan(tables=ALL, data="digits", budget="small", seeds=2)
    jobs = plans.planned(options)
    assert len({job.config.out for job in jobs}) == len(jobs) == 2 * len(arms)
    assert {job.config.epochs for job in jobs} == {8, 24, 40}
    assert all(job.steps == job.config.epochs * (1437 // 64) for job in jobs)


def test_the_trainer_is_told_what_is_wanted(tmp_path):
    options = plans.Plan(data="cifar10", budget="small", out=tmp_path)
    for arm in plans.arms(ALL):
        wanted = dataclasses.replace(plans.wanted(arm, 2, options), data_dir=tmp_path)
        told = []
        main = lambda config, told=told: told.append(config) or 0
        assert command.run("train", Config, main, runner.flags(wanted), ARMS) == 0
        assert told == [wanted]
        assert (wanted.depth, wanted.seed, wanted.linear) == (10, 2, True)


def test_a_plan_says_how_long_and_writes_nothing(folder, capsys):
    flags = ["--tables", "t6", "t4", "--data", "digits", "--budget", "small"]
    assert tables.main(["plan", *flags]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 8 * 3 + 1
    assert shown[0].split() == "t6-rho0.3-eps0 seed 0 176 steps to do".split()
    assert shown[-1].startswith("24 runs: 0 finished, 0 part done, 24 to do; about ")
    assert not list(folder.iterdir())


def fabricate(options, arm, seed, found, *, steps=80, rate=500.0):
    """Writes those files of a finished run that the tables read, without training."""
    config = plans.wanted(arm, seed, options)
    config.out.mkdir(parents=True)
    plain = dataclasses.asdict(config) | dict(out=str(config.out))
    (config.out / "config.json").write_text(json.dumps(plain))
    environment = dict(
        versions=dict(lindyn="0.1.0"), commit="abc", devices=["cpu"], data_checksum="f00"
    )
    (config.out / "environment.json").write_text(json.dumps(environment))
    metrics = [dict(step=step, images_per_second=rate) for step in (1, steps // 2, steps)]
    told = dict(step=steps, epoch=float(config.epochs)) | found
    for name, entries in (("metrics", metrics), ("evaluation", [dict(step=0, knn=0.1), told])):
        lines = "".join(json.dumps(entry) + "\n" for entry in entries)
        (config.out / f"{name}.jsonl").write_text(lines)
    return config


def test_tables_are_printed_with_means_deviations_and_what_is_missing(tmp_path, capsys):
    options = printed.Print(tables=("t3",), data="cifar10", budget="small", out=tmp_path)
    best = {"t3-sym": (0.7, 0.72, 0.77), "t3": (0.5,)}
    for arm, values in best.items():
        for seed, value in enumerate(values):
            found = dict(linear_best=value, linear_last=value - 0.01, knn=value / 2)
            fabricate(options, arm, seed, found)
    fabricate(options, "t3", 1, dict(knn=0.3))  # its last evaluation is missing
    flags = ["--tables", "t3", "--data", "cifar10", "--budget", "small", "--out", str(tmp_path)]
    assert tables.main(["print", *flags, "--json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    sym, regular, missing, _ = table["rows"]["linear, EMA"]
    assert sym["seeds"] == 3 and regular["seeds"] == 1 and missing["seeds"] == 0
    assert sym["best"]["mean"] == pytest.approx(73.0)
    assert sym["best"]["sd"] == pytest.approx(statistics.stdev((70, 72, 77)))
    assert sym["last"]["mean"] == pytest.approx(72.0)
    assert sym["kNN"]["mean"] == pytest.approx(36.5)
    assert regular["best"] == dict(mean=50.0, sd=None) and missing["best"] is None
    assert sym["paper"] == dict(data="STL-10", mean=75.09, sd=0.48)
    assert table["checksums"] == ["f00"] and table["lindyn"] == ["0.1.0 (abc)"]

    assert tables.main(["print", *flags, "--markdown"]) == 0
    shown = capsys.readouterr().out
    row = r"| linear, EMA | best | 73.00 ± 3.61 (n=3) \| 75.09 ± 0.48 | 50.00 (n=1) \| 74.51"
    assert row in shown and r"| - \| 74.52 ± 0.29 |" in shown
    assert "not comparable with the paper's" in shown and "copy f00" in shown
    assert tables.main(["print", *flags]) == 0
    assert "73.00 ± 3.61 (n=3) | 75.09 ± 0.48" in capsys.readouterr().out


def test_tables_are_printed_without_any_run(folder, capsys):
    assert tables.main(["print", "--data", "cifar10", "--tables", *ALL]) == 0
    shown = capsys.readouterr().out
    assert "- | 85.21 ± 0.23" in shown and "- | 40.67 ± 0.50" in shown
    assert shown.count("no run is finished") == len(ALL)
    assert not list(folder.iterdir())


def test_the_theory_has_the_signs_of_table_4(capsys):
    assert tables.main(["print", "--tables", "t4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["observations"]
    assert [each["number"] for each in found] == list(range(1, 11))
    assert "".join(each["sign"] for each in found) == "+-+--+++--"
    assert all(each["holds"] for each in found)
    growth = found[1]["found"]
    assert growth[0] / growth[-1] == pytest.approx(1000)  # growth is proportional to 1/alpha_p
    assert tables.main(["print", "--tables", "t4"]) == 0
    assert capsys.readouterr().out.count("✓") == 10 + 1


def test_a_time_is_estimated_from_what_runs_have_taken(tmp_path, capsys):
    options = plans.Plan(data="digits", budget="small", out=tmp_path)
    found = dict(linear_best=0.5, linear_last=0.5, knn=0.5)
    steps = 8 * (1437 // 64)
    config = fabricate(options, "t3", 0, found, steps=steps, rate=128.0)
    (config.out / "environment.json").unlink()  # it has the checksum of other data
    flags = ["--tables", "t2", "--data", "digits", "--budget", "small", "--out", str(tmp_path)]
    assert tables.main(["plan", *flags]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    minutes = 14 * steps * 64 / 128 / 60
    assert f"1 finished, 0 part done, 14 to do; about {minutes:.0f} min left at 128" in last


@pytest.mark.parametrize(
    "argv, said",
    (
        (["plan", "--tables", "t9"], "t9"),
        (["plan", "--tables"], "--tables"),
        (["plan", "--seeds", "0", "--data", "digits"], "--seeds 0: must be"),
        (["plan", "--seeds", "few", "--data", "digits"], "--seeds"),
        (["plan"], "--data stl10: say where it is with --data-dir"),
        (["run", "--data", "cifar10", "--data-dir", "nowhere"], "nowhere: no such folder"),
        (["run", "--data", "digits", "--at-once", "0"], "--at-once 0: must be"),
        (["run", "--data", "digits", "--hours", "nan"], "--hours nan: must be"),
        (["run", "--data", "digits", "--out", "a-file/runs"], "a-file/runs"),
        (["run", "--data", "digits", "--budget", "large"], "large"),
        (["print", "--json", "--markdown"], "--json and --markdown: give one"),
        (["draw"], "draw: must be one of plan, run, print"),
    ),
)
def test_bad_input_is_one_line_and_exit_2(argv, said, folder, capsys):
    (folder / "a-file").write_text("in the way")
    assert tables.main(argv) == 2
    shown = capsys.readouterr()
    assert said in shown.err and shown.err.count("\n") == 1 and shown.out == ""
    assert [path.name for path in folder.iterdir()] == ["a-file"]


@pytest.mark.parametrize("action", ("plan", "run", "print"))
def test_folders_that_hold_something_else_are_refused(action, folder, capsys):
    small = plans.Plan(data="digits", budget="small", out=pathlib.Path("runs"))
    config = fabricate(small, "t3-bias", 0, dict(knn=0.2))
    flags = [action, "--tables", "t3", "--data", "digits", "--out", "runs"]

    def refused(*more):
        assert tables.main([*flags, *more]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        return said

    assert "runs/digits/t3-bias/seed0: is a run with --limit 10000, not None" in refused()
    if action != "print":
        assert "is of data f00, not" in refused("--budget", "small")
    (config.out / "config.json").write_text('{"depth": 10,')
    assert "config.json: is not whole" in refused("--budget", "small")
    (config.out / "config.json").unlink()
    assert "t3-bias/seed0: holds no run" in refused("--budget", "small")


def test_a_run_that_fails_or_is_killed_is_told_and_the_others_go_on(
    tiny, tmp_path, monkeypatch, capsys
):
    ends = {0: "print('no memory'); exit(3)", 1: "import os; os.kill(os.getpid(), 9)"}

    def started(config, slot):
        log = tmp_path / "digits" / "t3" / f"seed{config.seed}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        program = ends.get(config.seed, f"print('on', {slot!r})")
        with open(log, "w") as file:
            return subprocess.Popen([sys.executable, "-c", program], stdout=file)

    monkeypatch.setattr(runner, "started", started)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert tables.main(["run", *tiny, "--seeds", "4", "--at-once", "2"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert sum("done after" in line for line in said) == 2
    assert any("4 of 4: t3 seed" in line for line in said)
    assert "t3 seed 0: exit 3: no memory, " in "".join(said[-2:])
    assert "t3 seed 1: killed by SIGKILL, " in "".join(said[-2:])
    logs = [(tmp_path / "digits" / "t3" / f"seed{i}.log").read_text() for i in (2, 3)]
    assert set(logs) <= {"on 4\n", "on 7\n"}
    assert tables.main(["run", *tiny, "--at-once", "3"]) == 2
    assert "--at-once 3: CUDA_VISIBLE_DEVICES has 4,7" in capsys.readouterr().err


def test_runs_are_done_interrupted_resumed_and_left_out(trainer, tiny, tmp_path, capsys):
    folders = [tmp_path / "digits" / "t3" / f"seed{i}" for i in (0, 1)]

    def interrupt():
        while not (folders[0] / "metrics.jsonl").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    run = ["run", *tiny, "--seeds", "2"]
    assert tables.main(run) == 130
    assert not folders[1].exists()
    assert tables.main(["plan", *tiny, "--seeds", "2"]) == 0
    assert "0 finished, 1 part done, 1 to do" in capsys.readouterr().out
    assert tables.main(run) == 0
    said = capsys.readouterr().err
    assert "2 of 2: t3 seed 1: done after" in said and "nothing left" in said
    assert "goes on from step" in folders[0].with_name("seed0.log").read_text()
    written = [(path / "evaluation.jsonl").stat().st_mtime_ns for path in folders]
    assert tables.main(run) == 0
    assert "2 runs, 0 not finished; nothing left" in capsys.readouterr().err
    assert written == [(path / "evaluation.jsonl").stat().st_mtime_ns for path in folders]
    assert tables.main(["print", *tiny, "--json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    (cell,) = table["rows"]["linear"]
    assert cell["seeds"] == 2 and cell["best"] is None and cell["kNN"]["mean"] > 10


def test_a_run_that_another_process_is_at_is_not_begun(tiny, tmp_path, capsys):
    log = tmp_path / "digits" / "t3" / "seed0.log"
    log.parent.mkdir(parents=True)
    with open(log, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert tables.main(["run", *tiny, "--seeds", "1"]) == 1
    assert "t3 seed 0: another process is at it" in capsys.readouterr().err
    assert list(log.parent.iterdir()) == [log]


@pytest.mark.slow
@pytest.mark.skipif(submitit is None, reason="needs submitit")
def test_a_run_is_submitted_and_goes_on_when_it_is_requeued(
    tiny, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PYTHONPATH", "")
    submitted, submit = [], runner.submit
    monkeypatch.setattr(
        runner, "submit", lambda *given: submitted.extend(submit(*given)) or submitted
    )
    assert tables.main(["run", *tiny, "--seeds", "1", "--slurm", "local"]) == 0
    (job,) = submitted
    assert capsys.readouterr().out.split() == [job.job_id, "t3", "seed", "0"]
    folder = tmp_path / "digits" / "t3" / "seed0"
    while not (folder / "metrics.jsonl").exists():
        time.sleep(0.01)
    worker = pathlib.Path(f"/proc/{job.job_id}/task/{job.job_id}/children").read_text()
    os.kill(int(worker), signal.SIGUSR2)  # the signal before a time limit
    job.result()
    assert "goes on from step" in folder.with_name("seed0.log").read_text()
    assert tables.main(["plan", *tiny, "--seeds", "1"]) == 0
    assert "1 finished" in capsys.readouterr().out

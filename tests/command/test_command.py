"""Tests of all commands, mostly with bad input: exit code 2, one line, and no work done.

No traceback is shown either. One file, since the table of bad input is one thing.
"""

import json
import subprocess
import sys
from importlib import import_module

import pytest

from lindyn import command
from lindyn.__main__ import COMMANDS


BAD = {
    "compare": (
        [],
        ["nowhere"],
        ["a-file"],
        ["."],
        ["nowhere", "--epoch", "nan"],
        ["nowhere", "--format", "bmp"],
        ["nowhere", "else"],
    ),
    "explore": (
        ["--wd", "nan"],
        ["--wd=-0.1"],
        ["--wd", "1e-300"],
        ["--wd", "0.1", "0.2"],
        ["--wd-p", "inf"],
        ["--wd-s=-1"],
        ["--alpha-p", "0"],
        ["--beta", "0"],
        ["--sigma2=-1"],
        ["--tau", "0"],
        ["--tau", "1.5"],
        ["--tau=-1", "--regime", "ema"],
        ["--eps", "nan"],
        ["--time", "0"],
        ["--time", "inf"],
        ["--regime", "adam"],
        ["--start", "0.1"],
        ["--start", "0.1", "nan"],
        ["--start", "0.1", "-1"],
        ["--start", *["0.1"] * 50],
        ["--p-range", "1", "0"],
        ["--s-range=-1", "1"],
        ["--preset", "fig99"],
        ["--run", "nowhere"],
        ["--run", "a-file"],
        ["--out", "page.png"],
        ["--out", "a-file/page.html"],
        ["--out", "a-file"],
        ["stray"],
    ),
    "phase": (
        ["--plane", "cosine", "--wd", "0.1"],
        ["--plane", "cosine", "--wd-s", "0.1"],
        ["--plane", "cosine", "--modes", "1"],
        ["--plane", "cosine", "--modes", "2.5"],
        ["--plane", "cosine", "--modes", "1000000"],
        ["--plane", "cosine", "--modes", *"23456789", *"23456789"],
        ["--plane", "cosine", "--modes", "2", "--p-range", "0", "3"],
        ["--plane", "cosine", "--modes", "2", "--s-range", "0", "3"],
        ["--plane", "cosine", "--tau-range", "0", "1"],
        ["--wd", "nan"],
        ["--wd", "inf"],
        ["--wd=-0.1"],
        ["--wd", "1e-300"],
        ["--wd"],
        ["--wd", *["0.1"] * 13],
        ["--wd", "much"],
        ["--wd-p=-1"],
        ["--wd-s", "nan"],
        ["--alpha-p", "0"],
        ["--alpha-p", "inf"],
        ["--beta=-0.4"],
        ["--sigma2=-1"],
        ["--sigma2", "nan"],
        ["--tau", "0"],
        ["--tau", "1.5"],
        ["--tau", "nan"],
        ["--grid", "0"],
        ["--grid", "100000"],
        ["--grid", "2.5"],
        ["--rtol", "0"],
        ["--rtol", "1"],
        ["--p-range", "1", "0"],
        ["--p-range", "1", "1"],
        ["--p-range", "nan", "1"],
        ["--p-range", "1"],
        ["--p-range=-1e300", "1e300"],
        ["--p-range", "0.5", "0.50000001"],
        ["--p-range", "1e-300", "2e-300"],
        ["--s-range=-1", "1"],
        ["--s-range", "0", "inf"],
        ["--tau-range", "0", "1"],
        ["--plane", "p", "--s-range", "0", "1"],
        ["--plane", "p-tau", "--wd-p", "0.2"],
        ["--plane", "x-y"],
        ["--preset", "fig99"],
        ["--format", "bmp"],
        ["--out", "figure.bmp"],
        ["--out", "a-file/figure.png"],
        ["--out", "a-file"],
        ["--show"],
        ["--colour", "red"],
        ["stray"],
    ),
    "predict": (
        ["--lr", "nan"],
        ["--lr", "0"],
        ["--lr=-0.1"],
        ["--lr", "much"],
        ["--predictor-lr", "0"],
        ["--predictor-lr", "inf"],
        ["--momentum", "1"],
        ["--momentum=-0.1"],
        ["--weight-decay", "nan"],
        ["--wd=-0.1"],
        ["--wd", "1e-300"],
        ["--wd-p", "inf"],
        ["--wd-s=-1"],
        ["--decay", "linear"],
        ["--ema", "1"],
        ["--ema=-0.1"],
        ["--target", "online"],
        ["--loss", "huber"],
        ["--predictor", "deep"],
        ["--predictor", "directpred", "--symmetric"],
        ["--predictor", "none", "--symmetric"],
        ["--a", "0"],
        ["--eps=-1"],
        ["--c", "nan"],
        ["--sigma2=-1"],
        ["--sigma2", "nan"],
        ["--scale", "0"],
        ["--scale", "2", "--loss", "l2"],
        ["--p0", "inf"],
        ["--p0", "0"],
        ["--s0", "1"],
        ["--p0", "0.1", "--s0", "0"],
        ["--p0", "0.1", "--predictor", "directpred"],
        ["--p0", "0.1", "--target", "none", "--no-stop-gradient"],
        ["--steps", "0"],
        ["--steps", "2.5"],
        ["--run", "nowhere"],
        ["--run", "a-file"],
        ["--out", "figure.png"],
        ["stray"],
    ),
    "sweep": (
        ["--x", "speed", "0", "1", "8"],
        ["--x", "wd", "0", "1"],
        ["--x", "wd", "0", "1", "8.5"],
        ["--x", "tau", "0.3", "1", "8"],
        ["--x", "wd", "0.3", "0", "8"],
        ["--x", "wd", "0.3", "0.3", "8"],
        ["--x", "wd", "nan", "1", "8"],
        ["--x", "wd", "0", "inf", "8"],
        ["--x", "wd", "-0.1", "0.3", "8"],
        ["--x", "wd", "1e-300", "0.3", "8"],
        ["--x", "wd", "0", "0.3", "1"],
        ["--x", "wd", "0", "0.3", "0"],
        ["--x", "wd", "0", "0.3", "100000", "--y", "tau", "0.3", "1", "100000"],
        ["--x", "wd", "0", "0.3", "8", "--x-scale", "log"],
        ["--x", "wd", "0", "0.3", "8", "--x-scale", "sideways"],
        ["--x", "wd", "0", "0.3", "8", "--y", "wd-p", "0", "0.3", "8"],
        ["--x", "wd", "0", "0.3", "8", "--wd-s", "0.1"],
        ["--x", "alpha-p", "0", "2", "8"],
        ["--x", "beta", "0", "2", "8"],
        ["--x", "beta", "0.1", "2", "8", "--field", "fixed-tau"],
        ["--x", "sigma2", "-1", "2", "8"],
        ["--x", "s0", "0", "2", "8"],
        ["--x", "p0", "-1e300", "1e300", "8"],
        ["--y", "tau", "0", "1", "8"],
        ["--y", "tau", "0.5", "1.5", "8"],
        ["--wd", "0.1"],  # wd is an axis by default
        ["--tau", "nan", "--y", "sigma2", "0", "1", "8"],
        ["--tau", "0", "--y", "sigma2", "0", "1", "8"],
        ["--alpha-p", "0"],
        ["--beta", "0.4", "--field", "fixed-tau"],
        ["--sigma2=-1"],
        ["--p0", "inf"],
        ["--s0", "0"],
        ["--quantity", "colour"],
        ["--quantity", "basin", "--p0", "0.5"],
        ["--quantity", "basin", "--starts", "0"],
        ["--quantity", "basin", "--starts", "1000000"],
        ["--quantity", "basin", "--p-range", "1", "0"],
        ["--quantity", "basin", "--s-range=-1", "1"],
        ["--starts", "10"],
        ["--p-range", "0", "1"],
        ["--time", "0"],
        ["--time", "nan"],
        ["--seed=-1"],
        ["--rtol", "0"],
        ["--chunk", "0"],
        ["--preset", "everything"],
        ["--format", "bmp"],
        ["--out", "map.bmp"],
        ["--out", "a-file/map.png"],
        ["--out", "a-file"],
        ["--show"],
        ["stray"],
    ),
    "train": (
        ["--data", "cifar10"],
        ["--data", "cifar10", "--data-dir", "nowhere"],
        ["--data", "mnist"],
        ["--data", "gaussian"],
        ["--model", "linear"],
        ["--precision", "float64"],
        ["--target-start", "zero"],
        ["--preset", "linear", "--examples", "20"],
        ["--preset", "linear", "--sigma2=-1"],
        ["--preset", "linear", "--covariances", "nowhere.npz"],
        ["--preset", "linear", "--covariances", "a-file"],
        ["--lr", "nan"],
        ["--lr", "0"],
        ["--wd=-1"],
        ["--wd-p", "inf"],
        ["--ema", "1.5"],
        ["--epochs", "0"],
        ["--batch", "1"],
        ["--batch", "100000"],
        ["--limit", "100"],
        ["--width", "0"],
        ["--depth", "34"],
        ["--warmup", "101"],
        ["--predictor", "directpred", "--rho", "1"],
        ["--predictor", "none", "--symmetric"],
        ["--predictor", "directcopy", "--predictor-bias"],
        ["--seed=-1"],
        ["--preset", "t99"],
        ["--resume"],
        ["--resume", "--overwrite"],
        ["--steps-per-call", "3"],
        ["--processes", "2"],
        ["--processes", "2", "--process", "0"],
        ["--out", "a-file"],
        ["--out", "a-file/run"],
        ["--out", "."],
    ),
    "verify": (
        ["--seeds", "0"],
        ["--seeds=-3"],
        ["--seeds", "1000000"],
        ["--size", "1"],
        ["--size", "1000"],
        ["--size", "nan"],
        ["--seed=-1"],
        ["--only", "everything"],
        ["--out", "a-file/verify.json"],
        ["--out", "verify.png"],
        ["--strict"],
    ),
}
CASES = [(name, argv) for name, each in BAD.items() for argv in each]


def test_every_command_is_tried():
    assert set(BAD) == set(COMMANDS)


@pytest.mark.parametrize("name, argv", CASES, ids=[f"{n} {' '.join(a)}"[:60] for n, a in CASES])
def test_bad_input_is_one_line_and_exit_2(name, argv, folder, capsys):
    (folder / "a-file").write_text("in the way")
    assert import_module(f"lindyn.{name}").main(argv) == command.USAGE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"lindyn {name}: ") and shown.err.count("\n") == 1
    assert "Traceback" not in shown.err
    assert [path.name for path in folder.iterdir()] == ["a-file"]


@pytest.mark.parametrize(
    "argv, said",
    (
        (["--wd=-0.1"], "--wd -0.1: must be finite and at least 0"),
        (["--tau", "1.5"], "--tau 1.5: must be finite and above 0 and at most 1 (the target"),
        (["--p-range", "1", "0"], "--p-range 1 0: the lower end must come first"),
        (["--out", "x.bmp"], "--out x.bmp: the suffix must be one of png, svg, pdf, json"),
        (["--colour", "red"], "Unrecognized options: --colour"),
    ),
)
def test_the_line_says_what_came_and_what_is_allowed(argv, said, folder, capsys):
    import_module("lindyn.phase").main(argv)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_help_lists_every_option_with_its_default(name, capsys):
    with pytest.raises(SystemExit) as stop:
        import_module(f"lindyn.{name}").main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    if name == "predict":  # it writes no files
        assert "--lr" in shown and "default: 0.996" in " ".join(shown.split())
        return
    assert "--out" in shown and "default: lindyn-out" in " ".join(shown.split()).replace(
        "│ │ ", ""
    )


def test_an_interrupt_is_exit_130(folder, capsys, monkeypatch):
    from lindyn.phase import command as phase

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(phase, "_computed", interrupted)
    assert phase.main([]) == command.INTERRUPTED
    assert capsys.readouterr().err == "lindyn phase: interrupted\n"


def lindyn(*argv):
    return subprocess.run(
        [sys.executable, "-m", "lindyn", *argv], capture_output=True, text=True, check=False
    )


def test_the_console_script_dispatches():
    shown = lindyn()
    assert shown.returncode == 0 and all(name in shown.stdout for name in COMMANDS)
    unknown = lindyn("nothing")
    assert unknown.returncode == 2 and unknown.stderr.count("\n") == 1
    assert lindyn("phase", "--wd", "nan").returncode == 2


def test_numbers_that_json_lacks():
    content = {"a": float("nan"), "b": [float("inf"), -float("inf")], "c": 1 + 2j}
    assert json.loads(command.as_json(content)) == {
        "a": None,
        "b": ["inf", "-inf"],
        "c": [1.0, 2.0],
    }


def test_progress_is_on_stderr_and_gives_every_item(capsys):
    assert list(command.progress([1, 2, 3], "things", label=str)) == [1, 2, 3]
    assert capsys.readouterr().out == ""

"""Checks whether two versions of lindyn write the same bytes: presets, and runs of each kind.

    python benchmarks/outputs.py make BEFORE --package ../old/lindyn
    python benchmarks/outputs.py make AFTER
    python benchmarks/outputs.py diff BEFORE AFTER

`make` runs the commands in the given folder; if it was stopped, the next call continues. `diff`
names each file that exists on one side only, or whose bytes differ. Its exit code is 1 if there
is such a file.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys


HERE = pathlib.Path(__file__).resolve().parents[1] / "lindyn"
PHASE = ("fig3", "fig4", "critical", "ema", "split", "window", "cosine")
SWEEP = ("collapse", "basin", "ema", "start", "window", "speed", "rate", "rank")
EXPLORE = ("default", "cosine")
PREDICT = {
    "cosine": "--lr 0.03 --weight-decay 1 --ema 0.996",
    "l2": "--lr 0.03 --weight-decay 1 --ema 0.996 --loss l2",
    "fast": "--lr 5 --wd 0.01 --loss l2",
    "adam": "--lr 0.001 --wd 0.01 --optimiser adam",
    "directpred": "--lr 0.03 --wd 0.0004 --predictor directpred",
    "one-mode": "--lr 0.03 --wd 0.01 --loss l2 --p0 0.3 --s0 0.1",
    "run": "--run runs/linear",
}
TRAIN = {
    "linear": "--preset linear --devices 1",
    "digits": "--epochs 6 --width 4 --devices 1",
    "directpred": "--epochs 6 --width 4 --devices 1 --predictor directpred",
}
WRONG = {
    "phase": "--wd -1",
    "sweep": "--x wd 0.3 0 10",
    "predict": "--lr nan",
    "train": "--lr -1",
    "compare": "nowhere",
    "verify": "--only nothing",
    "explore": "--run nowhere",
}


def commands():
    """Names and arguments of all commands; training runs come before the commands that read
    them."""
    for name, flags in TRAIN.items():
        yield f"train-{name}", f"train {flags} --out runs/{name}"
    for name in TRAIN:
        yield f"compare-{name}", f"compare runs/{name} --format png svg --out compare-{name}"
        yield f"movie-{name}", f"explore --run runs/{name} --out movie-{name}.html"
    for name in PHASE:
        yield f"phase-{name}", f"phase --preset {name} --format png svg --out phase-{name}"
    for name in SWEEP:
        yield f"sweep-{name}", f"sweep --preset {name} --format png svg --out sweep-{name}"
    for name, flags in PREDICT.items():
        yield f"predict-{name}", f"predict {flags}"
        yield f"predict-{name}-json", f"predict {flags} --json"
    yield "explore", "explore --out explore.html"
    yield "verify", "verify --seeds 1 --json"
    for name, flags in WRONG.items():
        yield f"wrong-{name}", f"{name} {flags}"
        yield f"help-{name}", f"{name} --help"


def make(folder, package):
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "PYTHONPATH": str(package.resolve().parent),
        "JAX_PLATFORMS": "cpu",
        "COLUMNS": "100",
    }
    for name, arguments in commands():
        record = folder / f"{name}.txt"
        if record.exists():
            continue
        module, *rest = arguments.split()
        done = subprocess.run(
            [sys.executable, "-m", f"lindyn.{module}", *rest],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        mistake = done.stderr if done.returncode == 2 else ""
        record.write_text(f"{done.stdout}{mistake}\nexit code {done.returncode}\n")
        print(f"{name}: exit code {done.returncode}", flush=True)


def files(folder):
    """All files by relative path, except those that depend on the time and the machine."""
    left_out = {"environment.json", "checkpoints"}
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not left_out & {*path.parts}
    }


def content(path):
    """The bytes of a file, without the times and rates that it holds."""
    times = rb'"(seconds|images_per_second)": [^,}]*|[0-9.e+]+ a second'
    return re.sub(times, b"", path.read_bytes())


def diff(before, after):
    first, second = files(before), files(after)
    differ = sorted(
        name
        for name in first.keys() | second.keys()
        if name not in first
        or name not in second
        or content(first[name]) != content(second[name])
    )
    for name in differ:
        print(f"differs: {name}")
    print(f"{len(first | second)} files, {len(differ)} of them differ")
    return bool(differ)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("make", "diff"))
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    parser.add_argument("--package", type=pathlib.Path, default=HERE, help="its lindyn folder")
    given = parser.parse_args()
    if len(given.folders) != (1 if given.what == "make" else 2):
        parser.error("make takes one folder, diff takes two")
    if not (given.package / "__init__.py").exists():
        parser.error(f"--package {given.package}: holds no __init__.py")
    if given.what == "diff":
        for folder in given.folders:
            if not folder.is_dir() or not any(folder.iterdir()):
                parser.error(f"{folder}: holds no outputs; make writes them")
    if given.what == "make":
        return make(given.folders[0], given.package)
    return diff(*given.folders)


if __name__ == "__main__":
    sys.exit(main())

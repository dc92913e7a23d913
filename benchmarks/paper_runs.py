"""What do the step and the paper's two CIFAR-10 runs come to on this card?

    python benchmarks/paper_runs.py --data-dir DIR --json runs.json
    python benchmarks/paper_runs.py --quick --json runs.json    # digits: the same, in minutes

The step of `train_step.py` against PyTorch's, then 100 epochs each of DirectPred and of a
trained linear predictor (Table 8: 85.21 and 84.49), with kNN and the linear protocol, last and
best.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import timing


PAPER = {"directpred": 85.21, "sgd": 84.49}
QUICK = "--data digits --depth 10 --width 4 --epochs 1 --batch 64".split()


def step(options):
    """The numbers that `train_step.py` writes."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "step.json"
        flags = ["--batch", str(options.batch), "--precision", options.precision]
        flags += ["--against", *(() if options.quick else ("eager", "compiled"))]
        script = pathlib.Path(__file__).with_name("train_step.py")
        subprocess.run([sys.executable, script, *flags, "--json", file], check=True)
        return json.loads(file.read_text())


def run(name, options):
    """One arm, resumed where it was left, and what its command says of it."""
    out = options.out / name
    flags = ["--preset", f"t8-{name}-100", "--out", str(out), "--json"]
    if options.quick:
        flags += QUICK
    else:
        data = str(options.data_dir)
        flags += ["--data", "cifar10", "--data-dir", data, "--precision", options.precision]
    if (out / "config.json").exists():
        flags = ["--resume", "--out", str(out), "--json"]
    command = [sys.executable, "-m", "lindyn.train", *flags]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout) | {"paper": PAPER[name]}


def main():
    options = parse()
    about = timing.facts(("torch",))
    found = {"about": about, "step": step(options)}
    found["runs"] = {name: run(name, options) for name in PAPER}
    rows = []
    for name, each in found["runs"].items():
        cells = (each["knn"], each["linear_last"], each["linear_best"])
        rows.append((name, *(f"{100 * x:.2f}" for x in cells), f"{each['paper']:.2f}"))
    timing.table(("100 epochs", "kNN", "linear, last", "best", "paper's best"), rows)
    timing.write(options.json, found)


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data-dir", type=pathlib.Path, help="of CIFAR-10")
    add("--quick", action="store_true", help="digits and a small network")
    add("--batch", type=int, default=128)
    add("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    add("--out", type=pathlib.Path, default=pathlib.Path("lindyn-out/paper"))
    add("--json", default="paper_runs.json", metavar="FILE", help="where all numbers go")
    options = parser.parse_args()
    if not options.quick and options.data_dir is None:
        parser.error("say where CIFAR-10 is with --data-dir, or --quick")
    return options


if __name__ == "__main__":
    main()

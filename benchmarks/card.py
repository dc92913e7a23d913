"""All GPU benchmarks in one run of a few minutes, for a machine that is free only briefly.

    python benchmarks/card.py --pack FOLDER    # beforehand, on a machine with a network
    bash benchmarks/card.sh --out DIR          # on the GPU machine; --minutes 9, --arm sgd
    bash benchmarks/card.sh --tiny             # everything on two CPU cores, as a trial

The stages; each runs in its own processes and has its own time limit:

    facts       the machine and its peak rates (machine.py)
    kernel      whether the ensemble's kernel is correct (gpu.py)
    ensembles   time per solve, for 10^4 to 10^7 solves (gpu.py)
    matrices    the matrix flow of many seeds (matrix.py)
    step        training steps, compared with PyTorch's (train_step.py)
    arm         as much as the time allows of a 100-epoch run of the paper's Table 8

If a stage fails or runs out of time, the others still run, and what it has written stays.
The output folder gets a JSON file for each stage, log.txt with everything that the stages
print, and summary.json. `--pack` creates .card/ in the checkout: Python packages (wheels) that
the machine may lack, and CIFAR-10 from FOLDER/tools/cifar10.py and
FOLDER/data/cifar10-jpeg.tar.xz. Copy .card/ along with the checkout. The exit code is 0 if all
stages succeed, 1 if not, 2 if there is no GPU. One file, since all stages share one time limit.
"""

import argparse
import contextlib
import json
import math
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import timing


HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent
PACKED = ROOT / ".card"
WHEELS = ("tyro", "docstring_parser", "typeguard")
TRAVELS = "tools/cifar10.py", "data/cifar10-jpeg.tar.xz"
PAPER = {"directpred": 85.21, "sgd": 84.49}  # the paper's accuracies on CIFAR-10, in percent
STEPS = (  # network, batch, precision, further flags; the most important ones first
    ("resnet18-32", 512, "bfloat16", ("--parts", "--profile", "3")),
    ("resnet50-224", 64, "bfloat16", ()),
    ("resnet18-32", 128, "bfloat16", ()),
    ("resnet18-32", 128, "float32", ()),
    ("resnet18-32", 512, "float32", ()),
    ("resnet50-224", 64, "float32", ()),
)
STOP = 15  # seconds between SIGINT and the kill of the training run
LOOK = 10  # seconds between two updates of a report
LEAST = 5  # a stage is not started with fewer seconds left


class Stage(NamedTuple):
    """Commands that run one after another, with their time limits in seconds."""

    limit: float  # of all commands together
    commands: Callable[[], list]  # called when the stage starts
    each: float = math.inf  # of one command
    stop: float = 0  # SIGINT is sent this many seconds before the limit
    fine: tuple = (0,)  # exit codes of success
    report: Callable | None = None  # called every LOOK seconds during the stage, and after it


class Runner:
    """Runs stages within a total time limit, and writes the log and the summary."""

    def __init__(self, out, minutes, names, environment=None):
        self.out, self.end = out, time.monotonic() + 60 * minutes
        self.environment = environment
        self.summary = {name: dict(status="not reached", seconds=0.0) for name in names}
        self.log = open(out / "log.txt", "wb", buffering=0)
        self._keep()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.log.close()

    @property
    def left(self):
        return self.end - time.monotonic()

    def stage(self, name, stage, reserve=0.0):
        """Runs one stage, and keeps `reserve` seconds for the stages that follow."""
        begin, limit = time.monotonic(), min(stage.limit, self.left - reserve)
        if limit < LEAST:
            return
        print(f"{name}: {limit:.0f} s at most", flush=True)
        ends, errors = [], []
        try:
            for command in stage.commands():
                log_start = self.log.tell()
                ends.append(self._run(stage, command, begin + limit))
                if ends[-1] != "done":
                    errors.append(self._last_line(log_start))
            if stage.report is not None:
                stage.report()
        except Exception as error:
            ends.append("failed")
            errors.append(f"{type(error).__name__}: {error}")
        worst = [x for x in ("failed", "out of time") if x in ends]
        result = dict(status=(worst or ["done"])[0], seconds=round(time.monotonic() - begin, 1))
        if errors:
            result["error"] = errors[0][:300]
        self.summary[name] = result
        self._keep()
        print(f"{name}: {result['status']} after {result['seconds']} s", flush=True)

    def _run(self, stage, command, until):
        until = min(until, time.monotonic() + stage.each)
        if until - time.monotonic() < LEAST:
            self.say(f"not started, too little time is left: {' '.join(command)}")
            return "out of time"
        self.say(f"$ {' '.join(command)}")
        process = started(command, self.log, self.environment)
        try:
            if self._over(process, until - stage.stop, stage.report) and stage.stop:
                process.send_signal(signal.SIGINT)
            if self._over(process, until, stage.report):
                ended(process)
                self.say("killed: its time is over")
                return "out of time"
            return "done" if process.returncode in stage.fine else "failed"
        finally:
            ended(process)

    def _over(self, process, until, report):
        """Waits until that time. Returns whether the process still runs."""
        while (left := until - time.monotonic()) > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(min(left, LOOK))
                return False
            if report is not None:
                with contextlib.suppress(Exception):  # its files may not exist yet
                    report()
        return process.poll() is None

    def say(self, text):
        self.log.write(f"{text}\n".encode())

    def _last_line(self, begin):
        self.log.flush()
        with open(self.out / "log.txt", "rb") as log:
            log.seek(begin)
            lines = log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _keep(self):
        timing.write(self.out / "summary.json", self.summary)


def started(command, log, environment=None):
    """Starts a command in its own process group, so that its children can be killed too."""
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def ended(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# The stages


def stages(options, folder, images):
    """The stages by name. `images` is the process that unpacks the images, or None."""
    script = lambda name, *flags: [sys.executable, str(HERE / f"{name}.py"), *flags]
    into = lambda name: ("--json", str(options.out / f"{name}.json"))
    one = lambda name, *words: lambda: [script(*words, *into(name))]
    small = (  # flags that set the sizes
        dict(
            facts="--numbers 1000000 --size 128 --least 0.02",
            kernel="--solves 100 --without",
            ensembles="--solves 50 100 --rounds 1 --sample 5 --without",
            matrices="--size 2 --seeds 4 --sample 1 --rounds 1",
        )
        if options.tiny
        else dict(matrices="--size 4 8 --seeds 1000 10000 --rounds 3")
    )
    sizes = lambda name: small.get(name, "").split()
    only = ("--only", "lindyn", "diffrax-tsit5")
    steps = (("resnet10-32", 16, "float32", STEPS[0][3]),) if options.tiny else STEPS
    rest = 300.0 if options.tiny else 0.0  # a CPU compiles and runs slowly
    return {
        "facts": Stage(40 + rest, one("facts", "machine", *sizes("facts"))),
        "kernel": Stage(60 + rest, one("kernel", "gpu", "kernel", *sizes("kernel"))),
        "ensembles": Stage(
            110 + rest, one("ensembles", "gpu", "ensembles", *sizes("ensembles"))
        ),
        "matrices": Stage(50 + rest, one("matrices", "matrix", *only, *sizes("matrices"))),
        "step": Stage(
            215 + rest,
            lambda: [
                script("train_step", *step(*each, options.tiny), *into("step"))
                for each in steps
            ],
            each=110 + rest,
        ),
        "arm": Stage(
            math.inf,
            lambda: [arm(options, folder / "run", images, folder / "images")],
            stop=STOP,
            fine=(0, 130),
            report=lambda: arm_report(options, folder / "run"),
        ),
    }


def step(network, batch, precision, more, tiny):
    flags = ["--network", network, "--batch", str(batch), "--precision", precision]
    flags += ["--key", f"{network} {batch} {precision}", *more]
    if tiny:
        return [*flags, "--rounds", "1", "--methods", "linear", "--against", "eager"]
    return flags if more else [*flags, "--methods", "linear", "--rounds", "3"]


def arm(options, out, images, unpacked):
    """Waits for the images. Returns the command of the training run."""
    data, folder = "cifar10", options.data_dir
    if folder is None and images is not None:
        if images.wait():
            raise RuntimeError(f"CIFAR-10 was not unpacked: exit code {images.returncode}")
        folder = unpacked
    elif folder is None:
        data = "digits"
        if not options.tiny:
            raise RuntimeError("CIFAR-10 is not there: give --data-dir, or --pack it before")
    flags = ["--preset", f"t8-{options.arm}-100", "--data", data, "--out", str(out), "--json"]
    flags += ["--data-dir", str(folder)] if folder is not None else []
    flags += ["--checkpoint-every", "1000000"]
    if options.tiny:
        flags += "--depth 10 --width 4 --hidden 32 --dim 16 --epochs 2 --batch 64".split()
        flags += "--limit 200 --record-every 1 --evaluate-every 1".split()
    else:
        flags += ["--precision", "bfloat16", "--evaluate-every", "10"]
    return [sys.executable, "-m", "lindyn.train", *flags]


def arm_report(options, run):
    """Writes arm.json: the progress of the training run, and the accuracy of the paper."""
    config = json.loads((run / "config.json").read_text())
    metrics, judged = lines(run / "metrics.jsonl"), lines(run / "evaluation.jsonl")
    rates = [each["images_per_second"] for each in metrics[1:]]  # not the one that compiles
    epochs = metrics[-1]["epoch"] if metrics else 0.0
    last = judged[-1] if judged else {}
    whole = "linear_best" in last and config["epochs"] == 100
    paper = PAPER[options.arm]
    packed = config["data"] == "cifar10" and options.data_dir is None
    found = dict(
        arm=config["preset"],
        epochs=epochs,
        of=config["epochs"],
        images_per_second=statistics.median(rates) if rates else None,
        knn=last.get("knn"),
        linear_best=last.get("linear_best"),
        paper=paper,
        note=f"the paper's {paper} is the best of the linear protocol on CIFAR-10 after 100"
        " epochs; " + ("this run is whole" if whole else "this run is not"),
        images="a JPEG copy of CIFAR-10" if packed else "as given",
        config=config,
        evaluation=judged,
        metrics=metrics[:: max(1, math.ceil(len(metrics) / 1000))],
    )
    timing.write(options.out / "arm.json", found)


def lines(file):
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().split("\n")[:-1]]


# The summary that is printed at the end


def told(name, found):
    """Yields short lines with the main numbers of a stage."""
    if name == "facts":
        rates = found["teraflops a second"]
        yield f"{found['about']['device']}, {found['gigabytes a second']:.0f} GB/s"
        yield "TF/s: " + ", ".join(f"{key} {rate:.3g}" for key, rate in rates.items())
    elif name == "kernel":
        for key, each in found["kernel"].items():
            error, failed = each["relative error"], each["failed"]
            agree = each["labels that agree"]
            yield f"{key}: error {error:.1e}, failed {failed}, agree {agree:.2%}" + (
                ", kernel" if each["kernel"] else ", no kernel"
            )
    elif name == "ensembles":
        yield from told_ensembles(found["ensembles"])
    elif name == "matrices":
        for n, sizes in found["sizes"].items():
            for seeds, each in sizes.items():
                cost = lambda x: f"{1e3 * x['seconds a solve']:.3g}"
                costs = ", ".join(f"{key} {cost(x)}" for key, x in each.items())
                yield f"n = {n}, {seeds} seeds, ms each: {costs}"
    elif name == "step":
        for key, each in found.items():
            rates = (
                f"{x} {run['images_per_second']:.0f}"
                for x, run in each.items()
                if isinstance(run, dict) and "images_per_second" in run
            )
            yield f"{key}, images/s: {', '.join(rates)}"
    elif name == "arm":
        per_cent = lambda x: "-" if x is None else f"{100 * x:.2f} %"
        rate = found["images_per_second"] or math.nan
        reached = f"{found['epochs']:.1f} of {found['of']} epochs"
        yield f"{found['arm']}: {reached}, {rate:.0f} images/s"
        yield f"kNN {per_cent(found['knn'])}, linear {per_cent(found['linear_best'])}"
        yield found["note"]


def told_ensembles(found):
    for dtype in ("float64", "float32"):
        for solves, each in found.get(dtype, {}).items():
            us = lambda x: f"{1e6 * x['seconds a solve']:.3g}"
            costs = [f"{name} {us(x)}" for name, x in each["contestants"].items()]
            costs.append(f"alone {us(each['alone'])}")
            if dtype == "float64" and solves in found.get("processor", {}):
                costs.append(f"processor {found['processor'][solves]:.3g}")
            yield f"{solves} in {dtype}, us each: {', '.join(costs)}"
            if share := each["of the peak, alone"]:
                yield f"    of the peak: alone {share:.1%}"


def show(summary, out):
    print()
    rows = [(name, x["status"], f"{x['seconds']:.0f}") for name, x in summary.items()]
    timing.table(("stage", "status", "s"), rows)
    for name, each in summary.items():
        if "error" in each:
            print(f"{name}: {each['error'][:200]}")
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            for line in told(name, json.loads((out / f"{name}.json").read_text())):
                print(f"{name}  {line[:160]}")


# Before and after


def pack(source):
    """Copies into .card/ of the checkout what the GPU machine may lack."""
    for folder in ("wheels", "tools", "data"):
        shutil.rmtree(PACKED / folder, ignore_errors=True)
        (PACKED / folder).mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", "3.12"]
    command += ["-d", str(PACKED / "wheels"), *WHEELS]
    subprocess.run(command, check=True)
    for file in TRAVELS:
        shutil.copyfile(source / file, PACKED / file)
    for file in sorted(PACKED.rglob("*.*")):
        print(f"{file.relative_to(ROOT)}  {file.stat().st_size} bytes")


def unpacking(options, folder, log):
    """Starts the process that unpacks the images of `pack`; None if they are not needed."""
    tool = PACKED / "tools" / "cifar10.py"
    if "arm" not in options.stages or options.data_dir is not None or not tool.exists():
        return None
    few = ["--per-class", "20", "--test-per-class", "10"] if options.tiny else []
    return started([sys.executable, str(tool), str(folder), *few], log)


def environment(folder):
    """The environment of all stages, which share a cache of compiled programs."""
    return {"JAX_COMPILATION_CACHE_DIR": str(folder / "programs")} | os.environ


def sees_gpu():
    """Whether JAX finds a GPU. Another process asks, so that this one does not hold it."""
    command = [sys.executable, "-c", "import jax; print(jax.devices()[0].platform)"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return said.stdout.split()[-1:] == ["gpu"]


def main(argv=None):
    options = parse(argv)
    if options.pack is not None:
        pack(options.pack)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        summary = run_all(options, pathlib.Path(folder))
    if summary is None:
        print("card.py: JAX sees no GPU here; --tiny does without", file=sys.stderr)
        return 2
    show(summary, options.out)
    return int(any(each["status"] != "done" for each in summary.values()))


def run_all(options, folder):
    """Runs all stages. Returns the summary, or None if there is no GPU."""
    names, begin = options.stages, time.monotonic()
    if not options.tiny and not sees_gpu():
        return None
    minutes = options.minutes - (time.monotonic() - begin) / 60
    with Runner(options.out, minutes, names, environment(folder)) as runner:
        images = unpacking(options, folder / "images", runner.log)
        known = stages(options, folder, images)
        try:
            for i, name in enumerate(names):
                runner.stage(name, known[name], 60.0 if "arm" in names[i + 1 :] else 0.0)
        finally:
            if images is not None:
                ended(images)
            for part in options.out.glob("*.part"):
                part.unlink()
    return runner.summary


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ("facts", "kernel", "ensembles", "matrices", "step", "arm")
    out = os.environ.get("OUT") or "lindyn-out/card"
    add = parser.add_argument
    folder = dict(type=pathlib.Path, metavar="FOLDER")
    add("--stages", nargs="+", default=names, choices=names, metavar="STAGE", help="(all)")
    add("--arm", default="directpred", choices=PAPER, help="of Table 8 (directpred)")
    add("--minutes", type=float, help="for all of it (9; 60 with --tiny)")
    add("--tiny", action="store_true", help="small sizes, and no GPU is needed")
    add("--data-dir", **folder, help="where CIFAR-10 is, unpacked")
    add("--out", **folder, default=pathlib.Path(out), help="$OUT or lindyn-out/card")
    add("--pack", **folder, help="fill .card/ from this folder and the network, and end")
    options = parser.parse_args(argv)
    if options.minutes is None:
        options.minutes = 60.0 if options.tiny else 9.0
    for file in TRAVELS if options.pack is not None else ():
        if not (options.pack / file).is_file():
            parser.error(f"--pack {options.pack}: holds no {file}")
    if not options.minutes > 0:
        parser.error(f"--minutes {options.minutes:g}: must be above 0")
    if options.data_dir is not None and not options.data_dir.is_dir():
        parser.error(f"--data-dir {options.data_dir}: no such folder")
    options.out = options.out.absolute()
    if options.data_dir is not None:
        options.data_dir = options.data_dir.absolute()
    return options


if __name__ == "__main__":
    sys.exit(main())

"""What a newcomer waits for: `lindyn.phase` from process start to picture, and `--help`.

The picture is held against a process that only imports jax, diffrax and pyplot; runs are
interleaved, since machines drift. `python benchmarks/cold.py --runs 10`
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version

from lindyn.__main__ import COMMANDS


IMPORTS = ("-c", "import jax, diffrax, matplotlib.pyplot")
PHASE = ("-m", "lindyn.phase", "--wd", "0.01")


def seconds(arguments, folder):
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    helps = {f"{name} --help": ("-m", f"lindyn.{name}", "--help") for name in COMMANDS}
    jobs = {"imports": IMPORTS, "phase": PHASE, **helps}
    times = {name: [] for name in jobs}
    with tempfile.TemporaryDirectory() as folder:
        for arguments in jobs.values():  # once, so that files are read and compiled
            seconds(arguments, folder)
        for _ in range(runs):
            for name, arguments in jobs.items():
                times[name].append(seconds(arguments, folder))
    libraries = ", ".join(
        f"{name} {version(name)}" for name in ("jax", "diffrax", "matplotlib")
    )
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {libraries}")
    for name, each in times.items():
        spread = f"{min(each):.2f} to {max(each):.2f}"
        print(f"{name:16s} median {statistics.median(each):.2f} s, {spread}")
    ratios = [a / b for a, b in zip(times["phase"], times["imports"], strict=True)]
    print(f"phase / imports  median {statistics.median(ratios):.2f}, {max(ratios):.2f} at most")


if __name__ == "__main__":
    main()

"""Start-up times: `lindyn.phase` from process start to picture, and `--help` of each command.

The time of the picture is compared with a process that only imports jax, diffrax and pyplot.
Runs are interleaved, since machines drift. `python benchmarks/cold.py --runs 10`
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


def seconds(arguments, folder, cached):
    """Time of a process, with or without the programs that an earlier process compiled."""
    cache = {"XDG_CACHE_HOME": folder} if cached else {"JAX_ENABLE_COMPILATION_CACHE": "0"}
    command, environment = [sys.executable, *arguments], {**os.environ, **cache}
    begin = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    helps = {f"{name} --help": ("-m", f"lindyn.{name}", "--help") for name in COMMANDS}
    jobs = {"imports": IMPORTS, "phase": PHASE, "phase, cached": PHASE, **helps}
    times = {name: [] for name in jobs}
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in jobs.items():  # warm-up: fills the caches of files and programs
            seconds(arguments, folder, "cached" in name)
        for _ in range(runs):
            for name, arguments in jobs.items():
                times[name].append(seconds(arguments, folder, "cached" in name))
    libraries = ", ".join(
        f"{name} {version(name)}" for name in ("jax", "diffrax", "matplotlib")
    )
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {libraries}")
    for name, each in times.items():
        spread = f"{min(each):.2f} to {max(each):.2f}"
        print(f"{name:16s} median {statistics.median(each):.2f} s, {spread}")
    for name in ("phase", "phase, cached"):
        ratios = [a / b for a, b in zip(times[name], times["imports"], strict=True)]
        median, most = statistics.median(ratios), max(ratios)
        print(f"{name} / imports  median {median:.2f}, {most:.2f} at most")


if __name__ == "__main__":
    main()

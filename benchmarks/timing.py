"""Timing of contestants and tables of the results, shared by the benchmarks.

Contestants are called in turn, so that a drift of the machine affects all of them equally.
"""

import importlib.util
import json
import math
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np


REST = 0.05  # seconds between contestants, whose threads may still be spinning


@dataclass
class Timing:
    """Times of one contestant, in seconds."""

    first: float  # time of the first call, which compiles
    times: list[float]  # times of the later calls
    result: Any  # result of the first call

    @property
    def median(self):
        return statistics.median(self.times)

    @property
    def compile(self):
        return max(self.first - self.median, 0.0)


def interleaved(jobs, rounds, patience=math.inf):
    """Calls each named function once, then all in turn for some rounds; returns their `Timing`.

    A function whose last call took more than `patience` seconds is not called again.
    """
    timings = {}
    for name, job in jobs.items():
        _say(f"first call of {name}")
        seconds, result = _timed(job)
        timings[name] = Timing(seconds, [], result)
    for turn in range(rounds):
        _say(f"round {turn + 1} of {rounds}")
        for name, job in jobs.items():
            if max(timings[name].times[-1:], default=0) <= patience:
                timings[name].times.append(_timed(job)[0])
    _say("")
    return timings


def sample(run, wait, count):
    """Seconds of `count` calls, of which only the last is waited for."""
    begin = time.perf_counter()
    for _ in range(count):
        value = run()
    wait(value)
    return time.perf_counter() - begin


def calls(run, wait, least):
    """The number of calls that take `least` seconds together. Also warms the function up."""
    count = 1
    while (seconds := sample(run, wait, count)) < least:
        count = min(1 + math.ceil(1.1 * count * least / seconds), 8 * count)
    return count


def per_call(run, wait, least=0.3, samples=5):
    """Seconds per call, one number for each sample of at least `least` seconds."""
    count = calls(run, wait, least)
    return [sample(run, wait, count) / count for _ in range(samples)]


def ratio(times, base, scale=1.0):
    """The median over rounds of times / base, multiplied by `scale`."""
    return scale * statistics.median(a / b for a, b in zip(times, base, strict=True))


def errors(ends, exact):
    """The largest absolute difference in any leaf, for each problem (the first axis).

    Only the problems that both `ends` and `exact` have are compared.
    """
    lanes = min(len(ends[0]), len(exact[0]))
    apart = [
        np.abs(x[:lanes] - y[:lanes]).reshape(lanes, -1)
        for x, y in zip(ends, exact, strict=True)
    ]
    return np.concatenate(apart, axis=1).max(axis=1)


def compared(jobs, sizes, rounds, exact, patience=math.inf):
    """Times and errors of each contestant.

    A contestant returns the leaves of its final states, and its numbers of steps. `sizes` maps
    the name of a contestant to its number of solves. The ratio is the time per solve over that
    of lindyn.
    """
    timings = interleaved(jobs, rounds, patience)
    found = {}
    for name, each in timings.items():
        ends, steps = each.result
        apart = errors(ends, exact)
        found[name] = {
            "solves": sizes[name],
            "compile": each.compile,
            "seconds": each.times,
            "seconds a solve": each.median / sizes[name],
            "steps": float(np.mean(steps)),
            "error": [*np.quantile(apart, (0.5, 0.99)).tolist(), float(np.max(apart))],
            "failed": int(np.sum(~np.isfinite(ends[0]).reshape(sizes[name], -1).all(axis=1))),
        }
        if "lindyn" in timings:
            scale = sizes["lindyn"] / sizes[name]
            base = timings["lindyn"].times
            both = min(len(each.times), len(base))
            found[name]["ratio"] = ratio(each.times[:both], base[:both], scale)
    return found


def show(found, solves, title, unit):
    """Prints the result of `compared` as a table; `unit` is "us" or "ms"."""
    print(f"\n{title}")
    rows = [(name, *_cells(each, solves, unit)) for name, each in found.items()]
    heads = f"contestant,solves,{unit}/solve,min,max,compile s,steps,error,99 %,max,failed"
    table((*heads.split(","), "/ lindyn"), rows)
    if any(each["solves"] < solves for each in found.values()):
        print("* of the same problems only the first so many; the cost is per solve")


def cost(found, unit):
    """Median, smallest and largest time per solve."""
    scale = {"us": 1e6, "ms": 1e3}[unit] / found["solves"]
    times = found["seconds"]
    return [scale * x for x in (statistics.median(times), min(times), max(times))]


def _cells(found, solves, unit):
    return (
        f"{found['solves']}{'*' if found['solves'] < solves else ''}",
        *(f"{x:.3g}" for x in cost(found, unit)),
        f"{found['compile']:.2f}",
        f"{found['steps']:.0f}",
        *(f"{x:.1e}" for x in found["error"]),
        f"{found['failed']}",
        f"{found['ratio']:.2f}" if "ratio" in found else "",
    )


def installed(contestants, needs):
    """The contestants whose library is installed; stderr gets a line for each other one."""
    there = lambda name: name not in needs or importlib.util.find_spec(needs[name])
    for name in contestants:
        if not there(name):
            print(f"{name} is left out: {needs[name]} is not installed", file=sys.stderr)
    return [name for name in contestants if there(name)]


def facts(libraries, **more):
    """Prints the date, the versions and the machine, and returns them as a dictionary."""
    versions = {name: _version(name) for name in ("jax", "diffrax", "numpy", *libraries)}
    found = {
        "date": date.today().isoformat(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **versions,
        **more,
    }
    print(", ".join(f"{name} {value}" for name, value in found.items()))
    return found


def table(heads, rows):
    """Prints a table; the first column is aligned to the left, the others to the right."""
    rows = [heads, *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (x.rjust(w) for x, w in zip(others, widths[1:], strict=True))
        print("  ".join((first.ljust(widths[0]), *cells)).rstrip(), flush=True)


def write(file, found):
    """Writes a JSON file atomically, since the process may be killed at any time."""
    part = f"{file}.part"
    with open(part, "w") as stream:
        json.dump(found, stream, indent=1)
        stream.write("\n")
    os.replace(part, file)


def _timed(job):
    time.sleep(REST)
    begin = time.perf_counter()
    result = job()
    return time.perf_counter() - begin, result


def _say(text):
    if sys.stderr.isatty():
        print(f"\r{text:60s}\r", end="", file=sys.stderr, flush=True)


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None

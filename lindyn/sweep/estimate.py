"""Estimates the solves, memory and time of a sweep, for --dry-run, from a few of its cells."""

import dataclasses
import time

import numpy as np

from lindyn import command
from lindyn.sweep import flow_maps


FEW = 256  # most cells per checkpoint of networks, which take long
PROBE = 4096  # number of solves that --dry-run times
BRIEF = 500.0  # most steps of the networks that --dry-run times
BATCHES = 90_000_000  # bytes of the batches of one start of the networks
BYTES = 700  # bytes that a solve needs, from its input to its written result


def dry_run(config, setting, chunks, files):
    """Prints the estimate, as text or as JSON, and returns the exit code."""
    number, probe = max(16, PROBE // setting.starts), setting
    if setting.quantity == "rank":
        number, probe = FEW // 4, dataclasses.replace(setting, time=min(setting.time, BRIEF))
    number = min(setting.cells, number)
    cells = np.sort(np.random.default_rng(0).permutation(setting.cells)[:number])
    times = []
    for _ in range(2):
        begin = time.perf_counter()
        flow_maps.compute(probe, cells)
        times.append(time.perf_counter() - begin)
    solves, missing = setting.cells * setting.starts, chunks.missing()
    left = sum(last - first for first, last in missing)
    most = max((last - first for first, last in missing), default=0)
    batch_bytes = BATCHES * setting.starts if setting.quantity == "rank" else 0
    report = {
        "solves": solves,
        "chunks": len(chunks.spans),
        "chunks_to_compute": len(missing),
        "bytes": batch_bytes + BYTES * most * setting.starts + 64 * setting.cells,
        "seconds": times[0] + times[1] * left / number * setting.time / probe.time,
        "files": list(files.values()),
    }
    if config.json:
        print(command.as_json(report))
        return command.DONE
    print(f"{solves} solves in {len(chunks.spans)} chunks, {len(missing)} of them not done yet")
    print(f"about {report['bytes'] / 1e6:.3g} MB of memory, beyond the program's")
    print(
        f"about {report['seconds']:.2g} s: {number * setting.starts} solves took"
        f" {times[1]:.2g} s, after {times[0]:.2g} s for the first time"
    )
    for path in files.values():
        print(f"would write {path}")
    return command.DONE

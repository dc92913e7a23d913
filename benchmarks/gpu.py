"""The ensemble's kernel on a GPU against diffrax under vmap on the same card.

    python benchmarks/gpu.py --solves 1000 10000 100000 1000000 --json gpu.json

The workload, the contestants and the error are those of `ensemble.py`: rtol 1e-8 in float64,
and 1e-5 in float32 (with the atol a hundredth of it). `lindyn-xla` is the loop that runs where
there is no kernel. The arithmetic of a step is what XLA counts in it, and the peak that of the
card's vector units. The processor of the same machine is timed in a process of its own, for
the number of solves from which the card is the faster.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time

import ensemble as workload
import jax
import jax.numpy as jnp
import numpy as np
import timing
from tsit5 import END

from lindyn import engine, ensemble, fields, lanes
from lindyn.fields import Modes
from lindyn.taylor import Program


PEAK = {  # operations a second of the vector units, a fused one counted as two
    "H100": {"float64": 33.5e12, "float32": 66.9e12},
    "H200": {"float64": 33.5e12, "float32": 66.9e12},
    "A100": {"float64": 9.7e12, "float32": 19.5e12},
}
RTOL = {"float64": 1e-8, "float32": 1e-5}


def with_lindyn(problem, rtol):
    y0, params = Modes(*problem.start), workload.parameters(problem.rates)
    ends = ensemble.final(fields.modes, y0, params, END, rtol=rtol, atol=rtol / 100)
    return jax.tree.leaves(ends.y), ends.steps


def without_kernel(problem, rtol):
    real = engine.compiled
    engine.compiled = lambda plan: real(plan._replace(kernel=False))
    try:
        return with_lindyn(problem, rtol)
    finally:
        engine.compiled = real


def with_diffrax(problem, rtol):
    columns = (tuple(map(jnp.asarray, x)) for x in problem)
    *ys, steps = map(np.asarray, workload.diffrax_vmap()(*columns, None, rtol, rtol / 100))
    return ys, steps


CONTESTANTS = {
    "lindyn": with_lindyn,
    "lindyn-xla": without_kernel,
    "diffrax-vmap": with_diffrax,
}


def operations(dtype):
    """Of one attempt of a step of one solve, as XLA counts them."""
    one = jax.ShapeDtypeStruct((), dtype)
    y, params = Modes(one, one, one), workload.parameters([one] * 4)
    program = Program(fields.modes, one, y, params)
    method = lanes.Taylor(lanes.order(RTOL[dtype]))
    solves = 1024
    many = lambda tree: jax.tree.map(lambda x: jnp.full(solves, 0.5, dtype), tree)
    marks = jax.tree.map(lambda _: True, params)

    def step(y, params, t):
        problem = lanes.Problem(program, params, marks, RTOL[dtype], 1e-10, lambda x: x)
        now = lanes.start(method, problem, t, y, t + 1)
        return lanes.advance(method, problem, now, t + 1, 1000)[0]

    cpu = jax.devices("cpu")[0]
    with jax.default_device(cpu):
        arguments = many(y), many(params), jnp.zeros(solves, dtype)
        return jax.jit(step).lower(*arguments).cost_analysis()["flops"] / solves


def compare(dtype, options):
    problem = workload.random(max(options.solves), options.seed)
    sample = problem.first(min(options.sample, *options.solves))
    exact = [y[:, -1] for y in workload.reference(sample, np.array([0.0, END]))]
    problem = workload.Problem(*(x.astype(dtype) for x in problem))
    found = {}
    for solves in sorted(options.solves):
        part = problem.first(solves)
        jobs = {
            name: functools.partial(run, part, RTOL[dtype]) for name, run in CONTESTANTS.items()
        }
        sizes = dict.fromkeys(jobs, solves)
        found[solves] = timing.compared(jobs, sizes, options.rounds, exact)
        timing.show(found[solves], solves, f"{solves} solves in {dtype}", "us")
    return found


def on_processor(options):
    """Microseconds a solve of lindyn on the processor of this machine, by size."""
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "cpu.json")
        command = [sys.executable, os.path.join(os.path.dirname(__file__), "ensemble.py")]
        command += ["--only", "lindyn", "--rounds", "3", "--json", file, "--solves"]
        command += map(str, options.solves)
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        with open(file) as stream:
            found = json.load(stream)["solves"]
    return {int(n): 1e6 * each["lindyn"]["seconds a solve"] for n, each in found.items()}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--solves", type=int, nargs="+", default=[10**k for k in range(3, 7)])
    add("--rounds", type=int, default=3, help="calls of each contestant after its first (3)")
    add("--sample", type=int, default=200, help="lanes held against the reference (200)")
    add("--seed", type=int, default=int(time.time()), help="of the problems (the clock)")
    add("--json", metavar="FILE", help="write all numbers")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    card = jax.devices()[0]
    about = timing.facts(("scipy",), card=card.device_kind, seed=options.seed)
    if card.platform != "gpu":
        sys.exit("gpu.py: JAX sees no GPU here")
    peaks = next((peak for name, peak in PEAK.items() if name in card.device_kind), {})
    report = {"about": about, "processor": on_processor(options)}
    for dtype in RTOL:
        found = report[dtype] = compare(dtype, options)
        most = found[max(found)]["lindyn"]
        rate = operations(dtype) * most["steps"] / most["seconds a solve"]
        report[f"{dtype} operations a second"] = rate
        share = f", {rate / peaks[dtype]:.1%} of the peak" if peaks else ""
        print(f"{dtype}: {rate / 1e12:.2f} TF/s that advance a solve{share}")
        if options.json:  # what is there if the time runs out
            timing.write(options.json, report)
    faster = [
        n
        for n, each in report["float64"].items()
        if 1e6 * each["lindyn"]["seconds a solve"] < report["processor"][n]
    ]
    print(f"the card is faster than the processor from N = {min(faster, default='none')}")


if __name__ == "__main__":
    main()

"""The ensemble on a GPU: correctness of its Pallas kernel, and time per solve.

    python benchmarks/gpu.py kernel --json kernel.json
    python benchmarks/gpu.py ensembles --solves 10000 100000 1000000 --json ensembles.json

The problems are those of `ensemble.py`, at rtol 1e-8 in float64 and 1e-5 in float32, with
atol = rtol / 100. `kernel` compares final states, final states with an event, and saved states
with those that the CPU computes at rtol 1e-12 in float64; all initial values and
parameters are exact in float32. `ensembles` measures the time of

    lindyn        from NumPy to NumPy
    alone         its compiled program, on problems that are already on the GPU
    lindyn-xla    the XLA loop that runs if there is no kernel
    diffrax-vmap  Tsit5 under one vmap, for at most a million solves
    processor     lindyn on the CPU of this machine, in a separate process (float64)

All of them except `alone` and `processor` are called in turn. The number of operations is the
one that XLA counts in a step; the peak is that of the GPU's vector units. Read `ensemble.py`
first. One file, since both sections share the problems and the contestants.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import warnings

import ensemble as workload
import jax
import jax.numpy as jnp
import numpy as np
import timing
from tsit5 import END

from lindyn.solve import ensemble, pallas_kernel, scheduler, stepping
from lindyn.solve.taylor import Program
from lindyn.theory import fields
from lindyn.theory.states import Modes


PEAK = {  # operations per second of the vector units; a fused multiply-add counts as two
    "H100": {"float64": 33.5e12, "float32": 66.9e12},
    "H200": {"float64": 33.5e12, "float32": 66.9e12},
    "A100": {"float64": 9.7e12, "float32": 19.5e12},
}
RTOL = {"float64": 1e-8, "float32": 1e-5}
MOST = {"diffrax-vmap": 10**6}
PATIENCE = 3.0  # a contestant whose call takes more seconds is not called again
TIMES = np.linspace(0.0, END, 11)


def event(t, y, params):
    """1 if the encoder has become small, 2 if it has become large, else 0."""
    return jnp.where(y.w < 0.1, 1, jnp.where(y.w > 0.9, 2, 0))


@contextlib.contextmanager
def programs(change):
    """Within this context, the scheduler calls `change(compile, plan)` to compile a plan."""
    real = scheduler.compiled
    scheduler.compiled = functools.partial(change, real)
    try:
        yield
    finally:
        scheduler.compiled = real


def with_lindyn(problem, rtol):
    ends = final(problem, rtol)
    return jax.tree.leaves(ends.y), ends.steps


def final(problem, rtol, atol=None, event=None):
    y0, params = Modes(*problem.start), workload.parameters(problem.rates)
    tolerances = dict(rtol=rtol, atol=rtol / 100 if atol is None else atol)
    return ensemble.final(fields.modes, y0, params, END, event=event, **tolerances)


def states(problem, rtol, atol=None):
    y0, params = Modes(*problem.start), workload.parameters(problem.rates)
    atol = rtol / 100 if atol is None else atol
    return ensemble.states(fields.modes, y0, params, TIMES, rtol=rtol, atol=atol)


def without_kernel(problem, rtol):
    with programs(lambda compile, plan: compile(plan._replace(kernel=False))):
        return with_lindyn(problem, rtol)


def with_diffrax(problem, rtol):
    columns = (tuple(map(jnp.asarray, x)) for x in problem)
    *ys, steps = map(np.asarray, workload.diffrax_vmap()(*columns, None, rtol, rtol / 100))
    return ys, steps


CONTESTANTS = {
    "lindyn": with_lindyn,
    "lindyn-xla": without_kernel,
    "diffrax-vmap": with_diffrax,
}


def alone(problem, rtol):
    """Seconds per solve of the compiled program alone, on at most one chunk of problems."""
    kept = []

    def keep(compile, plan):
        kept.append(compile(plan))
        return lambda *given: kept.append(given) or kept[-2](*given)

    problem = problem.first(ensemble.CHUNK)
    with programs(keep):
        with_lindyn(problem, rtol)
    run, given = kept[-2:]
    on_card = jax.device_put(given)
    times = timing.per_call(lambda: run(*on_card), jax.block_until_ready, 0.2, 3)
    return min(times) / problem.start.shape[1]


def operations(dtype):
    """Operations of one attempted step of one solve, as XLA counts them."""
    one = jax.ShapeDtypeStruct((), dtype)
    y, params = Modes(one, one, one), workload.parameters([one] * 4)
    program = Program(fields.modes, one, y, params)
    method = stepping.Taylor(stepping.order(RTOL[dtype]))
    solves = 1024
    many = lambda tree: jax.tree.map(lambda x: jnp.full(solves, 0.5, dtype), tree)
    marks = jax.tree.map(lambda _: True, params)

    def step(y, params, t):
        problem = stepping.Problem(program, params, marks, RTOL[dtype], 1e-10, lambda x: x)
        now = stepping.start(method, problem, t, y, t + 1)
        return stepping.advance(method, problem, now, t + 1, 1000)[0]

    cpu = jax.devices("cpu")[0]
    with jax.default_device(cpu):
        arguments = many(y), many(params), jnp.zeros(solves, dtype)
        return jax.jit(step).lower(*arguments).cost_analysis()["flops"] / solves


# Section `kernel`: correctness


def kernel(options, keep):
    """Compares each way of calling, in both precisions, with the CPU."""
    problem = problems(options)
    exact, found = from_processor(options), {}
    for dtype, rtol in RTOL.items():
        rounded = workload.Problem(*(x.astype(dtype) for x in problem))
        cases = {
            "ends": functools.partial(final, rounded, rtol),
            "event": functools.partial(final, rounded, rtol, event=event),
            "states": functools.partial(states, rounded, rtol),
        }
        for name, run in cases.items():
            key = f"{name}, {dtype}"
            found[key] = judged(*watched(run), exact, name)
            show_judged(key, found[key])
            keep(found)
    return found


def problems(options):
    problem = workload.random(max(options.solves), options.seed)
    return workload.Problem(*(x.astype(np.float32).astype(float) for x in problem))


def watched(run):
    """The result of `run`, whether the Pallas kernel computed it, and the warnings."""
    plans, real = [], pallas_kernel.run
    traced = lambda *given, **more: plans.append(None) or real(*given, **more)
    pallas_kernel.run = traced
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with programs(lambda compile, plan: plans.append(plan) or compile(plan)):
                ends = run()
    finally:
        pallas_kernel.run = real
    # The kernel is traced for the last plan: if a plan does not compile, another one follows.
    kernel = None in plans and [plan for plan in plans if plan][-1].kernel
    return ends, kernel, sorted({str(each.message) for each in caught})


def judged(ends, kernel, said, exact, name):
    ys = np.stack([np.asarray(y, float) for y in jax.tree.leaves(ends.y)])
    true = exact[name]
    good = np.isfinite(ys).all(axis=tuple({0, *range(2, ys.ndim)}))
    same = good & (ends.label == exact[f"{name} label"])
    apart = np.abs(ys - true)[:, same]
    return {
        "solves": len(good),
        "failed": int(np.sum(~good)),
        "kernel": kernel,
        "warnings": said,
        "relative error": float(np.linalg.norm(apart) / np.linalg.norm(true[:, same])),
        "worst error": float(apart.max()),
        "labels that agree": float(np.mean(same)),
        "labels": np.bincount(ends.label).tolist(),
        "worst time": float(np.abs(ends.t - exact[f"{name} t"])[same].max()),
        "steps": float(np.mean(ends.steps)),
        "rejected": float(np.mean(ends.rejected)),
        "wasted": ends.wasted,
    }


def on_gpu():
    return jax.devices()[0].platform == "gpu"


def show_judged(name, each):
    print(
        f"{name}: relative error {each['relative error']:.1e}, worst {each['worst error']:.1e},"
        f" {each['failed']} of {each['solves']} failed, kernel {each['kernel']},"
        f" labels {each['labels that agree']:.2%}, times {each['worst time']:.1e}",
        flush=True,
    )


def from_processor(options):
    """The reference values, as arrays by name, from a process that does not use the GPU."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "exact.npz"
        command = [sys.executable, __file__, "exact", "--json", str(file)]
        command += ["--seed", str(options.seed), "--solves", *map(str, options.solves)]
        subprocess.run(command, check=True, env={**os.environ, "JAX_PLATFORMS": "cpu"})
        with np.load(file) as arrays:
            return dict(arrays)


def exact(options):
    problem, tight = problems(options), (1e-12, 1e-14)
    cases = {
        "ends": final(problem, *tight),
        "event": final(problem, *tight, event=event),
        "states": states(problem, *tight),
    }
    arrays = {}
    for name, ends in cases.items():
        arrays[name] = np.stack(jax.tree.leaves(ends.y))
        arrays |= {f"{name} t": ends.t, f"{name} label": ends.label}
    np.savez(options.json, **arrays)


# Section `ensembles`: time per solve


def ensembles(options, keep):
    """Measures both precisions, small sizes first; after float64 also the CPU."""
    problem, found = workload.random(max(options.solves), options.seed), {}
    sample = problem.first(min(options.sample, *options.solves))
    true = [y[:, -1] for y in workload.reference(sample, np.array([0.0, END]))]
    for dtype in RTOL:
        for solves, each in compare(problem, true, dtype, options):
            found.setdefault(dtype, {})[solves] = each
            keep(found)
        if dtype == "float64":
            found["processor"] = on_processor(options)
            keep(found)
    times = {n: found["float64"][n]["contestants"]["lindyn"] for n in found["processor"]}
    cost = lambda n: 1e6 * times[n]["seconds a solve"]
    faster = [n for n, us in found["processor"].items() if cost(n) < us]
    found["faster than the processor from"] = min(faster, default=None)
    keep(found)
    print(f"the card is faster than the processor from {min(faster, default='no')} solves")
    return found


def compare(problem, true, dtype, options):
    problem = workload.Problem(*(x.astype(dtype) for x in problem))
    card = jax.devices()[0].device_kind
    peak = next((each[dtype] for name, each in PEAK.items() if name in card), None)
    for solves in sorted(options.solves):
        part, rtol = problem.first(solves), RTOL[dtype]
        jobs = {
            name: functools.partial(run, part, rtol)
            for name, run in CONTESTANTS.items()
            if solves <= MOST.get(name, solves)
        }
        sizes = dict.fromkeys(jobs, solves)
        found = timing.compared(jobs, sizes, options.rounds, true, PATIENCE)
        timing.show(found, solves, f"{solves} solves in {dtype}", "us")
        each = {"contestants": found, "alone": {"seconds a solve": alone(part, rtol)}}
        for name, timed in (("whole", found["lindyn"]), ("alone", each["alone"])):
            rate = operations(dtype) * found["lindyn"]["steps"] / timed["seconds a solve"]
            share = f", {rate / peak:.1%} of the peak" if peak else ""
            each[f"operations a second, {name}"] = rate
            each[f"of the peak, {name}"] = rate / peak if peak else None
            us = 1e6 * timed["seconds a solve"]
            print(f"{name}: {us:.3g} us, {rate / 1e12:.3g} TF/s that advance a solve{share}")
        yield solves, each


def on_processor(options):
    """Microseconds per solve of lindyn on the CPU of this machine, by size."""
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "cpu.json")
        command = [sys.executable, os.path.join(os.path.dirname(__file__), "ensemble.py")]
        command += ["--only", "lindyn", "--rounds", "3", "--sample", "10"]
        command += ["--seed", str(options.seed), "--json", file]
        command += ["--solves", *map(str, options.solves)]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        subprocess.run(command, check=True, env=environment)
        found = json.loads(pathlib.Path(file).read_text())["solves"]
    return {int(n): 1e6 * each["lindyn"]["seconds a solve"] for n, each in found.items()}


def main():
    options = parse()
    jax.config.update("jax_enable_x64", True)
    if options.section == "exact":
        exact(options)
        return
    if not on_gpu() and not options.without:
        sys.exit("gpu.py: JAX sees no GPU here")
    card = jax.devices()[0].device_kind
    about = timing.facts(("scipy",), card=card, seed=options.seed, solves=options.solves)
    report = {"about": about}

    def keep(found):  # called often, in case the time runs out
        if options.json:
            timing.write(options.json, report | {options.section: found})

    {"kernel": kernel, "ensembles": ensembles}[options.section](options, keep)


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("section", choices=("kernel", "ensembles", "exact"), help="exact: kernel's reference")
    add("--solves", type=int, nargs="+", help="sizes (kernel 2000; 10^4 to 10^7)")
    add("--rounds", type=int, default=3, help="calls of each contestant after its first (3)")
    add("--sample", type=int, default=100, help="lanes held against the reference (100)")
    add("--seed", type=int, default=int(time.time()), help="of the problems (the clock)")
    add("--without", action="store_true", help="goes on where there is no GPU")
    add("--json", metavar="FILE", help="write all numbers (exact: arrays)")
    options = parser.parse_args()
    if options.solves is None:
        sizes = [10**k for k in range(4, 8)]
        options.solves = sizes if options.section == "ensembles" else [2000]
    return options


if __name__ == "__main__":
    main()

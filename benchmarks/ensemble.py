"""Time per solve of a large ensemble: `lindyn.ensemble` against other libraries.

Random initial value problems of the mode equations (`lindyn.fields.modes`, t in [0, 100],
float64). Without a section's flag: final states at rtol 1e-8, for each size in `--solves`:

    python benchmarks/ensemble.py --solves 1000 10000 100000 1000000 --json ensemble.json
    python benchmarks/ensemble.py --saved 200
    python benchmarks/ensemble.py --precision precision.png
    python benchmarks/ensemble.py --growth

The contestants are called in turn. A time is the median over the rounds after a first call,
which compiles. The error of a solve is the largest absolute error in p, w and wa, compared with
scipy's DOP853 at rtol 1e-13. Its median, 99th percentile and maximum are taken over the first
`--sample` problems, the same for all contestants. A lane is one problem of the batch.

    lindyn        `ensemble.final` on all host devices
    diffrax       Tsit5 with the best options found: `ForwardMode`, problems sorted by their
                  initial stiffness, 256 under one vmap, chunks in turn on all host devices
    diffrax-vmap  the same solve under one vmap and jit
    lsoda         scipy's compiled LSODA, one problem at a time
    torchdiffeq   dopri5, the batch as one system (smaller batches were slower)
    numba         Tsit5 on scalars, prange over lanes
    numba-lanes   the same step over 64 lanes at once, as vectors; a finished lane is replaced

numba and torchdiffeq are left out if they are not installed. One file, so that the contestants
and the problems that they solve can be read together.
"""

import argparse
import functools
import multiprocessing
import os
import resource
import sys
import time
from typing import NamedTuple

import diffrax as dfx
import jax
import numpy as np
import timing
import tsit5
from jax.sharding import AxisType, PartitionSpec as Each
from tsit5 import END, FIRST_STEP

from lindyn.solve import ensemble
from lindyn.theory import fields
from lindyn.theory.states import Modes, Params


CHUNK = 256  # problems that diffrax solves under one vmap
SHARE = 4096  # largest number of problems that a thread of numba-lanes takes at once
NEEDS = {
    "torchdiffeq": "torchdiffeq",
    "numba": "numba",
    "numba-lanes": "numba",
}
# Largest number of problems of each slow contestant.
MOST = {"lsoda": 500, "torchdiffeq": 10_000, "diffrax-vmap": 100_000, "diffrax": 100_000}


class Problem(NamedTuple):
    """A batch of problems; each column is one problem (a lane)."""

    start: np.ndarray  # p, w, wa
    rates: np.ndarray  # alpha_p, beta, eta, sigma2

    def first(self, lanes):
        return Problem(*(np.ascontiguousarray(x[:, :lanes]) for x in self))


def random(lanes, seed):
    rng = np.random.default_rng(seed)
    start, rates = np.empty((3, lanes)), np.empty((4, lanes))
    for row, (low, high) in zip(rates, ((-1, 1), (0.05, 1), (0, 0.1), (0, 2)), strict=True):
        row[:] = rng.uniform(low, high, lanes)
    np.power(10, rates[0], out=rates[0])
    for row, (low, high) in zip(start, ((-1, 1), (0.01, 1), (0, 1)), strict=True):
        row[:] = rng.uniform(low, high, lanes)
    np.sqrt(start[1], out=start[1])
    start[2] *= start[1]
    return Problem(start, rates)


def parameters(rates):
    alpha_p, beta, eta, sigma2 = rates
    return Params(alpha_p=alpha_p, beta=beta, eta=eta, sigma2=sigma2)


def reference(problem, ts):
    """Reference values of p, w and wa at ts[1:]; each has shape (lanes, times)."""
    from scipy.integrate import solve_ivp

    ends = []
    for lane in range(problem.start.shape[1]):
        start, rate = one_mode(problem, lane)
        tight = dict(method="DOP853", rtol=1e-13, atol=1e-15)
        ends.append(solve_ivp(rate, (0, END), start, t_eval=ts[1:], **tight).y)
    return np.stack(ends, axis=1)


def one_mode(problem, lane):
    """Initial state and right-hand side. It uses Python floats, faster than small arrays."""
    alpha_p, beta, eta, sigma2 = problem.rates[:, lane].tolist()
    a = 1 + sigma2

    def rate(t, y):
        p, w, wa = y.tolist()
        residual = wa - a * p * w
        return (
            alpha_p * residual * w - eta * p,
            p * residual - eta * w,
            beta * (w - wa),
        )

    return problem.start[:, lane], rate


# Contestants. Each returns p, w and wa, at the end or at ts[1:], and the number of steps.


def with_lindyn(problem, rtol, atol, ts=None):
    if ts is None:
        ends = final(problem, rtol, atol)
        return jax.tree.leaves(ends.y), ends.steps
    y0, params = Modes(*problem.start), parameters(problem.rates)
    ends = ensemble.states(fields.modes, y0, params, ts, rtol=rtol, atol=atol)
    return [y[:, 1:] for y in jax.tree.leaves(ends.y)], ends.steps


def final(problem, rtol=1e-8, atol=1e-10):
    y0, params = Modes(*problem.start), parameters(problem.rates)
    return ensemble.final(fields.modes, y0, params, END, rtol=rtol, atol=atol)


def with_diffrax(problem, rtol, atol, ts=None):
    """Sorts the problems by stiffness and deals chunks of similar ones out to the devices."""
    lanes = problem.start.shape[1]
    alpha_p, _, _, sigma2 = problem.rates
    order = np.argsort(alpha_p * (1 + sigma2) * problem.start[1] ** 2)
    devices = jax.device_count()
    order = np.resize(order, (-(-lanes // (CHUNK * devices)), devices, CHUNK))
    order = order.swapaxes(0, 1).ravel()
    columns = (tuple(x[:, order]) for x in problem)
    *ys, steps = map(np.asarray, diffrax_program()(*columns, ts, rtol, atol))
    back = np.empty(lanes, int)
    back[order] = np.arange(len(order))
    return [y[back] for y in ys], steps[back]


def with_diffrax_vmap(problem, rtol, atol, ts=None):
    columns = map(tuple, problem)
    *ys, steps = map(np.asarray, diffrax_vmap()(*columns, ts, rtol, atol))
    return ys, steps


def diffrax_one(start, rates, ts, rtol, atol):
    sol = dfx.diffeqsolve(
        dfx.ODETerm(fields.modes),
        dfx.Tsit5(),
        0.0,
        END,
        FIRST_STEP,
        Modes(*start),
        parameters(rates),
        saveat=dfx.SaveAt(t1=True) if ts is None else dfx.SaveAt(ts=ts[1:]),
        stepsize_controller=dfx.PIDController(rtol=rtol, atol=atol),
        adjoint=dfx.ForwardMode(),
        max_steps=100_000,
        throw=False,
    )
    ys = jax.tree.map(lambda x: x[0], sol.ys) if ts is None else sol.ys
    return *jax.tree.leaves(ys), sol.stats["num_accepted_steps"]


@functools.cache
def diffrax_program():
    def on_a_device(start, rates, *shared):
        one = lambda lane: diffrax_one(*lane, *shared)
        return jax.lax.map(one, (start, rates), batch_size=CHUNK)

    mesh = jax.make_mesh((jax.device_count(),), ("lanes",), axis_types=(AxisType.Auto,))
    lanes, shared = Each("lanes"), Each()
    specs = (lanes, lanes, shared, shared, shared)
    return jax.jit(
        jax.shard_map(on_a_device, mesh=mesh, in_specs=specs, out_specs=lanes, check_vma=False)
    )


@functools.cache
def diffrax_vmap():
    return jax.jit(jax.vmap(diffrax_one, in_axes=(0, 0, None, None, None)))


def with_lsoda(problem, rtol, atol):
    from scipy.integrate import odeint

    ends, steps = [], []
    settings = dict(rtol=rtol, atol=atol, tfirst=True, mxstep=100_000, full_output=True)
    for lane in range(problem.start.shape[1]):
        start, rate = one_mode(problem, lane)
        y, log = odeint(rate, start, (0.0, END), **settings)
        ends.append(y[-1])
        steps.append(log["nst"][-1])
    return np.transpose(ends), np.array(steps)


def with_torchdiffeq(problem, rtol, atol):
    import torch
    from torchdiffeq import odeint

    start, (alpha_p, beta, eta, sigma2) = (torch.tensor(x) for x in problem)
    a, calls = 1 + sigma2, 0

    def rate(t, y):
        nonlocal calls
        calls += 1
        (p, w, wa), dy = y, torch.empty_like(y)
        residual = wa - a * p * w
        torch.sub(alpha_p * residual * w, eta * p, out=dy[0])
        torch.sub(p * residual, eta * w, out=dy[1])
        torch.mul(beta, w - wa, out=dy[2])
        return dy

    ts = torch.tensor([0.0, END], dtype=start.dtype)
    with torch.no_grad():
        ends = odeint(rate, start, ts, rtol=rtol, atol=atol, method="dopri5")
    return ends[-1].numpy(), np.array([calls // 6])


def with_numba(problem, rtol, atol, ts=None):
    ends, steps = np.empty_like(problem.start), np.empty(problem.start.shape[1], int)
    with tsit5.numba.parallel_chunksize(CHUNK):  # chunks go to threads that become free
        if ts is None:
            tsit5.numba_ends(*problem, rtol, atol, ends, steps)
            return ends, steps
        states = np.empty((*problem.start.shape, len(ts) - 1))
        tsit5.numba_states(*problem, rtol, atol, ts[1:], tsit5.interpolant(), states, steps)
    return states, steps


def with_numba_lanes(problem, rtol, atol):
    lanes, threads = problem.start.shape[1], tsit5.numba.get_num_threads()
    shares = threads * -(-lanes // (threads * SHARE))
    ends, steps = np.empty_like(problem.start), np.empty(lanes, int)
    with tsit5.numba.parallel_chunksize(1):
        tsit5.numba_lanes(*problem, rtol, atol, -(-lanes // shares), ends, steps)
    return ends, steps


CONTESTANTS = {
    "lindyn": with_lindyn,
    "diffrax": with_diffrax,
    "diffrax-vmap": with_diffrax_vmap,
    "lsoda": with_lsoda,
    "torchdiffeq": with_torchdiffeq,
    "numba": with_numba,
    "numba-lanes": with_numba_lanes,
}
SAVING = ("lindyn", "diffrax", "diffrax-vmap", "numba")
DRAWN = ("lindyn", "diffrax", "numba", "numba-lanes")


# Sections


def compare(problem, names, exact, options, rtol=1e-8, atol=1e-10, ts=None):
    lanes = problem.start.shape[1]
    sizes = {name: min(lanes, MOST.get(name, lanes)) for name in names}
    more = () if ts is None else (ts,)
    parts = {size: problem.first(size) for size in set(sizes.values())}
    job = lambda name: CONTESTANTS[name](parts[sizes[name]], rtol, atol, *more)
    jobs = {name: functools.partial(job, name) for name in names}
    return timing.compared(jobs, sizes, options.rounds, exact)


def show(found, lanes, what):
    timing.show(found, lanes, f"{lanes} solves, {what}", "us")


def many(names, options):
    problem = random(max(options.solves), options.seed)
    ts = np.array([0.0, END])
    sample = problem.first(min(options.sample, *options.solves))
    exact = [y[:, -1] for y in reference(sample, ts)]
    found = {}
    for lanes in sorted(options.solves):
        found[lanes] = compare(problem.first(lanes), names, exact, options)
        show(found[lanes], lanes, "end states at rtol 1e-8, atol 1e-10")
    return found


def saved(names, options):
    names = [name for name in names if name in SAVING]
    lanes, ts = 1000, np.linspace(0.0, END, options.saved + 1)
    problem = random(lanes, options.seed)
    exact = reference(problem.first(min(options.sample, lanes)), ts)
    found = compare(problem, names, exact, options, ts=ts)
    show(found, lanes, f"{options.saved} saved times at rtol 1e-8, atol 1e-10")
    return found


def precision(names, options):
    """Time against error, for rtol from 1e-4 to 1e-11 and atol = rtol / 100."""
    names = [name for name in names if name in DRAWN]
    lanes = 4000
    problem = random(lanes, options.seed)
    sample = problem.first(min(options.sample, lanes))
    exact = [y[:, -1] for y in reference(sample, np.array([0.0, END]))]
    found = {}
    for rtol in 10.0 ** -np.arange(4, 12):
        found[rtol] = compare(problem, names, exact, options, rtol, rtol / 100)
        show(found[rtol], lanes, f"end states at rtol {rtol:.0e}, atol {rtol / 100:.0e}")
    draw(found, names, lanes, options.precision)
    return {f"{rtol:.0e}": each for rtol, each in found.items()}


def draw(found, names, lanes, file):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    ax = figure.subplots()
    colours = dict(zip(DRAWN, ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=True))
    for name in names:
        each = [found[rtol][name] for rtol in sorted(found)]
        x, y = [e["error"][0] for e in each], [timing.cost(e, "us")[1] for e in each]
        ax.loglog(x, y, "o-", color=colours[name], markersize=4)
        ax.annotate(
            name,
            (x[0], y[0]),
            (-7, 0),
            textcoords="offset points",
            color=colours[name],
            ha="right",
            va="center",
        )
    ax.margins(x=0.16)
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_xlabel("median over solves of the largest absolute error at t = 100")
    ax.set_ylabel("microseconds per solve, least of the rounds")
    ax.set_title(f"{lanes} solves, rtol from 1e-4 to 1e-11", loc="left", fontsize=10)
    figure.savefig(file, dpi=200)


def growth(options):
    """Time per solve of lindyn by ensemble size, and memory, measured in its own process."""
    sizes = sorted(options.solves)
    problem = random(sizes[-1], options.seed)
    costs = {lanes: [] for lanes in sizes}
    for turn in range(options.rounds + 1):
        for lanes in sizes:
            calls = 1 if turn == 0 else max(1, 500_000 // lanes)
            found = per_solve(problem.first(lanes), calls)
            if turn > 0:
                costs[lanes] += found
    del problem  # frees memory for the processes below
    found = {}
    for lanes in sizes:
        median = float(np.median(costs[lanes]))
        extra = in_a_process(memory, lanes, options.seed)
        found[lanes] = {"microseconds": median, "each": costs[lanes], "extra bytes": extra}
    show_growth(found)
    return found


def show_growth(found):
    rows = []
    for lanes, each in found.items():
        cells = (each["microseconds"], min(each["each"]), max(each["each"]))
        megabytes = each["extra bytes"] / 2**20
        per_lane = each["extra bytes"] / lanes
        cells = (*(f"{x:.3g}" for x in cells), f"{megabytes:.0f}", f"{per_lane:.0f}")
        rows.append((str(lanes), *cells))
    print()
    timing.table(("solves", "us/solve", "min", "max", "extra MiB", "bytes/solve"), rows)
    print("extra: peak resident memory beyond that before the solve and beyond the results")
    for which, least in (("median", np.median), ("least", min)):
        flat = [least(each["each"]) for lanes, each in found.items() if lanes >= 10_000]
        if len(flat) > 1:
            print(f"from 10^4 on: {max(flat) / min(flat):.2f} between sizes, {which} call")


def per_solve(problem, calls):
    time.sleep(timing.REST)
    times = [time.perf_counter()]
    for _ in range(calls):
        final(problem)
        times.append(time.perf_counter())
    return (1e6 * np.diff(times) / problem.start.shape[1]).tolist()


def memory(lanes, seed):
    set_up()
    problem = random(lanes, seed)
    final(problem.first(min(1000, lanes)))  # memory for compilation
    before = peak()
    ends = final(problem)
    results = sum(np.asarray(x).nbytes for x in jax.tree.leaves(ends))
    return max(peak() - before - results, 0)


def peak():
    """Peak resident memory in bytes; Linux reports KiB, macOS bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def in_a_process(function, *arguments):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def set_up():
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", os.cpu_count())


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--solves", type=int, nargs="+", help="sizes (1000 10000 100000; growth to 10^7)")
    add("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), metavar="NAME")
    add("--rounds", type=int, default=5, help="calls of each contestant after its first (5)")
    add("--sample", type=int, default=500, help="lanes held against the reference (500)")
    add("--seed", type=int, default=int(time.time()), help="of the problems (the clock)")
    add("--json", metavar="FILE", help="write all numbers")
    section = parser.add_mutually_exclusive_group()
    add = section.add_argument
    add("--saved", type=int, metavar="TIMES", help="section: 1000 solves with saved times")
    add("--precision", metavar="FILE", help="section: draw time against error, 4000 solves")
    add("--growth", action="store_true", help="section: lindyn's cost and memory by size")
    options = parser.parse_args()
    if options.solves is None:
        options.solves = [10**k for k in (range(3, 8) if options.growth else range(3, 6))]
    return options


def main():
    options = parse()
    set_up()
    libraries = ("scipy", "torch", "torchdiffeq", "numba")
    about = timing.facts(libraries, seed=options.seed, rounds=options.rounds)
    names = timing.installed(options.only, NEEDS)
    if options.growth:
        found = {"growth": growth(options)}
    elif options.precision:
        found = {"precision": precision(names, options)}
    elif options.saved:
        found = {"saved": saved(names, options)}
    else:
        found = {"solves": many(names, options)}
    if options.json:
        timing.write(options.json, {"about": about, **found})


if __name__ == "__main__":
    main()

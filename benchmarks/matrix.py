"""Time per solve of the matrix flow `fields.full`: many small networks, or one large network.

t in [0, 20], float64. The networks are random; all seeds share the same random covariances.
Many seeds are solved at rtol 1e-8, atol 1e-10. Above n = 16 the number of seeds is reduced by
the factor (16 / n)^3:

    python benchmarks/matrix.py --seeds 1000 --size 2 4 8 16 32 64 --json seeds.json

    lindyn              `ensemble.final` on all host devices
    diffrax-tsit5       with the best options found: `ForwardMode`, seeds dealt out to all host
    diffrax-dopri8      devices, at most 256 under one vmap, and one at a time from n = 32 on
    torchdiffeq         dopri5, all seeds as one system
    scipy               DOP853, one seed at a time

With --single, one solve is compared at equal accuracy. Each contestant solves at every
`--rtol`, with atol = rtol / 100. A line is fitted to the logarithms of time and error, and the
time is read from this line at the error `--error`:

    python benchmarks/matrix.py --single --size 64 128 256 512 --json single.json

    lindyn              `lindyn.trajectory`
    lindyn-ensemble     `ensemble.final` with one solve
    diffrax-dopri8, torchdiffeq (dopri8) and scipy (DOP853)

On a GPU, diffrax has all seeds under one vmap. The contestants are called in turn. A time is
the median over the rounds after a first call, which compiles. Errors are the largest over all
weights, compared with scipy's DOP853 at rtol 1e-13. One file, so that the contestants and the
problems that they solve can be read together.
"""

import argparse
import functools
import os
import time
from typing import NamedTuple

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import timing
from jax.sharding import AxisType, PartitionSpec as Each
from jax.tree_util import Partial

import lindyn
from lindyn.solve import ensemble
from lindyn.theory import fields
from lindyn.theory.states import Data, Full, Params


END = 20.0
FIRST_STEP = 0.01
FEWER_FROM = 16  # above this size there are fewer seeds
RATES = dict(alpha_p=2.0, beta=0.4, eta=0.02)
PARAMS = Params(**RATES)
RTOLS = [1e-4, 1e-5, 1e-6, 1e-7, 1e-8]
NEEDS = {"torchdiffeq": "torchdiffeq"}
MOST = {"scipy": 20}


class Problem(NamedTuple):
    """Networks with shape (seeds, n, n), and covariances of the data with shape (n, n)."""

    W: np.ndarray
    Wp: np.ndarray
    Wa: np.ndarray
    X: np.ndarray
    X_aug: np.ndarray

    @property
    def networks(self):
        return self[:3]

    @property
    def data(self):
        return Data(X=jnp.asarray(self.X), X_aug=jnp.asarray(self.X_aug))

    def first(self, seeds):
        return Problem(*(x[:seeds] for x in self.networks), self.X, self.X_aug)


def random(seeds, n, seed):
    rng = np.random.default_rng(seed)
    networks = (rng.normal(size=(seeds, n, n)) / np.sqrt(n) for _ in range(3))
    return Problem(*networks, covariance(rng, n), 0.3 * covariance(rng, n))


def covariance(rng, n):
    """A random positive definite matrix whose eigenvalues have mean 1."""
    A = rng.normal(size=(n, n))
    X = A @ A.T + 0.1 * np.eye(n)
    return X * n / np.trace(X)


def shared(data, t, y, params):
    return fields.full(t, y, (params, data))


# Contestants. Each returns W, Wp and Wa at the end, (seeds, n, n), and the number of steps.


def with_lindyn(problem, rtol, atol):
    field = Partial(shared, problem.data)
    ends = ensemble.final(field, Full(*problem.networks), PARAMS, END, rtol=rtol, atol=atol)
    return jax.tree.leaves(ends.y), ends.steps


def with_trajectory(problem, rtol, atol):
    y0, args = Full(*(x[0] for x in problem.networks)), (PARAMS, problem.data)
    y = lindyn.trajectory(fields.full, y0, args, [0.0, END], rtol=rtol, atol=atol)
    return [np.asarray(x)[1:] for x in jax.tree.leaves(y)], None


def with_diffrax(solver, problem, rtol, atol):
    seeds, devices = len(problem.W), jax.device_count()
    padded = np.resize(np.arange(seeds), -(-seeds // devices) * devices)
    networks = Full(*(x[padded] for x in problem.networks))
    on_cpu = jax.default_backend() == "cpu"
    run = many_of_diffrax(solver, chunk(len(problem.X)) if on_cpu else len(padded))
    ends, steps = run(networks, problem.data, rtol, atol)
    return [np.asarray(x)[:seeds] for x in jax.tree.leaves(ends)], np.asarray(steps)[:seeds]


def with_diffrax_once(problem, rtol, atol):
    y0 = Full(*(x[0] for x in problem.networks))
    ends, steps = one_of_diffrax(dfx.Dopri8())(y0, problem.data, rtol, atol)
    return [np.asarray(x)[None] for x in jax.tree.leaves(ends)], np.asarray([steps])


def diffrax_one(solver, y0, data, rtol, atol):
    sol = dfx.diffeqsolve(
        dfx.ODETerm(fields.full),
        solver,
        0.0,
        END,
        FIRST_STEP,
        y0,
        (PARAMS, data),
        stepsize_controller=dfx.PIDController(rtol=rtol, atol=atol),
        adjoint=dfx.ForwardMode(),
        max_steps=100_000,
        throw=False,
    )
    return jax.tree.map(lambda x: x[0], sol.ys), sol.stats["num_accepted_steps"]


@functools.cache
def one_of_diffrax(solver):
    return jax.jit(functools.partial(diffrax_one, solver))


def chunk(n):
    """Number of seeds under one vmap, found by trials at each size; None means no vmap."""
    return min(256, 32_768 // n**3) if n < 32 else None


@functools.cache
def many_of_diffrax(solver, size):
    def on_a_device(networks, *shared):
        one = lambda y0: diffrax_one(solver, y0, *shared)
        return jax.lax.map(one, networks, batch_size=size)

    mesh = jax.make_mesh((jax.device_count(),), ("seeds",), axis_types=(AxisType.Auto,))
    seeds, shared = Each("seeds"), Each()
    specs = (seeds, shared, shared, shared)
    return jax.jit(
        jax.shard_map(on_a_device, mesh=mesh, in_specs=specs, out_specs=seeds, check_vma=False)
    )


def with_torchdiffeq(method, problem, rtol, atol):
    import torch
    from torchdiffeq import odeint

    *networks, X, X_aug = (torch.from_numpy(x) for x in problem)
    both, calls = X + X_aug, 0
    alpha_p, beta, eta = RATES["alpha_p"], RATES["beta"], RATES["eta"]

    def rate(t, y):
        nonlocal calls
        calls += 1
        (W, Wp, Wa), dy = y, torch.empty_like(y)
        residual = Wa @ X - Wp @ (W @ both)
        torch.sub(Wp.mT @ residual, W, alpha=eta, out=dy[0])
        torch.sub(alpha_p * residual @ W.mT, Wp, alpha=eta, out=dy[1])
        torch.mul(W - Wa, beta, out=dy[2])
        return dy

    ts = torch.tensor([0.0, END], dtype=X.dtype)
    with torch.no_grad():
        y0 = torch.stack(networks)
        ends = odeint(rate, y0, ts, rtol=rtol, atol=atol, method=method)
    return ends[-1].numpy(), np.array([calls // {"dopri5": 6, "dopri8": 13}[method]])


def with_scipy(problem, rtol, atol):
    from scipy.integrate import solve_ivp

    shape, both = (3, *problem.X.shape), problem.X + problem.X_aug
    alpha_p, beta, eta = RATES["alpha_p"], RATES["beta"], RATES["eta"]

    def rate(t, y):
        W, Wp, Wa = y.reshape(shape)
        dy = np.empty(shape)
        residual = Wa @ problem.X - Wp @ (W @ both)
        np.subtract(Wp.T @ residual, eta * W, out=dy[0])
        np.subtract(alpha_p * residual @ W.T, eta * Wp, out=dy[1])
        np.multiply(beta, W - Wa, out=dy[2])
        return dy.ravel()

    ends, steps = [], []
    for network in zip(*problem.networks, strict=True):
        y0 = np.stack(network).ravel()
        sol = solve_ivp(rate, (0.0, END), y0, method="DOP853", rtol=rtol, atol=atol)
        ends.append(sol.y[:, -1].reshape(shape))
        steps.append(len(sol.t) - 1)
    return np.stack(ends, axis=1), np.array(steps)


def reference(problem):
    return with_scipy(problem, 1e-13, 1e-15)[0]


MANY = {
    "lindyn": with_lindyn,
    "diffrax-tsit5": functools.partial(with_diffrax, dfx.Tsit5()),
    "diffrax-dopri8": functools.partial(with_diffrax, dfx.Dopri8()),
    "torchdiffeq": functools.partial(with_torchdiffeq, "dopri5"),
    "scipy": with_scipy,
}
SINGLE = {
    "lindyn": with_trajectory,
    "lindyn-ensemble": with_lindyn,
    "diffrax-dopri8": with_diffrax_once,
    "torchdiffeq": functools.partial(with_torchdiffeq, "dopri8"),
    "scipy": with_scipy,
}


def many(n, names, options):
    """Yields the results so far, by the number of seeds."""
    found = {}
    for number in options.seeds:
        seeds = max(1, round(number * min(1.0, (FEWER_FROM / n) ** 3)))
        found[seeds] = many_seeds(n, seeds, names, options)
        yield found


def many_seeds(n, seeds, names, options):
    problem = random(seeds, n, options.seed)
    sizes = {name: min(seeds, MOST.get(name, seeds)) for name in names}
    job = lambda name: MANY[name](problem.first(sizes[name]), 1e-8, 1e-10)
    jobs = {name: functools.partial(job, name) for name in names}
    exact = reference(problem.first(min(seeds, options.sample)))
    found = timing.compared(jobs, sizes, options.rounds, exact)
    timing.show(found, seeds, f"{seeds} seeds at n = {n}, rtol 1e-8, atol 1e-10", "ms")
    return found


def single(n, names, options):
    problem = random(1, n, options.seed)
    jobs = {
        (name, rtol): functools.partial(SINGLE[name], problem, rtol, rtol / 100)
        for rtol in options.rtol
        for name in names
    }
    timings = timing.interleaved(jobs, options.rounds)
    exact = reference(problem)
    found = {}
    for name in names:
        each = [timings[name, rtol] for rtol in options.rtol]
        errors = [float(timing.errors(x.result[0], exact)[0]) for x in each]
        rounds = zip(*(x.times for x in each), strict=True)
        found[name] = {
            "compile": max(x.compile for x in each),
            "errors": errors,
            "times": [x.times for x in each],
            "equal": [at_error(options.error, errors, times) for times in rounds],
            "beyond": not min(errors) <= options.error <= max(errors),
        }
    show_single(n, found, options)
    yield found


def at_error(error, errors, times):
    """The time at this error, from a line fitted to the logarithms of time and error."""
    slope, height = np.polyfit(np.log(errors), np.log(times), 1)
    return float(np.exp(height + slope * np.log(error)))


def show_single(n, found, options):
    print(f"\none solve at n = {n}: time and error at each rtol")
    rows = []
    for name, each in found.items():
        points = zip(each["times"], each["errors"], strict=True)
        cells = (f"{np.median(times):.3g} s {error:.0e}" for times, error in points)
        equal = each["equal"]
        mark = "~" if each["beyond"] else ""
        ratio = ""
        if "scipy" in found:
            ratio = f"{timing.ratio(equal, found['scipy']['equal']):.2f}"
        seconds = (f"{x:.3g}" for x in (np.median(equal), min(equal), max(equal)))
        rows.append((name, *cells, f"{each['compile']:.2f}", *seconds, ratio + mark))
    heads = (f"rtol {rtol:.0e}" for rtol in options.rtol)
    equal = (f"s at {options.error:.0e}", "min", "max", "/ scipy")
    timing.table(("contestant", *heads, "compile s", *equal), rows)
    if any(each["beyond"] for each in found.values()):
        print("~ all errors lie on one side of it: the line is drawn on")


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--single", action="store_true", help="one solve at equal accuracy, not many seeds")
    add("--size", type=int, nargs="+", help="n (8; with --single 64 128 256)")
    add("--seeds", type=int, nargs="+", default=[1000], help="networks to n = 16 (1000)")
    add("--only", nargs="+", choices={**MANY, **SINGLE}, metavar="NAME", help="contestants")
    add("--rounds", type=int, default=5, help="calls of each contestant after its first (5)")
    add("--sample", type=int, default=20, help="seeds held against the reference (20)")
    add("--rtol", type=float, nargs="+", default=RTOLS, help="of --single (1e-4 to 1e-8)")
    add("--error", type=float, default=1e-8, help="at which --single compares (1e-8)")
    add("--seed", type=int, default=int(time.time()), help="of the problems (the clock)")
    add("--json", metavar="FILE", help="write all numbers")
    options = parser.parse_args()
    if options.single and len(options.rtol) < 2:
        parser.error("--rtol: a line needs two points")
    if options.size is None:
        options.size = [64, 128, 256] if options.single else [8]
    return options


def main():
    options = parse()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", os.cpu_count())
    libraries = ("scipy", "torch", "torchdiffeq")
    about = timing.facts(libraries, seed=options.seed, rounds=options.rounds)
    contestants = SINGLE if options.single else MANY
    asked = [name for name in contestants if not options.only or name in options.only]
    names = timing.installed(asked, NEEDS)
    compare = single if options.single else many
    about["device"] = jax.devices()[0].device_kind
    found = {}
    for n in options.size:
        for each in compare(n, names, options):
            found[n] = each
            if options.json:  # written often, in case the time runs out
                timing.write(options.json, {"about": about, "sizes": found})


if __name__ == "__main__":
    main()

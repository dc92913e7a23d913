"""Many independent small solves, each with steps of its own, at the speed of the hardware.

The solves wait in rows of one array. A device keeps a few going side by side; every few steps
those that are done write their row of results and the next take their place.
"""

import contextlib
import math
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import ArrayLike, Float, Int, PyTree

from lindyn.solve import scheduler, stepping
from lindyn.solve.compiled_problem import CompiledProblem, Layout, SharedInputs
from lindyn.solve.stepping import (
    DIVERGED as DIVERGED,
    EVENT as EVENT,
    EXHAUSTED as EXHAUSTED,
    REACHED as REACHED,
    STATUS as STATUS,
)


Y = TypeVar("Y")
CHUNK = 1 << 17  # solves that wait on a device at a time
ROOM = 1 << 24  # numbers that they and their results may hold


class Ends(eqx.Module, Generic[Y]):
    """What became of each solve, in NumPy arrays with a leading axis of solves."""

    y: Y
    t: Float[np.ndarray, " solves"]  # the end, or when the event held, or the last good step
    status: Int[np.ndarray, " solves"]  # an index into `STATUS`
    label: Int[np.ndarray, " solves"]  # the value of the event that held, else 0
    steps: Int[np.ndarray, " solves"]  # accepted
    rejected: Int[np.ndarray, " solves"]
    slots: int  # steps that were computed, those of idle lanes among them

    @property
    def wasted(self) -> float:
        """The part of the work that did not advance a solve."""
        return 1 - int(self.steps.sum()) / self.slots


def final(
    field: Callable,
    y0: Y,
    args: PyTree,
    t1: Float[ArrayLike, "..."],
    *,
    t0: float = 0.0,
    event: Callable | None = None,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 100_000,
    quick: bool = False,
) -> Ends[Y]:
    """dy/dt = field(t, y, args) from y0 at t0: the states at t1.

    Leaves of y0 and args have a leading axis of solves, or are scalars that all share; so
    has t1. Arrays of `field` that is itself a pytree are shared whatever their shape.

    A solve stops at the first time at which `event(t, y, args)` is true or a whole number but
    0, as seen at the ends of its steps; `Ends.t` is then that time to rounding, and
    `Ends.label` the number. The error of a step stays below rtol |y| + atol, for each matrix
    in its norm and for every other variable by itself. A solve that fails leaves the others
    alone, says so in `Ends.status`, and its state is NaN.

    `quick` compiles in a third of the time and runs three times as long: for a few hundred
    solves, which the processor does even where there is a GPU. All devices of all processes
    take part, and every process must make the same call. On a GPU, a field of scalars with a
    Taylor series runs as one kernel; where another runs more slowly, a warning says why, once.
    ValueError for leading axes that differ, for bad tolerances and times, and for float64 on a
    TPU.
    """
    end = np.asarray(t1, float)
    return _solve(field, event, y0, args, t0, end, None, rtol, atol, max_steps, quick)


def states(
    field: Callable,
    y0: Y,
    args: PyTree,
    ts: Float[ArrayLike, " times"],
    *,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 100_000,
    quick: bool = False,
) -> Ends[Y]:
    """As `final`, at each of the times `ts`, increasing or decreasing, from y0 at ts[0].

    The leaves of `Ends.y` have axes (solves, times, ...). Times that a solve did not reach
    hold NaN.
    """
    ts = np.asarray(ts, float)
    if ts.ndim != 1 or len(ts) < 2:
        raise ValueError(f"ts has shape {ts.shape}: it must be a list of two times or more")
    return _solve(field, None, y0, args, ts[0], ts[-1], ts, rtol, atol, max_steps, quick)


class _Backward(eqx.Module):
    """A field or an event, where time runs backward."""

    of: Any
    sign: int = eqx.field(static=True)

    def __call__(self, t, y, args):
        value = self.of(-t, y, args)
        return value if self.sign > 0 else jax.tree.map(jnp.negative, value)


def _solve(field, event, y0, args, t0, end, ts, rtol, atol, max_steps, quick):
    for name, value in (("rtol", rtol), ("max_steps", max_steps)):
        if not 0 < value < np.inf:
            raise ValueError(f"{name} = {value}: it must be finite and above 0")
    if not 0 <= atol < np.inf:
        raise ValueError(f"atol = {atol}: it must be finite and at least 0")
    ways = np.sign(np.diff(ts) if ts is not None else end - t0)
    way = -1.0 if np.any(ways < 0) else 1.0
    if np.any(ways == -way) or not np.isfinite([t0, *np.ravel(end)]).all():
        raise ValueError("times must be finite and all increase, or all decrease")
    if ts is not None and np.any(ways == 0):
        raise ValueError("two of ts are the same")
    if way < 0:
        field = _Backward(field, -1)
        event = None if event is None else _Backward(event, 1)
        t0, end, ts = -t0, -end, None if ts is None else -ts
    problems = _Problems.of(y0, args, end)
    first = lambda tree: jax.tree.map(lambda x: x[0], tree)
    number = lambda x: np.asarray(x, problems.dtype)
    functions = jax.tree.map(lambda x: number(x) if isinstance(x, float) else x, (field, event))
    arrays, static = eqx.partition(functions, eqx.is_array)
    leaves, structure = jax.tree.flatten(static)
    devices = _devices(quick)
    if devices[0].platform == "tpu" and problems.dtype == np.float64:
        raise ValueError(
            "y0 is in float64, and TPUs solve in float32: convert y0 with astype(np.float32),"
            " or run on the processor with JAX_PLATFORMS=cpu"
        )
    plan = CompiledProblem(
        functions=(tuple(leaves), structure),
        y=Layout.of(first(problems.y)),
        given=Layout.of(first(problems.given)),
        args=(jax.tree.structure(args), problems.differ),
        order=min(stepping.order(rtol), 6) if quick else stepping.order(rtol),
        saved=ts is not None,
        devices=tuple(devices),
        kernel=True,
        quick=quick,
    )
    inputs = SharedInputs(
        shared=[number(x) for x in problems.shared],
        arrays=arrays,
        t0=number(t0),
        rtol=number(rtol),
        atol=number(atol),
        max_steps=np.asarray(max_steps, np.int32),
        times=number([] if ts is None else ts[1:]),
    )
    y, rest, slots = _solved(problems, plan, inputs)
    t, label, status, steps, rejected = rest
    return Ends(y, way * t, status, label, steps, rejected, slots)


def _devices(quick):
    """All of this process; for a few solves, for which no accelerator pays, the processor."""
    devices = jax.local_devices()
    if quick and devices[0].platform != "cpu":
        with contextlib.suppress(RuntimeError):  # JAX was told to use the accelerator alone
            return jax.local_devices(backend="cpu")
    return devices


class _Problems(NamedTuple):
    """The problems, checked: leaves with an axis of solves, and those that are shared."""

    y: PyTree
    given: list[np.ndarray]  # of args
    shared: list[np.ndarray]  # of args, scalars
    differ: tuple[bool, ...]  # which leaves of args are given
    end: np.ndarray
    dtype: Any

    @classmethod
    def of(cls, y0, args, t1):
        leaves = jax.tree.leaves((y0, args, t1))
        if any(isinstance(x, Tracer) for x in leaves):
            raise TypeError("ensembles are programs of their own, not under jit or vmap")
        y, args, end = jax.tree.map(np.asarray, (y0, args, t1))
        sizes = {len(x) for x in jax.tree.leaves((y, args, end)) if x.ndim}
        if len(sizes) != 1:
            raise ValueError(f"leading axes of y0 and args differ or are absent: {sizes}")
        wide = lambda x: x if x.ndim else np.broadcast_to(x, tuple(sizes))
        args = jax.tree.leaves(args)
        dtype = np.result_type(np.float32, *jax.tree.leaves(y))
        return cls(
            y=jax.tree.map(wide, y),
            given=[x for x in args if x.ndim],
            shared=[x for x in args if not x.ndim],
            differ=tuple(x.ndim > 0 for x in args),
            end=wide(end),
            dtype=jax.dtypes.canonicalize_dtype(dtype),
        )

    @property
    def leaves(self):
        return [*jax.tree.leaves(self.y), *self.given, self.end]

    def rows(self, begin, end, out):
        """Fills `out` (solves, width) with the problems begin ... end."""
        at = 0
        for x in self.leaves:
            width = math.prod(x.shape[1:])
            out[:, at : at + width] = x[begin:end].reshape(end - begin, width)
            at += width


def _solved(problems, plan, inputs):
    """States, and t, label, status, steps, rejected: in chunks, on all devices."""
    devices, saves = len(plan.devices), len(inputs.times)
    first, last = _share(len(problems.end))
    each = max(1, -(-(last - first) // devices))
    width = plan.y.width * (1 + saves) + plan.given.width
    chunk = min(CHUNK, 1 << max(9, (each - 1).bit_length()), 1 << (ROOM // width).bit_length())
    rows = np.zeros((devices, chunk, plan.y.width + plan.given.width + 1), problems.dtype)
    found = _Found.of(problems, plan, last - first, saves)
    slots = 0
    for begin in range(first, last, chunk * devices):
        counts = _even(min(last - begin, chunk * devices), devices)
        places = list(zip(begin + np.cumsum(counts) - counts, counts, strict=True))
        for row, (at, count) in zip(rows, places, strict=True):
            problems.rows(at, at + count, row[:count])
        out, log, made = scheduler.run(plan, rows.reshape(-1, rows.shape[-1]), counts, inputs)
        slots += int(np.asarray(made).sum())
        out = np.asarray(out).reshape(devices, chunk, -1)
        log = np.asarray(log).reshape(devices, chunk, saves, plan.y.width)
        for results, saved, (at, count) in zip(out, log, places, strict=True):
            found.keep(at - first, results[:count], saved[:count])
    y = jax.tree.unflatten(plan.y.structure, found.y)
    return _everywhere((y, found.rest, slots), len(problems.end))


class _Found(NamedTuple):
    """Room for what becomes of the solves of this process."""

    y: list[np.ndarray]
    rest: list[np.ndarray]  # t, label, status, steps, rejected
    saved: bool

    @classmethod
    def of(cls, problems, plan, count, saves):
        times = (1 + saves,) if plan.saved else ()
        room = lambda shape: np.empty((count, *times, *shape), problems.dtype)
        found = cls(
            y=[room(shape) for shape in plan.y.shapes],
            rest=[np.empty(count, problems.dtype), *np.empty((4, count), np.int32)],
            saved=plan.saved,
        )
        if plan.saved:
            first, last = _share(len(problems.end))
            for y, start in zip(found.y, jax.tree.leaves(problems.y), strict=True):
                y[:, 0] = start[first:last]
        return found

    def keep(self, at, out, log):
        """Results of the solves from `at` on, NaN where one did not get to its end."""
        solves, column = slice(at, at + len(out)), 0
        failed = out[:, -3] > EVENT
        for y in self.y:
            shape = y.shape[2:] if self.saved else y.shape[1:]
            columns = slice(column, column := column + math.prod(shape))
            if self.saved:
                y[solves, 1:] = log[..., columns].reshape(*log.shape[:2], *shape)
            else:
                y[solves] = out[:, columns].reshape(len(out), *shape)
                y[solves][failed] = np.nan
        for x, values in zip(self.rest, out[:, column:].T, strict=True):
            x[solves] = values


def _even(count, parts):
    return np.diff(np.linspace(0, count, parts + 1).astype(int))


def _share(count):
    """The solves of this process."""
    bounds = np.cumsum([0, *_even(count, jax.process_count())])
    return bounds[jax.process_index() : jax.process_index() + 2].tolist()


def _everywhere(results, count):
    """The results of all processes, in each."""
    if jax.process_count() == 1:
        return results
    from jax.experimental import multihost_utils

    shares = _even(count, jax.process_count())
    padded = lambda x: np.concatenate([x, np.zeros_like(x[:1], shape=(1, *x.shape[1:]))])
    longest = lambda x: x if len(x) == max(shares) else padded(x)
    *arrays, slots = jax.tree.map(longest, results[:-1]), np.array(results[-1])
    gathered = multihost_utils.process_allgather((*arrays, slots))
    joined = lambda x: np.concatenate([part[:n] for part, n in zip(x, shares, strict=True)])
    return (*jax.tree.map(joined, gathered[0]), int(gathered[1].sum()))

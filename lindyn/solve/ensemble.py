"""Integration of many independent small initial value problems, each with its own step size.

Read this module first of those for ensembles; then `scheduler`, which runs on each device, and
`stepping`, which takes the steps. The problems are rows of one array. A device advances some of
them at the same time. Every few steps, finished problems write their row of results, and
waiting problems take their places.

One file, since the two public functions share the checks, the chunks and the results.
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
CHUNK = 1 << 17  # the most problems that a device holds at a time
ROOM = 1 << 24  # about the most numbers that these problems and their results may have


class Ends(eqx.Module, Generic[Y]):
    """The result of each solve, in NumPy arrays with a leading axis of solves."""

    y: Y
    t: Float[np.ndarray, " solves"]  # t1, or the time of the event, or of the last good step
    status: Int[np.ndarray, " solves"]  # an index into `STATUS`
    label: Int[np.ndarray, " solves"]  # the value of the event that stopped the solve, else 0
    steps: Int[np.ndarray, " solves"]  # accepted
    rejected: Int[np.ndarray, " solves"]
    slots: int  # steps that were computed, including those of idle lanes

    @property
    def wasted(self) -> float:
        """The fraction of the computed steps that did not advance a solve."""
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
    """The states at t1 of dy/dt = field(t, y, args), y(t0) = y0, for many initial conditions.

    Each leaf of y0 and args, and t1, has a leading axis of solves or is a scalar that all
    solves share. If `field` is itself a pytree, its arrays are shared whatever their shape.

    `event(t, y, args)` returns a boolean or an integer. A solve stops at the first time at
    which the result is true or nonzero. The event is evaluated at the ends of steps. `Ends.t`
    is then the time of the event to rounding, and `Ends.label` is the value of the event.

    The error of a step stays below rtol |y| + atol. This holds for the norm of each matrix, and
    for every other variable separately. A solve that fails does not affect the others. Its
    `Ends.status` gives the reason, and its state is NaN.

    `quick` compiles in a third of the time and runs three times as long. It is meant for a few
    hundred solves, and runs them on the CPU even if there is a GPU.

    All devices of all processes take part, and every process must make the same call. On a
    GPU, a field of scalars with a Taylor series runs as one kernel. Other fields run more
    slowly there, and a warning gives the reason, once for each reason.

    Raises ValueError for leading axes that differ, for invalid tolerances or times, and for
    float64 on a TPU; raises TypeError under `jit` or `vmap`.

    Example:

        >>> import numpy as np
        >>> import lindyn as ld
        >>> p0, params = np.array([0.03, 0.3]), ld.Params(eta=0.04)
        >>> ends = ld.ensemble.final(ld.fields.parabola, p0, params, 500.0, quick=True)
        >>> [round(float(p), 6) for p in ends.y]
        [0.0, 0.958258]
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
    """The states at each of the times `ts`, from y0 at ts[0]; other arguments as in `final`.

    `ts` must increase strictly or decrease strictly, and all solves share it. The leaves of
    `Ends.y` have the axes (solves, times, ...). States at times that a solve did not reach are
    NaN. Raises the exceptions of `final`.

    Example:

        >>> import numpy as np
        >>> import lindyn as ld
        >>> p0, params, ts = np.array([0.03, 0.3]), ld.Params(eta=0.04), [0.0, 5.0]
        >>> ends = ld.ensemble.states(ld.fields.parabola, p0, params, np.array(ts), quick=True)
        >>> [[round(float(p), 6) for p in row] for row in ends.y]
        [[0.03, 0.028297], [0.3, 0.774414]]
    """
    ts = np.asarray(ts, float)
    if ts.ndim != 1 or len(ts) < 2:
        raise ValueError(f"ts has shape {ts.shape}: it must be a list of two times or more")
    return _solve(field, None, y0, args, ts[0], ts[-1], ts, rtol, atol, max_steps, quick)


class _Backward(eqx.Module):
    """A field or an event as a function of -t, for integration backward in time."""

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
    """All devices of this process; with `quick` the CPU, which is faster for a few solves."""
    devices = jax.local_devices()
    if quick and devices[0].platform != "cpu":
        with contextlib.suppress(RuntimeError):  # JAX may be configured without its CPU backend
            return jax.local_devices(backend="cpu")
    return devices


class _Problems(NamedTuple):
    """The checked problems: leaves with an axis of solves, and leaves that all solves share."""

    y: PyTree
    given: list[np.ndarray]  # the leaves of args with an axis of solves
    shared: list[np.ndarray]  # the scalar leaves of args
    differ: tuple[bool, ...]  # for each leaf of args, whether it is in `given`
    end: np.ndarray
    dtype: Any

    @classmethod
    def of(cls, y0, args, t1):
        leaves = jax.tree.leaves((y0, args, t1))
        if any(isinstance(x, Tracer) for x in leaves):
            raise TypeError(
                "call ensembles directly, not under jit or vmap: they compile their own program"
            )
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
        """Fills `out` (solves, width) with the problems from `begin` up to `end`."""
        column = 0
        for x in self.leaves:
            width = math.prod(x.shape[1:])
            out[:, column : column + width] = x[begin:end].reshape(end - begin, width)
            column += width


def _solved(problems, plan, inputs):
    """Solves in chunks on all devices: states, (t, label, status, steps, rejected), slots."""
    devices, saves = len(plan.devices), len(inputs.times)
    first, last = _own_range(len(problems.end))
    per_device = max(1, -(-(last - first) // devices))
    width = plan.y.width * (1 + saves) + plan.given.width
    chunk = min(
        CHUNK,
        1 << max(9, (per_device - 1).bit_length()),
        1 << (ROOM // width).bit_length(),
    )
    rows = np.zeros((devices, chunk, plan.y.width + plan.given.width + 1), problems.dtype)
    record = _Results.of(problems, plan, last - first, saves)
    slots = 0
    for begin in range(first, last, chunk * devices):
        counts = _even(min(last - begin, chunk * devices), devices)
        places = list(zip(begin + np.cumsum(counts) - counts, counts, strict=True))
        for row, (at, count) in zip(rows, places, strict=True):
            problems.rows(at, at + count, row[:count])
        out, log, computed = scheduler.run(
            plan, rows.reshape(-1, rows.shape[-1]), counts, inputs
        )
        slots += int(np.asarray(computed).sum())
        out = np.asarray(out).reshape(devices, chunk, -1)
        log = np.asarray(log).reshape(devices, chunk, saves, plan.y.width)
        for results, saved, (at, count) in zip(out, log, places, strict=True):
            record.store(at - first, results[:count], saved[:count])
    y = jax.tree.unflatten(plan.y.structure, record.y)
    return _gathered((y, record.rest, slots), len(problems.end))


class _Results(NamedTuple):
    """Preallocated arrays for the results of this process."""

    y: list[np.ndarray]
    rest: list[np.ndarray]  # t, label, status, steps, rejected
    saved: bool

    @classmethod
    def of(cls, problems, plan, count, saves):
        times = (1 + saves,) if plan.saved else ()
        empty = lambda shape: np.empty((count, *times, *shape), problems.dtype)
        record = cls(
            y=[empty(shape) for shape in plan.y.shapes],
            rest=[np.empty(count, problems.dtype), *np.empty((4, count), np.int32)],
            saved=plan.saved,
        )
        if plan.saved:
            first, last = _own_range(len(problems.end))
            for y, start in zip(record.y, jax.tree.leaves(problems.y), strict=True):
                y[:, 0] = start[first:last]
        return record

    def store(self, at, out, log):
        """Stores the results of the solves from index `at` on; states of failures are NaN."""
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
    """The sizes of `parts` parts of `count` items, as equal as possible."""
    return np.diff(np.linspace(0, count, parts + 1).astype(int))


def _own_range(count):
    """The first index of the solves of this process, and the index after the last."""
    bounds = np.cumsum([0, *_even(count, jax.process_count())])
    return bounds[jax.process_index() : jax.process_index() + 2].tolist()


def _gathered(results, count):
    """The results of all processes, gathered in each process."""
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

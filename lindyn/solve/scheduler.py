"""The program that each device runs for an ensemble: rows of problems in, rows of results out.

Read `ensemble` and `compiled_problem` first. The problems are rows of one array. A device
advances some of them at the same time, each in one lane. Every few steps, finished problems
write their results, and waiting problems take their lanes.

One file, since the trace of a problem and the loop that refills lanes share all their types.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from lindyn.solve import stepping, xla_marks
from lindyn.solve.compiled_problem import CompiledProblem, SharedInputs, pack
from lindyn.solve.stepping import Lanes, Method, Problem, RungeKutta, Taylor
from lindyn.solve.taylor import Program
from lindyn.solve.taylor_rules import SHORT, elementwise
from lindyn.theory.precision import exact_products


BLOCK = 8  # steps between two checks for finished solves
CACHES = 1 << 15, 1 << 19  # bytes of cache that may hold the lanes' coefficients or stages
SAVES = 4  # the most states that one Taylor step can save


class TracedProblem(NamedTuple):
    """A field and its integration method, at trace time."""

    plan: CompiledProblem
    inputs: SharedInputs
    program: Program
    method: Method
    event: Callable | None
    simple: bool  # whether field and event are only arithmetic on small arrays
    platform: str  # of the devices, or "registers" in a Pallas kernel

    @classmethod
    def of(cls, plan: CompiledProblem, inputs: SharedInputs, dtype) -> "TracedProblem":
        leaves, structure = plan.functions
        field, event = eqx.combine(inputs.arrays, jax.tree.unflatten(structure, leaves))
        one = lambda shape=(): jax.ShapeDtypeStruct(shape, dtype)
        y = jax.tree.unflatten(plan.y.structure, map(one, plan.y.shapes))
        args = _whole(plan, inputs, map(one, plan.given.shapes))
        program = Program(field, one(), y, args)
        # Taylor series of matrices need more matrix products than the stages of Runge-Kutta.
        series = program.analytic and all(len(shape) < 2 for shape in plan.y.shapes)
        simple = (
            program.elementwise
            and all(n <= SHORT for shape in plan.y.shapes for n in shape)
            and (event is None or elementwise(jax.make_jaxpr(event)(one(), y, args).jaxpr))
        )
        method = Taylor(plan.order) if series else RungeKutta()
        platform = plan.devices[0].platform
        return cls(plan, inputs, program, method, event, simple, platform)

    @property
    def on_cpu(self) -> bool:
        return self.platform == "cpu"

    def lanes(self, dtype) -> int:
        """The number of problems that a device advances at the same time."""
        if not self.on_cpu:
            return 1 << 15
        if not self.simple:  # matrix products of one problem alone keep a CPU busy
            return 1
        held = self.method.order + 1 if isinstance(self.method, Taylor) else 7
        bytes_of_one = self.plan.y.width * held * dtype.itemsize
        first, second = (max(size // bytes_of_one, 1) for size in CACHES)
        least = 32 if second >= 32 else 16  # with fewer lanes, the overhead of loops dominates
        return int(np.clip(1 << first.bit_length() - 1, least, 128))

    def one_function(self, run: Callable) -> Callable:
        return xla_marks.one_function(run) if self.on_cpu and self.simple else run

    @property
    def keep(self) -> Callable:
        """The function by which a value is stored, so that it is not computed at each use."""
        functions = {"cpu": xla_marks.stored, "registers": lambda x: x}
        return functions.get(self.platform, lax.optimization_barrier)

    def problem(self, given: list) -> Problem:
        """The problems whose own leaves of args are `given`."""
        structure, differ = self.plan.args
        return Problem(
            program=self.program,
            args=_whole(self.plan, self.inputs, given),
            many=jax.tree.unflatten(structure, differ),
            rtol=self.inputs.rtol,
            atol=self.inputs.atol,
            keep=self.keep,
        )

    def label(self, given: list) -> Callable:
        """The event as a function of (t, y), for many solves."""
        structure, differ = self.plan.args
        axes = jax.tree.unflatten(structure, [-1 if many else None for many in differ])
        event = jax.vmap(self.event or (lambda t, y, args: 0), in_axes=(-1, -1, axes))
        args = _whole(self.plan, self.inputs, given)
        return lambda t, y: event(t, y, args)

    def holds(self, given: list) -> Callable | None:
        """Whether the event is true, as a function of (t, y); None without an event."""
        return None if self.event is None else lambda t, y: self.label(given)(t, y) != 0

    def start(self, columns: Any) -> tuple[Lanes, list, jax.Array]:
        """The lanes at t0 for these columns, their own leaves of args, and their end times."""
        y, end = self.plan.y.unpack(columns), columns[-1]
        given = jax.tree.leaves(self.plan.given.unpack(columns[self.plan.y.width :]))
        t = jnp.full_like(end, self.inputs.t0)
        first = stepping.start(self.method, self.problem(given), t, y, end, self.holds(given))
        return first, given, end

    def advance(self, now: Lanes, given: list, end: jax.Array):
        """One attempted step of each lane; see `stepping.advance`."""
        return stepping.advance(
            self.method,
            self.problem(given),
            now,
            end,
            self.inputs.max_steps,
            self.holds(given),
        )


def _whole(plan, inputs, given):
    """The pytree args, from the leaves that differ between problems and the shared leaves."""
    structure, differ = plan.args
    given, shared = iter(given), iter(inputs.shared)
    return jax.tree.unflatten(structure, [next(given) if x else next(shared) for x in differ])


def run(
    plan: CompiledProblem, rows: np.ndarray, counts: np.ndarray, inputs: SharedInputs
) -> Any:
    """Rows of results, rows of saved states, and the number of steps each device computed.

    `rows` (devices * chunk, width) holds the problems; each device has `counts` of them. If the
    Pallas kernel cannot be compiled on a GPU, XLA's loop runs instead, with a warning.
    """
    if plan in _NO_KERNEL:
        plan = plan._replace(kernel=False)
    try:
        return compiled(plan)(rows, counts, inputs)
    except Exception as error:
        if plan.devices[0].platform != "gpu" or not plan.kernel:
            raise
        reason = str(error).strip().splitlines()[:1]
        _tell_of_the_loop(f"JAX {jax.__version__} cannot compile it ({''.join(reason)})")
        _NO_KERNEL.add(plan)
        return run(plan, rows, counts, inputs)


_NO_KERNEL: set[CompiledProblem] = set()  # plans whose kernel could not be compiled


@functools.cache
def _tell_of_the_loop(reason):
    """Warns, once for each reason, that XLA's loop runs instead of the kernel."""
    warnings.warn(
        "an ensemble runs as XLA's loop instead of one kernel of the GPU, and is slower:"
        f" {reason}",
        stacklevel=2,
    )


@functools.lru_cache(maxsize=64)
def compiled(plan: CompiledProblem) -> Callable:
    """The compiled function that `run` calls, for one plan."""
    mesh = Mesh(np.array(plan.devices), ("device",))
    split, same = PartitionSpec("device"), PartitionSpec()
    on_all = jax.shard_map(
        functools.partial(_device, plan),
        mesh=mesh,
        in_specs=(split, split, same),
        out_specs=split,
        check_vma=False,
    )
    on_cpu = plan.devices[0].platform == "cpu"
    if on_cpu and not xla_marks.marked and not plan.quick:
        xla_marks.tell_that_marks_are_missing()
    options = (xla_marks.QUICK if plan.quick else {}) | (xla_marks.VECTORS if on_cpu else {})
    return jax.jit(on_all, compiler_options=options)


@exact_products
def _device(plan, rows, count, inputs):
    setting = TracedProblem.of(plan, inputs, rows.dtype)
    if _has_kernel(setting):
        from lindyn.solve import pallas_kernel

        out, slots = pallas_kernel.run(setting, rows, count[0])
        log = jnp.zeros((0, plan.y.width), rows.dtype)
    else:
        out, log, slots = _refilled(setting, rows, count[0])
    if setting.event is None:
        out = out.at[:, plan.y.width + 1].set(0)  # the column of the label
    else:
        out = _located(setting, rows, out)
    return out, log, jnp.reshape(slots, 1)


def _has_kernel(setting):
    if setting.platform != "gpu" or not setting.plan.kernel:
        return False
    from lindyn.solve import pallas_kernel

    reason = pallas_kernel.obstacle(setting)
    if reason is not None:
        _tell_of_the_loop(reason)
    return reason is None


def _refilled(setting, rows, count):
    """XLA's loop: lanes of finished solves are refilled with waiting problems."""
    chunk, times, width = len(rows), setting.inputs.times, setting.plan.y.width
    size = min(setting.lanes(rows.dtype), chunk)

    def work(state, columns, done, ids):
        now, given, end = setting.start(columns)
        other = now, given, jnp.where(ids < count, end, now.t), jnp.zeros_like(ids)
        pick = lambda new, old: jnp.where(stepping.each(done, new), new, old)
        state = jax.tree.map(pick, other, state)
        state, saves = lax.scan(functools.partial(_step, setting), state, None, length=BLOCK)
        now = state[0]
        results = pack(now.y, now.t, now.h, now.status, now.steps, now.rejected)
        saves = _rows_of(saves, ids, times, chunk) if setting.plan.saved else ()
        return state, results, saves

    def turn(carry):
        state, ids, following, out, log, turns = carry
        now, _, end, _ = state
        done = ~stepping.going(now, end)
        ids = jnp.where(done, following + jnp.cumsum(done) - 1, ids)
        columns = rows[jnp.minimum(ids, chunk - 1)].T
        state, results, saves = setting.one_function(work)(state, columns, done, ids)
        out = out.at[ids].set(results, mode="drop")
        if setting.plan.saved:
            log = log.at[saves[0]].set(saves[1], mode="drop")
        return state, ids, following + jnp.sum(done), out, log, turns + 1

    def unfinished(carry):
        (now, _, end, _), _, following, *_ = carry
        return (following < count) | jnp.any(stepping.going(now, end))

    ids = jnp.full(size, chunk)
    columns = jax.ShapeDtypeStruct((rows.shape[1], size), rows.dtype)
    nothing = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), (*jax.eval_shape(setting.start, columns), ids)
    )
    out = jnp.zeros((chunk, width + 5), rows.dtype)
    log = jnp.full((chunk * len(times), width), jnp.nan, rows.dtype)
    carry = nothing, ids, jnp.array(0), out, log, 0
    *_, out, log, turns = lax.while_loop(unfinished, turn, carry)
    return out, log, turns * (BLOCK * size)


def _step(setting, state, _):
    """One attempted step of each lane, and the states that the step saves."""
    now, given, end, saved = state
    if not setting.plan.saved:
        now, _ = setting.advance(now, given, end)
        return (now, given, end, saved), None
    times, room = setting.inputs.times, SAVES if isinstance(setting.method, Taylor) else 1
    last = len(times) - 1
    target = jnp.where(saved > last, now.t, times[jnp.minimum(saved + room - 1, last)])
    after, attempt = setting.advance(now, given, target)
    ys, places = [], []
    for place in (saved + i for i in range(room)):
        time = times[jnp.minimum(place, last)]
        hit = (after.t > now.t) & (place <= last) & (time <= after.t)
        ys.append(attempt.y if room == 1 else attempt.at(time - now.t))
        places.append(jnp.where(hit, place, -1))
    place = jnp.stack(places)
    saved = saved + jnp.sum((place >= 0).astype(saved.dtype), axis=0)
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *ys)
    return (after, given, end, saved), (stacked, place)


def _rows_of(saves, ids, times, chunk):
    """The row numbers of saved states, one for each solve and time, and the states."""
    ys, place = saves  # (block, saves of a step, ..., lanes)
    row = stepping.each(ids * len(times), place) + place
    row = jnp.where(place < 0, chunk * len(times), row).reshape(-1)
    flat = lambda x: jnp.moveaxis(x, (0, 1), (-3, -2)).reshape(*x.shape[2:-1], -1)
    return row, pack(jax.tree.map(flat, ys))


def _located(setting, rows, out):
    """Results in which solves that an event stopped are moved to the start of the event.

    The value of the event there, the label, replaces the column of the step size.
    """
    width = setting.plan.y.width

    def move(columns, results):
        given = jax.tree.leaves(setting.plan.given.unpack(columns[width:]))
        t, h, status = results[width : width + 3]
        zero = jnp.zeros(t.shape, jnp.int32)
        now = Lanes(t, setting.plan.y.unpack(results), h, (), status.astype(int), zero, zero)
        problem, event = setting.problem(given), setting.label(given)
        now = stepping.locate(setting.method, problem, now, lambda t, y: event(t, y) != 0)
        label = jnp.where(now.status == stepping.EVENT, event(now.t, now.y), 0)
        return pack(now.y, now.t, label)

    size = min(setting.lanes(rows.dtype), len(rows))
    parts = lambda x: x.reshape(-1, size, x.shape[-1])
    some = lambda pair: setting.one_function(move)(pair[0].T, pair[1].T)
    moved = lax.map(some, (parts(rows), parts(out))).reshape(len(out), width + 2)
    return jnp.concatenate([moved, out[:, width + 2 :]], axis=1)

"""Many independent solves in one program, each with steps of its own.

Tsitouras' pair of order 5 with an embedded error of order 4: Ch. Tsitouras,
"Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying
assumption", Computers & Mathematics with Applications 62 (2011), table 1.
"""

import functools
from collections.abc import Callable
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PyTree


Y = TypeVar("Y")
STATUS = (
    "reached the end",
    "the step size vanished: a solution that diverges, or a field that is not finite",
    "too many steps",
)
REACHED, DIVERGED, EXHAUSTED = range(len(STATUS))

STAGES = np.array([0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0])
WEIGHTS = np.zeros((7, 7))  # the last row is the step itself, whose rate the next can use
WEIGHTS[1, :1] = 0.161
WEIGHTS[2, :2] = -0.008480655492356989, 0.335480655492357
WEIGHTS[3, :3] = 2.8971530571054935, -6.359448489975075, 4.3622954328695815
WEIGHTS[4, :4] = (
    5.325864828439257,
    -11.748883564062828,
    7.4955393428898365,
    -0.09249506636175525,
)
WEIGHTS[5, :5] = (
    5.86145544294642,
    -12.92096931784711,
    8.159367898576159,
    -0.071584973281401,
    -0.028269050394068383,
)
WEIGHTS[6, :6] = (
    0.09646076681806523,
    0.01,
    0.4798896504144996,
    1.379008574103742,
    -3.290069515436081,
    2.324710524099774,
)
ERROR = np.array(
    [
        0.0017800110522257773,
        0.0008164344596567463,
        -0.007880878010261994,
        0.1447110071732629,
        -0.5823571654525552,
        0.45808210592918686,
        -1 / 66,
    ]
)


class Ends(eqx.Module, Generic[Y]):
    """What became of each solve: a leading axis of solves on every leaf."""

    y: Y
    status: Int[Array, " solves"]  # an index into `STATUS`
    steps: Int[Array, " solves"]  # accepted
    rejected: Int[Array, " solves"]


def states(
    field: Callable,
    y0: Y,
    args: PyTree,
    ts: Float[ArrayLike, " times"],
    *,
    rtol: float = 1e-8,
    atol: float = 1e-10,
    max_steps: int = 100_000,
) -> Ends[Y]:
    """dy/dt = field(t, y, args) from y0 at ts[0], at each of the increasing `ts`.

    Leaves of y0 and args have a leading axis of solves, or are scalars shared by all. The
    leaves of `Ends.y` have axes (solves, times, ...). The error of a step stays below
    rtol |y| + atol in every variable; steps end at `ts`. A solve that fails leaves the
    others alone, says so in `status`, and has NaN from then on.
    """
    y0, args = (jax.tree.map(jnp.asarray, tree) for tree in (y0, args))
    sizes = {len(x) for x in jax.tree.leaves((y0, args)) if jnp.ndim(x) > 0}
    if len(sizes) != 1:
        raise ValueError(f"leading axes of y0 and args differ or are absent: {sizes}")
    limits = jax.tree.map(jnp.asarray, (rtol, atol, max_steps))  # arrays are not compiled for
    return _states(field, y0, args, jnp.asarray(ts, float), *limits)


class _Lanes(eqx.Module):
    """The running state; lanes are the last axis, which the hardware's vectors run along."""

    t: Float[Array, " lanes"]
    y: PyTree
    rate: PyTree
    h: Float[Array, " lanes"]  # what the error allows, before it is cut at a time to save
    status: Int[Array, " lanes"]
    steps: Int[Array, " lanes"]
    rejected: Int[Array, " lanes"]


@eqx.filter_jit
def _states(field, y0, args, ts, rtol, atol, max_steps):
    lanes = next(len(x) for x in jax.tree.leaves((y0, args)) if jnp.ndim(x) > 0)
    last = lambda x: jnp.moveaxis(x, 0, -1) if jnp.ndim(x) else jnp.full(lanes, x)
    y0 = jax.tree.map(last, y0)
    axes = jax.tree.map(lambda x: 0 if jnp.ndim(x) else None, args)
    batched = jax.vmap(field, in_axes=(0, -1, axes), out_axes=-1)
    f = lambda t, y: batched(t, y, args)
    dtype = jax.tree.leaves(y0)[0].dtype
    ts, rtol, atol = (x.astype(dtype) for x in (ts, rtol, atol))
    least = 4 * jnp.finfo(ts.dtype).eps * jnp.max(jnp.abs(ts))

    def ratio(error, y, after):
        size = atol + rtol * jnp.maximum(jnp.abs(y), jnp.abs(after))
        size = jnp.maximum(size, jnp.finfo(dtype).tiny)
        return jnp.max((jnp.abs(error) / size).reshape(-1, lanes), axis=0)

    def advance(lane, end):
        going = (lane.t < end) & (lane.status == REACHED)
        cut = lane.h >= end - lane.t
        h = jnp.where(going, jnp.where(cut, end - lane.t, lane.h), 0)
        y, rate, errors = _tsit5(f, lane.t, lane.y, lane.rate, h)
        error = _over_leaves(jnp.maximum, jax.tree.map(ratio, errors, lane.y, y))
        error = jnp.where(jnp.isfinite(error), error, jnp.inf)
        good = error <= 1
        keep = going & good
        after = h * jnp.clip(0.9 * jnp.maximum(error, 1e-10) ** -0.2, 0.2, 5.0)
        # A step that was cut short says nothing against the longer one.
        after = jnp.maximum(after, jnp.where(good & cut, lane.h, 0))
        vanished = ~good & (after < least)
        exhausted = lane.steps + lane.rejected >= max_steps
        status = jnp.where(vanished, DIVERGED, jnp.where(exhausted, EXHAUSTED, REACHED))
        kept = lambda new, old: jnp.where(_per_lane(keep, old), new, old)
        return _Lanes(
            t=kept(jnp.where(cut, end, lane.t + h), lane.t),
            y=jax.tree.map(kept, y, lane.y),
            rate=jax.tree.map(kept, rate, lane.rate),
            h=jnp.where(going, after, lane.h),
            status=jnp.where(going, status, lane.status),
            steps=lane.steps + keep,
            rejected=lane.rejected + (going & ~good),
        )

    def reach(lane, end):
        going = lambda lane: jnp.any((lane.t < end) & (lane.status == REACHED))
        lane = jax.lax.while_loop(going, lambda lane: advance(lane, end), lane)
        reached = lane.status == REACHED
        return lane, jax.tree.map(
            lambda y: jnp.where(_per_lane(reached, y), y, jnp.nan), lane.y
        )

    t, zero = jnp.full(lanes, ts[0]), jnp.zeros(lanes, int)
    start = _Lanes(t, y0, f(t, y0), t * 0 + 1e-3 * (ts[-1] - ts[0]), zero, zero, zero)
    lane, ys = jax.lax.scan(reach, start, ts[1:])
    first = lambda y0, ys: jnp.moveaxis(jnp.concatenate([y0[None], ys]), -1, 0)
    y = jax.tree.map(first, y0, ys)
    return Ends(y=y, status=lane.status, steps=lane.steps, rejected=lane.rejected)


def _tsit5(f, t, y, rate, h):
    """One step: the state after it, its rate, and the estimated error."""
    rates, after = [rate], y
    for stage, weights in zip(STAGES[1:], WEIGHTS[1:], strict=True):
        move = lambda y, *ks: y + _per_lane(h, y) * _mix(weights, ks)  # noqa: B023
        after = jax.tree.map(move, y, *rates)
        rates.append(f(t + stage * h, after))
    error = jax.tree.map(lambda *ks: _per_lane(h, ks[0]) * _mix(ERROR, ks), *rates)
    return after, rates[-1], error


def _mix(weights, rates):
    return sum(float(w) * k for w, k in zip(weights, rates, strict=False))


def _per_lane(x, like):
    return jnp.expand_dims(x, range(like.ndim - 1))


def _over_leaves(combine, tree):
    return functools.reduce(combine, jax.tree.leaves(tree))

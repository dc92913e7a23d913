"""One adaptive step for a batch of initial value problems; each has its own step size.

Read `taylor` first. The problems are the last axis of every array.

There are two methods with one interface. `Taylor` is for fields with a Taylor series; it seldom
rejects a step, because the coefficients determine how large a step can be. `RungeKutta` is for
all other fields; it is Tsitouras' pair of order 5(4), with the coefficients from diffrax. One
file, since both methods share the error norms and the control of the step size.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from lindyn.solve.taylor import Program
from lindyn.solve.taylor_rules import over


STATUS = (
    "reached the end",
    "an event held",
    "the step size vanished: a solution that diverges, or a field that is not finite",
    "too many steps",
)
REACHED, EVENT, DIVERGED, EXHAUSTED = range(len(STATUS))
DEFECT = 4.0  # a Taylor step fails if its defect exceeds DEFECT (order + 1) tolerances


class Problem(NamedTuple):
    """The field, its arguments and the tolerances of the problems that a method advances."""

    program: Program
    args: PyTree
    many: PyTree  # for each leaf of args, whether it has an axis of solves
    rtol: Any
    atol: Any
    keep: Callable  # stores a value, so that it is not computed again at each use

    def rate(self, t, y):
        """dy/dt of each problem."""
        return self.program.rate(t, y, self.args, self.many, self.keep)

    def weights(self, *ys: PyTree) -> PyTree:
        """1/(atol + rtol |y|), with the largest |y| of several states.

        |y| is the scaled norm of a matrix, and the absolute value of every other variable.
        """

        def weight(*xs):
            scale = self.rtol * functools.reduce(jnp.maximum, map(_size, xs)) + self.atol
            return 1 / jnp.maximum(scale, _tiny(xs[0].dtype))

        return jax.tree.map(weight, *ys)

    def worst(self, error: PyTree, weights: PyTree) -> Array:
        """The largest error of each solve, in units of its tolerance."""
        each_leaf = jax.tree.map(lambda e, w: over(jnp.maximum, _size(e) * w), error, weights)
        return functools.reduce(jnp.maximum, jax.tree.leaves(each_leaf))


class Attempt(NamedTuple):
    """One attempted step of each solve."""

    y: PyTree  # the state after the step
    h: Array  # the size of the step
    good: Array  # whether the error is within the tolerance
    after: Array  # the largest step size for the next attempt
    rate: PyTree  # dy/dt after the step if the method can use it again, else ()
    at: Callable  # the state at a given time after the start of the step


def order(rtol: float) -> int:
    """The order of the Taylor series with the least cost (Jorba and Zou, section 3.1).

    For this order, successive terms of the series differ by a factor of about e^2.
    """
    return max(4, round(1 - math.log(rtol) / 2))


class Taylor(NamedTuple):
    """The Taylor method of a given order."""

    order: int

    def first(self, problem, t, y, span):
        """The largest first step size, and () since no rate is reused."""
        return jnp.full_like(t, jnp.inf), ()

    def attempt(self, problem: Problem, lanes: "Lanes", limit) -> Attempt:
        """A step of at most `limit`, whose size follows from the last two coefficients."""
        t, y = lanes.t, lanes.y
        c = problem.program.series(t, y, problem.args, problem.many, self.order, problem.keep)
        weights = problem.weights(y)
        last, above = (problem.worst(c[k], weights) for k in (self.order, self.order - 1))
        bits = jnp.maximum(_log2(last) / self.order, _log2(above) / (self.order - 1))
        reach = jnp.where(jnp.isfinite(last + above), jnp.exp2(-bits), 0)
        h = problem.keep(jnp.minimum(jnp.minimum(reach, lanes.h), limit))
        ahead = problem.keep(_horner(c, h))
        scaled = lambda k: jax.tree.map(lambda x: k * x, c[k])
        slope = _horner([scaled(k) for k in range(1, len(c))], h)
        wrong = jax.tree.map(
            lambda a, b: each(h, a) * (a - b), slope, problem.rate(t + h, ahead)
        )
        good = problem.worst(problem.keep(wrong), weights) <= DEFECT * (self.order + 1)
        return Attempt(
            y=ahead,
            h=h,
            good=good,
            after=jnp.where(good, jnp.inf, h / 2),
            rate=(),
            at=lambda part: _horner(c, part),
        )


class RungeKutta(NamedTuple):
    """Tsitouras' Runge-Kutta pair of order 5(4)."""

    def first(self, problem, t, y, span):
        """The first step size, a thousandth of |y|/|dy/dt|, and the rate at the start."""
        rate = problem.rate(t, y)
        largest = lambda tree: functools.reduce(
            jnp.maximum, (over(jnp.maximum, jnp.abs(x)) for x in jax.tree.leaves(tree))
        )
        own = largest(y) / jnp.maximum(largest(rate), _tiny(t.dtype))
        return jnp.clip(1e-3 * own, 1e-6 * span, span), rate

    def attempt(self, problem: Problem, lanes: "Lanes", limit) -> Attempt:
        """A step of size `lanes.h`, or `limit` if that is smaller."""
        cut = lanes.h >= limit
        h = jnp.where(cut, limit, lanes.h)
        ahead, rate, error = _stages(problem, lanes, h)
        ratio = problem.worst(error, problem.weights(lanes.y, ahead))
        ratio = jnp.where(jnp.isfinite(ratio), ratio, jnp.inf)
        good = ratio <= 1
        after = h * jnp.clip(0.9 * jnp.maximum(ratio, 1e-10) ** -0.2, 0.2, 5.0)
        # A good step that was cut to `limit` is no reason to reduce the step size lanes.h.
        after = jnp.maximum(after, jnp.where(good & cut, lanes.h, 0))
        return Attempt(
            y=ahead,
            h=h,
            good=good,
            after=after,
            rate=rate,
            at=lambda part: _stages(problem, lanes, part)[0],
        )


Method = Taylor | RungeKutta


class Lanes(NamedTuple):
    """The running state of many solves."""

    t: Array
    y: PyTree
    h: Array  # the largest step size for the next attempt
    rate: PyTree  # dy/dt if the method can use it again, else ()
    status: Array  # an index into `STATUS`
    steps: Array  # accepted
    rejected: Array


def start(method: Method, problem: Problem, t, y, end, holds=None) -> Lanes:
    """The lanes at the initial condition y, stopped if `holds(t, y)` is already true."""
    zero = jnp.zeros(t.shape, jnp.int32)
    h, rate = method.first(problem, t, y, end - t)
    lanes = Lanes(t, y, h, rate, zero, zero, zero)
    if holds is None:
        return lanes
    already = holds(t, y)
    return lanes._replace(
        h=jnp.where(already, 0, lanes.h), status=jnp.where(already, EVENT, REACHED)
    )


def going(lanes: Lanes, end: Array) -> Array:
    """Whether each solve is unfinished: before its end, without an event or a failure."""
    return (lanes.t < end) & (lanes.status == REACHED)


def advance(
    method: Method, problem: Problem, lanes: Lanes, end: Array, max_steps, holds=None
) -> tuple[Lanes, Attempt]:
    """One attempted step toward `end` for each unfinished solve.

    A solve stops if `holds(t, y)` is true after a step. It then stays at the start of that
    step, and its `h` is the size of that step.
    """
    run = going(lanes, end)
    limit = jnp.where(run, end - lanes.t, 0)
    attempt = method.attempt(problem, lanes, limit)
    arrives = attempt.h >= limit
    ahead = jnp.where(arrives, end, lanes.t + attempt.h)
    eps = float(jnp.finfo(end.dtype).eps)
    least = 4 * eps * jnp.maximum(jnp.abs(lanes.t), eps * jnp.abs(end))
    vanished = ~(jnp.where(attempt.good, attempt.h, attempt.after) >= least) & ~(
        attempt.good & arrives
    )
    exhausted = lanes.steps + lanes.rejected >= max_steps
    status = jnp.where(vanished, DIVERGED, jnp.where(exhausted, EXHAUSTED, REACHED))
    keep = run & attempt.good & ~vanished
    after = attempt.after
    if holds is not None:
        stops = keep & holds(ahead, attempt.y)
        status = jnp.where(stops, EVENT, status)
        after = jnp.where(stops, attempt.h, after)
        keep = keep & ~stops
    kept = lambda new, old: jnp.where(each(keep, new), new, old)
    return Lanes(
        t=kept(ahead, lanes.t),
        y=jax.tree.map(kept, attempt.y, lanes.y),
        h=jnp.where(run, after, lanes.h),
        rate=jax.tree.map(kept, attempt.rate, lanes.rate),
        status=jnp.where(run, status, lanes.status),
        steps=lanes.steps + (run & attempt.good),
        rejected=lanes.rejected + (run & ~attempt.good),
    ), attempt


def locate(method: Method, problem: Problem, lanes: Lanes, holds: Callable) -> Lanes:
    """Moves solves that an event stopped to the time when the event begins, by bisection."""
    stopped = lanes.status == EVENT
    h = jnp.where(stopped, lanes.h, 0)
    _, rate = method.first(problem, lanes.t, lanes.y, h)
    at = method.attempt(problem, lanes._replace(h=h, rate=rate), h).at

    def halve(_, bracket):
        before, after = bracket
        middle = (before + after) / 2
        begun = holds(lanes.t + middle, at(middle))
        return jnp.where(begun, before, middle), jnp.where(begun, middle, after)

    bits = jnp.finfo(h.dtype).nmant
    _, h = jax.lax.fori_loop(0, bits, halve, (jnp.zeros_like(h), h))
    y = jax.tree.map(lambda new, old: jnp.where(each(stopped, new), new, old), at(h), lanes.y)
    return lanes._replace(t=lanes.t + h, y=y)


@functools.cache
def _tableau():
    from diffrax import Tsit5

    tableau = Tsit5.tableau
    return [np.asarray(row) for row in tableau.a_lower], tableau.c, tableau.b_error


def _stages(problem, lanes, h):
    """One Runge-Kutta step: the state after it, dy/dt there, and the estimated error."""
    rows, nodes, errors = _tableau()
    rates, ahead = [lanes.rate], lanes.y
    for row, node in zip(rows, nodes, strict=True):  # the last row is the step itself
        move = lambda y, *ks: y + each(h, y) * _mix(row, ks)  # noqa: B023
        ahead = problem.keep(jax.tree.map(move, lanes.y, *rates))
        rates.append(problem.keep(problem.rate(lanes.t + float(node) * h, ahead)))
    error = jax.tree.map(lambda *ks: each(h, ks[0]) * _mix(errors, ks), *rates)
    return ahead, rates[-1], error


def _mix(weights, rates):
    """The weighted sum of the rates of the stages."""
    terms = [float(w) * k for w, k in zip(weights, rates, strict=False) if w != 0]
    return functools.reduce(jnp.add, terms)


def _horner(c, h):
    """The polynomial with coefficients c at h, by Horner's scheme."""
    return functools.reduce(
        lambda total, x: jax.tree.map(lambda x, total: x + each(h, x) * total, x, total),
        reversed(c[:-1]),
        c[-1],
    )


def each(x: Array, like: Array) -> Array:
    """`x`, one number for each solve, with as many axes as `like` for broadcasting."""
    return jnp.expand_dims(x, range(like.ndim - 1))


def _size(x):
    """The norm of a matrix over the root of its number of entries; else the absolute value."""
    if x.ndim == 3:
        return jnp.sqrt(over(jnp.add, jnp.square(x)) / math.prod(x.shape[:2]))
    return jnp.abs(x)


def _log2(x):
    """log2 of a finite x > 0 from its bits, too low by at most 0.09."""
    kind = jnp.finfo(x.dtype)
    bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f"int{kind.bits}"))
    return bits.astype(x.dtype) * 2.0**-kind.nmant + (kind.minexp - 1)


def _tiny(dtype):
    return float(jnp.finfo(dtype).tiny)

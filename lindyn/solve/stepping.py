"""One step of many solves at once, each of its own length. Solves are the last axis.

Two methods with one interface. `Taylor` for fields with a Taylor series: hardly a step is
tried in vain, since the coefficients say how far they reach. `RungeKutta` for the others:
Tsitouras' pair of order 5(4), with diffrax's copy of its coefficients.
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
DEFECT = 4.0  # times order + 1 and the tolerance: a polynomial this bad is not followed


class Problem(NamedTuple):
    """What a method needs of the solves that it advances."""

    program: Program
    args: PyTree
    many: PyTree  # which leaves of args have an axis of solves
    rtol: Any
    atol: Any
    keep: Callable  # stores a value instead of computing it for each use

    def rate(self, t, y):
        return self.program.rate(t, y, self.args, self.many, self.keep)

    def weights(self, *ys: PyTree) -> PyTree:
        """1 / (atol + rtol |y|), for the largest |y| of several states.

        |y| is the size of a matrix as a whole, and each mode's own of everything else.
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
    y: PyTree
    h: Array  # the step taken, if it is good
    good: Array
    after: Array  # what the next attempt may use
    rate: PyTree  # at its end, if the method can use it again
    at: Callable  # the state at a part of the step


def order(rtol: float) -> int:
    """Of the series that cost least, about e^2 between coefficients (Jorba and Zou, 3.1)."""
    return max(4, round(1 - math.log(rtol) / 2))


class Taylor(NamedTuple):
    order: int

    def first(self, problem, t, y, span):
        return jnp.full_like(t, jnp.inf), ()

    def attempt(self, problem: Problem, lanes: "Lanes", limit) -> Attempt:
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
    def first(self, problem, t, y, span):
        rate = problem.rate(t, y)
        largest = lambda tree: functools.reduce(
            jnp.maximum, (over(jnp.maximum, jnp.abs(x)) for x in jax.tree.leaves(tree))
        )
        own = largest(y) / jnp.maximum(largest(rate), _tiny(t.dtype))
        return jnp.clip(1e-3 * own, 1e-6 * span, span), rate

    def attempt(self, problem: Problem, lanes: "Lanes", limit) -> Attempt:
        cut = lanes.h >= limit
        h = jnp.where(cut, limit, lanes.h)
        ahead, rate, error = _stages(problem, lanes, h)
        ratio = problem.worst(error, problem.weights(lanes.y, ahead))
        ratio = jnp.where(jnp.isfinite(ratio), ratio, jnp.inf)
        good = ratio <= 1
        after = h * jnp.clip(0.9 * jnp.maximum(ratio, 1e-10) ** -0.2, 0.2, 5.0)
        # A step that was cut short says nothing against the longer one.
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
    h: Array  # what the method may use
    rate: PyTree  # where the method can use it again, else ()
    status: Array
    steps: Array
    rejected: Array


def start(method: Method, problem: Problem, t, y, end, holds=None) -> Lanes:
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
    return (lanes.t < end) & (lanes.status == REACHED)


def advance(
    method: Method, problem: Problem, lanes: Lanes, end: Array, max_steps, holds=None
) -> tuple[Lanes, Attempt]:
    """One attempt for each solve that is going, toward `end`.

    `holds(t, y)` stops a solve at the start of the step after which it is true; `h` is then
    the step.
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
    """Moves solves that an event stopped to the first time at which it holds."""
    stopped = lanes.status == EVENT
    h = jnp.where(stopped, lanes.h, 0)
    _, rate = method.first(problem, lanes.t, lanes.y, h)
    at = method.attempt(problem, lanes._replace(h=h, rate=rate), h).at

    def halve(_, bracket):
        before, after = bracket
        middle = (before + after) / 2
        found = holds(lanes.t + middle, at(middle))
        return jnp.where(found, before, middle), jnp.where(found, middle, after)

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
    """One step: the state after it, its rate there, and the estimated error."""
    rows, nodes, errors = _tableau()
    rates, ahead = [lanes.rate], lanes.y
    for row, node in zip(rows, nodes, strict=True):  # the last row is the step itself
        move = lambda y, *ks: y + each(h, y) * _mix(row, ks)  # noqa: B023
        ahead = problem.keep(jax.tree.map(move, lanes.y, *rates))
        rates.append(problem.keep(problem.rate(lanes.t + float(node) * h, ahead)))
    error = jax.tree.map(lambda *ks: each(h, ks[0]) * _mix(errors, ks), *rates)
    return ahead, rates[-1], error


def _mix(weights, rates):
    terms = [float(w) * k for w, k in zip(weights, rates, strict=False) if w != 0]
    return functools.reduce(jnp.add, terms)


def _horner(c, h):
    return functools.reduce(
        lambda total, x: jax.tree.map(lambda x, total: x + each(h, x) * total, x, total),
        reversed(c[:-1]),
        c[-1],
    )


def each(x: Array, like: Array) -> Array:
    """One number for each solve, with the axes of `like`."""
    return jnp.expand_dims(x, range(like.ndim - 1))


def _size(x):
    """Of each matrix its norm over the root of its entries, else the absolute value."""
    if x.ndim == 3:
        return jnp.sqrt(over(jnp.add, jnp.square(x)) / math.prod(x.shape[:2]))
    return jnp.abs(x)


def _log2(x):
    """Of x >= 0, to 0.09 from below, by reading its bits. Not finite if x is not."""
    kind = jnp.finfo(x.dtype)
    bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f"int{kind.bits}"))
    return bits.astype(x.dtype) * 2.0**-kind.nmant + (kind.minexp - 1)


def _tiny(dtype):
    return float(jnp.finfo(dtype).tiny)

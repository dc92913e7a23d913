"""Portraits of one mode among equal others, under a cosine loss: `fields.cosine_rival`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from lindyn import theory
from lindyn.phase import flow_lines
from lindyn.phase.flow_lines import Window
from lindyn.phase.portrait import (
    MOST_STARTS,
    POINTS,
    REST,
    Portrait,
    below,
    constants,
    directions,
    from_log_s,
)
from lindyn.solve import ensemble
from lindyn.theory import cosine, fields, stability
from lindyn.theory.states import Params, Plane, Scalar


NEAR = 0.999  # of the ends of p and s, where all of them is this mode's


def window(count: int, params: Params) -> Window:
    """What a reader wants to see: the goal p = 1, and starts that die on either side."""
    p, s = limits(count, params)
    return Window((-min(1.2, p), min(1.9, p)), (0.0, min(2.4 / params.alpha_p, s)))


def limits(count: int, params: Params) -> tuple[float, float]:
    """The most of |p| and of s that one mode can have."""
    return NEAR * float(np.sqrt(count)), NEAR * float(count / params.alpha_p)


def portrait(
    count: int, params: Params, window: Window, *, grid: int = 16, rtol: float = 1e-6
) -> Portrait:
    """As `portrait.portrait`, of `count` modes in all. Decays of `params` do not count."""
    params = Params(alpha_p=params.alpha_p)
    lines = min(grid**2, MOST_STARTS)
    nodes, starts = map(window.place, (flow_lines.lattice(grid), flow_lines.scattered(lines)))
    args = jax.tree.map(lambda x: np.asarray(x, float), (params, count))
    rates = lambda points: np.asarray(_rates(points, args)) / window.spans
    speed = np.nanmax(np.linalg.norm(rates(starts), axis=1))
    both = np.concatenate([starts, starts])
    curves, status = flow_lines.follow(
        Partial(in_log_s),
        Plane(p=both[:, 0], s=np.log(both[:, 1])),
        args,
        chart=from_log_s,
        signs=np.repeat([1.0, -1.0], lines),
        spans=np.tile(window.spans, (2 * lines, 1)),
        rest=np.full(2 * lines, REST * speed),
        rtol=rtol,
    )
    xs = np.linspace(*window.x, POINTS)
    dies, rivals = (np.asarray(x) for x in _edges(xs, float(count), params.alpha_p))
    return Portrait(
        plane="cosine",
        params=params,
        window=window,
        fixed=jax.tree.map(np.asarray, _goal(args)),
        points=np.array([[np.nan] * 2, [np.nan] * 2, [1.0, 1 / params.alpha_p]]),
        arrows=np.concatenate([nodes, directions(rates(nodes))], axis=1),
        flow=flow_lines.spread(
            np.concatenate([curves[lines:, :0:-1], curves[:lines]], 1), window
        ),
        failed=int(np.sum(status != ensemble.REACHED)),
        nullclines=_nullclines(window),
        resting=_resting(window),
        parabola=np.stack([xs, xs**2 / params.alpha_p], axis=1),
        constants=constants(params, window, xs),
        separatrix=[],
        basin=np.stack([xs, dies], axis=1),
        share=below(dies, window.y),
        edge=0.0,
        rivals=np.stack([xs, rivals], axis=1),
    )


def in_log_s(t: Scalar, y: Plane, args: Any) -> Plane:
    """`fields.cosine_rival` of (p, log s), slower where this mode has nearly all of a sum.

    There the others pass through p = 0 or s = 0, and the plane ends.
    """
    (params, count), there = args, from_log_s(y)
    rate = fields.cosine_rival(t, there, args)
    slower = (1 - jnp.square(there.p) / count) * (1 - there.s * params.alpha_p / count)
    return Plane(p=slower * rate.p, s=slower * rate.s / there.s)


@jax.jit
def _rates(points, args):
    rate = fields.cosine_rival(0.0, Plane(p=points[:, 0], s=points[:, 1]), args)
    return jnp.stack([rate.p, rate.s], axis=1)


_edges = jax.jit(cosine.rival_edges)


@jax.jit
def _goal(args):
    """Where all modes have one p: a line of fixed points, here where it meets the parabola.

    Along that line, which is upright, rates are 0, and so is their derivative by s.
    """
    params, _ = args
    point = jnp.stack([jnp.ones(()), 1 / params.alpha_p])
    by_p = jax.jacfwd(lambda p: _rates(jnp.stack([p, point[1]])[None], args)[0])(point[0])
    jacobian = jnp.stack([by_p, jnp.zeros(2)], axis=1)
    nothing = jnp.full((2,), jnp.nan)
    jacobians = jnp.stack([jnp.full((2, 2), jnp.nan)] * 2 + [jacobian])
    return theory.FixedPoints(
        y=Plane(p=jnp.append(nothing, point[0]), s=jnp.append(nothing, point[1])),
        jacobian=jacobians,
        eigenvalues=jax.vmap(stability.eigenvalues)(jacobians),
        kind=jax.vmap(stability.classify)(jacobians),
    )


def _nullclines(window):
    upright = lambda x: np.array([[x, window.y[0]], [x, window.y[1]]])
    bottom = np.array([[window.x[0], 0.0], [window.x[1], 0.0]])
    return {"p": [bottom, upright(1.0)], "s": [bottom, upright(0.0), upright(1.0)]}


def _resting(window):
    """All p equal; and s = 0, where p < 0, or p above that of the others, keeps it there."""
    found = []
    low, high = window.x
    if window.y[0] == 0:
        ends = np.clip([low, 0.0, 1.0, high], low, high)
        for left, right, stable in zip(ends, ends[1:], (True, False, True), strict=False):
            if left < right:
                found.append((np.array([[left, 0.0], [right, 0.0]]), stable))
    if low <= 1 <= high:
        found.append((np.array([[1.0, window.y[0]], [1.0, window.y[1]]]), True))
    return found

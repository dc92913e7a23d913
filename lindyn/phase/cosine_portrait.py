"""Phase portraits for the cosine loss: one mode and n - 1 equal others, `fields.cosine_rival`.

Read `portrait` first.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

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
from lindyn.theory import cosine, equilibria, fields, stability
from lindyn.theory.states import Params, Plane, Scalar


NEAR = 0.999  # fraction of the p and the s at which one mode has the whole sum over modes


def window(count: int, params: Params) -> Window:
    """The default window: the goal p = 1, and states that collapse on either side of it."""
    p, s = limits(count, params)
    return Window((-min(1.2, p), min(1.9, p)), (0.0, min(2.4 / params.alpha_p, s)))


def limits(count: int, params: Params) -> tuple[float, float]:
    """The largest |p| and the largest s of a window, 0.999 of what one mode can have.

    The sum of p^2 over all modes is n, and the sum of s is n/alpha_p.
    """
    return NEAR * float(np.sqrt(count)), NEAR * float(count / params.alpha_p)


def portrait(
    count: int, params: Params, window: Window, *, grid: int = 16, rtol: float = 1e-6
) -> Portrait:
    """The portrait of one among `count` modes, with arguments as in `portrait.portrait`.

    Of `params` only alpha_p is used: weight decay has no effect in this plane.
    """
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
        modes=count,
    )


def in_log_s(t: Scalar, y: Plane, args: Any) -> Plane:
    """`fields.cosine_rival` in (p, log s), slowed down towards the boundary of the plane.

    The plane ends where this mode has the whole sum of p^2 or of s, since there p or s of the
    other modes passes through 0.
    """
    (params, count), state = args, from_log_s(y)
    rate = fields.cosine_rival(t, state, args)
    slower = (1 - jnp.square(state.p) / count) * (1 - state.s * params.alpha_p / count)
    return Plane(p=slower * rate.p, s=slower * rate.s / state.s)


@jax.jit
def _rates(points, args):
    rate = fields.cosine_rival(0.0, Plane(p=points[:, 0], s=points[:, 1]), args)
    return jnp.stack([rate.p, rate.s], axis=1)


_edges = jax.jit(cosine.rival_edges)


@jax.jit
def _goal(args):
    """The goal, p = 1 for all modes, in the place of p+*; the other two points are NaN.

    It is a vertical line of fixed points, represented by its point on the parabola. The rates
    are 0 along the line, and so is their derivative with respect to s.
    """
    params, _ = args
    point = jnp.stack([jnp.ones(()), 1 / params.alpha_p])
    by_p = jax.jacfwd(lambda p: _rates(jnp.stack([p, point[1]])[None], args)[0])(point[0])
    jacobian = jnp.stack([by_p, jnp.zeros(2)], axis=1)
    nothing = jnp.full((2,), jnp.nan)
    jacobians = jnp.stack([jnp.full((2, 2), jnp.nan)] * 2 + [jacobian])
    return equilibria.FixedPoints(
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
    """Lines of fixed points, and whether they attract.

    s = 0 attracts for p < 0, and for p > 1, above that of the other modes. The line p = 1,
    where all p are equal, attracts.
    """
    lines = []
    low, high = window.x
    if window.y[0] == 0:
        ends = np.clip([low, 0.0, 1.0, high], low, high)
        for left, right, stable in zip(ends, ends[1:], (True, False, True), strict=False):
            if left < right:
                lines.append((np.array([[left, 0.0], [right, 0.0]]), stable))
    if low <= 1 <= high:
        lines.append((np.array([[1.0, window.y[0]], [1.0, window.y[1]]]), True))
    return lines

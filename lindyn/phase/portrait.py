"""Phase portraits as arrays, which `plot` draws and the phase command tabulates.

There are two planes. "p-s" is the plane of (11)-(12), with a fixed tau. "p-tau" is that of (16)
and (13), on the parabola, with a moving target. One file, since all parts of a portrait are
computed from the same fixed points, window and separatrix.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from lindyn.phase import flow_lines
from lindyn.phase.flow_lines import Window
from lindyn.solve import ensemble, xla_marks
from lindyn.theory import closed_forms, equilibria, fields
from lindyn.theory.states import Curriculum, Params, Plane, Scalar


REST = 1e-4  # flow lines stop at this fraction of the highest speed in the window
POINTS = 801  # of a curve that is a function of one coordinate
MOST_STARTS = 400  # of flow lines; a window has no room for more
# The vector field of each plane, and the type of its state.
STATES = {
    "p-s": (fields.modes_fixed_tau, Plane),
    "p-tau": (fields.parabola_ema, Curriculum),
}


class Portrait(NamedTuple):
    """A phase portrait. Curves are (points, 2) arrays in the coordinates of the plane."""

    plane: str
    params: Params
    window: Window
    fixed: equilibria.FixedPoints
    points: np.ndarray  # (3, 2), positions of the fixed points
    arrows: np.ndarray  # (nodes, 4): a point, and the flow there as a unit vector in the window
    flow: list[np.ndarray]  # each in the direction of time
    failed: int  # number of solves of flow lines that did not reach their end
    nullclines: dict[str, list[np.ndarray]]  # all branches, for each variable
    resting: list[tuple[np.ndarray, bool]]  # lines of fixed points, and whether each attracts
    parabola: np.ndarray | None
    constants: list[tuple[float, np.ndarray]]  # c, and the curve s = p^2/alpha_p + c
    separatrix: list[np.ndarray]  # both arms of the saddle's stable manifold
    basin: np.ndarray  # the edge of the trivial basin, which is below it (in p-tau: left)
    share: float  # fraction of the window that collapses
    edge: float  # p-*, the edge of the basin on the parabola
    rivals: np.ndarray | None = None  # cosine loss: all other modes collapse above it
    modes: int | None = None  # cosine loss: the number of modes that compete


class Line(NamedTuple):
    """The flow (16) on the parabola: dp/dt as a function of p."""

    params: Params
    p: np.ndarray
    rate: np.ndarray
    fixed: equilibria.FixedPoints
    points: np.ndarray  # (3, 2), positions of the fixed points, at dp/dt = 0
    share: float
    edge: float
    plane: str = "p"
    failed: int = 0
    modes: None = None


def window(plane: str, params: Params) -> Window:
    """The default window: all fixed points, with a margin around them."""
    if plane == "p-tau":
        return Window((0.0, 1.2 / (1 + params.sigma2)), (0.0, 1.15))
    return Window(*((float(low), float(high)) for low, high in reach(params)))


def reach(params: Params, xp: Any = np) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """The default window of the plane "p-s". `xp` is NumPy, or a module with its functions."""
    goal = params.tau / (1 + params.sigma2)
    decays = params.eta_s > 0
    ratio = xp.where(decays, params.eta_p / xp.where(decays, params.eta_s, 1.0), 1.0)
    top = goal**2 / params.alpha_p * xp.clip(ratio, 0.5, 2.0)
    return (-0.45 * goal, 1.45 * goal), (0.0, 1.5 * top)


def line(params: Params, p: tuple[float, float]) -> Line:
    """Compute the flow (16) on the parabola over the range `p`."""
    points = np.linspace(*p, POINTS)
    fixed, roots = jax.tree.map(np.asarray, _closed_forms(_arrays(params), fields.parabola))
    edge = _edge(params, roots, [])
    return Line(
        params=params,
        p=points,
        rate=fields.parabola(0.0, points, params),
        fixed=fixed,
        points=_curve(fixed.y, np.zeros(3)),
        share=below(edge, p),
        edge=edge,
    )


def portrait(
    plane: str, params: Params, window: Window, *, grid: int = 16, rtol: float = 1e-6
) -> Portrait:
    """Compute the portrait of a plane, "p-s" or "p-tau".

    It has grid^2 arrows, and flow lines from grid^2 initial conditions, at most 400. `rtol` is
    the relative tolerance of the solver. A flow line that fails is counted in `failed`.
    """
    field, state = STATES[plane]
    fixed, roots = jax.tree.map(np.asarray, _closed_forms(_arrays(params), field))
    count = min(grid**2, MOST_STARTS)
    nodes, starts = map(window.place, (flow_lines.lattice(grid), flow_lines.scattered(count)))
    rate = lambda points: _positions(field(0.0, state(*points.T), params)) / window.spans
    speed = np.nanmax(np.linalg.norm(rate(starts), axis=1))
    xs = np.linspace(*window.x, POINTS)
    arms, arm_spans = _arms(plane, params, fixed, window)
    moves, into, chart = _COORDINATES[plane]
    curves, status = flow_lines.follow(
        Partial(moves, field) if moves else field,
        into(state(*np.concatenate([starts, starts, arms]).T)),
        _arrays(params),
        chart=chart,
        signs=np.concatenate([np.ones(count), -np.ones(count + 2)]),
        spans=np.concatenate([np.tile(window.spans, (2 * count, 1)), arm_spans]),
        rest=np.concatenate([np.full(2 * count, REST * speed), np.full(2, 1e-300)]),
        rtol=rtol,
    )
    forward, backward = curves[:count], curves[count : 2 * count]
    arms = curves[2 * count :] if _has_saddle(plane, params, fixed) else ()
    arms = [_finite(arm) for arm in arms]
    basin = _basin(plane, params, window, xs, fixed, arms)
    in_plane = plane == "p-s"
    return Portrait(
        plane=plane,
        params=params,
        window=window,
        fixed=fixed,
        points=_positions(fixed.y),
        arrows=np.concatenate([nodes, directions(rate(nodes))], axis=1),
        flow=flow_lines.spread(np.concatenate([backward[:, :0:-1], forward], axis=1), window),
        failed=int(np.sum(status[: 2 * count] != ensemble.REACHED)),
        nullclines=_nullclines(plane, params, window, xs, roots),
        resting=_resting(plane, params, window, xs),
        parabola=_curve(xs, xs**2 / params.alpha_p) if in_plane else None,
        constants=constants(params, window, xs) if in_plane else [],
        separatrix=[piece for arm in arms for piece in flow_lines.inside(arm, window)],
        basin=basin,
        share=below(basin[:, int(in_plane)], window.y if in_plane else window.x),
        edge=_edge(params, roots, arms),
    )


@functools.partial(jax.jit, static_argnames="field", compiler_options=xla_marks.QUICK)
def _closed_forms(params, field):
    return equilibria.fixed_points(params, field), equilibria.decay_roots(params)


def directions(rates: np.ndarray) -> np.ndarray:
    """Rates, (points, 2), scaled to length 1. A rate of zero stays zero."""
    length = np.linalg.norm(rates, axis=1, keepdims=True)
    return rates / np.where(length > 0, length, 1)


def in_log_s(field: Callable, t: Scalar, y: Plane, params: Params) -> Plane:
    """`field` in (p, log s), in place of (p, s).

    Along the separatrix s falls to e^(-1/eta), below any float.
    """
    rate = field(t, from_log_s(y), params)
    return Plane(p=rate.p, s=2 * fields.growth(y.p, params))


def from_log_s(y: Plane) -> Plane:
    """Map (p, log s) to (p, s)."""
    return Plane(p=y.p, s=jnp.exp(y.s))


def _to_log_s(y):
    return Plane(p=y.p, s=np.log(y.s))


def _same(y):
    return y


# The coordinates in which the field of a plane is integrated: the field in them (None: as it
# is), the map to them, and the map back.
_COORDINATES = {
    "p-s": (in_log_s, _to_log_s, from_log_s),
    "p-tau": (None, _same, _same),
}


def _arms(plane, params, fixed, window):
    """Initial points of the two arms of the separatrix, and the spans of `flow_lines.follow`.

    The arms leave the saddle on either side, along its stable eigenvector. The spans include a
    saddle outside the window. In the (p, s) plane only p counts, which is monotonic on an arm.
    """
    if not _has_saddle(plane, params, fixed):
        return np.ones((2, 2)), np.ones((2, 2))
    saddle = _positions(fixed.y)[1]
    low = np.minimum(window.low, saddle)
    spans = np.maximum(window.low + window.spans, saddle) - low
    values, vectors = np.linalg.eig(fixed.jacobian[1])
    stable = np.real(vectors[:, np.argmin(np.real(values))])
    step = 1e-4 * stable / np.linalg.norm(stable / np.minimum(spans, saddle))
    if plane == "p-s":
        spans = np.array([spans[0], np.inf])
    return np.stack([saddle + step, saddle - step]), np.stack([spans, spans])


def _has_saddle(plane, params, fixed):
    """Whether p-* exists as an isolated point.

    At the critical decay it is a fold, which has arms too.
    """
    decays = (params.eta_s,) if plane == "p-tau" else (params.eta_s, params.eta_p)
    return min(decays) > 0 and not np.isnan(fixed.jacobian[1]).any()


def _basin(plane, params, window, xs, fixed, arms):
    """The edge of the trivial basin across the window: s over p, or in "p-tau" p over tau."""
    if plane == "p-s" and params.eta_s == 0 and params.eta_p == 0:
        return _curve(xs, closed_forms.basin_edge_without_decay(xs, params))
    column = 0 if plane == "p-s" else 1
    along = xs if plane == "p-s" else np.linspace(window.y[0], window.y[1], POINTS)
    if params.eta_s == 0:  # nothing with p > 0 (p-tau) or s > 0 (p-s) collapses
        edge = np.zeros_like(along)
    elif not arms:  # everything collapses
        edge = np.full_like(along, np.inf)
    else:
        curve = np.concatenate([arms[0][::-1], _positions(fixed.y)[1:2], arms[1]])
        curve = curve[np.argsort(curve[:, column], kind="stable")]
        edge = np.interp(along, curve[:, column], curve[:, 1 - column], np.inf, np.inf)
    return _curve(along, edge) if plane == "p-s" else _curve(edge, along)


def _nullclines(plane, params, window, xs, roots):
    vertical = lambda x: np.array([[x, window.y[0]], [x, window.y[1]]])
    bottom = np.array([[window.x[0], 0.0], [window.x[1], 0.0]])
    shown = lambda ys: flow_lines.inside(_curve(xs, ys), window)
    if plane == "p-tau":
        target, relaxed = closed_forms.curriculum_nullclines(xs, params)
        both = [piece for ys in relaxed for piece in shown(ys)]
        return {"p": [vertical(0.0), *shown(target)], "tau": both}
    if params.eta_p == 0:
        first = [bottom, vertical(params.tau / (1 + params.sigma2))]
    else:
        with np.errstate(divide="ignore"):  # its pole
            first = shown(closed_forms.predictor_nullcline(xs, params))
    roots = [vertical(p) for p in np.unique(roots) if np.isfinite(p)]
    return {"p": first, "s": [bottom, *roots]}


def _resting(plane, params, window, xs):
    """Lines of fixed points in the (p, s) plane, and whether each attracts.

    The line s = 0 is one if the predictor has no decay. The line p = p* is one if neither
    network has decay.
    """
    lines = []
    if plane != "p-s" or params.eta_p > 0:
        return lines
    if window.y[0] == 0:
        attracts = fields.growth(xs, params) <= 0
        cuts = [0, *(np.flatnonzero(np.diff(attracts)) + 1), len(xs) - 1]
        lines += [
            (np.array([[xs[first], 0.0], [xs[last], 0.0]]), bool(attracts[first]))
            for first, last in zip(cuts, cuts[1:], strict=False)
        ]
    goal = params.tau / (1 + params.sigma2)
    if params.eta_s == 0 and window.x[0] <= goal <= window.x[1]:
        lines.append((np.array([[goal, window.y[0]], [goal, window.y[1]]]), True))
    return lines


def constants(params: Params, window: Window, xs: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Curves s = p^2/alpha_p + c over `xs`, for eight values of c, cut at the window.

    Each entry is c and one piece of its curve.
    """
    step = (window.y[1] - window.y[0]) / 5
    return [
        (k * step, piece)
        for k in (-4, -3, -2, -1, 1, 2, 3, 4)
        for piece in flow_lines.inside(_curve(xs, xs**2 / params.alpha_p + k * step), window)
    ]


def below(edge: np.ndarray | float, across: tuple[float | int, float | int]) -> float:
    """The fraction of the interval `across` that lies below `edge`.

    For an array of edges it is the mean of their fractions.
    """
    low, high = across
    return float(np.mean((np.clip(edge, low, high) - low) / (high - low)))


def _edge(params, roots, arms):
    """The p up to which states on the parabola collapse: p-*, if both decays are equal.

    If they differ, the parabola is not invariant, and the separatrix crosses it elsewhere.
    The result is infinite if the whole parabola collapses.
    """
    if params.eta_p == params.eta_s or not arms:
        doomed = np.isnan(roots[0]) or (params.eta_p == 0 < params.eta_s)
        return float("inf") if doomed else float(roots[0])
    curve = np.concatenate([arms[0][::-1], arms[1]])
    p, s = curve[np.argsort(curve[:, 0])].T
    above = s - p**2 / params.alpha_p
    crossed = np.flatnonzero((p > 0) & (above <= 0))
    if not len(crossed):
        return float("inf")
    i = crossed[0]
    return float(np.interp(0.0, [above[i], above[i - 1]], [p[i], p[i - 1]]))


def _arrays(params):
    """The parameters as arrays: with Python numbers, each value would be compiled for."""
    return jax.tree.map(lambda x: np.asarray(x, float), params)


def _positions(y):
    return np.stack(jax.tree.leaves(y), axis=-1)


def _curve(x, y):
    return np.stack([x, y], axis=1)


def _finite(curve):
    return curve[: np.argmin(np.append(np.isfinite(curve).all(1), False))]

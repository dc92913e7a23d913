"""Integration of one trajectory with diffrax, the reference for the faster ensemble solvers.

One file, since all public functions share one integration, its checks and its error message.
"""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, PyTree

from lindyn.theory.precision import exact_products
from lindyn.theory.states import Scalar


Y = TypeVar("Y")
MAX_STEPS = 1_000_000
SAFETY = 0.1  # a step gets this fraction of the tolerances, since errors of steps add up


class SolveError(ArithmeticError):
    """An integration did not reach its end. The message names the variable and the time."""


class Steady(eqx.Module):
    """The state in which a flow has come to rest, and the time when it did."""

    t: Float[Array, ""]
    y: PyTree


def trajectory(
    field: Callable,
    y0: Y,
    args: PyTree,
    ts: Float[ArrayLike, " times"],
    *,
    rtol: float = 1e-8,
    atol: float = 0.0,
    stiff: bool = False,
    dt: float | None = None,
    max_steps: int = MAX_STEPS,
) -> Y:
    """The solution of dy/dt = field(t, y, args), y(ts[0]) = y0, at each of the times `ts`.

    The result has the type of y0 with a leading time axis, in the precision of y0 (float64
    needs JAX's `jax_enable_x64`). `ts` must increase strictly, or decrease strictly to
    integrate backward in time.

    The error of a step stays below rtol |y| + atol. This holds for the norm of each matrix of
    the state, and for each mode separately, so modes of very different magnitude are all
    accurate. Steps end at each of `ts`. With `stiff` an implicit method is used. With `dt` all
    steps have that fixed size, and states at `ts` are interpolated. At most `max_steps` steps
    are taken.

    Raises ValueError for invalid `ts`, tolerances or y0, and `SolveError` if the integration
    fails. Under `jit` or `vmap` no failure can be raised; states at times that were not reached
    are NaN.

    Example:

        >>> import jax.numpy as jnp
        >>> import lindyn as ld
        >>> ts = jnp.array([0.0, 5.0])
        >>> p = ld.trajectory(ld.fields.parabola, 0.3, ld.Params(eta=0.04), ts)
        >>> [round(float(x), 6) for x in p]
        [0.3, 0.774414]
    """
    y0, args, ts = _checked(y0, args, ts, rtol, atol, dt)
    _positive("max_steps", max_steps)
    if len(ts) == 1:
        return jax.tree.map(lambda x: x[None], y0)
    tolerances = _arrays((rtol, atol, dt), ts.dtype)
    ys, end = _integrate(
        field, y0, args, ts, tolerances, _Plan(stiff, "ts", max_steps=max_steps)
    )
    _raise_if_failed(end, field, args)
    return ys


def dense(
    field: Callable,
    y0: Y,
    args: PyTree,
    t0: Scalar,
    t1: Scalar,
    *,
    rtol: float = 1e-8,
    atol: float = 0.0,
    stiff: bool = False,
) -> Callable[[Float[Array, ""]], Y]:
    """The solution over [t0, t1] as a function of one time; arguments as in `trajectory`.

    The function interpolates between steps, with about 10 times the error of `trajectory`.
    The equation is integrated twice, because the first pass counts the steps that must be
    stored. Therefore `dense` does not work under `jit`.

    Example:

        >>> import lindyn as ld
        >>> from lindyn import solve
        >>> p = solve.dense(ld.fields.parabola, 0.3, ld.Params(eta=0.04), 0.0, 20.0)
        >>> round(float(p(5.0)), 6)
        0.774414
    """
    y0, args, ts = _checked(y0, args, [t0, t1], rtol, atol)
    tolerances = _arrays((rtol, atol, None), ts.dtype)
    _, end = _integrate(field, y0, args, ts, tolerances, _Plan(stiff, "end"))
    _raise_if_failed(end, field, args)
    room = 1 << int(end.steps).bit_length()
    plan = _Plan(stiff, "dense", max_steps=room)
    return _integrate(field, y0, args, ts, tolerances, plan)[0].evaluate


def steady_state(
    field: Callable,
    y0: PyTree,
    args: PyTree,
    *,
    t1: Scalar = 1e6,
    rtol: float = 1e-8,
    atol: float = 1e-12,
    stiff: bool = False,
) -> Steady:
    """The end of the first step after which |dy/dt| <= rtol |y| + atol.

    Each norm is the largest absolute entry. Raises `SolveError` if this has not happened by
    time t1, and ValueError as in `trajectory`.

    Example:

        >>> import lindyn as ld
        >>> from lindyn import solve
        >>> steady = solve.steady_state(ld.fields.parabola, 0.3, ld.Params(eta=0.04))
        >>> round(float(steady.y), 6)
        0.958258
    """
    y0, args, ts = _checked(y0, args, [0.0, t1], rtol, atol)
    tolerances = _arrays((rtol, atol, None), ts.dtype)
    _, end = _integrate(field, y0, args, ts, tolerances, _Plan(stiff, "end", rest=True))
    _raise_if_failed(end, field, args)
    if not _traced(end) and not end.rested:
        raise SolveError(f"{_name(field)} has not come to rest by t = {ts[1]:g}")
    return Steady(t=end.t, y=end.y)


class _Plan(eqx.Module):
    """The static options of an integration, for which it is compiled."""

    stiff: bool = eqx.field(static=True)
    save: str = eqx.field(static=True)  # "ts", "dense" or "end"
    rest: bool = eqx.field(static=True, default=False)
    max_steps: int = eqx.field(static=True, default=MAX_STEPS)


class _End(eqx.Module):
    """The last state that was reached, and how the integration ended."""

    t: Float[Array, ""]
    ahead: Float[Array, ""]  # slightly after t, where a next step would evaluate the field
    y: PyTree
    failed: Bool[Array, ""]
    rested: Bool[Array, ""]
    steps: Array


class _Scaled(dfx.AbstractAdaptiveStepSizeController):
    """diffrax's PID controller, applied to the ratio of the error to another scale.

    The scale of a matrix is its norm, because its entries depend on the basis. The scale of
    every other variable is its absolute value. The controller uses the largest ratio, not the
    root mean square.
    """

    rtol: Any
    atol: Any
    pid: dfx.PIDController
    norm: Callable = eqx.field(static=True)

    def __init__(self, rtol, atol, dtmin):
        self.rtol, self.atol, self.norm = rtol, atol, _largest
        self.pid = dfx.PIDController(
            rtol=0.0, atol=1.0, norm=_largest, dtmin=dtmin, force_dtmin=False
        )

    def wrap(self, direction):
        return self

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order):
        return self.pid.init(terms, t0, t1, y0, dt0, args, func, error_order)

    def adapt_step_size(
        self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state
    ):
        ratio = jax.tree.map(self._ratio, y0, y1_candidate, y_error)
        rest = jax.tree.map(jnp.zeros_like, y0)
        return self.pid.adapt_step_size(
            t0, t1, rest, rest, args, ratio, error_order, controller_state
        )

    def _ratio(self, y0, y1, error):
        scale = self.rtol * jnp.maximum(_size(y0), _size(y1)) + self.atol
        ratio = error / jnp.maximum(scale, jnp.finfo(error.dtype).tiny)
        # An infinite ratio makes the step smaller, whereas NaN would end the integration.
        return jnp.where(jnp.isfinite(ratio), ratio, jnp.inf)


@eqx.filter_jit
@exact_products
def _integrate(field, y0, args, ts, tolerances, plan) -> tuple[Any, _End]:
    rtol, atol, dt = tolerances
    eps = jnp.finfo(ts.dtype).eps
    rtol, atol = jnp.maximum(SAFETY * rtol, 32 * eps), SAFETY * atol
    forward = jnp.sign(ts[-1] - ts[0])
    dtmin = 4 * eps * jnp.maximum(jnp.abs(ts[0]), jnp.abs(ts[-1]))
    if dt is None:
        controller = _Scaled(rtol, atol, dtmin)
        if plan.save == "ts":
            controller = dfx.ClipStepSizeController(controller, step_ts=ts)
        dt = _first_step(field, y0, args, ts)
    else:
        controller = dfx.ConstantStepSize()
    solver = dfx.Dopri8()
    if plan.stiff:
        # diffrax's default root finder, VeryChord, takes smooth steps for divergent ones and
        # shrinks them.
        tight: Any = dict(rtol=rtol, atol=rtol * _largest(y0), norm=_largest)
        solver = dfx.Kvaerno5(root_finder=optx.Chord(**tight))
    subs = {"t1": dfx.SubSaveAt(t1=True)}
    if plan.save == "ts":
        subs["ts"] = dfx.SubSaveAt(ts=ts)
    rest = dfx.steady_state_event(tolerances[0], tolerances[1], norm=_largest)
    sol: Any = dfx.diffeqsolve(
        dfx.ODETerm(field),
        solver,
        ts[0],
        ts[-1],
        forward * dt,
        y0,
        args,
        saveat=dfx.SaveAt(subs=subs, dense=plan.save == "dense"),
        stepsize_controller=controller,
        event=dfx.Event(rest) if plan.rest else None,
        max_steps=plan.max_steps,
        throw=False,
    )
    rested = sol.result == dfx.RESULTS.event_occurred
    failed = (sol.result != dfx.RESULTS.successful) & ~rested
    end = _End(
        t=sol.ts["t1"][0],
        ahead=sol.ts["t1"][0] + 10 * forward * dtmin,
        y=jax.tree.map(lambda x: x[0], sol.ys["t1"]),
        failed=failed,
        rested=rested,
        steps=sol.stats["num_steps"],
    )
    if plan.save == "dense":
        return sol.interpolation, end
    if plan.save == "end":
        return None, end
    unreached = failed & ~jnp.isfinite(sol.ts["ts"])
    blank = lambda x: jnp.where(jnp.expand_dims(unreached, range(1, x.ndim)), jnp.nan, x)
    return jax.tree.map(blank, sol.ys["ts"]), end


def _first_step(field, y0, args, ts):
    """The first step size: a thousandth of the time scale of the state, |y0|/|dy/dt|."""
    span = jnp.abs(ts[1] - ts[0])
    speed = _largest(field(ts[0], y0, args))
    own = jnp.where(speed > 0, _largest(y0) / jnp.where(speed > 0, speed, 1), span)
    return jnp.clip(1e-3 * own, 1e-6 * span, span)


def _name(field):
    return getattr(field, "__name__", type(field).__name__)


def _size(x):
    """The norm of a matrix over the root of its number of entries; else the absolute value."""
    return jnp.linalg.norm(x) / math.sqrt(x.size) if x.ndim == 2 else jnp.abs(x)


def _largest(y):
    return jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in jax.tree.leaves(y)]))


def _checked(y0, args, ts, rtol, atol, dt=None):
    y0 = jax.tree.map(jnp.asarray, y0)
    dtype = jnp.result_type(*(x.dtype for x in jax.tree.leaves(y0)))
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    y0 = jax.tree.map(lambda x: x.astype(dtype), y0)
    ts = jnp.asarray(ts, dtype)
    _positive("rtol", rtol)
    _positive("dt", dt)
    if not 0 <= atol < np.inf:
        raise ValueError(f"atol = {atol}: it must be finite and at least 0")
    if ts.ndim != 1 or len(ts) == 0:
        raise ValueError(f"ts has shape {ts.shape}: it must be a list of times")
    args = _arrays(args, dtype)
    if _traced((y0, ts)):
        return y0, args, ts
    steps = np.diff(np.asarray(ts))
    if not (np.isfinite(ts).all() and (np.all(steps > 0) or np.all(steps < 0))):
        raise ValueError("ts must be finite, and strictly increasing or decreasing")
    for path, x in jax.tree.leaves_with_path(y0):
        if not np.isfinite(x).all():
            raise ValueError(f"y0{jax.tree_util.keystr(path)} is not finite")
    return y0, args, ts


def _positive(name, value):
    if value is not None and not 0 < value < np.inf:
        raise ValueError(f"{name} = {value}: it must be finite and above 0")


def _arrays(tree, dtype):
    """Python floats as arrays, since each new float value would cause another compilation."""
    cast = lambda x: jnp.asarray(x, dtype) if isinstance(x, float) else x
    return jax.tree.map(cast, tree)


def _raise_if_failed(end, field, args):
    if _traced(end) or not end.failed:
        return
    worst, cause = -1.0, ""
    leaves = jax.tree.leaves_with_path(end.y)
    rates = jax.tree.leaves(field(end.ahead, end.y, args))
    for (path, y), rate in zip(leaves, map(np.asarray, rates), strict=True):
        y = np.asarray(y)
        relative = np.abs(rate) / (np.abs(y) + np.finfo(y.dtype).tiny)
        relative = np.where(np.isfinite(relative), relative, np.inf)
        at = np.unravel_index(np.argmax(relative), y.shape)
        if relative[at] > worst:
            worst = relative[at]
            name = jax.tree_util.keystr(path).lstrip(".") or "y"
            name += f"[{', '.join(map(str, at))}]" if at else ""
            cause = f"{name} = {y[at]:g} there, and its rate of change is {rate[at]:g}"
    raise SolveError(
        f"{_name(field)} cannot be solved past t = {float(end.t):.6g}"
        f" (tried {int(end.steps)} steps): {cause}"
    )


def _traced(tree):
    return any(isinstance(x, Tracer) for x in jax.tree.leaves(tree))

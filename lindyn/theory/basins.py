"""Where the fate of a mode is certain long before it rests: what the solves of maps stop at.

Throughout a = 1 + sigma2, g is `fields.gain`, Delta is `fields.growth`, and p-* <= p* are
`closed_forms.decay_roots`. A state is a `Plane` or `Modes`, with params.tau = 1 for these:
there the target comes to rest. All of it is derived. The regions keep away from the edge of the
basins, where it is the flow that decides; `room` makes a region smaller by that part.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from lindyn.theory import equilibria, fields
from lindyn.theory.states import Modes, Numbers, Params, Plane


SURVIVES, COLLAPSES, UNDECIDED, FAILED, DIVERGES = range(5)
REST = 1e-9  # per unit of time: a change that is the solver's as much as the flow's
ROOM = 1e-6


class Goal(NamedTuple):
    """p* and s*, the edge p-*, and the potential at both p for s = s*. NaN without a goal."""

    edge: Numbers
    p: Numbers
    s: Numbers
    potential: Numbers
    potential_at_edge: Numbers


def goal(params: Params) -> Goal:
    edge, p = equilibria.decay_roots(params)
    s = params.eta_p * p**2 / (params.alpha_p * params.eta_s)
    return Goal(edge, p, s, *(potential(p, s, s, params) for p in (p, edge)))


def potential(p: Numbers, s: Numbers, rest: Numbers, params: Params) -> Array:
    """alpha_p (s - s* log s) - p^2 - (2 eta_s/a) log g, which falls along (11)-(12).

    With s* = `rest` its rate is 2 (alpha_p a s* + eta_p)(p - p*) Delta/g: negative for
    p-* < p < tau/a, where g > 0 and p* is the only zero of Delta.
    """
    log_gain = jnp.log(fields.gain(p, params))
    of_p = p**2 + 2 * params.eta_s / (1 + params.sigma2) * log_gain
    return params.alpha_p * (s - rest * jnp.log(s)) - of_p


def decided(y: Plane | Modes, params: Params, goal: Goal) -> Array:
    """Whether the fate is certain, or the flow rests before it is."""
    certain = doomed(y, params, ROOM) | safe(y, params, goal, ROOM)
    return certain | rests(y, params)


def doomed(y: Plane | Modes, params: Params, room: float = 0.0) -> Array:
    """Every solution from here comes to s = 0."""
    frozen = params.eta_p == 0  # p does not decay, and may rest anywhere
    if isinstance(y, Modes):
        size, fades = jnp.abs(y.p), _fades_modes(y, params, frozen, room)
    else:
        size, fades = y.p, _fades_plane(y, params, frozen, room)
    low = size * (1 + params.sigma2) < params.tau * (1 - room) / 4
    return (frozen | low) & fades


def _fades_plane(y, params, frozen, room):
    """Until p has risen by x = |Delta|/2 Delta', s falls at a rate |Delta| or more.

    So p rises by less than alpha_p s g/|Delta|, which is not to be more than x.
    """
    p = jnp.where(frozen, y.p, jnp.maximum(y.p, 0))  # below 0 the decay lifts it up to 0
    gain = fields.gain(jnp.where(frozen, y.p, jnp.minimum(y.p, 0)), params)
    rate, slope = fields.growth(p, params), params.tau - 2 * (1 + params.sigma2) * p
    rise = 2 * params.alpha_p * y.s * jnp.maximum(slope * gain, 0)
    return (rate < 0) & (rise <= rate**2 * (1 - room))


def _fades_modes(y, params, frozen, room):
    """The same for (11)-(13), where it is V = beta w^2 + h wa^2 that falls.

    At fixed p it does if D = a p^2 + eta_s - max(p, 0) > 0, with h = |p| + D. Until p has
    moved by x = D/(4 + 8ah) the rate is beta D/(2 (a p^2 + eta_s) + beta) or more.
    """
    a, p = 1 + params.sigma2, jnp.where(frozen, y.p, jnp.abs(y.p))
    decay = a * p**2 + params.eta_s
    D = decay - jnp.maximum(p, 0)
    h = jnp.abs(p) + D
    x = D / (4 + 8 * a * h)
    rate = params.beta * D / (2 * decay + params.beta)
    # |r w| <= push V, with the residual r of `fields.mode_pair`
    push = 1 / jnp.sqrt(params.beta * jnp.abs(h)) + a * (jnp.abs(p) + x) / params.beta
    V = params.beta * y.w**2 + h * y.wa**2
    return (D > 0) & (params.alpha_p * V * push <= rate * x * (1 - room))


def safe(y: Plane | Modes, params: Params, goal: Goal, room: float = 0.0) -> Array:
    """No solution from here comes to s = 0.

    Of `Modes` with decay this is not proven: they count as safe where they are closer to
    the goal, which is stable, than a quarter of the way from there to the edge.
    """
    near = _near_modes if isinstance(y, Modes) else _near_plane
    undecayed = params.eta_s == 0
    return (undecayed & _grows(y, params, room)) | (~undecayed & near(y, params, goal, room))


def _grows(y, params, room):
    """Without eta_s: s grows for 0 < p < tau/a, and p falls to there before s is halved.

    With eta_p > 0 p always comes there; if not, for alpha_p s >= 6 p (p - tau/a).
    """
    goal = params.tau / (1 + params.sigma2)
    falling = 6 * y.p * jnp.maximum(y.p - goal, 0)
    enough = (y.p > room * goal) & (params.alpha_p * y.s * (1 - room) >= falling)
    with_target = y.w * y.wa >= 0 if isinstance(y, Modes) else True
    return (y.s > 0) & ((params.eta_p > 0) | (enough & with_target))


def _near_plane(y, params, goal, room):
    """Below the potential of the edge; or where p and s both grow until they are.

    They do for s <= s* and p-* < p <= p*, and at s = s* the potential is low enough.
    """
    within = (y.p > goal.edge * (1 + room)) & (fields.gain(y.p, params) > room * params.tau)
    depth = goal.potential_at_edge - goal.potential
    height = potential(y.p, y.s, goal.s, params) - goal.potential
    rising = fields.modes_fixed_tau(0.0, y, params).p >= room * params.eta_p * y.p
    away = y.s * (1 - room) >= 4 * goal.s * (goal.edge / goal.p) ** 2
    growing = rising & away & (y.p <= goal.p) & (y.s <= goal.s)
    return within & ((height < depth * (1 - room)) | growing)


def _near_modes(y, params, goal, room):
    part = (1 - room) / 4 * (1 - goal.edge / goal.p)
    close = (jnp.abs(y.p / goal.p - 1) < part) & (jnp.abs(y.s / goal.s - 1) < 2 * part)
    return close & (jnp.abs(y.wa - y.w) < part * jnp.abs(y.w))


def rests(y: Plane | Modes, params: Params) -> Array:
    """Every rate is at most `REST`: at a saddle, or on its way through a bottleneck."""
    still = lambda rate, x: jnp.abs(rate) <= REST * jnp.abs(x)
    if isinstance(y, Modes):
        dy = fields.modes(0.0, y, params)
        return still(dy.p, y.p) & still(dy.w, y.w) & still(dy.wa, y.wa)
    dp, rate = fields.modes_fixed_tau(0.0, y, params).p, fields.growth(y.p, params)
    return still(dp, y.p) & still(rate, 1.0)

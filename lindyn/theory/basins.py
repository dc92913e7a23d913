"""Early-stopping tests: sets of states from which survival or collapse is already certain.

The solves of maps stop as soon as one of these tests holds. Read `fields` and `equilibria`
first.

Notation: a = 1 + sigma2, g is `fields.gain`, Delta is `fields.growth`, and p-* <= p* are the
two values of `equilibria.decay_roots`. A state is a `Plane` or `Modes`. For `Modes`, params.tau
must be 1, because the ratio wa/w is 1 when the target has come to rest. Everything in this
module is derived. The regions stay away from the basin boundary, where only integration can
decide. The argument `room` is the fraction by which a region is made smaller.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from lindyn.theory import equilibria, fields
from lindyn.theory.states import Modes, Numbers, Params, Plane


SURVIVES, COLLAPSES, UNDECIDED, FAILED, DIVERGES = range(5)
REST = 1e-9  # relative rate per unit of time; slower changes are within the solver's error
ROOM = 1e-6


class Goal(NamedTuple):
    """The goal `(p*, s*)`, the edge `p-*`, and the potential at `(p*, s*)` and `(p-*, s*)`.

    All entries are NaN if the parameters have no goal.
    """

    edge: Numbers  # p-*
    p: Numbers  # p*
    s: Numbers  # s*
    potential: Numbers  # at (p*, s*)
    potential_at_edge: Numbers  # at (p-*, s*)


def goal(params: Params) -> Goal:
    """The goal of `params`: p* is p+* of (16), and s* = eta_p p*^2/(alpha_p eta_s)."""
    edge, p = equilibria.decay_roots(params)
    s = params.eta_p * p**2 / (params.alpha_p * params.eta_s)
    return Goal(edge, p, s, *(potential(p, s, s, params) for p in (p, edge)))


def potential(p: Numbers, s: Numbers, rest: Numbers, params: Params) -> Array:
    """alpha_p (s - s* log s) - p^2 - (2 eta_s/a) log g, which decreases along (11)-(12).

    Here s* is the argument `rest`. The rate of change of the potential is
    2 (alpha_p a s* + eta_p)(p - p*) Delta/g. This rate is negative for p-* < p < tau/a,
    where g > 0 and p* is the only zero of Delta.
    """
    log_gain = jnp.log(fields.gain(p, params))
    of_p = p**2 + 2 * params.eta_s / (1 + params.sigma2) * log_gain
    return params.alpha_p * (s - rest * jnp.log(s)) - of_p


def decided(y: Plane | Modes, params: Params, goal: Goal) -> Array:
    """Whether the fate is certain, or the flow has come to rest before the fate is certain."""
    certain = doomed(y, params, ROOM) | safe(y, params, goal, ROOM)
    return certain | rests(y, params)


def doomed(y: Plane | Modes, params: Params, room: float = 0.0) -> Array:
    """Whether the solution from this state certainly converges to s = 0."""
    frozen = params.eta_p == 0  # without decay, p may come to rest at any value
    if isinstance(y, Modes):
        size, fades = jnp.abs(y.p), _fades_modes(y, params, frozen, room)
    else:
        size, fades = y.p, _fades_plane(y, params, frozen, room)
    low = size * (1 + params.sigma2) < params.tau * (1 - room) / 4
    return (frozen | low) & fades


def _fades_plane(y, params, frozen, room):
    """The test of `doomed` for a `Plane`, by a bound on how far p can rise.

    Until p has risen by x = |Delta|/(2 Delta'), where Delta' = dDelta/dp, s decreases at a
    relative rate of |Delta| or more. So p rises by less than alpha_p s g/|Delta|. The test
    requires that this bound is at most x.
    """
    p = jnp.where(frozen, y.p, jnp.maximum(y.p, 0))  # decay raises a negative p up to 0
    gain = fields.gain(jnp.where(frozen, y.p, jnp.minimum(y.p, 0)), params)
    rate, slope = fields.growth(p, params), params.tau - 2 * (1 + params.sigma2) * p
    rise = 2 * params.alpha_p * y.s * jnp.maximum(slope * gain, 0)
    return (rate < 0) & (rise <= rate**2 * (1 - room))


def _fades_modes(y, params, frozen, room):
    """The test of `doomed` for `Modes` under (11)-(13), where V = beta w^2 + h wa^2 decreases.

    At fixed p, V decreases if D = a p^2 + eta_s - max(p, 0) > 0; here h = |p| + D. Until p has
    moved by x = D/(4 + 8 a h), the relative rate is beta D/(2 (a p^2 + eta_s) + beta) or more.
    """
    a, p = 1 + params.sigma2, jnp.where(frozen, y.p, jnp.abs(y.p))
    decay = a * p**2 + params.eta_s
    D = decay - jnp.maximum(p, 0)
    h = jnp.abs(p) + D
    x = D / (4 + 8 * a * h)
    rate = params.beta * D / (2 * decay + params.beta)
    # `push` bounds the force on p: |r w| <= push V, with the residual r of `fields.mode_pair`
    push = 1 / jnp.sqrt(params.beta * jnp.abs(h)) + a * (jnp.abs(p) + x) / params.beta
    V = params.beta * y.w**2 + h * y.wa**2
    return (D > 0) & (params.alpha_p * V * push <= rate * x * (1 - room))


def safe(y: Plane | Modes, params: Params, goal: Goal, room: float = 0.0) -> Array:
    """Whether the solution from this state certainly stays away from s = 0.

    For `Modes` with weight decay eta_s > 0 this is not proven. Such a mode counts as safe if
    its distance from the goal, which is stable, is less than a quarter of the distance from
    the goal to the edge.
    """
    near = _near_modes if isinstance(y, Modes) else _near_plane
    undecayed = params.eta_s == 0
    return (undecayed & _grows(y, params, room)) | (~undecayed & near(y, params, goal, room))


def _grows(y, params, room):
    """The test of `safe` for eta_s = 0, where s grows for 0 < p < tau/a.

    With eta_p > 0, p always reaches that interval. With eta_p = 0, a p above the interval
    falls into it before s is halved if alpha_p s >= 6 p (p - tau/a).
    """
    goal = params.tau / (1 + params.sigma2)
    falling = 6 * y.p * jnp.maximum(y.p - goal, 0)
    enough = (y.p > room * goal) & (params.alpha_p * y.s * (1 - room) >= falling)
    with_target = y.w * y.wa >= 0 if isinstance(y, Modes) else True
    return (y.s > 0) & ((params.eta_p > 0) | (enough & with_target))


def _near_plane(y, params, goal, room):
    """The test of `safe` for a `Plane` with decay: the potential is below that of the edge.

    States from which p and s both grow until the potential is that low also pass. Both grow
    for s <= s* and p-* < p <= p*, and at s = s* the potential is low enough.
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
    """Whether every relative rate is at most `REST`.

    This happens near a saddle, and when the flow passes slowly through a bottleneck.
    """
    still = lambda rate, x: jnp.abs(rate) <= REST * jnp.abs(x)
    if isinstance(y, Modes):
        dy = fields.modes(0.0, y, params)
        return still(dy.p, y.p) & still(dy.w, y.w) & still(dy.wa, y.wa)
    dp, rate = fields.modes_fixed_tau(0.0, y, params).p, fields.growth(y.p, params)
    return still(dp, y.p) & still(rate, 1.0)

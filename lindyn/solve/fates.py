"""Whether one mode survives or collapses: its flow, early-stopping events, and the verdict.

Read `theory.basins` first, which has the tests of certain fates. The flow is (11)-(13) for
`Modes`, whose target moves. At fixed tau the flow is (11)-(12), for a `Plane` whose field `s`
holds log s. The logarithm is needed because s may fall below the smallest float and grow again.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from lindyn.theory import basins, fields
from lindyn.theory.states import Modes, Numbers, Params, Plane


def flow(t: Numbers, y: Any, args: tuple[Params, Any]) -> Any:
    """(11)-(13) for `Modes`, or (11)-(12) in p and log s for a `Plane`."""
    if isinstance(y, Modes):
        return fields.modes(t, y, args[0])
    rate = fields.modes_fixed_tau(t, state(y), args[0])
    return Plane(p=rate.p, s=2 * fields.growth(y.p, args[0]))


def start(p: Any, s: Any, tau: Any = None) -> Modes | Plane:
    """NumPy arrays of initial conditions: `Modes` if `tau` is given, else `Plane` of log s."""
    if tau is not None:
        return jax.tree.map(np.asarray, Modes.of(p=p, s=s, tau=tau))
    with np.errstate(divide="ignore"):
        return Plane(p=p, s=np.log(s))


def state(y: Any) -> Any:
    """`y` with s itself instead of log s."""
    return y if isinstance(y, Modes) else Plane(p=y.p, s=jnp.exp(y.s))


def decided(t: Numbers, y: Any, args: Any) -> Any:
    """Event: `basins.decided`. `args` are the parameters and their `basins.goal`."""
    return basins.decided(state(y), *args)


def escaped(t: Numbers, y: Any, args: Any) -> Any:
    """Event: p has reached half of p*, or the mode is doomed or at rest.

    `args` are as in `decided`.
    """
    (params, goal), here = args, state(y)
    never = basins.doomed(here, params, basins.ROOM) | basins.rests(here, params)
    return (y.p >= goal.p / 2) | never


def goals(params: Params) -> basins.Goal:
    """`basins.goal` for arrays of parameters, as NumPy arrays."""
    return jax.tree.map(np.asarray, _goals(params))


@eqx.filter_jit
def verdicts(y: Any, params: Params, goal: basins.Goal) -> tuple[Any, Any]:
    """Two boolean arrays: which of these states certainly survive, which certainly collapse."""
    y = state(y)
    return basins.safe(y, params, goal), basins.doomed(y, params)


_goals = eqx.filter_jit(jax.vmap(basins.goal))

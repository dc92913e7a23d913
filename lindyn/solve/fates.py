"""The fate of one mode: its flow, the events that end a solve early, and the verdict.

The flow is (11)-(13) for `Modes`, whose target moves. With a fixed target it is (11)-(12), for
a `Plane` that holds log s in place of s: s may fall below any float, and come back.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from lindyn.theory import basins, fields
from lindyn.theory.states import Modes, Numbers, Params, Plane


def flow(t: Numbers, y: Any, args: tuple[Params, Any]) -> Any:
    """(11)-(13), or (11)-(12) in p and log s."""
    if isinstance(y, Modes):
        return fields.modes(t, y, args[0])
    rate = fields.modes_fixed_tau(t, state(y), args[0])
    return Plane(p=rate.p, s=2 * fields.growth(y.p, args[0]))


def start(p: Any, s: Any, tau: Any = None) -> Modes | Plane:
    """NumPy arrays of initial conditions: `Modes` where a target starts at `tau`."""
    if tau is not None:
        return jax.tree.map(np.asarray, Modes.of(p=p, s=s, tau=tau))
    with np.errstate(divide="ignore"):
        return Plane(p=p, s=np.log(s))


def state(y: Any) -> Any:
    """With s itself."""
    return y if isinstance(y, Modes) else Plane(p=y.p, s=jnp.exp(y.s))


def decided(t: Numbers, y: Any, args: Any) -> Any:
    """An event: the fate is certain. `args` are the parameters and their `basins.goal`."""
    return basins.decided(state(y), *args)


def escaped(t: Numbers, y: Any, args: Any) -> Any:
    """An event: p is half of p*, or never will be."""
    (params, goal), here = args, state(y)
    never = basins.doomed(here, params, basins.ROOM) | basins.rests(here, params)
    return (y.p >= goal.p / 2) | never


def goals(params: Params) -> basins.Goal:
    """`basins.goal` of arrays of parameters, as NumPy arrays."""
    return jax.tree.map(np.asarray, _goals(params))


@eqx.filter_jit
def verdicts(y: Any, params: Params, goal: basins.Goal) -> tuple[Any, Any]:
    """Which of these states certainly survive, and which certainly collapse."""
    y = state(y)
    return basins.safe(y, params, goal), basins.doomed(y, params)


_goals = eqx.filter_jit(jax.vmap(basins.goal))

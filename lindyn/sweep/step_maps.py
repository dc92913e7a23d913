"""Computes maps of modes and networks after steps of SGD. Read `flow_maps` first."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from lindyn.predict import network_fates
from lindyn.sweep import boundaries
from lindyn.sweep.specification import Cells, Specification, wide
from lindyn.theory import basins, fields, steps
from lindyn.theory.basins import COLLAPSES, DIVERGES, SURVIVES, UNDECIDED
from lindyn.theory.states import Modes, Plane


MODES, NETWORKS = 4096, 32  # numbers of them in one call of a compiled program
# In units of p* and s*: a mode above HUGE has diverged; s below SMALL is small; a mode with p
# and s below NOTHING has vanished.
HUGE, SMALL, NOTHING = 1e6, 1e-4, 1e-12


def modes(setting: Specification, cells: Cells) -> tuple[Modes | Plane, np.ndarray]:
    """The state of one mode in each cell after all steps, and its fate as integers of `basins`.

    A mode that survives may keep moving.
    """
    p, s, tau, params, sgd = wide(cells.p, cells.s, cells.tau, cells.params, cells.sgd)
    y0 = jax.tree.map(np.asarray, Modes.of(p=p, s=s, tau=tau))
    y, drift = _blocks(_run, MODES, (y0, params, sgd), int(setting.time))
    if not setting.moving:
        y, drift = (Plane(p=y.p, s=np.square(y.w)) for y in (y, drift))
    return y, _blocks(_fates, MODES, (y, drift, params, sgd))


@jax.jit
def _run(many, count):
    """The modes after all steps, and the modes to which momentum alone would carry p and w."""
    y0, params, sgd = many
    state = steps.run(fields.modes, y0, params, sgd, count)
    ahead = sgd.rate * sgd.momentum / (1 - sgd.momentum)
    drift = jax.tree.map(lambda y, v: y + ahead * v, state.y, state.memory)
    return state.y, eqx.tree_at(lambda y: y.wa, drift, state.y.wa)


@jax.jit
def _fates(many):
    """The fates that the flow gives from the states after all steps.

    A mode dies if the flow says so and its steps are short, so that they follow the flow. It
    also dies if p and s are negligible and decay shrinks them. A mode lives if the flow says
    so. It also lives if its goal is unstable and s is not small: it then keeps moving.
    """
    y, drift, params, sgd = many
    goal, a = jax.vmap(basins.goal)(params), 1 + params.sigma2
    p, s = jnp.abs(y.p) * a, y.s * a**2 * params.alpha_p  # in units of p* and s* without decay
    short = sgd.rate * (jnp.abs(fields.growth(y.p, params)) + params.alpha_p * a * y.s) < 1
    dies = short & basins.doomed(y, params) & basins.doomed(drift, params)
    shrinks = sgd.rate < steps.decay_limit(params, sgd)
    dies |= shrinks & (jnp.maximum(p, s) < NOTHING)
    cells = Cells(params, y.p, y.s, jnp.ones_like(y.p), sgd)
    restless = jax.vmap(boundaries.UNSTABLE[isinstance(y, Modes)])(cells) > 0
    lives = basins.safe(y, params, goal) | (restless & (s > SMALL))
    known = jnp.where(dies, COLLAPSES, jnp.where(lives, SURVIVES, UNDECIDED))
    return jnp.where(jnp.maximum(p, s) < HUGE, known, DIVERGES)


def _blocks(function, size, many, *args):
    """The results of `function` on blocks of `size` entries, on all devices of this process."""
    count = len(jax.tree.leaves(many)[0])
    index = np.arange(-(-count // size) * size).clip(max=count - 1).reshape(-1, size)
    devices = jax.local_devices()

    def part(i):
        with jax.default_device(devices[i % len(devices)]):
            results = function(jax.tree.map(lambda x: x[index[i]], many), *args)
            return jax.tree.map(np.asarray, results)

    with ThreadPoolExecutor(len(devices)) as pool:
        parts = list(pool.map(part, range(len(index))))
    return jax.tree.map(lambda *x: np.concatenate(x)[:count], *parts)


def _with_counts(value, code):
    """The map: `value`, NaN where the fate `code` leaves it open, and counts of such cells."""
    counts = {"undecided": code == UNDECIDED, "diverged": code == DIVERGES}
    counts["failed"] = np.zeros_like(counts["diverged"])
    known = ~(counts["undecided"] | counts["diverged"])
    value = np.where(known, value, np.nan)
    return {"value": value, **{key: x.astype(np.uint32) for key, x in counts.items()}}


def _collapse(setting, cells):
    code = modes(setting, cells)[1]
    return _with_counts(code == COLLAPSES, code)


def _at_the_end(setting, cells):
    y, code = modes(setting, cells)
    value = y.p if setting.quantity == "p" else y.s
    return _with_counts(value, np.where(code == DIVERGES, DIVERGES, SURVIVES))


def _rank(setting, cells):
    """The median number of modes that survive, over the networks that do not diverge."""
    count = len(jax.tree.leaves(wide(cells.params, cells.sgd))[0])
    cases = np.empty(count, object)
    cases[:] = cells.case.each(count)

    def tried(cases):
        trials = network_fates.trials(list(cases), setting.starts)
        rows = [
            (x.rank, x.diverged * setting.starts, x.kind == network_fates.NOISE) for x in trials
        ]
        return tuple(map(np.array, zip(*rows, strict=True)))

    rank, diverged, noise = _blocks(tried, NETWORKS, cases)
    code = np.where(2 * diverged < setting.starts, SURVIVES, DIVERGES)
    counts = {"diverged": np.rint(diverged), "noise": noise}
    counts = {key: x.astype(np.uint32) for key, x in counts.items()}
    return {**_with_counts(rank, code), **counts}


COMPUTE: dict[str, Callable] = {
    "collapse": _collapse,
    "rank": _rank,
    "p": _at_the_end,
    "s": _at_the_end,
}

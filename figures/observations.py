"""Table 4: the paper's ten observations, each tested on numbers that the theory gives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lindyn as ld
from lindyn import command


@dataclass(frozen=True)
class Observation:
    """The claim that a quantity grows, or falls, as a parameter takes `values` in turn."""

    number: int
    statement: str
    sign: str  # "+": helps, "-": harms
    quantity: str
    parameter: str
    values: tuple[float, ...]
    grows: bool
    of: Callable[[float], Any]  # from the parameter to the quantity


def found() -> list[dict[str, Any]]:
    """For each observation: its fields, the computed numbers (`found`), and whether they move
    as the observation claims (`holds`)."""
    command.start()
    return [_found(each) for each in OBSERVATIONS]


def _found(each):
    values = [float(each.of(value)) + 0.0 for value in each.values]  # + 0.0 turns -0.0 into 0.0
    sign = 1 if each.grows else -1
    pairs = zip(values, values[1:], strict=False)
    holds = all(sign * (after - before) > 0 for before, after in pairs)
    said = {name: value for name, value in vars(each).items() if name != "of"}
    return dict(**said, found=values, holds=holds)


def _at(**changes):
    return ld.Params(**(dict(beta=0.4, eta=0.04, sigma2=0.3) | changes))


def _growth(alpha_p):
    """s(inf) - s(0), from the invariance of s - p^2/alpha_p."""
    params = _at(alpha_p=alpha_p, eta=0.0)
    goal = ld.theory.decay_roots(params)[1]
    return ld.theory.invariant(0.1, 0.0, params) - ld.theory.invariant(goal, 0.0, params)


def _forgetting(eta):
    """-(dc/dt) / c along (11)-(12), with c = s - p^2/alpha_p."""
    import jax

    params, y = _at(eta=eta), ld.fields.Plane(p=0.5, s=0.5)
    c = lambda p, s: ld.theory.invariant(p, s, params)
    dy = ld.fields.modes_fixed_tau(0.0, y, params)
    value, rate = jax.jvp(c, (y.p, y.s), (dy.p, dy.s))
    return -rate / value


def _goals(ratio):
    import jax.numpy as jnp

    eta = ratio * ld.critical_decay(_at())
    return jnp.sum(jnp.isfinite(ld.theory.decay_roots(_at(eta=eta))))


def _least_margin(beta):
    """The least eigenvalue of K along the trajectory of a mode whose target starts at zero."""
    import jax.numpy as jnp

    params, start = _at(beta=beta), ld.Modes.of(p=0.3, s=0.05, tau=0.0)
    y = ld.trajectory(ld.fields.modes, start, params, jnp.linspace(0.0, 200.0, 2001))
    margins = ld.theory.alignment_margin(y.p, y.s, _at(beta=beta, tau=y.tau))
    return jnp.min(margins)


def _slowest(beta):
    rates = ld.fixed_points(_at(beta=beta), ld.fields.parabola_ema).eigenvalues[2]
    return -rates.real.max()


OBSERVATIONS = (
    Observation(
        1,
        "large alpha_p flattens the parabola: a smaller trivial basin",
        "+",
        "s below which p = -1/2 collapses, eta = 0",
        "alpha_p",
        (0.5, 1.0, 2.0, 4.0),
        False,
        lambda alpha_p: ld.theory.basin_edge_without_decay(-0.5, _at(alpha_p=alpha_p, eta=0.0)),
    ),
    Observation(
        2,
        "alpha_p -> infinity: s stops growing",
        "-",
        "s(inf) - s(0) from p = 0.1, eta = 0",
        "alpha_p",
        (1.0, 10.0, 100.0, 1000.0),
        False,
        _growth,
    ),
    Observation(
        3,
        "eta > 0 makes the flow forget c: s follows p",
        "+",
        "-(dc/dt) / c",
        "eta",
        (0.0, 0.01, 0.02, 0.04),
        True,
        _forgetting,
    ),
    Observation(
        4,
        "larger eta widens the trivial basin",
        "-",
        "its edge p-*",
        "eta",
        (0.0, 0.04, 0.08, 0.16),
        True,
        lambda eta: ld.theory.decay_roots(_at(eta=eta))[0],
    ),
    Observation(
        5,
        "eta above the critical decay: collapse for all",
        "-",
        "fixed points besides p = 0",
        "eta / critical",
        (0.99, 1.01),
        False,
        _goals,
    ),
    Observation(
        6,
        "larger alpha_p eases alignment (17)",
        "+",
        "eigenvalue of K at p = 0.4, s = 0.05",
        "alpha_p",
        (1.0, 2.0, 4.0, 8.0),
        True,
        lambda alpha_p: ld.theory.alignment_margin(0.4, 0.05, _at(alpha_p=alpha_p)),
    ),
    Observation(
        7,
        "larger eta eases alignment (17)",
        "+",
        "eigenvalue of K at p = 0.4, s = 0.05",
        "eta",
        (0.0, 0.04, 0.08, 0.16),
        True,
        lambda eta: ld.theory.alignment_margin(0.4, 0.05, _at(eta=eta)),
    ),
    Observation(
        8,
        "EMA is a curriculum that keeps (17)",
        "+",
        "least eigenvalue of K on the way, tau(0) = 0",
        "beta",
        (1.6, 0.8, 0.4, 0.2),
        True,
        _least_margin,
    ),
    Observation(
        9,
        "small beta is slow",
        "-",
        "slowest rate at the goal",
        "beta",
        (0.4, 0.2, 0.1, 0.05),
        False,
        _slowest,
    ),
    Observation(
        10,
        "small tau raises p-*: more modes are trapped",
        "-",
        "edge p-*",
        "tau",
        (1.0, 0.9, 0.8, 0.7),
        True,
        lambda tau: ld.theory.decay_roots(_at(tau=tau))[0],
    ),
)

"""The theory's equations in JavaScript, translated from the Python functions that define them.

Read `javascript` first.
"""

import json
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import jacfwd
from jax.tree_util import Partial

from lindyn.explore.javascript import translate
from lindyn.explore.presets import MOST_STARTS
from lindyn.phase import flow_lines, portrait
from lindyn.theory import closed_forms, cosine, equilibria, fields, stability
from lindyn.theory.predictors import Power
from lindyn.theory.states import Correlations, Modes, Params, Plane


PARAMS = Params(eta=0.1)
RULE = Power(a=0.5, eps=0.1, c=0.0)
PLANE = Plane(p=0.5, s=0.5)
MODE = Modes(p=0.5, w=0.5, wa=0.5)
WEIGHTS = jnp.full(MOST_STARTS, 0.5)  # one per mode; the page pads a smaller network with 0
NETWORK = Modes(p=WEIGHTS, w=WEIGHTS, wa=WEIGHTS)


def source() -> str:
    """JavaScript source: the constants `KINDS` and `WIDTH`, and one function for each entry of
    `FUNCTIONS`. `KINDS` names the classes of fixed points; `WIDTH` is the number of modes that
    the functions of a whole network take."""
    kinds = f"const KINDS = {json.dumps(stability.KINDS)};\nconst WIDTH = {MOST_STARTS};"
    each = [translate(name, function, *args) for name, (function, *args) in FUNCTIONS.items()]
    return "\n".join([kinds, *each, ""])


def _fixed_points(params):
    found = equilibria.fixed_points(params)
    return {
        "p": found.y.p,
        "s": found.y.s,
        "jacobian": found.jacobian,
        "real": jnp.real(found.eigenvalues),
        "imag": jnp.imag(found.eigenvalues),
        "kind": found.kind,
    }


def _directset_fixed_points(params, rule):
    found = equilibria.directset_fixed_points(params, rule.a, rule.eps, rule.c)
    return {"s": found.y, "rate": found.jacobian[:, 0, 0], "kind": found.kind}


def _jacobian(y, params):
    rates = lambda p, s: fields.modes_fixed_tau(0.0, Plane(p=p, s=s), params)
    rows = jacfwd(rates, argnums=(0, 1))(jnp.asarray(y.p), jnp.asarray(y.s))
    return rows.p, rows.s


def _cosine_modes(y, params):
    return fields.cosine_modes(
        0.0, y, (params, Correlations(same=1 + params.sigma2, across=1.0))
    )


def _cosine(y):
    """The cosine C/(N_q N_z) divided by its largest possible value, 1/(1 + sigma2).

    `fields.cosine_modes` is gradient ascent of this cosine.
    """
    lengths = jnp.sqrt(jnp.sum(jnp.square(y.p * y.w)) * jnp.sum(jnp.square(y.wa)))
    return jnp.sum(y.p * y.w * y.wa) / lengths


def _along(y, args):
    names = ("params", "sign", "span_x", "span_y", "rest")
    field = Partial(portrait.in_log_s, fields.modes_fixed_tau)
    return flow_lines.along(
        field, portrait.from_log_s, 0.0, y, tuple(args[name] for name in names)
    )


def _window(params):
    x, y = portrait.reach(params, jnp)
    return {"x": x, "y": y}


ALONG = {"params": PARAMS, "sign": 1.0, "span_x": 1.0, "span_y": 1.0, "rest": 0.1}
FUNCTIONS: dict[str, tuple[Callable, Any, *tuple[Any, ...]]] = {
    "modes_fixed_tau": (
        lambda y, params: fields.modes_fixed_tau(0.0, y, params),
        PLANE,
        PARAMS,
    ),
    "modes_fixed_tau_jacobian": (_jacobian, PLANE, PARAMS),
    "modes": (lambda y, params: fields.modes(0.0, y, params), MODE, PARAMS),
    "modes_of": (lambda p, s, tau: Modes.of(p=p, s=s, tau=tau), 0.5, 0.5, 0.5),
    "modes_s": (lambda y: y.s, MODE),
    "modes_tau": (lambda y: y.tau, MODE),
    "cosine_modes": (_cosine_modes, NETWORK, PARAMS),
    "cosine": (_cosine, NETWORK),
    "cosine_goal": (cosine.goal, WEIGHTS, WEIGHTS),
    "survivors": (cosine.survivors, WEIGHTS, WEIGHTS, 0.5),
    "parabola": (lambda p, params: fields.parabola(0.0, p, params), 0.5, PARAMS),
    "growth": (fields.growth, 0.5, PARAMS),
    "predictor": (lambda s, rule: rule(s), 0.5, RULE),
    "predicted": (
        lambda s, params, rule: fields.predicted(0.0, s, (params, rule)),
        0.5,
        PARAMS,
        RULE,
    ),
    "fixed_points": (_fixed_points, PARAMS),
    "directset_fixed_points": (_directset_fixed_points, PARAMS, RULE),
    "directset_edge": (
        lambda params, rule: closed_forms.directset_edge(params, rule.a, rule.eps, rule.c),
        PARAMS,
        RULE,
    ),
    "critical_decay": (closed_forms.critical_decay, PARAMS),
    "aligned_window": (closed_forms.aligned_window, PARAMS),
    "decay_roots": (equilibria.decay_roots, PARAMS),
    "predictor_nullcline": (closed_forms.predictor_nullcline, 0.5, PARAMS),
    "basin_edge_without_decay": (closed_forms.basin_edge_without_decay, 0.5, PARAMS),
    "alignment_margin": (closed_forms.alignment_margin, 0.5, 0.5, PARAMS),
    "invariant": (closed_forms.invariant, 0.5, 0.5, PARAMS),
    "parabola_s": (lambda p, params: -closed_forms.invariant(p, 0.0, params), 0.5, PARAMS),
    "runaway_rate": (closed_forms.runaway_rate, PARAMS),
    "along": (_along, PLANE, ALONG),
    "window": (_window, PARAMS),
}

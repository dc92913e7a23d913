"""What steps of SGD do to Theorem 1's balance, entered step by step."""

from typing import Any

import jax
import optax
from jaxtyping import PyTree

from lindyn import theorems
from lindyn.theorems import SGD, Layers, Ledger
from lindyn.train import byol
from lindyn.train.layers import Linear


def layers(params: PyTree) -> Layers:
    """Of an `Online`, or of what is shaped as its parameters are."""
    predictor = params.predictor
    first = predictor if isinstance(predictor, Linear) else predictor.first
    return Layers(W=byol.whole(params.branch.projector.last), Wp=first.weight)


def entered(
    ledger: Ledger,
    params: PyTree,
    updates: PyTree,
    after: PyTree,
    opt: optax.OptState,
    rate: Any,
    sgd: SGD,
) -> Ledger:
    """After a step that adds `updates`; `after` differs from that if Wp is changed by hand."""
    at, momenta = layers(params), layers(_momenta(opt))
    steps = jax.tree.map(lambda x: -x, layers(updates))
    ledger = theorems.after_step(ledger, at, momenta, steps, rate, sgd)
    moved = layers(optax.apply_updates(params, updates))
    return theorems.after_jump(ledger, moved, layers(after), momenta, rate, sgd)


def _momenta(opt):
    """Those of `optax.trace`, each array in one of the optimiser's groups."""
    is_trace = lambda x: isinstance(x, optax.TraceState)
    masked = lambda x: isinstance(x, optax.MaskedNode)
    traces = [x.trace for x in jax.tree.leaves(opt, is_leaf=is_trace) if is_trace(x)]
    of_group = lambda *each: next(x for x in each if not masked(x))
    return jax.tree.map(of_group, *traces, is_leaf=masked)

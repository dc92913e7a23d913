"""What steps of SGD do to Theorem 1's balance, entered step by step."""

from typing import Any

import jax
import optax
from jaxtyping import PyTree

from lindyn.theory import theorems
from lindyn.theory.theorems import SGD, Layers, Ledger
from lindyn.train import byol
from lindyn.train.layers import Linear


def layers(params: PyTree) -> Layers:
    """Of an `Online`, or of what is shaped as its parameters are."""
    predictor = params.predictor
    first = predictor if isinstance(predictor, Linear) else predictor.first
    return Layers(W=byol.whole(params.branch.projector.last), Wp=first.weight)


def entered(
    ledger: Ledger, params: PyTree, updates: PyTree, opt: optax.OptState, rate: Any, sgd: SGD
) -> Ledger:
    """After a step from `params` that adds `updates`; `opt` is the optimiser's state then."""
    steps = jax.tree.map(lambda x: -x, layers(updates))
    momenta = layers(_momenta(opt))
    return theorems.after_step(ledger, layers(params), momenta, steps, rate, sgd)


def entered_by_hand(
    ledger: Ledger, old: PyTree, new: PyTree, opt: optax.OptState, rate: Any, sgd: SGD
) -> Ledger:
    """After parameters are replaced by `new` ones between two steps."""
    momenta = layers(_momenta(opt))
    return theorems.after_jump(ledger, layers(old), layers(new), momenta, rate, sgd)


def _momenta(opt):
    """Those of `optax.trace`, each array in one of the optimiser's groups."""
    is_trace = lambda x: isinstance(x, optax.TraceState)
    masked = lambda x: isinstance(x, optax.MaskedNode)
    traces = [x.trace for x in jax.tree.leaves(opt, is_leaf=is_trace) if is_trace(x)]
    of_group = lambda *each: next(x for x in each if not masked(x))
    return jax.tree.map(of_group, *traces, is_leaf=masked)

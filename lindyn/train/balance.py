"""Updates the balance of Theorem 1, W W^T - Wp^T Wp/alpha_p, after each SGD step of a network.

The recursion itself, and `Ledger`, are in `lindyn.theory.theorems`; read it first.
"""

from typing import Any

import jax
import optax
from jaxtyping import PyTree

from lindyn.theory import theorems
from lindyn.theory.theorems import SGD, Layers, Ledger
from lindyn.train import byol
from lindyn.train.layers import Linear


def layers(params: PyTree) -> Layers:
    """W and Wp of Theorem 1, from an `Online` or a pytree like it, such as its updates."""
    predictor = params.predictor
    first = predictor if isinstance(predictor, Linear) else predictor.first
    return Layers(W=byol.whole(params.branch.projector.last), Wp=first.weight)


def entered(
    ledger: Ledger, params: PyTree, updates: PyTree, opt: optax.OptState, rate: Any, sgd: SGD
) -> Ledger:
    """The ledger after a step that adds `updates` to `params` at the learning rate `rate`.

    `opt` is the optimiser's state after the step, which has the momenta.
    """
    steps = jax.tree.map(lambda x: -x, layers(updates))
    momenta = layers(_momenta(opt))
    return theorems.after_step(ledger, layers(params), momenta, steps, rate, sgd)


def entered_by_hand(
    ledger: Ledger, old: PyTree, new: PyTree, opt: optax.OptState, rate: Any, sgd: SGD
) -> Ledger:
    """The ledger after `new` parameters replace `old` ones by hand, between two steps."""
    momenta = layers(_momenta(opt))
    return theorems.after_jump(ledger, layers(old), layers(new), momenta, rate, sgd)


def _momenta(opt):
    """The momenta of `optax.trace`. Each array is in one of the optimiser's groups."""
    is_trace = lambda x: isinstance(x, optax.TraceState)
    masked = lambda x: isinstance(x, optax.MaskedNode)
    traces = [x.trace for x in jax.tree.leaves(opt, is_leaf=is_trace) if is_trace(x)]
    unmasked = lambda *groups: next(x for x in groups if not masked(x))
    return jax.tree.map(unmasked, *traces, is_leaf=masked)

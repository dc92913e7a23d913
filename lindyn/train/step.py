"""One training step, on all devices in parallel.

Gradients and moments are averaged over devices here. Elsewhere, only BatchNorm and SimCLR's
loss combine values of several devices. Read `training_state` first.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree, Shaped

from lindyn.record.measurements import OfBatch, Record
from lindyn.theory import predictors
from lindyn.train import balance, byol
from lindyn.train.training_state import Method, TrainState


DEVICE = "device"  # name of the mapped axis over devices


def step(
    state: TrainState,
    images: Shaped[Array, "images ..."],
    chosen: Int[Array, "steps batch"],
    *,
    static: PyTree,
    method: Method,
) -> tuple[TrainState, Record]:
    """Runs consecutive training steps on one device; each row of `chosen` is one step.

    A row holds the indices of the images that the step takes of this device's `images`. The
    returned state and record are the same on all devices. The record has the loss and the
    norm of the gradient for each step, and all other quantities for the last step only. Use
    `parallel` to call `step`.
    """
    advance = partial(_advance, images, static=static, method=method)
    if len(chosen) == 1:  # a loop of a single step may cost time
        state, (loss, gradient, batch) = advance(state, chosen[0])
        loss, gradient = loss[None], gradient[None]
    else:
        state, (loss, gradient, batches) = lax.scan(advance, state, chosen)
        batch = jax.tree.map(lambda x: x[-1], batches)
    online: Any = eqx.combine(state.params, static)
    branch = state.params.branch
    last = byol.whole(branch.projector.last)
    record = Record(
        loss=loss,
        gradient=gradient,
        batch=batch,
        running=state.F,
        Wp=byol.product(online.predictor, len(state.F)),
        layers=None if state.balance is None else balance.layers(state.params),
        balance=state.balance,
        W=last,
        Wa=last if state.target is None else byol.whole(state.target.projector.last),
        tau=_projection(branch if state.target is None else state.target, branch),
    )
    return state, record


def parallel(devices: list, resident: bool, **fixed: Any) -> Callable:
    """`step` compiled for these devices, which may belong to several processes.

    `chosen` has a leading axis of local devices. `images` have this axis too, unless they are
    `resident`, which means that all devices hold the same images. The state must come from
    `everywhere`; for another placement the first call would compile a second program. A call
    donates the state's memory, so that the caller cannot use the old state again.

    `jax.pmap` is used because `eqx.filter_pmap` fails across processes on JAX 0.10.
    `out_axes=None` returns one device's copy without checking that all copies agree.
    """
    return jax.pmap(
        partial(step, **fixed),
        axis_name=DEVICE,
        in_axes=(None, None if resident else 0, 0),
        out_axes=None,
        donate_argnums=0,
        devices=devices,
    )


def everywhere(tree: PyTree, devices: list) -> PyTree:
    """Copies arrays to all of these devices; every process must pass the same arrays."""
    same = NamedSharding(Mesh(np.array(devices), (DEVICE,)), PartitionSpec())
    put = lambda x: jax.make_array_from_process_local_data(same, np.asarray(x), np.shape(x))
    return jax.tree.map(put, tree)


def _advance(images, state, chosen, *, static, method):
    first, second = _views(images, chosen, state.step, method)

    def loss(params):
        return _loss(eqx.combine(params, static), state, first, second, static, method)

    (value, (norm, target_norm, moments)), gradient = jax.value_and_grad(loss, has_aux=True)(
        state.params
    )
    if lax.axis_size(DEVICE) > 1:
        value, gradient, moments = lax.pmean((value, gradient, moments), DEVICE)
    if method.rule is not None:  # the rule computes Wp, and no gradient trains it
        gradient = eqx.tree_at(lambda g: g.predictor, gradient, replace_fn=_zeros)
    size = optax.tree_utils.tree_norm(gradient)
    good = state.good & jnp.isfinite(value) & jnp.isfinite(size)
    # No `lax.cond`, which would make a GPU wait for the host in each step.
    select = lambda new, old: jax.tree.map(lambda a, b: jnp.where(good, a, b), new, old)

    updates, opt = method.optimiser.update(gradient, state.opt, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    stepped = params
    target = state.target
    if method.keep is not None:
        target = byol.moved(target, params.branch, method.keep(state.step))
    memory = _memory(state.step, method)
    # No NaN may reach the rule: the eigendecomposition of a matrix with NaNs may never end.
    correlations = state.F, state.cross
    F, cross = select(
        byol.moved(correlations, (moments.F, moments.cross), memory), correlations
    )
    params = _predictor(params, static, F, cross, state.step, method)
    ledger = state.balance
    if method.sgd is not None:
        rate = method.rate(state.step) if callable(method.rate) else method.rate
        sgd_step = opt, rate, method.sgd
        ledger = balance.entered(ledger, state.params, updates, *sgd_step)
        if method.symmetric:
            ledger = balance.entered_by_hand(ledger, stepped, params, *sgd_step)
    moved = TrainState(
        step=state.step + 1,
        params=params,
        norm=norm,
        target=target,
        target_norm=target_norm,
        opt=opt,
        F=F,
        cross=cross,
        balance=ledger,
        good=good,
    )
    stopped = eqx.tree_at(lambda s: s.good, state, good)
    return select(moved, stopped), (value, size, moments)


def _memory(step, method):
    # The moving average (19) starts with the first batch.
    return jnp.where(step == 0, 0, method.rho)


def _views(images, chosen, step, method):
    """Two views of each image.

    A view's random key depends only on the seed, the step and the place in the global batch.
    """
    batch = len(chosen)
    places = lax.axis_index(DEVICE) * batch + jnp.arange(batch)
    key = jr.fold_in(jr.key(method.seed), step)
    keys = jax.vmap(lambda place: jr.split(jr.fold_in(key, place)))(places)
    selected = jnp.take(images, chosen, axis=0)
    for view, view_keys in zip(method.views, keys.T, strict=True):
        yield jax.vmap(view)(selected, view_keys).astype(method.dtype)


def _loss(online, state, first, second, static, method):
    f1, norm = online.branch(first, _copy(state.norm))
    f2, norm = online.branch(second, norm)
    f1, f2 = _wide(f1), _wide(f2)
    target_norm = state.target_norm
    if method.temperature is not None:
        value = byol.nt_xent(f1, f2, temperature=method.temperature, axis_name=DEVICE)
        a1, a2 = f1, f2
    else:
        a1, a2 = f1, f2
        if state.target is not None:
            target: Any = eqx.combine(state.target, static.branch)
            a1, target_norm = target(first, _copy(target_norm))
            a2, target_norm = target(second, target_norm)
            a1, a2 = _wide(a1), _wide(a2)
        if method.stop_gradient:
            a1, a2 = lax.stop_gradient((a1, a2))
        p1, norm = online.predict(f1, norm)
        value = method.loss(p1, a2)
        if method.both_directions:
            p2, norm = online.predict(f2, norm)
            value = value + method.loss(p2, a1)
    return value, (norm, target_norm, _moments(*lax.stop_gradient((f1, f2, a1, a2))))


def _moments(f1, f2, a1, a2):
    """Moments of a batch, over both views and both directions of prediction."""
    both, targets = jnp.concatenate([f1, f2]), jnp.concatenate([a2, a1])
    across = predictors.correlation(f1, f2)
    return OfBatch(
        F=predictors.correlation(both, both),
        across=(across + across.T) / 2,
        cross=predictors.correlation(targets, both),
        mean=jnp.mean(both, axis=0),
        power=jnp.mean(jnp.sum(targets**2, axis=1)),
    )


def _wide(x):
    """x with at least 32 bits."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def _predictor(params, static, F, cross, step, method):
    if method.rule is not None:
        weight = lambda params: params.predictor.weight
        old = weight(params)
        use = lambda: method.rule(F, cross).astype(old.dtype)
        Wp = (
            use() if method.every == 1 else lax.cond(step % method.every == 0, use, lambda: old)
        )
        return eqx.tree_at(weight, params, Wp)
    if method.symmetric:
        whole = byol.symmetrised(eqx.combine(params.predictor, static.predictor))
        return eqx.tree_at(lambda p: p.predictor, params, eqx.filter(whole, eqx.is_array))
    return params


def _projection(target, online):
    """<Wa, W>/<W, W> over all matrices and filters. It equals tau if Wa = tau W."""
    pairs = zip(jax.tree.leaves(target), jax.tree.leaves(online), strict=True)
    pairs = [(a, w) for a, w in pairs if w.ndim > 1]
    own = jnp.stack([jnp.vdot(w, w) for _, w in pairs])
    return jnp.sum(jnp.stack([jnp.vdot(a, w) for a, w in pairs])) / jnp.sum(own)


def _zeros(tree):
    return jax.tree.map(jnp.zeros_like, tree)


def _copy(state):
    """A copy of a BatchNorm state, which Equinox allows to be used only once."""
    return jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(state))

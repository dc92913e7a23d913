"""Tests of training steps, with a small network in place of a ResNet.

One file, since all tests use this network.
"""

import dataclasses
import re
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from lindyn.solve import xla_marks
from lindyn.theory import predictors
from lindyn.train import byol, setup, step, training_state
from lindyn.train.config import Config
from lindyn.train.layers import BatchNorm, Conv


BATCH, PIXELS, D = 16, 8, 6
CONFIG = Config(batch=BATCH, dim=D, hidden=12, target_start="copy", momentum=0.5, lr=0.1)


class Small(eqx.Module):
    """A convolution, BatchNorm and the mean over space, in place of a ResNet."""

    conv: Conv
    norm: BatchNorm

    def __call__(self, x, state):
        x, state = self.norm(self.conv(x), state)
        return jnp.mean(jax.nn.relu(x), axis=(1, 2)), state


def networks(config, key):
    """A small online network with its state, made as `setup.start` makes a large one."""
    kind: Any = config.predictor if config.predictor in ("two-layer", "none") else "linear"
    keys = jr.split(key, 3)
    axis = step.DEVICE

    def whole():
        encoder = Small(Conv(3, 8, 3, 1, 1, key=keys[0]), BatchNorm(8, axis_name=axis))
        projector = byol.Hidden((8, 12, D), axis_name=axis, key=keys[1])
        predictor = byol.predictor(kind, D, hidden=10, axis_name=axis, key=keys[2])
        return byol.Online(byol.Branch(encoder, projector), predictor)

    return eqx.nn.make_with_state(whole)()


class Training:
    """Takes training steps on random images, on the first device or on several."""

    def __init__(self, key, devices=1, **changes):
        config = dataclasses.replace(CONFIG, **changes)
        self.method = setup.method(config, steps=100, epoch=10)
        online, norm = networks(config, key)
        target = online.branch if self.method.keep is not None else None
        state, self.static = training_state.initial(online, norm, self.method, target=target)
        self.state = step.everywhere(state, jax.devices()[:devices])
        self.devices = devices
        self.images = np.asarray(jr.randint(key, (64, PIXELS, PIXELS, 3), 0, 256), np.uint8)
        advance = step.parallel(
            jax.devices()[:devices], True, static=self.static, method=self.method
        )
        self.advance: Any = jax.jit(advance, compiler_options=xla_marks.QUICK)

    @property
    def online(self) -> Any:
        return eqx.combine(self.state.params, self.static)

    def run(self, steps, at_once=1):
        losses = []
        for start in range(0, steps, at_once):
            several = range(start, start + at_once)
            chosen = np.stack([np.arange(BATCH) + 7 * i for i in several]) % 64
            parts = chosen.reshape(at_once, self.devices, -1).swapaxes(0, 1)
            self.state, self.record = self.advance(self.state, self.images, parts)
            losses += np.asarray(self.record.loss).tolist()
        return np.array(losses)


def arrays(tree):
    return [np.asarray(x) for x in jax.tree.leaves(tree)]


def test_two_devices_train_as_one_does(key):
    one, two = Training(key), Training(key, devices=2)
    assert np.allclose(one.run(20), two.run(20), rtol=1e-5)
    for state in (lambda t: t.state.norm, lambda t: t.state.target_norm):
        for x, y in zip(arrays(state(one)), arrays(state(two)), strict=True):
            assert np.allclose(x, y, rtol=1e-4, atol=1e-5)


def test_all_devices_hold_bitwise_the_same_state(key):
    two = Training(key, devices=2, predictor="directpred")
    two.run(5)
    for x in jax.tree.leaves(two.state):
        first, *others = [np.asarray(shard.data) for shard in x.addressable_shards]
        assert all(np.array_equal(first, other) for other in others)


def test_simclr_compares_with_the_images_of_all_devices(key):
    one, two = [Training(key, devices=n, method="simclr") for n in (1, 2)]
    assert np.allclose(one.run(10), two.run(10), rtol=1e-5)


def test_several_steps_in_a_call_are_the_same_steps(key):
    single, several = Training(key), Training(key)
    assert np.allclose(single.run(6), several.run(6, at_once=3), rtol=1e-6)
    assert int(several.state.step) == 6


def test_a_second_call_compiles_nothing(key):
    training = Training(key)
    training.run(3)
    assert training.advance._cache_size() == 1


def test_a_target_that_keeps_nothing_is_the_online_network(key):
    byol_, simsiam = Training(key, ema=0.0), Training(key, target="none")
    assert np.allclose(byol_.run(8), simsiam.run(8), rtol=1e-5)


def test_without_a_step_the_target_stands_still_and_then_it_is_averaged(key):
    training = Training(key, ema=0.75)
    before = arrays(training.state.target)
    training.run(1)
    after = zip(before, arrays(training.state.params.branch), strict=True)
    expected = [0.75 * a + 0.25 * w for a, w in after]
    for x, y in zip(expected, arrays(training.state.target), strict=True):
        assert np.allclose(x, y, rtol=1e-6, atol=1e-7)


def test_statistics_of_the_target_are_its_own(key):
    training = Training(key, ema=1.0)
    training.run(5)
    own = arrays(training.state.target_norm)
    online = arrays(training.state.norm.substate(training.online.branch))
    assert not all(np.allclose(x, y) for x, y in zip(own, online, strict=True))


@pytest.mark.parametrize("kept, rate", ((0, 0.9), (50, 0.95), (100, 1.0)))
def test_the_targets_schedule_goes_from_the_base_to_one(kept, rate):
    config = dataclasses.replace(CONFIG, ema=0.9, ema_schedule="cosine")
    keep = setup.method(config, steps=100, epoch=10).keep
    assert keep is not None
    assert np.isclose(float(keep(jnp.array(kept))), rate)


def test_directpred_sets_the_predictor_from_the_running_correlation(key):
    training = Training(key, predictor="directpred", rho=0.3, eps=0.2)
    F = None
    for _ in range(3):
        training.run(1)
        seen = np.asarray(training.record.batch.F)
        F = seen if F is None else 0.3 * F + 0.7 * seen
        assert np.allclose(training.record.running, F, rtol=1e-5, atol=1e-6)
    expected = predictors.directpred(jnp.asarray(training.record.running), eps=0.2)
    assert np.allclose(training.record.Wp, expected, rtol=1e-5, atol=1e-6)


def test_a_closed_form_waits_for_its_turn_and_is_not_trained(key):
    training = Training(key, predictor="directcopy", freq=3, wd=0.1)
    seen = []
    for _ in range(7):
        training.run(1)
        seen.append(np.asarray(training.record.Wp))
    changed = [not np.array_equal(a, b) for a, b in zip(seen, seen[1:], strict=False)]
    assert changed == [False, False, True, False, False, True]


def test_the_optimal_predictor_leaves_the_least_residual(key):
    training = Training(key, predictor="optimal", rho=0.0)
    training.run(1)
    F, cross = np.asarray(training.state.F), np.asarray(training.state.cross)
    assert np.allclose(np.asarray(training.record.Wp) @ F, cross, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kind", ("linear", "two-layer"))
def test_a_symmetrised_predictor_is_symmetric_and_one_that_is_trained_is_not(key, kind):
    for symmetric in (True, False):
        training = Training(key, predictor=kind, symmetric=symmetric)
        training.run(2)
        Wp = np.asarray(training.record.Wp)
        assert np.allclose(Wp, Wp.T, atol=1e-6) == symmetric


def off_balance(training, start):
    """The difference between Theorem 1's balance and the ledger, and the change of the balance.

    Both are relative to the balance at the start.
    """
    layers, ledger = training.record.layers, training.record.balance
    W, Wp = (np.asarray(x, float) for x in layers)
    Q = W @ W.T - Wp.T @ Wp / training.method.sgd.alpha_p
    size = np.linalg.norm(start)
    return np.linalg.norm(Q - ledger.balance) / size, np.linalg.norm(Q - start) / size


@pytest.mark.parametrize(
    "predictor, changes",
    (
        ("linear", dict(schedule="cosine", warmup=0.4)),
        ("linear", dict(symmetric=True, target="none")),
        ("two-layer", dict(nesterov=True, devices=2)),
        ("two-layer", dict(decay="decoupled", nesterov=True, symmetric=True, loss="l2")),
    ),
)
def test_steps_move_the_balance_as_theorem_1_says_exactly(key, predictor, changes):
    decays = dict(wd_s=0.02, wd_p=0.05, alpha_p=2.0, momentum=0.9, lr=0.02)
    training = Training(key, predictor=predictor, **decays | changes)
    start = np.asarray(training.state.balance.balance, float)
    training.run(12, at_once=3 if training.devices > 1 else 1)
    unexplained, moved = off_balance(training, start)
    assert unexplained < 3e-6 and moved > 0.02


@pytest.mark.parametrize(
    "changes",
    (
        dict(predictor="directpred"),
        dict(predictor="none"),
        dict(method="simclr"),
        dict(stop_gradient=False),
        dict(optimiser="lars"),
    ),
)
def test_no_ledger_is_kept_where_the_law_is_not_given(key, changes):
    state = Training(key, **changes).state
    assert state.balance is None


def test_correlations_are_those_of_both_views(key):
    training = Training(key)
    training.run(1)
    F, mean = np.asarray(training.record.batch.F), np.asarray(training.record.batch.mean)
    assert np.allclose(F, F.T, rtol=1e-5)
    assert np.linalg.eigvalsh(F - np.outer(mean, mean)).min() > -1e-6


@pytest.mark.parametrize("predictor", ("linear", "directpred"))
def test_a_step_that_is_not_finite_changes_nothing(key, predictor):
    training = Training(key, predictor=predictor)
    training.run(2)
    weight = lambda s: s.params.branch.projector.last.weight
    broken = eqx.tree_at(weight, training.state, weight(training.state) * np.nan)
    before = arrays(broken)
    training.state = broken
    assert np.isnan(training.run(1)).all()
    after = training.state
    assert not bool(after.good)
    for x, y in zip(before[:-1], arrays(after)[:-1], strict=True):
        assert np.array_equal(x, y, equal_nan=True)
    assert int(after.step) == 2


@pytest.mark.parametrize(
    "predictor, precision",
    (("linear", "float32"), ("two-layer", "bfloat16"), ("directpred", "bfloat16")),
)
def test_a_step_lowers_for_accelerators_and_waits_for_no_host(key, predictor, precision):
    """The program has no conditional and no fast matrix product.

    With a conditional the host would fetch its predicate, and a fast product would round F.
    """
    training = Training(key, predictor=predictor, precision=precision)
    chosen = np.zeros((1, 1, BATCH), np.int32)
    traced = training.advance.trace(training.state, training.images, chosen)
    for platform in ("cuda", "tpu"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert "stablehlo.case" not in text and "stablehlo.if" not in text
        exact = re.findall(r"dot_general.*HIGHEST.*tensor<6x6xf32>", text)
        assert len(exact) >= 3  # F, E[f_1 f_2^T], E[f_a f^T]
        assert "all_reduce" not in text  # not needed on one device


def test_without_a_predictor_or_a_stopped_gradient_the_steps_differ(key):
    losses = {
        name: Training(key, **change).run(3)
        for name, change in {
            "simsiam": dict(target="none"),
            "gradient goes on": dict(target="none", stop_gradient=False),
            "no predictor": dict(target="none", predictor="none"),
            "one direction": dict(target="none", both_directions=False),
            "squared": dict(target="none", loss="l2"),
        }.items()
    }
    values = list(losses.values())
    for i, a in enumerate(values):
        for b in values[:i]:
            assert not np.allclose(a, b, rtol=1e-4)
    first = losses["simsiam"], losses["gradient goes on"]
    assert np.isclose(first[0][0], first[1][0])  # the same loss, but another gradient


def test_bfloat16_trains_nearly_as_float32_with_parameters_of_32_bits(key):
    half, whole = Training(key, precision="bfloat16"), Training(key)
    assert np.allclose(half.run(5), whole.run(5), atol=0.05)
    assert {x.dtype for x in arrays(half.state.params)} == {np.dtype(np.float32)}
    assert {str(x.dtype) for x in arrays(half.state.norm)} <= {"float32", "int32"}


def test_nt_xent_is_the_textbooks(key):
    first, second = np.asarray(jr.normal(key, (2, 5, 3)))
    found = byol.nt_xent(
        jnp.asarray(first), jnp.asarray(second), temperature=0.7, axis_name=None
    )
    views = np.concatenate([first, second])
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    like = np.exp(views @ views.T / 0.7)
    each = [-np.log(like[i, (i + 5) % 10] / (like[i].sum() - like[i, i])) for i in range(10)]
    assert np.isclose(float(found), np.mean(each), rtol=1e-5)


@pytest.mark.parametrize("nesterov", (False, True))
@pytest.mark.parametrize("decay", ("coupled", "decoupled"))
def test_sgd_is_pytorchs_with_its_own_rate_and_decay_for_the_predictor(key, decay, nesterov):
    torch = pytest.importorskip("torch", reason="torch is the referee here")
    changes = dict(wd_s=0.1, wd_p=0.3, alpha_p=2.0, lr=0.05, momentum=0.9, decay=decay)
    changes |= dict(nesterov=nesterov)
    optim = setup.method(dataclasses.replace(CONFIG, **changes), 100, 10).optimiser
    params: Any = eqx.filter(networks(CONFIG, key)[0], eqx.is_array)
    opt = optim.init(params)
    ours = lambda: (params.branch.projector.last.weight, params.predictor.weight)
    theirs = [torch.tensor(np.asarray(x), requires_grad=True) for x in ours()]
    coupled, rates, decays = decay == "coupled", (0.05, 0.1), (0.1, 0.3)
    groups = zip(theirs, rates, decays, strict=True)
    sgd = torch.optim.SGD(
        [dict(params=[x], lr=lr, weight_decay=coupled * eta) for x, lr, eta in groups],
        momentum=0.9,
        nesterov=nesterov,
    )
    for i in range(4):
        gradient = jax.tree.map(lambda x, i=i: jnp.sin(x + i), params)
        updates, opt = optim.update(gradient, opt, params)
        params = optax.apply_updates(params, updates)
        for x, lr, eta in zip(theirs, rates, decays, strict=True):
            x.grad = torch.sin(x.detach() + i)
            if not coupled:
                x.data.mul_(1 - lr * eta)
        sgd.step()
    for x, y in zip(ours(), theirs, strict=True):
        assert np.allclose(x, y.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_warm_up_rises_and_cosine_falls_to_nothing():
    config = dataclasses.replace(CONFIG, schedule="cosine", warmup=2.0, lr=1.0)
    rate: Any = setup._schedule(config, 1.0, steps=100, epoch=10)
    assert np.allclose([rate(0), rate(10), rate(20), rate(60), rate(100)], [0, 0.5, 1, 0.5, 0])


def test_lars_leaves_biases_to_the_plain_rate_and_has_no_decay_for_them(key):
    config = dataclasses.replace(CONFIG, optimiser="lars", lr=1.0, wd=0.1, momentum=0.0)
    optim = setup.method(config, 100, 10).optimiser
    params = eqx.filter(networks(CONFIG, key)[0], eqx.is_array)
    grads = jax.tree.map(jnp.ones_like, params)
    updates, _ = optim.update(grads, optim.init(params), params)
    last = lambda tree: tree.branch.projector.last
    assert np.allclose(last(updates).bias, -1)
    W, g = np.asarray(last(params).weight), 1 + 0.1 * np.asarray(last(params).weight)
    trust = 1e-3 * np.linalg.norm(W) / np.linalg.norm(g)
    assert np.allclose(last(updates).weight, -trust * g, rtol=1e-4)


def test_views_depend_on_seed_step_and_place_alone(key):
    training = Training(key)
    views = partial(step._views, training.images, method=training.method)
    both = lambda chosen, at: jnp.stack(list(views(chosen, at)))
    several = jax.vmap(both, in_axes=(0, None), axis_name=step.DEVICE)
    program = jax.jit(several, compiler_options=xla_marks.QUICK)

    def drawn(chosen, at, devices):
        each = program(chosen.reshape(devices, -1), at)
        return np.concatenate(np.asarray(each), axis=1)

    chosen = jnp.arange(8)
    assert np.allclose(drawn(chosen, 3, 1), drawn(chosen, 3, 2), atol=1e-6)
    assert not np.allclose(drawn(chosen, 3, 1), drawn(chosen, 4, 1))
    first, second = drawn(chosen, 3, 1)
    assert not np.allclose(first, second)

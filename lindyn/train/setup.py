"""Builds the networks, the optimiser and the `Method` of a run from its `Config`.

Read `config` and `training_state` first.
"""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import PyTree

from lindyn.theory import predictors, theorems
from lindyn.train import augment, byol
from lindyn.train.config import Config
from lindyn.train.data import gaussian
from lindyn.train.step import DEVICE
from lindyn.train.training_state import Method, TrainState, initial


RECIPES = {
    "cifar10": (augment.CIFAR10, augment.CIFAR10),
    "stl10": (augment.STL10, augment.STL10),
    "digits": (augment.DIGITS, augment.DIGITS),
    "folder": augment.IMAGENET,
}


def recipes(config: Config) -> tuple[augment.Recipe, augment.Recipe]:
    """The augmentation of the first and of the second view."""
    first, second = RECIPES[config.data]
    if config.data == "folder":
        sized = functools.partial(dataclasses.replace, size=config.image_size)
        first, second = sized(first), sized(second)
    return first, second


def method(config: Config, steps: int, epoch: int) -> Method:
    """The training method of a run of `steps` steps in total, with `epoch` steps per epoch."""
    keep: Any = None
    if config.method == "byol" and config.target == "ema":
        keep = functools.partial(_keep, config.ema, steps, config.ema_schedule == "cosine")
    return Method(
        views=_views(config),
        optimiser=_optimiser(config, steps, epoch),
        seed=config.seed,
        loss=byol.LOSSES[config.loss],
        temperature=config.temperature if config.method == "simclr" else None,
        both_directions=config.both_directions,
        stop_gradient=config.stop_gradient,
        keep=keep,
        rule=_rule(config),
        every=config.freq,
        rho=config.rho if config.closed_form else 0.0,
        symmetric=config.symmetric,
        sgd=_sgd(config),
        rate=_schedule(config, config.lr, steps, epoch),
        dtype=jnp.dtype(config.precision),
    )


def start(config: Config, method: Method, pixels: int) -> tuple[TrainState, PyTree]:
    """The state before the first step, and the static part of the online network.

    `pixels` is the width of a view, by which --stem auto chooses the stem. The weights are
    drawn on the host's CPU, for two reasons: they are then the same for every kind of device,
    and an accelerator would compile a program for each shape.
    """
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        return _start(config, method, pixels)


def _start(config, method, pixels):
    stem = config.stem
    if stem == "auto":
        stem = "cifar" if pixels < 64 else "imagenet"
    online_key, predictor_key, target_key = jr.split(jr.key(config.seed), 3)
    kind: Any = "linear" if config.closed_form else config.predictor
    if config.method == "simclr":
        kind = "none"
    branch: Any = functools.partial(byol.linear, config.inputs, config.dim)
    if config.model == "resnet":
        branch = functools.partial(
            byol.branch,
            depth=config.depth,
            stem=stem,
            width=config.width,
            hidden=config.hidden,
            d=config.dim,
            axis_name=DEVICE,
        )

    def make_online():
        predictor = byol.predictor(
            kind,
            config.dim,
            hidden=config.predictor_hidden,
            bias=config.predictor_bias,
            axis_name=DEVICE,
            key=predictor_key,
        )
        return byol.Online(branch(key=online_key), predictor)

    online, norm = eqx.nn.make_with_state(make_online)()
    target = None
    if method.keep is not None:
        target = online.branch
        if config.target_start == "independent":
            target, _ = eqx.nn.make_with_state(branch)(key=target_key)
        elif config.target_start == "zero":
            target = jax.tree.map(jnp.zeros_like, target)
    return initial(online, norm, method, target=target)


def _views(config):
    if config.data == "gaussian":
        return gaussian.views(config)
    augmented = lambda recipe: lambda image, key: augment.view(image, recipe, key=key)
    first, second = recipes(config)
    return augmented(first), augmented(second)


def _keep(ema, steps, cosine, step):
    if not cosine:
        return ema
    return 1 - (1 - ema) * (jnp.cos(jnp.pi * step / steps) + 1) / 2


def _rule(config):
    if config.method == "simclr" or not config.closed_form:
        return None
    names = ("a", "eps", "c", "normalisation")
    return predictors.of_moments(
        config.predictor, **{name: getattr(config, name) for name in names}
    )


def _sgd(config):
    """The settings of SGD for Theorem 1; None where the theorem does not hold for steps.

    The theorem needs one loss that depends on W and Wp only through Wp W, and steps of SGD
    along the gradients of this loss.
    """
    trained = config.predictor in ("linear", "two-layer") and config.method == "byol"
    if not trained or not config.stop_gradient or config.optimiser != "sgd":
        return None
    eta_s, eta_p = config.decays
    return theorems.SGD(
        alpha_p=config.alpha_p,
        momentum=config.momentum,
        eta_s=eta_s,
        eta_p=eta_p,
        nesterov=config.nesterov,
        decoupled=config.decay == "decoupled",
    )


def _optimiser(config, steps, epoch):
    decay_s, decay_p = config.decays
    groups: Any = {
        "branch": _group(config, config.lr, decay_s, steps, epoch),
        "predictor": _group(config, config.alpha_p * config.lr, decay_p, steps, epoch),
        "closed form": optax.set_to_zero(),
    }
    predictor = "closed form" if config.closed_form else "predictor"

    def labels(params):
        name = lambda path, _: predictor if path[0].name == "predictor" else "branch"
        return jax.tree.map_with_path(name, params)

    return optax.partition(groups, labels)


def _group(config, rate, decay, steps, epoch):
    rate = _schedule(config, rate, steps, epoch)
    if config.optimiser == "lars":
        matrices = lambda params: jax.tree.map(lambda x: x.ndim > 1, params)
        return optax.lars(
            rate,
            weight_decay=decay,
            weight_decay_mask=matrices,
            trust_ratio_mask=matrices,
            momentum=config.momentum,
        )
    decayed = optax.add_decayed_weights(decay) if decay else optax.identity()
    momentum = optax.trace(config.momentum, config.nesterov)
    if config.optimiser == "adam":
        momentum = optax.scale_by_adam(config.momentum)
    coupled = config.decay == "coupled"
    parts = (decayed, momentum) if coupled else (momentum, decayed)
    return optax.chain(*parts, optax.scale_by_learning_rate(rate))


def _schedule(config, rate, steps, epoch):
    warm = round(config.warmup * epoch)
    if config.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0, rate, warm, max(steps, warm + 1))
    return optax.linear_schedule(0.0, rate, warm) if warm else rate

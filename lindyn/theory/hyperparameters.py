"""Conversion of a trainer's hyperparameters to the units of the theory.

Read `fields` first. Gradient descent with learning rate alpha and momentum m moves as far in
one step as the flow moves in the time alpha/(1 - m). In this time
dW/dt = -g dJ/dW - eta_s W. Here J is the loss (1), and g is the factor by which the gradient of
the trainer's own loss is larger than the gradient of J. Division by a rate kappa gives the
equations of `fields`.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from lindyn.theory.states import Numbers, Params


GAINS = {"cosine": 2.0, "l2": 1.0}  # gradient of a loss over that of (1), by its flag


class Units(NamedTuple):
    """Hyperparameters with time in units of 1/(learning rate of the encoder).

    Entries may be arrays, for many configurations at once.
    """

    step: Numbers  # time of a step: learning rate / (1 - momentum)
    alpha_p: Numbers
    beta: Numbers  # rate of the EMA; infinite if the target is the online network itself
    eta_p: Numbers
    eta_s: Numbers
    gain: Numbers  # g; the cosine loss divides it by |Wp f| |f_a|, which changes during a run
    cosine: bool  # whether the loss is the cosine

    @property
    def eta(self) -> Numbers | None:
        """The weight decay of both networks if eta_p = eta_s, else None."""
        return self.eta_s if self.eta_p == self.eta_s else None


class Scales(NamedTuple):
    """Scales of the data and the networks, which change the rates of the flow.

    For the loss (1) and data with X = I, `excess` is sigma2, and all other scales are 1.
    """

    across: Numbers = 1.0  # l_d, variance of the encoder's input: s = l_d w^2
    excess: float = 0.0  # sigma2 = l_s/l_d - 1
    norms: float = 1.0  # |Wp f| |f_a| (root mean squares), divides the cosine's gradient
    pull: float = 1.0  # E[f_a . Wp f]/E|Wp f|^2, the cosine's coefficient of Wp f


def units(config: Mapping[str, Any]) -> Units:
    """The `Units` of a run's config.json, or of any mapping with the same keys.

    Numbers in `config` may be arrays.
    """
    step = config["lr"] / (1 - config["momentum"])
    eta_s, eta_p = _decays(config)
    cosine = config["loss"] == "cosine"
    return Units(
        step=step,
        alpha_p=config["alpha_p"],
        beta=(1 - config["ema"]) / step if config["target"] == "ema" else math.inf,
        eta_p=eta_p,
        eta_s=eta_s,
        gain=_directions(config) * GAINS.get(config["loss"], 1.0),
        cosine=cosine,
    )


def notes(config: Mapping[str, Any]) -> Iterator[str]:
    """Sentences that explain how each number of `units` follows from `config`."""
    converted, directions = units(config), _directions(config)
    yield f"time of a step: lr/(1 - momentum) = {converted.step:.4g}"
    decay = "coupled decay, part of the gradient: eta = wd"
    if config["decay"] == "decoupled":
        decay = "decoupled decay, lr wd a step: eta = (1 - momentum) wd"
    if converted.eta is not None:
        yield f"{decay} = {converted.eta:.4g}"
    else:
        predictor = f"the predictor's times alpha_p, {converted.eta_p:.4g}"
        yield f"{decay}, {converted.eta_s:.4g}; {predictor}"
    if config["loss"] not in GAINS:
        yield f"loss {config['loss']}: the mode equations are of other losses"
    else:
        kind, more = ("-2 cos", ", over |Wp f| |f_a|") if converted.cosine else ("|.|^2/2", "")
        times = f"{int(converted.gain)} times the gradient of (1)"
        yield f"{directions} direction(s) of {kind}: {times}{more}"
    if config["target"] == "ema":
        yield f"EMA: beta = (1 - {config['ema']:g})/step = {converted.beta:.4g}"
    else:
        yield "no EMA: the target is the online network, tau = 1"


def effective(units: Units, scales: Scales, tau: float = 1.0) -> tuple[Params, Numbers]:
    """The parameters of `fields.modes`, and the rate kappa.

    The time t of `fields.modes` is kappa times the time of `Units`. With v = sqrt(l_d) w,
    kappa = g l_d/norms and a = pull (1 + sigma2), the flow is

        dp/dt  = (alpha_p/l_d)(va - a p v) v - (eta_p/kappa) p
        dv/dt  = p (va - a p v) - (eta_s/kappa) v
        dva/dt = (beta/kappa)(v - va)

    For the loss (1) and X = I, kappa is 1. For the cosine loss these equations hold as long as
    `norms` and `pull` do not change.
    """
    kappa = units.gain * scales.across
    a = 1 + scales.excess
    if units.cosine:
        kappa, a = kappa / scales.norms, a * scales.pull
    params = Params(
        alpha_p=units.alpha_p / scales.across,
        beta=units.beta / kappa,
        eta_p=units.eta_p / kappa,
        eta_s=units.eta_s / kappa,
        sigma2=a - 1,
        tau=tau,
    )
    return params, kappa


def beyond(config: Mapping[str, Any]) -> Iterator[str]:
    """Sentences that name each part of a run's configuration that the theory does not cover."""
    if config["optimiser"] != "sgd":
        yield f"{config['optimiser']} scales each layer's step: its rates are no flow's"
    if config["schedule"] != "constant" or config["warmup"]:
        yield "the learning rate is not constant; its peak is taken"
    if config["target"] == "ema" and config["ema_schedule"] != "constant":
        yield "the EMA's rate is not constant; its first is taken"
    if config["method"] == "simclr":
        yield "SimCLR has negative pairs and no predictor"
    if config["predictor"] == "two-layer":
        yield "a two-layer predictor is no matrix; its weights' product stands for Wp"
    if config["predictor_bias"]:
        yield "the predictor has a bias, which the equations of modes leave out"


def _directions(config):
    return 2 if config["both_directions"] else 1


def _decays(config):
    """eta_s and eta_p; eta_p is set to eta_s where the two differ only by rounding.

    An optimiser multiplies weight decay by the learning rate, and the predictor's learning rate
    is alpha_p times the encoder's. The theory does not multiply eta_p by alpha_p, so eta_p here
    contains the factor alpha_p.
    """
    decays = [config["wd"] if config[key] is None else config[key] for key in ("wd_s", "wd_p")]
    part = 1 - config["momentum"] if config["decay"] == "decoupled" else 1.0
    eta_s, eta_p = part * decays[0], part * config["alpha_p"] * decays[1]
    one = np.isclose(eta_s, eta_p, rtol=1e-9, atol=0)
    return eta_s, np.where(one, eta_s, eta_p) if np.ndim(one) else (eta_s if one else eta_p)

"""What a trainer is told, in the theory's units.

Gradient descent at rate alpha with momentum m moves as far in a step as the flow in a time
alpha/(1 - m). In that time dW/dt = -g dJ/dW - eta_s W, with J the loss (1) and g a factor that
the trainer's own loss has over it. Dividing by a rate kappa gives the equations of `fields`.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from lindyn.theory.states import Numbers, Params


class Units(NamedTuple):
    """A set-up, or an array of many, in time units of the encoder's learning rate."""

    step: Numbers  # time of a step: learning rate / (1 - momentum)
    alpha_p: Numbers
    beta: Numbers  # rate of the EMA; infinite where the target is the online network itself
    eta_p: Numbers
    eta_s: Numbers
    gain: Numbers  # g; for the cosine loss times 1/(|Wp f| |f_a|), which the run decides
    cosine: bool

    @property
    def eta(self) -> Numbers | None:
        """The decay of both, if it is one."""
        return self.eta_s if self.eta_p == self.eta_s else None


class Scales(NamedTuple):
    """What the data and the networks add: all 1 and sigma2 for (1) and X = I."""

    across: Numbers = 1.0  # l_d, variance of the encoder's input: s = l_d w^2
    excess: float = 0.0  # sigma2 = l_s/l_d - 1
    norms: float = 1.0  # |Wp f| |f_a|, root mean squares, which divide a cosine's gradient
    pull: float = 1.0  # E[f_a . Wp f] / E|Wp f|^2, which in a cosine stands before Wp f


def units(config: Mapping[str, Any]) -> Units:
    """Of a run's config.json, or of a mapping with the same names. Numbers may be arrays."""
    step = config["lr"] / (1 - config["momentum"])
    eta_s, eta_p = _decays(config)
    cosine = config["loss"] == "cosine"
    return Units(
        step=step,
        alpha_p=config["alpha_p"],
        beta=(1 - config["ema"]) / step if config["target"] == "ema" else math.inf,
        eta_p=eta_p,
        eta_s=eta_s,
        gain=_directions(config) * (2.0 if cosine else 1.0),
        cosine=cosine,
    )


def notes(config: Mapping[str, Any]) -> Iterator[str]:
    """How the numbers of `units` came about."""
    found, directions = units(config), _directions(config)
    yield f"time of a step: lr/(1 - momentum) = {found.step:.4g}"
    how = "coupled decay, part of the gradient: eta = wd"
    if config["decay"] == "decoupled":
        how = "decoupled decay, lr wd a step: eta = (1 - momentum) wd"
    if found.eta is not None:
        yield f"{how} = {found.eta:.4g}"
    else:
        yield f"{how}, {found.eta_s:.4g}; the predictor's times alpha_p, {found.eta_p:.4g}"
    kind, more = ("-2 cos", ", over |Wp f| |f_a|") if found.cosine else ("|.|^2/2", "")
    times = f"{int(found.gain)} times the gradient of (1)"
    yield f"{directions} direction(s) of {kind}: {times}{more}"
    if config["target"] == "ema":
        yield f"EMA: beta = (1 - {config['ema']:g})/step = {found.beta:.4g}"
    else:
        yield "no EMA: the target is the online network, tau = 1"


def effective(units: Units, scales: Scales, tau: float = 1.0) -> tuple[Params, Numbers]:
    """Parameters of `fields.modes` and the rate kappa: t is kappa times the time of `units`.

    With v = sqrt(l_d) w, kappa = g l_d / norms and a = pull (1 + sigma2):
    dp/dt = (alpha_p/l_d)(va - a p v) v - (eta_p/kappa) p,
    dv/dt = p (va - a p v) - (eta_s/kappa) v and dva/dt = (beta/kappa)(v - va).
    For the loss (1) and X = I, kappa is 1. For the cosine loss this is the flow while norms
    and pull stay what they are.
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
    """What of a run the theory does not cover."""
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
    """eta_s and eta_p, which are one where they differ by rounding.

    An optimiser multiplies weight decay by the learning rate too, the predictor's by alpha_p
    times the encoder's; eta_p of the theory is without that factor.
    """
    decays = [config["wd"] if config[key] is None else config[key] for key in ("wd_s", "wd_p")]
    part = 1 - config["momentum"] if config["decay"] == "decoupled" else 1.0
    eta_s, eta_p = part * decays[0], part * config["alpha_p"] * decays[1]
    one = np.isclose(eta_s, eta_p, rtol=1e-9, atol=0)
    return eta_s, np.where(one, eta_s, eta_p) if np.ndim(one) else (eta_s if one else eta_p)

"""Presets of `Config`: the experiments of the paper's tables, and small runs for a laptop."""

import dataclasses
import itertools
from collections.abc import Iterator

from lindyn.train.config import Config


STL10 = Config(data="stl10")
LINEAR = Config(
    data="gaussian",
    model="linear",
    dim=8,
    loss="l2",
    both_directions=False,
    target_start="zero",
    lr=0.02,
    momentum=0.0,
    ema=0.992,  # beta = (1 - ema)/lr = 0.4
    wd=0.01,
    batch=1024,
    views="fixed",
    epochs=4000,
    precision="float64",
    steps_per_call=50,
    record_every=50,
    evaluate_every=0,
    linear=False,
)
DIRECTPRED = dataclasses.replace(STL10, predictor="directpred", rho=0.3, eps=0.0)


def presets() -> dict[str, Config]:
    """All presets by name.

    Those of Tables 1 to 8 use STL-10, and CIFAR-10 with `--data cifar10`. Those of Table 9 use
    a folder of ImageNet.
    """
    tables = _table1(), _tables2to5(), _table6(), _table7(), _table8(), _imagenet()
    named = dict(itertools.chain(_small(), *tables))
    return {name: dataclasses.replace(config, preset=name) for name, config in named.items()}


def _small() -> Iterator[tuple[str, Config]]:
    quick = Config(
        data="cifar10",
        limit=10_000,
        depth=10,
        width=16,
        hidden=128,
        dim=32,
        predictor="directpred",
        target_start="copy",
        ema=0.99,
        batch=64,
        epochs=8,
        record_every=20,
        checkpoint_every=100,
        evaluate_every=2,
    )
    yield "quick", quick
    # alpha_p = 8, since a faster predictor gains a point of kNN accuracy in so few epochs.
    yield "quick-linear", dataclasses.replace(quick, predictor="linear", alpha_p=8.0)
    yield (
        "quick-collapse",
        dataclasses.replace(quick, predictor="linear", target="none", stop_gradient=False),
    )
    yield "linear", LINEAR


def _table1():
    for freq, target in itertools.product((1, 2, 3, 5), ("ema", "none")):
        change = dict(predictor="optimal", freq=freq, rho=0.0, target=target)
        yield f"t1-every{freq}{_without(target)}", dataclasses.replace(STL10, **change)


def _tables2to5():
    """Trained predictors: combinations of weight decay, EMA, symmetry, bias and depth."""
    decays = {
        "t3": dict(wd=4e-4),
        "t5-wdp": dict(wd_p=4e-4, wd_s=0.0),
        "t5-no-wd": dict(wd=0.0),  # without symmetry this is also Table 2
    }
    for (table, decay), target, bias in itertools.product(
        decays.items(), ("ema", "none"), (False, True)
    ):
        for symmetric, layers in itertools.product((False, True), ("linear", "two-layer")):
            if table != "t3" and layers == "two-layer":
                continue
            name = table + "-two-layer" * (layers == "two-layer")
            name += "-sym" * symmetric + "-bias" * bias + _without(target)
            change = dict(predictor=layers, symmetric=symmetric, predictor_bias=bias)
            yield name, dataclasses.replace(STL10, target=target, **change, **decay)


def _table6():
    for rho, eps in itertools.product((0.3, 0.5), (0.0, 0.01, 0.1, 0.5)):
        yield f"t6-rho{rho:g}-eps{eps:g}", dataclasses.replace(DIRECTPRED, rho=rho, eps=eps)


def _table7():
    for c, freq in itertools.product((0.1, 0.05, -0.05, -0.1), (1, 2)):
        yield f"t7-c{c:g}-freq{freq}", dataclasses.replace(DIRECTPRED, c=c, freq=freq)


def _table8():
    for epochs in (100, 300, 500):
        best = dataclasses.replace(DIRECTPRED, eps=0.1, epochs=epochs)
        yield f"t8-directpred-{epochs}", best
        yield f"t8-directpred-freq5-{epochs}", dataclasses.replace(best, freq=5)
        yield f"t8-sgd-{epochs}", dataclasses.replace(STL10, epochs=epochs)


def _imagenet():
    base = Config(
        data="folder",
        depth=50,
        hidden=4096,
        dim=256,
        predictor_hidden=4096,
        target_start="copy",
        optimiser="lars",
        schedule="cosine",
        ema_schedule="cosine",
        warmup=10.0,
        lr=3.2,
        wd=1.5e-6,
        batch=4096,
        epochs=300,
        evaluate_every=25,
    )
    for predictor in ("two-layer", "linear", "directpred"):
        yield f"t9-{predictor}-300", dataclasses.replace(base, predictor=predictor)


def _without(target):
    return "-no-ema" * (target == "none")

"""The layout and the numbers of the paper's tables.

The numbers are top-1 accuracies in percent, the mean and the standard deviation of five runs.
Each is stored under the name of its arm in `lindyn.train.presets`. Table 2 shows arms of Tables
3 and 5.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    title: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[str, ...]]  # names of arms; "" if the paper has no such cell


def _biased(name: str, end: str = "") -> tuple[str, ...]:
    """The names of the arms in the order of the columns `BIAS`."""
    return tuple(f"{name}{sym}{bias}{end}" for bias in ("", "-bias") for sym in ("-sym", ""))


BIAS = ("sym", "regular", "sym + bias", "regular + bias")
TABLES = {
    "t1": Table(
        "Table 1: the least-squares optimal predictor, every N steps",
        ("N = 1", "N = 2", "N = 3", "N = 5"),
        {
            "EMA": ("t1-every1", "t1-every2", "t1-every3", "t1-every5"),
            "no EMA": tuple(f"t1-every{n}-no-ema" for n in (1, 2, 3, 5)),
        },
    ),
    "t2": Table(
        "Table 2: without weight decay",
        ("linear", "linear + bias"),
        {
            "no decay, EMA": ("t5-no-wd", "t5-no-wd-bias"),
            "no decay, no EMA": ("t5-no-wd-no-ema", "t5-no-wd-bias-no-ema"),
            "decay 4e-4, EMA": ("t3", ""),
        },
    ),
    "t3": Table(
        "Table 3: a symmetric predictor, weight decay 4e-4",
        BIAS,
        {
            "linear, EMA": _biased("t3"),
            "linear, no EMA": _biased("t3", "-no-ema"),
            "two layers, EMA": _biased("t3-two-layer"),
            "two layers, no EMA": _biased("t3-two-layer", "-no-ema"),
        },
    ),
    "t5": Table(
        "Table 5: weight decay of the predictor alone, or of nothing",
        BIAS,
        {
            "predictor 4e-4, EMA": _biased("t5-wdp"),
            "predictor 4e-4, no EMA": _biased("t5-wdp", "-no-ema"),
            "both 0, EMA": _biased("t5-no-wd"),
            "both 0, no EMA": _biased("t5-no-wd", "-no-ema"),
        },
    ),
    "t6": Table(
        "Table 6: DirectPred",
        ("eps = 0", "eps = 0.01", "eps = 0.1", "eps = 0.5"),
        {
            f"rho = {rho}": tuple(f"t6-rho{rho}-eps{eps}" for eps in (0, 0.01, 0.1, 0.5))
            for rho in (0.3, 0.5)
        },
    ),
    "t7": Table(
        "Table 7: DirectPred with p = sqrt(max(s - c, 0)), rho = 0.3, eps = 0",
        ("c = 0.1", "c = 0.05", "c = -0.05", "c = -0.1"),
        {
            label: tuple(f"t7-c{c}-freq{freq}" for c in (0.1, 0.05, -0.05, -0.1))
            for freq, label in ((1, "every step"), (2, "every second step"))
        },
    ),
    "t8": Table(
        "Table 8: DirectPred (rho = 0.3, eps = 0.1) and a trained linear predictor",
        ("100 epochs", "300 epochs", "500 epochs"),
        {
            label: tuple(f"t8-{name}-{epochs}" for epochs in (100, 300, 500))
            for label, name in (
                ("DirectPred", "directpred"),
                ("DirectPred, every fifth step", "directpred-freq5"),
                ("SGD", "sgd"),
            )
        },
    ),
}

STL10 = {
    "t1-every1": (40.67, 0.50),
    "t1-every2": (35.29, 2.49),
    "t1-every3": (34.60, 0.98),
    "t1-every5": (35.63, 2.66),
    "t1-every1-no-ema": (39.45, 1.26),
    "t1-every2-no-ema": (34.01, 1.54),
    "t1-every3-no-ema": (34.58, 2.93),
    "t1-every5-no-ema": (32.22, 2.94),
    "t3-sym": (75.09, 0.48),
    "t3": (74.51, 0.47),
    "t3-sym-bias": (74.52, 0.29),
    "t3-bias": (74.16, 0.33),
    "t3-sym-no-ema": (36.62, 1.85),
    "t3-no-ema": (72.85, 0.16),
    "t3-sym-bias-no-ema": (36.04, 2.74),
    "t3-bias-no-ema": (72.13, 0.53),
    "t3-two-layer-sym": (71.58, 6.46),
    "t3-two-layer": (78.85, 0.25),
    "t3-two-layer-sym-bias": (77.64, 0.41),
    "t3-two-layer-bias": (78.53, 0.34),
    "t3-two-layer-sym-no-ema": (35.59, 2.10),
    "t3-two-layer-no-ema": (65.98, 0.71),
    "t3-two-layer-sym-bias-no-ema": (41.92, 4.25),
    "t3-two-layer-bias-no-ema": (65.59, 0.66),
    "t5-wdp-sym": (71.91, 0.70),
    "t5-wdp": (70.54, 0.93),
    "t5-wdp-sym-bias": (73.67, 0.47),
    "t5-wdp-bias": (70.89, 0.98),
    "t5-wdp-sym-no-ema": (71.12, 0.71),
    "t5-wdp-no-ema": (71.34, 0.63),
    "t5-wdp-sym-bias-no-ema": (73.01, 0.37),
    "t5-wdp-bias-no-ema": (71.70, 0.83),
    "t5-no-wd-sym": (71.76, 0.28),
    "t5-no-wd": (70.62, 1.05),
    "t5-no-wd-sym-bias": (71.86, 0.39),
    "t5-no-wd-bias": (70.99, 1.01),
    "t5-no-wd-sym-no-ema": (43.04, 2.32),
    "t5-no-wd-no-ema": (71.36, 0.44),
    "t5-no-wd-sym-bias-no-ema": (41.36, 3.33),
    "t5-no-wd-bias-no-ema": (71.37, 0.77),
    "t6-rho0.3-eps0": (76.77, 0.24),
    "t6-rho0.3-eps0.01": (77.11, 0.35),
    "t6-rho0.3-eps0.1": (77.86, 0.16),
    "t6-rho0.3-eps0.5": (75.06, 1.10),
    "t6-rho0.5-eps0": (76.65, 0.20),
    "t6-rho0.5-eps0.01": (76.76, 0.33),
    "t6-rho0.5-eps0.1": (77.56, 0.25),
    "t6-rho0.5-eps0.5": (75.22, 0.81),
    "t7-c0.1-freq1": (46.57, 18.43),
    "t7-c0.05-freq1": (65.31, 18.22),
    "t7-c-0.05-freq1": (77.11, 0.66),
    "t7-c-0.1-freq1": (76.46, 0.55),
    "t7-c0.1-freq2": (75.01, 0.48),
    "t7-c0.05-freq2": (75.10, 0.35),
    "t7-c-0.05-freq2": (76.83, 0.52),
    "t7-c-0.1-freq2": (76.31, 0.27),
    "t8-directpred-100": (77.86, 0.16),
    "t8-directpred-300": (78.77, 0.97),
    "t8-directpred-500": (78.86, 1.15),
    "t8-directpred-freq5-100": (77.54, 0.11),
    "t8-directpred-freq5-300": (79.90, 0.66),
    "t8-directpred-freq5-500": (80.28, 0.62),
    "t8-sgd-100": (75.06, 0.52),
    "t8-sgd-300": (75.25, 0.74),
    "t8-sgd-500": (75.25, 0.74),
}
CIFAR10 = {
    "t8-directpred-100": (85.21, 0.23),
    "t8-directpred-300": (88.88, 0.15),
    "t8-directpred-500": (89.52, 0.04),
    "t8-directpred-freq5-100": (84.93, 0.29),
    "t8-directpred-freq5-300": (88.83, 0.10),
    "t8-directpred-freq5-500": (89.56, 0.13),
    "t8-sgd-100": (84.49, 0.20),
    "t8-sgd-300": (88.57, 0.15),
    "t8-sgd-500": (89.33, 0.27),
}


def number(arm: str, data: str) -> tuple[str, float, float]:
    """The name of the data, and the paper's mean and deviation on it.

    CIFAR-10 exists only in Table 8; for other arms the numbers are those of STL-10.
    """
    if data == "cifar10" and arm in CIFAR10:
        return "CIFAR-10", *CIFAR10[arm]
    return "STL-10", *STL10[arm]

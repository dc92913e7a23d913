"""The options of a training run, and the check that their values are valid."""

import dataclasses
import pathlib
from typing import Literal

from lindyn.command import UsageError, number


CLOSED_FORMS = ("directpred", "directset", "directcopy", "optimal")


@dataclasses.dataclass(frozen=True)
class Config:
    """Trains a ResNet with BYOL, SimSiam, DirectPred or SimCLR, and records its spectra.

    The default data are scikit-learn's digits, which need no download. --preset list prints the
    names of all presets; --preset t3-sym, for example, is an experiment of the paper's Table 3.
    --preset linear trains the linear network of the theory by SGD.
    """

    preset: str | None = None
    """Default values of all flags: from an experiment of the paper, or quick (a small run)."""
    data: Literal["digits", "cifar10", "stl10", "folder", "gaussian"] = "digits"
    """folder: train/CLASS/*.JPEG and val/CLASS/*.JPEG. gaussian: for --model linear."""
    data_dir: pathlib.Path | None = None
    """Folder of the images, unpacked, in their official layout."""
    limit: int | None = None
    """Train, and evaluate, on so many images: the first, or evenly spaced ones of a folder."""
    image_size: int = 224
    """Height and width of a view in pixels, for --data folder."""
    workers: int = 0
    """Processes that decode --data folder; 0: threads, which suffice for about ten cores."""

    inputs: int = 16
    """n1, the dimension of the vectors of --data gaussian."""
    examples: int = 1024
    """Number of vectors of --data gaussian; their covariance is exactly X."""
    sigma2: float = 0.3
    """Variance that a view adds to a vector of --data gaussian: X' = sigma2 I."""
    covariances: str = "isotropic"
    """X and X' of --data gaussian. isotropic: X = I; random: both are random; or an npz file
    with X and X_aug."""
    views: Literal["fresh", "fixed"] = "fresh"
    """fixed: the two views of a vector are drawn once, with exactly X' over all vectors.
    With a --batch of all vectors, SGD is then gradient descent on the population loss."""

    model: Literal["resnet", "linear"] = "resnet"
    """linear: only the matrices W and Wp, on --data gaussian."""
    depth: Literal[10, 18, 50] = 18
    """Depth of the ResNet; 10, with one block per layer, is for small runs."""
    stem: Literal["auto", "cifar", "imagenet"] = "auto"
    """cifar: a 3x3 convolution without pooling; auto: cifar for images below 64 pixels."""
    width: int = 64
    """Channels of the first stage."""
    hidden: int = 512
    """Hidden units of the projector."""
    dim: int = 128
    """d, the number of outputs of the projector (n2 of a linear W), and the size of Wp."""

    method: Literal["byol", "simclr"] = "byol"
    """simclr: the contrastive baseline, with the NT-Xent loss and no target or predictor."""
    predictor: Literal[
        "linear", "two-layer", "none", "directpred", "directset", "directcopy", "optimal"
    ] = "linear"
    """Trained (linear, two-layer), absent (none), or computed from F in closed form; optimal is
    the least-squares predictor."""
    predictor_hidden: int = 512
    """Hidden units of a two-layer predictor."""
    predictor_bias: bool = False
    """A trained predictor has biases."""
    symmetric: bool = False
    """Wp <- (Wp + Wp^T)/2 after each step."""
    rho: float = 0.3
    """Weight of the old value in the running estimate of F, for closed forms; 0: last batch."""
    eps: float = 0.1
    """Added to the eigenvalues of a predictor in closed form."""
    c: float = 0.0
    """Subtracted from the eigenvalues of F, for predictors in closed form (the paper's c_j)."""
    a: float = 0.5
    """Exponent of DirectSet."""
    normalisation: Literal["spectral", "paper"] = "spectral"
    """DirectPred on F. spectral: F is divided by its largest eigenvalue, as in the reported
    results; paper: (18)."""
    freq: int = 1
    """Steps between two updates of a predictor in closed form."""

    loss: Literal["cosine", "l2"] = "cosine"
    both_directions: bool = True
    """Each view predicts the other; otherwise the first view predicts the second."""
    temperature: float = 0.5
    """Temperature of SimCLR's loss."""
    target: Literal["ema", "none"] = "ema"
    """none: the online network is its own target, as in SimSiam."""
    ema: float = 0.996
    """Weight of the old target in its moving average, at each step."""
    ema_schedule: Literal["constant", "cosine"] = "constant"
    """cosine: rises from --ema to 1, as in BYOL."""
    target_start: Literal["independent", "copy", "zero"] = "independent"
    """Initial target. The paper's code leaves the copy out; its theory starts at zero (--model
    linear)."""
    stop_gradient: bool = True
    """No gradient passes through the target's outputs."""

    optimiser: Literal["sgd", "lars", "adam"] = "sgd"
    """adam: beta1 is --momentum, beta2 is 0.999; with --decay decoupled it is AdamW."""
    lr: float = 0.03
    """Learning rate of the encoder and projector."""
    alpha_p: float = 1.0
    """Learning rate of the predictor, divided by --lr."""
    momentum: float = 0.9
    nesterov: bool = False
    """Nesterov momentum, as in PyTorch."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Schedule of both learning rates."""
    warmup: float = 0.0
    """Epochs of warm-up: the learning rate rises from 0."""
    wd: float = 4e-4
    """Weight decay of all parameters; lars: of matrices and filters only."""
    wd_p: float | None = None
    """Weight decay of the predictor, if it differs."""
    wd_s: float | None = None
    """Weight decay of encoder and projector, if it differs."""
    decay: Literal["coupled", "decoupled"] = "coupled"
    """coupled: part of the gradient, as in PyTorch's SGD; decoupled: not in the momentum."""

    batch: int = 128
    """Images per step, over all devices."""
    epochs: int = 100
    seed: int = 0
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    """Of activations; parameters and statistics have 32 bits. float64: of all, if linear."""
    devices: int | None = None
    """Local devices to use; default: all GPUs or TPUs, or about one device per CPU core."""
    steps_per_call: int = 1
    """Steps per dispatch to the device; more are faster on a GPU with small networks."""

    record_every: int = 50
    """Steps between two records of the spectra."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""
    keep: int = 2
    """Number of newest checkpoints that are kept."""
    evaluate_every: int = 10
    """Epochs between kNN evaluations; 0: only at the end."""
    linear: bool = True
    """Linear evaluation at the end."""
    fail_on_collapse: bool = False
    """Exit with code 1 if the last spectrum shows a collapse."""

    out: pathlib.Path = pathlib.Path("lindyn-out/run")
    """The run folder."""
    overwrite: bool = False
    """Removes an existing run in --out."""
    resume: bool = False
    """Continues the run in --out from its newest checkpoint."""
    json: bool = False
    """Prints one JSON object on stdout."""
    coordinator: str | None = None
    """host:port of process 0, for several processes; auto: from Slurm or a TPU pod."""
    processes: int | None = None
    """Number of processes."""
    process: int | None = None
    """Index of this process, from 0."""

    @property
    def closed_form(self) -> bool:
        """Whether Wp is computed from F instead of trained."""
        return self.predictor in CLOSED_FORMS

    @property
    def decays(self) -> tuple[float, float]:
        """Weight decay of encoder and projector (eta_s), and of the predictor (eta_p)."""
        default = lambda x: self.wd if x is None else x
        return default(self.wd_s), default(self.wd_p)


LIMITS = {  # flag: minimum, maximum, whether the minimum itself is excluded
    "limit": (2, 10**9, False),
    "inputs": (1, 4096, False),
    "examples": (2, 10**7, False),
    "sigma2": (0, 1e3, False),
    "image-size": (8, 1024, False),
    "workers": (0, 256, False),
    "width": (1, 1024, False),
    "hidden": (1, 65_536, False),
    "dim": (2, 8192, False),
    "predictor-hidden": (1, 65_536, False),
    "rho": (0, 1, False),
    "eps": (0, 1e3, False),
    "c": (-1e3, 1e3, False),
    "a": (0, 10, True),
    "freq": (1, 10**6, False),
    "temperature": (0, 1e3, True),
    "ema": (0, 1, False),
    "lr": (0, 1e4, True),
    "alpha-p": (0, 1e4, True),
    "momentum": (0, 0.9999, False),
    "warmup": (0, 1e4, False),
    "wd": (0, 10, False),
    "wd-p": (0, 10, False),
    "wd-s": (0, 10, False),
    "batch": (2, 10**6, False),
    "epochs": (1, 10**5, False),
    "seed": (0, 2**31 - 1, False),
    "devices": (1, 4096, False),
    "steps-per-call": (1, 10_000, False),
    "record-every": (1, 10**7, False),
    "checkpoint-every": (1, 10**7, False),
    "keep": (1, 1000, False),
    "evaluate-every": (0, 10**5, False),
    "processes": (1, 4096, False),
    "process": (0, 4095, False),
}


def check(config: Config) -> None:
    """Raises `UsageError` for values that are out of range or contradict each other."""
    for flag, (least, most, above) in LIMITS.items():
        value = getattr(config, flag.replace("-", "_"))
        if value is not None:
            number(f"--{flag}", value, least, most, above=above)
    linear = config.model == "linear"
    if linear != (config.data == "gaussian"):
        raise UsageError(f"--model {config.model}: not with --data {config.data}")
    for flag, value in (("precision", "float64"), ("target-start", "zero")):
        if not linear and getattr(config, flag.replace("-", "_")) == value:
            raise UsageError(f"--{flag} {value}: only with --model linear")
    if config.data not in ("digits", "gaussian") and config.data_dir is None:
        raise UsageError(f"--data {config.data}: say where it is with --data-dir")
    if config.overwrite and config.resume:
        raise UsageError("--overwrite and --resume: give only one of them")
    if config.symmetric and (config.closed_form or config.predictor == "none"):
        raise UsageError(f"--symmetric: not with --predictor {config.predictor}")
    if config.predictor_bias and config.predictor not in ("linear", "two-layer"):
        raise UsageError(f"--predictor-bias: not with --predictor {config.predictor}")
    if config.nesterov and config.optimiser != "sgd":
        raise UsageError(f"--nesterov: not with --optimiser {config.optimiser}")
    if config.nesterov and not config.momentum:
        raise UsageError("--nesterov: needs a --momentum above 0")
    if config.rho == 1 and config.closed_form:
        raise UsageError("--rho 1: the estimate of F would stay at the first batch; give less")
    if config.warmup > config.epochs:
        raise UsageError(f"--warmup {config.warmup:g}: more than --epochs {config.epochs}")
    if (config.processes is None) != (config.process is None):
        raise UsageError("--processes and --process: give both")
    if config.processes is not None and config.coordinator in (None, "auto"):
        raise UsageError("--processes: say where process 0 is with --coordinator host:port")
    for every in ("record", "checkpoint"):
        steps = getattr(config, f"{every}_every")
        if steps % config.steps_per_call:
            raise UsageError(
                f"--{every}-every {steps}: must be a multiple of"
                f" --steps-per-call {config.steps_per_call}"
            )

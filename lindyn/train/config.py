"""What a run of the trainer is told, and what it may not be told."""

import dataclasses
import pathlib
from typing import Literal

from lindyn.command import UsageError, number


CLOSED_FORMS = ("directpred", "directset", "directcopy", "optimal")


@dataclasses.dataclass(frozen=True)
class Config:
    """Trains a ResNet with BYOL, SimSiam, DirectPred or SimCLR, and records its spectra.

    Without --data it takes scikit-learn's digits, which need no download; an arm of the paper's
    tables is --preset t3-sym-ema, all of them --preset list. --preset linear is the network of
    the theory, by SGD.
    """

    preset: str | None = None
    """Where values start that no other flag gives: an arm of the paper, or quick."""
    data: Literal["digits", "cifar10", "stl10", "folder", "gaussian"] = "digits"
    """folder: train/CLASS/*.JPEG and val/CLASS/*.JPEG. gaussian: for --model linear."""
    data_dir: pathlib.Path | None = None
    """Where the images are, in their official layout, unpacked."""
    limit: int | None = None
    """Train, and evaluate, on the first images only."""
    image_size: int = 224
    """Pixels a side of views, for --data folder."""
    workers: int = 0
    """Processes that decode, for --data folder; 0: threads, which do for ten cores."""

    inputs: int = 16
    """n1: entries of a vector of --data gaussian."""
    examples: int = 1024
    """Vectors of --data gaussian; their covariance is X exactly."""
    sigma2: float = 0.3
    """Variance that a view adds to them, X' = sigma2 I."""
    covariances: str = "isotropic"
    """Of --data gaussian. isotropic: X = I; random: X and X' are; or an npz file that has X and
    X_aug."""
    views: Literal["fresh", "fixed"] = "fresh"
    """fixed: each vector has its two views once and for all, with exactly X' over all vectors.
    A --batch of all is then gradient descent on the population loss."""

    model: Literal["resnet", "linear"] = "resnet"
    """linear: W and Wp alone, on --data gaussian."""
    depth: Literal[10, 18, 50] = 18
    """Of the ResNet; 10, with one block a layer, is for small runs."""
    stem: Literal["auto", "cifar", "imagenet"] = "auto"
    """cifar: 3x3 without pooling; auto: for images below 64 pixels."""
    width: int = 64
    """Channels of the first stage."""
    hidden: int = 512
    """Units in the projector."""
    dim: int = 128
    """d: outputs of the projector (or of W, n2), and the size of Wp."""

    method: Literal["byol", "simclr"] = "byol"
    """simclr: NT-Xent, the contrastive reference; no target and no predictor."""
    predictor: Literal[
        "linear", "two-layer", "none", "directpred", "directset", "directcopy", "optimal"
    ] = "linear"
    """Trained (linear, two-layer), absent, or computed from F in closed form; optimal is the
    least-squares one."""
    predictor_hidden: int = 512
    """Units in a two-layer predictor."""
    predictor_bias: bool = False
    symmetric: bool = False
    """Wp <- (Wp + Wp^T)/2 after each step."""
    rho: float = 0.3
    """Of the running estimate of F, for predictors in closed form; 0: the last batch."""
    eps: float = 0.1
    """Added to the eigenvalues of a closed form."""
    c: float = 0.0
    """Taken from those of F (the paper's c_j)."""
    a: float = 0.5
    """The exponent of DirectSet."""
    normalisation: Literal["spectral", "paper"] = "spectral"
    """Of DirectPred: of F by its largest eigenvalue, as the reported results, or (18)."""
    freq: int = 1
    """Steps between two updates of a predictor in closed form."""

    loss: Literal["cosine", "l2"] = "cosine"
    both_directions: bool = True
    """Each view predicts the other; if not, the first the second."""
    temperature: float = 0.5
    """Of SimCLR."""
    target: Literal["ema", "none"] = "ema"
    """none: the online network itself, as SimSiam."""
    ema: float = 0.996
    """What the target keeps of itself at each step."""
    ema_schedule: Literal["constant", "cosine"] = "constant"
    """cosine: from --ema to 1, as BYOL."""
    target_start: Literal["independent", "copy", "zero"] = "independent"
    """The paper's code leaves the copy out; its theory starts at zero (--model linear)."""
    stop_gradient: bool = True

    optimiser: Literal["sgd", "lars", "adam"] = "sgd"
    """adam --decay decoupled is AdamW; --momentum is its first beta, the second is 0.999."""
    lr: float = 0.03
    """Of the encoder and projector."""
    alpha_p: float = 1.0
    """The predictor's learning rate over the others'."""
    momentum: float = 0.9
    nesterov: bool = False
    """Nesterov's momentum, as PyTorch's."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Of the learning rates."""
    warmup: float = 0.0
    """Epochs of a learning rate that rises from 0."""
    wd: float = 4e-4
    """Weight decay of everything."""
    wd_p: float | None = None
    """Of the predictor, if it differs."""
    wd_s: float | None = None
    """Of encoder and projector, if it differs."""
    decay: Literal["coupled", "decoupled"] = "coupled"
    """coupled: part of the gradient, as PyTorch's SGD; decoupled: not through the momentum."""

    batch: int = 128
    """Images a step, over all devices."""
    epochs: int = 100
    seed: int = 0
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    """Of activations; parameters and statistics have 32 bits. float64: all of a linear one."""
    devices: int | None = None
    """Local devices to use: all GPUs or TPUs by default, else about one for each core."""
    steps_per_call: int = 1
    """Steps that one call of the device does; more are faster on a GPU with small networks."""

    record_every: int = 50
    """Steps between two records of the spectra."""
    checkpoint_every: int = 500
    """Steps."""
    keep: int = 2
    """Checkpoints."""
    evaluate_every: int = 10
    """Epochs between kNN evaluations; 0: only at the end."""
    linear: bool = True
    """The linear protocol at the end."""
    fail_on_collapse: bool = False
    """Exit with 1 if the last spectrum is a collapsed one."""

    out: pathlib.Path = pathlib.Path("lindyn-out/run")
    """The run folder."""
    overwrite: bool = False
    """Removes a run that is there."""
    resume: bool = False
    """Goes on with a run that is there, from its newest checkpoint."""
    json: bool = False
    """One JSON object on stdout."""
    coordinator: str | None = None
    """host:port of process 0, for several processes; auto asks Slurm or a TPU pod."""
    processes: int | None = None
    process: int | None = None

    @property
    def closed_form(self) -> bool:
        return self.predictor in CLOSED_FORMS

    @property
    def decays(self) -> tuple[float, float]:
        """eta_s and eta_p."""
        default = lambda x: self.wd if x is None else x
        return default(self.wd_s), default(self.wd_p)


LIMITS = {  # flag: least, most, whether the least is excluded
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
    """`UsageError` for values that are out of range or contradict each other."""
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
        raise UsageError("--overwrite and --resume: a run is removed, or gone on with")
    if config.symmetric and (config.closed_form or config.predictor == "none"):
        raise UsageError(f"--symmetric: not with --predictor {config.predictor}")
    if config.predictor_bias and config.predictor not in ("linear", "two-layer"):
        raise UsageError(f"--predictor-bias: not with --predictor {config.predictor}")
    if config.nesterov and config.optimiser != "sgd":
        raise UsageError(f"--nesterov: not with --optimiser {config.optimiser}")
    if config.nesterov and not config.momentum:
        raise UsageError("--nesterov: needs a --momentum above 0")
    if config.rho == 1 and config.closed_form:
        raise UsageError("--rho 1: F would stay what the first batch says; give less")
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

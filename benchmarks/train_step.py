"""What does a training step cost, and where does the time go?

    python benchmarks/train_step.py
    python benchmarks/train_step.py --network resnet18-96 --batch 32
    python benchmarks/train_step.py --network resnet50-224 --batch 8 --precision bfloat16
    python benchmarks/train_step.py --scaling 1 2

Images a second of a BYOL step: two views, both directions, EMA, SGD with momentum, DirectPred
or a trained linear predictor. In turn with the same step in PyTorch, eager and compiled, with
channels last, where torch and torchvision are installed. The parts are programs of their own:
what they take together differs from the step, which is one. On a CPU, JAX has a device for each
core, and PyTorch a thread.
"""

import argparse
import copy
import os
import resource
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import timing

from lindyn import predictors
from lindyn.train import byol, setup, step
from lindyn.train.config import Config


NETWORKS = {
    "resnet18-32": dict(depth=18, data="cifar10"),
    "resnet18-96": dict(depth=18, data="stl10"),
    "resnet50-224": dict(depth=50, data="folder"),
}
AGAINST = ("eager", "compiled")
PIXELS = {"resnet18-32": 32, "resnet18-96": 96, "resnet50-224": 224}


class Training:
    """A state that goes on, and images to feed it."""

    def __init__(self, options, devices, **changes):
        self.pixels, self.devices = PIXELS[options.network], devices
        shape = dict(batch=options.batch, precision=options.precision)
        self.config = Config(**NETWORKS[options.network], **shape, **changes)
        self.method = setup.method(self.config, 1000, 100)
        state, self.static = setup.start(self.config, self.method, self.pixels)
        self.state = step.everywhere(state, devices)
        random = np.random.default_rng(0).integers
        shape = (4 * options.batch, self.pixels, self.pixels, 3)
        self.images = step.everywhere(random(0, 256, shape, dtype=np.uint8), devices)
        self.chosen = np.arange(options.batch, dtype=np.int32).reshape(len(devices), 1, -1)
        fixed = dict(static=self.static, method=self.method)
        self.advance = step.parallel(devices, True, **fixed)

    def __call__(self):
        self.state, record = self.advance(self.state, self.images, self.chosen)
        jax.block_until_ready((self.state, record))


def parts(training):
    """Pieces of the step, each as a program on one device."""
    config, method = training.config, training.method
    device = training.devices[0]
    local = jax.tree.map(lambda x: jax.device_put(np.asarray(x), device), training.state)
    share = config.batch // len(training.devices)
    images = jnp.asarray(np.asarray(training.images)[:share])
    keys = jax.random.split(jax.random.key(0), share)
    some = jax.jit(jax.vmap(method.views[0]))
    mean = jax.jit(lambda a, w: byol.moved(a, w, 0.996))
    F = jnp.asarray(np.cov(np.random.default_rng(0).normal(size=(128, 512))), jnp.float32)
    closed = jax.jit(lambda F: predictors.directpred(F, eps=0.1))
    optim = jax.jit(method.optimiser.update)
    run = {
        "augment, both views": lambda: (some(images, keys), some(images, keys)),
        "EMA": lambda: mean(local.target, local.params.branch),
        "SGD": lambda: optim(local.params, local.opt, local.params),
        "eigendecomposition, d = 128": lambda: closed(F),
    }
    return {name: (lambda f=f: jax.block_until_ready(f())) for name, f in run.items()}


def peak(dtype):
    """The device's best rate of products of matrices, in GFLOP/s."""
    n = 2048 if jax.default_backend() == "cpu" else 8192
    x = jnp.ones((n, n), dtype)
    product = jax.jit(jnp.matmul)
    times = []
    for _ in range(6):
        begin = time.perf_counter()
        product(x, x).block_until_ready()
        times.append(time.perf_counter() - begin)
    return 2e-9 * n**3 / min(times)


def in_pytorch(options, compiled):
    """The same step in PyTorch, on images that are views already."""
    import torch
    import torchvision
    from torch import nn

    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    pixels, last = PIXELS[options.network], dict(memory_format=torch.channels_last)
    deep = options.network.startswith("resnet50")
    encoder = (torchvision.models.resnet50 if deep else torchvision.models.resnet18)()
    if pixels < 64:
        encoder.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        encoder.maxpool = nn.Identity()
    width = encoder.fc.in_features
    encoder.fc = nn.Identity()

    def branch():
        norm = nn.BatchNorm1d(512, affine=False)
        projector = nn.Sequential(nn.Linear(width, 512), norm, nn.ReLU(), nn.Linear(512, 128))
        return nn.Sequential(copy.deepcopy(encoder), projector).to(device, **last)

    online, target = branch(), branch()
    predictor = nn.Linear(128, 128, bias=False).to(device)
    both = [*online.parameters(), *predictor.parameters()]
    optim = torch.optim.SGD(both, lr=0.03, momentum=0.9, weight_decay=4e-4)
    shape = (options.batch, 3, pixels, pixels)
    views = [torch.rand(shape, device=device).contiguous(**last) for _ in range(2)]
    half = options.precision == "bfloat16"

    def loss(first, second):
        with torch.autocast(device, torch.bfloat16, enabled=half):
            with torch.no_grad():
                a1, a2 = target(first), target(second)
            p1, p2 = predictor(online(first)), predictor(online(second))
            cos = nn.functional.cosine_similarity
            return -2 * (cos(p1, a2).mean() + cos(p2, a1).mean())

    whole = torch.compile(loss) if compiled else loss

    def advance():
        optim.zero_grad()
        whole(*views).backward()
        optim.step()
        with torch.no_grad():
            for a, w in zip(target.parameters(), online.parameters(), strict=True):
                a.lerp_(w, 0.004)
        if on_gpu:
            torch.cuda.synchronize()

    return advance


def flops(options):
    """Of the convolutions and products of one image, by XLA's own count of a forward pass."""
    import equinox as eqx

    config = Config(**NETWORKS[options.network], batch=2)
    method = setup.method(config, 10, 10)
    state, static = setup.start(config, method, PIXELS[options.network])
    online = eqx.nn.inference_mode(eqx.combine(state.params, static))
    shape = (1, PIXELS[options.network], PIXELS[options.network], 3)
    forward = jax.jit(lambda x: online.branch(x, state.norm)[0])
    return forward.lower(jnp.zeros(shape)).compile().cost_analysis()["flops"]


def main():
    options = parse()
    if options.scaling:
        scaling(options)
        return
    jax.config.update("jax_num_cpu_devices", options.devices or os.cpu_count())
    devices = jax.devices()[: options.devices]
    about = timing.facts(("torch", "torchvision"), rounds=options.rounds)
    about["device"] = f"{len(devices)} x {devices[0].device_kind}"
    print(about["device"], options.network, "batch", options.batch, options.precision)
    jobs = {"lindyn": Training(options, devices, predictor="linear")}
    jobs["lindyn, DirectPred"] = Training(options, devices, predictor="directpred")
    for name in timing.installed(options.against, dict.fromkeys(AGAINST, "torchvision")):
        jobs[f"PyTorch {name}"] = in_pytorch(options, compiled=name == "compiled")
    timings = timing.interleaved(jobs, options.rounds)
    each = 8 * flops(options) / 1e9  # 4 passes forward, 2 backward of twice the work
    best = peak(jnp.bfloat16 if options.precision == "bfloat16" else jnp.float32)
    base = timings["lindyn"].times
    rows, found = [], {}
    for name, run in timings.items():
        rate = options.batch / run.median
        compare = timing.ratio(run.times, base)
        found[name] = dict(images_per_second=rate, times=run.times, compile=run.compile)
        cells = (f"{rate:.4g}", f"{1 / compare:.2f}", f"{each * rate / best:.2f}")
        rows.append((name, *cells))
    print()
    timing.table(("step", "images/s", "of lindyn", "of peak"), rows)
    pieces = timing.interleaved(parts(jobs["lindyn"]), options.rounds)
    rows = [(name, f"{1e3 * run.median:.2f}") for name, run in pieces.items()]
    timing.table(("part, one device's share", "ms"), rows)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if devices[0].platform != "cpu":
        memory = devices[0].memory_stats()["peak_bytes_in_use"] / 2**30
    print(f"product of matrices {best:.0f} GFLOP/s, peak memory {memory:.2f} GiB")
    if options.json:
        found |= dict(parts={name: run.times for name, run in pieces.items()})
        found |= dict(gflop_per_image=each, peak=best, memory_gib=memory)
        timing.write(options.json, {"about": about, **found})


def scaling(options):
    """The same batch on more and more devices, in processes of their own."""
    for devices in options.scaling:
        own = [f"--network={options.network}", f"--batch={options.batch}", "--against"]
        own += [f"--precision={options.precision}", f"--devices={devices}"]
        subprocess.run([sys.executable, __file__, *own], check=True)


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--network", choices=list(NETWORKS), default="resnet18-32")
    add("--batch", type=int, default=64)
    add("--precision", choices=("float32", "bfloat16"), default="float32")
    add("--rounds", type=int, default=5)
    add("--against", nargs="*", default=AGAINST, choices=AGAINST, help="PyTorch's ways")
    add("--devices", type=int, help="of this process; all by default, on a CPU one a core")
    add("--scaling", type=int, nargs="+", metavar="DEVICES", help="numbers of devices")
    add("--json", metavar="FILE", help="write all numbers")
    return parser.parse_args()


if __name__ == "__main__":
    main()

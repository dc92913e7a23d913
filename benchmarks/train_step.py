"""Time of a training step and of its parts, compared with PyTorch.

    python benchmarks/train_step.py --parts
    python benchmarks/train_step.py --network resnet18-96 --batch 32
    python benchmarks/train_step.py --network resnet50-224 --batch 8 --precision bfloat16
    python benchmarks/train_step.py --scaling 1 2
    python benchmarks/train_step.py --batch 512 --precision bfloat16 --parts --profile 3

Images per second of a BYOL step: two views, both directions, EMA, SGD with momentum, and
DirectPred or a trained linear predictor. If torch and torchvision are installed, the same step
in PyTorch is timed in turn, eager and compiled, with channels last. In both libraries float32
is TF32 on a GPU that supports it. PyTorch gets images that are already augmented; `--parts`
shows how long our augmentation takes. Each part is a separate program, so that the sum of the
parts differs from the time of the step, which is one program. On a CPU, JAX has one device per
core, and PyTorch one thread per core. On a GPU a sample is as many steps as take 0.3 s, of
which only the last is waited for, and `--profile` lists the kernels. One file, so that our step
and PyTorch's can be read side by side.
"""

import argparse
import concurrent.futures
import copy
import functools
import gzip
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import timing

from lindyn.theory import predictors
from lindyn.train import byol, setup, step
from lindyn.train.config import Config


NETWORKS = {
    "resnet10-32": dict(depth=10, data="cifar10", width=8),  # for trying the script
    "resnet18-32": dict(depth=18, data="cifar10"),
    "resnet18-96": dict(depth=18, data="stl10"),
    "resnet50-224": dict(depth=50, data="folder"),
}
METHODS = {"linear": "lindyn", "directpred": "lindyn, DirectPred"}
AGAINST = ("eager", "compiled")
LEAST = 0.3  # seconds of a sample on a GPU
MOST_KERNELS = 25


class Training:
    """A training state, its images, and the step that advances it when called."""

    def __init__(self, options, devices, **changes):
        self.pixels, self.devices = pixels(options), devices
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
        self.state, self.record = self.advance(self.state, self.images, self.chosen)
        if self.devices[0].platform == "cpu":  # a queue of steps would hang on host devices
            self.wait()

    def wait(self, _=None):
        jax.block_until_ready((self.state, self.record))


def pixels(options):
    return int(options.network.rpartition("-")[2])


def parts(training):
    """Parts of the step, each as a separate program on one device."""
    config, method = training.config, training.method
    device = training.devices[0]
    local = jax.tree.map(lambda x: jax.device_put(np.asarray(x), device), training.state)
    share = config.batch // len(training.devices)
    images = jnp.asarray(np.asarray(training.images)[:share])
    keys = jax.random.split(jax.random.key(0), share)
    some = jax.jit(lambda x, k: jax.vmap(method.views[0])(x, k).astype(method.dtype))
    seen = some(images, keys)[None]
    mean = jax.jit(lambda a, w: byol.moved(a, w, 0.996))
    F = jnp.asarray(np.cov(np.random.default_rng(0).normal(size=(128, 512))), jnp.float32)
    closed = jax.jit(lambda F: predictors.directpred(F, eps=0.1))
    optim = jax.jit(method.optimiser.update)
    forward, both = passes(training)
    return {
        "augment, both views": lambda: (some(images, keys), some(images, keys)),
        "forward": lambda: forward(local, seen, seen),
        "forward and backward": lambda: both(local, seen, seen),
        "EMA": lambda: mean(local.target, local.params.branch),
        "SGD": lambda: optim(local.params, local.opt, local.params),
        "eigendecomposition, d = 128": lambda: closed(F),
    }


def passes(training):
    """The loss for one device's share of the batch, and the loss with its gradient."""
    static, method = training.static, training.method

    def loss(params, state, first, second):
        online = eqx.combine(params, static)
        return step._loss(online, state, first, second, static, method)[0]

    alone = functools.partial(
        jax.pmap, axis_name=step.DEVICE, in_axes=(None, 0, 0), devices=training.devices[:1]
    )
    forward = alone(lambda state, *views: loss(state.params, state, *views))
    both = alone(lambda state, *views: jax.value_and_grad(loss)(state.params, state, *views))
    return forward, both


def peak(dtype):
    """The device's best rate of matrix products, in GFLOP/s."""
    n = 2048 if jax.default_backend() == "cpu" else 8192
    x = jax.random.normal(jax.random.key(0), (n, n), dtype)
    product = jax.jit(jnp.matmul)
    times = timing.per_call(lambda: product(x, x), jax.block_until_ready, 0.1)
    return 2e-9 * n**3 / min(times)


def in_pytorch(options, compiled):
    """The same step in PyTorch, on augmented images, and a function that waits for it."""
    import torch
    import torchvision
    from torch import nn

    on_gpu = torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu"
    if on_gpu:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        torch.cuda.set_per_process_memory_fraction(0.45)  # the rest is for JAX
    size, last = pixels(options), dict(memory_format=torch.channels_last)
    deep = options.network.startswith("resnet50")
    encoder = (torchvision.models.resnet50 if deep else torchvision.models.resnet18)()
    if size < 64:
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
    settings = dict(lr=0.03, momentum=0.9, weight_decay=4e-4, fused=on_gpu or None)
    optim = torch.optim.SGD(both, **settings)
    mean = torch.optim.swa_utils.get_ema_multi_avg_fn(0.996)
    shape = (options.batch, 3, size, size)
    views = [torch.rand(shape, device=device).contiguous(**last) for _ in range(2)]
    half = options.precision == "bfloat16"

    def loss(first, second):
        with torch.autocast(device, torch.bfloat16, enabled=half):
            with torch.no_grad():
                a1, a2 = target(first), target(second)
            f1, f2 = online(first), online(second)
            cos = nn.functional.cosine_similarity
            value = -2 * (cos(predictor(f1), a2).mean() + cos(predictor(f2), a1).mean())
        seen = torch.cat([f1, f2]).detach().float()
        return value, seen.T @ seen / len(seen)

    whole = torch.compile(loss) if compiled else loss

    def advance():
        optim.zero_grad()
        value, F = whole(*views)
        value.backward()
        norm = torch.nn.utils.get_total_norm([x.grad for x in both])
        optim.step()
        with torch.no_grad():
            mean(list(target.parameters()), list(online.parameters()), None)
        return value, F, norm

    return advance, (lambda _: torch.cuda.synchronize()) if on_gpu else (lambda _: None)


def flops(options):
    """Operations of a forward pass for one image, as XLA counts them."""
    config = Config(**NETWORKS[options.network], batch=2)
    method = setup.method(config, 10, 10)
    with jax.default_device(jax.devices("cpu")[0]):
        state, static = setup.start(config, method, pixels(options))
        online = eqx.nn.inference_mode(eqx.combine(state.params, static))
        forward = jax.jit(lambda x: online.branch(x, state.norm)[0])
        shape = (1, pixels(options), pixels(options), 3)
        return forward.lower(jnp.zeros(shape)).cost_analysis()["flops"]


def measured(jobs, rounds, on_gpu):
    """The `timing.Timing` of each job; a job is a pair (run, wait).

    On a GPU, eager PyTorch runs first and alone, since it then chooses its convolutions; the
    others compile in parallel. A job that fails is reported and left out.
    """
    first = functools.partial(attempt, jobs)
    order = sorted(jobs, key=lambda name: name != "PyTorch eager")
    alone = order[:1] if on_gpu else order
    seconds = {name: first(name) for name in alone}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        others = order[len(alone) :]
        seconds |= dict(zip(others, pool.map(first, others), strict=True))
    jobs = {name: job for name, job in jobs.items() if seconds[name] is not None}
    counts = {name: timing.calls(*job, LEAST) if on_gpu else 1 for name, job in jobs.items()}
    found = {name: timing.Timing(seconds[name], [], None) for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            time.sleep(timing.REST)
            each = timing.sample(*job, counts[name]) / counts[name]
            found[name].times.append(each)
    return found


def attempt(jobs, name):
    """Seconds of the first call, or None if it fails."""
    try:
        return timing.sample(*jobs[name], 1)
    except Exception as error:
        print(f"{name} failed: {str(error)[:500]}", file=sys.stderr, flush=True)
        return None


# The kernels of a step


def profile(training, steps):
    """The kernels that take the most time, their total, and the fraction that the GPU idles."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            for _ in range(steps):
                training()
            training.wait()
        (file,) = pathlib.Path(folder).rglob("perfetto_trace.json.gz")
        with gzip.open(file) as stream:
            return kernels(json.load(stream)["traceEvents"], steps)


def kernels(events, steps):
    """The kernels in the events of a trace, with times per step in milliseconds.

    Only events on streams of a GPU count. ValueError if there are none.
    """
    names = {"process_name": {}, "thread_name": {}}
    for event in events:
        if event.get("ph") == "M" and event["name"] in names:
            key = event["pid"] if event["name"] == "process_name" else _thread(event)
            names[event["name"]][key] = event["args"]["name"]
    cards = {pid for pid, name in names["process_name"].items() if "GPU" in name}
    streams = {
        key
        for key, name in names["thread_name"].items()
        if key[0] in cards and name.startswith("Stream")
    }
    run = [event for event in events if event.get("ph") == "X" and _thread(event) in streams]
    if not run:
        raise ValueError(f"the trace has no stream of a GPU, but {names['process_name']}")
    spans = sorted((event["ts"], event["ts"] + event["dur"]) for event in run)
    busy, reached = 0.0, spans[0][0]
    for begin, end in spans:  # spans of different streams may overlap
        busy += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    each = {}
    for event in run:
        total, count = each.get(event["name"], (0.0, 0))
        each[event["name"]] = total + event["dur"], count + 1
    most = sorted(each.items(), key=lambda item: -item[1][0])[:MOST_KERNELS]
    return {
        "kernels": [
            dict(name=name[:120], ms=total / steps / 1e3, count=count / steps)
            for name, (total, count) in most
        ],
        "distinct": len(each),
        "count": len(run) / steps,
        "ms of all": sum(event["dur"] for event in run) / steps / 1e3,
        "ms from the first to the last": (reached - spans[0][0]) / steps / 1e3,
        "idle": 1 - busy / (reached - spans[0][0]),
    }


def _thread(event):
    return event["pid"], event.get("tid")


# The report


def main():
    options = parse()
    if options.scaling:
        scaling(options)
        return
    jax.config.update("jax_num_cpu_devices", options.devices or os.cpu_count())
    devices = jax.devices()[: options.devices]
    on_gpu = devices[0].platform == "gpu"
    about = timing.facts(("torch", "torchvision"), rounds=options.rounds)
    about["device"] = f"{len(devices)} x {devices[0].device_kind}"
    print(about["device"], options.network, "batch", options.batch, options.precision)
    ours = {METHODS[x]: Training(options, devices, predictor=x) for x in options.methods}
    jobs = {name: (training, training.wait) for name, training in ours.items()}
    for name in timing.installed(options.against, dict.fromkeys(AGAINST, "torchvision")):
        jobs[f"PyTorch {name}"] = in_pytorch(options, compiled=name == "compiled")
    timings = measured(jobs, options.rounds, on_gpu)
    each = 8 * flops(options) / 1e9  # 4 forward passes, 2 backward ones of twice the work
    best = peak(jnp.bfloat16 if options.precision == "bfloat16" else jnp.float32)
    found = {"about": about} | show(options, timings, each, best)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if on_gpu:
        memory = devices[0].memory_stats()["peak_bytes_in_use"] / 2**30
    print(f"product of matrices {best:.0f} GFLOP/s, peak memory {memory:.2f} GiB")
    found |= dict(gflop_per_image=each, peak=best, memory_gib=memory)
    keep(options, found)
    first = next(iter(ours.values()))
    for name, more in (("profile", profile), ("parts", timed_parts)):
        if asked := getattr(options, name):
            try:
                found[name] = more(first, asked if name == "profile" else options.rounds)
            except Exception as error:
                found[name] = {"error": f"{type(error).__name__}: {str(error)[:1000]}"}
                print(name, found[name]["error"], file=sys.stderr)
            keep(options, found)


def show(options, timings, each, best):
    """Prints the table of the steps; returns its numbers."""
    base = timings["lindyn"].times if "lindyn" in timings else None
    rows, found = [], {}
    for name, run in timings.items():
        rate = options.batch / run.median
        found[name] = dict(images_per_second=rate, times=run.times, compile=run.compile)
        compare = f"{1 / timing.ratio(run.times, base):.2f}" if base else ""
        rows.append((name, f"{rate:.4g}", compare, f"{each * rate / best:.2f}"))
    print()
    timing.table(("step", "images/s", "of lindyn", "of peak"), rows)
    return found


def timed_parts(training, rounds):
    on_gpu = training.devices[0].platform == "gpu"
    jobs = {name: (run, jax.block_until_ready) for name, run in parts(training).items()}
    pieces = measured(jobs, rounds, on_gpu)
    rows = [(name, f"{1e3 * run.median:.2f}") for name, run in pieces.items()]
    timing.table(("part, one device's share", "ms"), rows)
    return {name: run.times for name, run in pieces.items()}


def keep(options, found):
    """Writes the JSON file. With --key, the results of other runs in the file are kept."""
    if not options.json:
        return
    file = pathlib.Path(options.json)
    if options.key:
        others = json.loads(file.read_text()) if file.exists() else {}
        found = others | {options.key: found}
    timing.write(file, found)


def scaling(options):
    """Times the same batch on different numbers of devices, each in a separate process."""
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
    add("--methods", nargs="+", default=list(METHODS), choices=METHODS, help="of ours")
    add("--against", nargs="*", default=AGAINST, choices=AGAINST, help="PyTorch's ways")
    add("--parts", action="store_true", help="time pieces of the step too")
    add("--profile", type=int, metavar="STEPS", help="list the GPU's kernels in so many")
    add("--devices", type=int, help="of this process; all by default, on a CPU one a core")
    add("--scaling", type=int, nargs="+", metavar="DEVICES", help="numbers of devices")
    add("--json", metavar="FILE", help="write all numbers")
    add("--key", metavar="NAME", help="under this name in the file, which may hold others")
    return parser.parse_args()


if __name__ == "__main__":
    main()

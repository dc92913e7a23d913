"""Describes this machine and measures its peak rates.

    python benchmarks/machine.py --json facts.json

Prints versions, the processor and the GPU, and the best rates that JAX reaches here: the bytes
per second that x + 1 in place reads and writes, and the rate of matrix products in each
precision, on random numbers. float32 is measured with JAX's default precision, which is TF32 on
a GPU that supports it, and with exact precision.
"""

import argparse
import contextlib
import os
import pathlib
import platform
import shutil
import subprocess

import jax
import jax.numpy as jnp
import timing


PACKAGES = (
    *("jaxlib", "jax-cuda13-plugin", "nvidia-cudnn-cu13", "equinox", "optax", "optimistix"),
    *("orbax-checkpoint", "numba", "scipy", "scikit-learn", "torch", "torchvision", "tyro"),
)
ASKED = (
    *("name", "driver_version", "memory.total", "power.limit", "clocks.max.sm"),
    *("clocks.max.memory", "pcie.link.gen.max", "mig.mode.current"),
)
PRODUCTS = {  # matrix products: dtype, precision, divisor of --size
    "bfloat16": ("bfloat16", None, 1),
    "float32": ("float32", None, 1),
    "float32, exact": ("float32", "highest", 1),
    "float64": ("float64", None, 2),
}


def card():
    """The output of nvidia-smi as a dictionary, or None if it is not installed."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    if said.returncode:
        return {"error": said.stdout.strip() or said.stderr.strip()}
    values = said.stdout.strip().splitlines()[0].split(", ")
    return dict(zip(ASKED, values, strict=True))


def processor():
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def bandwidth(size, least):
    """Bytes per second that are read and written, for an array of `size` numbers."""
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    x = jnp.zeros(size, jnp.float32)

    def run():
        nonlocal x
        x = add(x)
        return x

    return 2 * x.nbytes / min(timing.per_call(run, jax.block_until_ready, least))


def product(dtype, precision, n, least):
    """Operations per second of a matrix product; additions and multiplications both count."""
    draw = lambda seed: jax.random.normal(jax.random.key(seed), (n, n), jnp.float32)
    a, b = draw(0).astype(dtype), draw(1).astype(dtype)
    multiply = jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision))
    times = timing.per_call(lambda: multiply(a, b), jax.block_until_ready, least)
    return 2 * n**3 / min(times)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--numbers", type=int, default=10**9, help="in the array that is copied (10^9)")
    add("--size", type=int, default=8192, help="of the matrices (8192; half in float64)")
    add("--least", type=float, default=0.3, help="seconds of a sample (0.3)")
    add("--json", metavar="FILE", help="write all numbers")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    about = timing.facts(PACKAGES)
    about |= dict(processor=processor(), system=platform.platform(), nvidia_smi=card())
    devices = jax.devices()
    about |= dict(device=devices[0].device_kind, devices=len(devices))
    about["xla_flags"] = os.environ.get("XLA_FLAGS")
    found = {"about": about}
    keep = lambda: timing.write(options.json, found) if options.json else None
    keep()
    print(about["processor"], about["nvidia_smi"], about["device"])
    found["gigabytes a second"] = bandwidth(options.numbers, options.least) / 1e9
    keep()
    print(f"memory {found['gigabytes a second']:.0f} GB/s")
    rates = found["teraflops a second"] = {}
    for name, (dtype, precision, smaller) in PRODUCTS.items():
        n = options.size // smaller
        rates[name] = product(dtype, precision, n, options.least) / 1e12
        keep()
        print(f"{name}: {rates[name]:.3g} TF/s")


if __name__ == "__main__":
    main()

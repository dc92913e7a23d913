"""The command `python -m lindyn.train`: one training run, stored in a folder of its own.

Read `config` first for the flags; `loop` does the training.
"""

import contextlib
import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from lindyn import command
from lindyn.command import UsageError
from lindyn.train.config import Config, check
from lindyn.train.presets import presets


LEAST = 16  # minimum number of images per device and step, when CPU cores are the devices
# Fields of `Config` that may differ when a run is resumed.
FREE = {"out", "overwrite", "resume", "json", "devices", "workers", "keep"}
FREE |= {"coordinator", "processes", "process", "fail_on_collapse", "epochs", "linear"}


def main(argv: Sequence[str] | None = None) -> int:
    """Trains as the flags say and returns the exit code.

    The code is 0 after a complete run, 2 for wrong usage and 130 after an interruption. It is 1
    if the loss or the gradient is not finite, or if --fail-on-collapse is given and the network
    has collapsed.
    """
    return command.run("train", Config, _main, argv, presets())


def _main(config: Config) -> int:
    if config.preset == "list":
        print("\n".join(presets()))
        return command.DONE
    if config.preset is not None and config.preset not in presets():
        raise UsageError(f"--preset {config.preset}: no such arm; --preset list shows all")
    if config.resume:
        config = _resumed(config)
    check(config)
    _check_folder(config)
    _host_devices(config)
    command.start(double=config.precision == "float64", accelerator=True)
    devices = _devices(config)

    import jax

    from lindyn.train import loop
    from lindyn.train.data import gaussian, source

    first = jax.process_index() == 0
    say = lambda text: print(text, file=sys.stderr, flush=True) if first else None
    images = source.of(config)
    source.check_batch(config, images, len(devices))
    _make_folder(config)
    say(f"on {len(devices)} x {devices[0].device_kind}")
    run = loop.prepare(config, images, devices, say)
    run.folder.write("config.json", _plain(config))
    run.folder.write("environment.json", _environment(devices, images.checksum))
    if config.data == "gaussian":
        run.folder.keep("covariances.npz", gaussian.covariances(config)._asdict())
    try:
        summary = loop.train(run)
    except loop.Interrupted as stop:
        say(f"lindyn train: {stop}")
        return command.INTERRUPTED
    except loop.NotFinite as stop:
        say(f"lindyn train: {stop}; the state before it is in {run.folder.checkpoints}")
        return command.FAILED
    if first:
        _show(config, summary)
    collapsed = summary["verdict"] != "healthy"
    return command.FAILED if config.fail_on_collapse and collapsed else command.DONE


def _resumed(config):
    """The stored config of the run, with the flags of this command that may change it."""
    import json

    path = config.out / "config.json"
    try:
        stored = json.loads(path.read_text())
    except OSError:
        raise UsageError(f"--resume: {config.out} holds no run") from None
    except ValueError:
        raise UsageError(f"--resume: {path} is not valid JSON") from None
    default = presets().get(config.preset or "", Config())
    values = {}
    for field in dataclasses.fields(Config):
        value, name = getattr(config, field.name), field.name
        old = stored.get(name, field.default)
        if name == "data_dir" and old is not None:
            old = pathlib.Path(old)
        changed = value != getattr(default, name)
        if changed and value != old and name not in FREE | {"preset", "data_dir"}:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} {value}: the run that is resumed has {old}")
        values[name] = value if changed or name in ("out", "resume", "overwrite") else old
    resumed = Config(**values)
    if resumed.epochs != stored["epochs"] and "cosine" in (
        resumed.schedule,
        resumed.ema_schedule,
    ):
        raise UsageError("--epochs: cannot change, since a cosine schedule depends on it")
    return dataclasses.replace(resumed, resume=True)


def _check_folder(config):
    """Refuses a folder that has files, unless --resume is given, or --overwrite for a run."""
    out = config.out
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: is a file; a run needs a folder")
    if config.resume or not (out.is_dir() and any(out.iterdir())):
        return
    if not (out / "config.json").exists():
        raise UsageError(f"--out {out}: holds files, but no run of this command")
    if not config.overwrite:
        raise UsageError(f"--out {out}: holds a run; --resume goes on, --overwrite removes")


def _make_folder(config):
    try:
        if config.overwrite and config.out.exists() and config.process in (None, 0):
            shutil.rmtree(config.out)
        config.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {config.out}: cannot write there ({error.strerror})") from None


def _host_devices(config):
    """Makes several JAX devices of the CPU's cores, for runs without a GPU or TPU.

    On a CPU, XLA runs most of a step on one core per device. The number of devices is
    --devices, or the largest power of two that is at most the number of cores and leaves
    `LEAST` images per device. A linear network has one device, since its steps are too short
    to distribute.
    """
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    most = max(1, min(cores or 1, config.batch // LEAST))
    most = 1 if config.model == "linear" else most
    count = config.devices or 1 << (most.bit_length() - 1)
    if config.coordinator is None:
        with contextlib.suppress(RuntimeError):  # JAX has already made this process' devices
            jax.config.update("jax_num_cpu_devices", count)


def _devices(config):
    import jax

    if config.coordinator is not None:
        place = None if config.coordinator == "auto" else config.coordinator
        jax.distributed.initialize(place, config.processes, config.process)
    if config.devices is None:
        return jax.devices()
    if jax.process_count() > 1:
        raise UsageError("--devices: not with several processes, which use all devices")
    local = jax.local_devices()
    if config.devices > len(local):
        raise UsageError(f"--devices {config.devices}: there are {len(local)}")
    return local[: config.devices]


def _plain(config):
    plain = dataclasses.asdict(config)
    return {name: str(x) if isinstance(x, pathlib.Path) else x for name, x in plain.items()}


def _environment(devices, checksum) -> dict[str, Any]:
    names = ("lindyn", "jax", "jaxlib", "equinox", "optax", "orbax-checkpoint", "numpy")
    return dict(
        python=platform.python_version(),
        versions={name: _version(name) for name in names},
        platform=devices[0].platform,
        devices=[device.device_kind for device in devices],
        commit=_commit(),
        data_checksum=checksum,
    )


def _version(name):
    """None for a package that is not installed, as when lindyn runs from a checkout."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)


def _commit():
    """The commit of this checkout; None without git, or outside a checkout."""
    command = ["git", "-C", str(pathlib.Path(__file__).parent), "rev-parse", "HEAD"]
    with contextlib.suppress(OSError):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        return result.stdout.strip() or None


def _show(config, summary):
    if config.json:
        print(command.as_json(dict(out=config.out, **summary)))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False)
    for name, value in summary.items():
        if value is not None:
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            table.add_row(name.replace("_", " "), shown)
    Console(highlight=False).print(table)
    print(config.out)

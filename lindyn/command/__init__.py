"""What the commands share: parsing, exit codes, and files that say how to redraw them."""

import contextlib
import dataclasses
import gc
import hashlib
import io
import json
import math
import os
import pathlib
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NoReturn, TypeVar

import tyro


Config = TypeVar("Config")
T = TypeVar("T")
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


class UsageError(ValueError):
    """A user's mistake, in one line: what came, what is allowed, and why."""


def run(
    name: str,
    config: type[Config],
    main: Callable[[Config], int],
    argv: Sequence[str] | None = None,
    presets: Mapping[str, Config] | None = None,
) -> int:
    """Parse `argv` into `config`, call `main`, and return the exit code.

    `presets` holds the values that `--preset` starts from; other flags change them.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        chosen = _parse(name, config, argv, None)
        preset = (presets or {}).get(getattr(chosen, "preset", None) or "")
        if preset is not None:
            chosen = _parse(name, config, argv, preset)
        return main(chosen)
    except UsageError as error:
        print(f"lindyn {name}: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print(f"lindyn {name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our table has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def start(*, double: bool = True, accelerator: bool = False) -> None:
    """Double precision, if so wanted, and programs that are compiled once for all runs.

    Without `accelerator` the processor does the work, unless JAX_PLATFORMS says otherwise: a
    picture is not worth a GPU's start and memory.

    Programs are kept in the user's cache folder, apart for each kind of processor, unless JAX
    has been told otherwise: by JAX_COMPILATION_CACHE_DIR, or JAX_ENABLE_COMPILATION_CACHE=0.
    """
    import jax

    gc.freeze()  # tracing makes many objects, and little garbage
    gc.set_threshold(100_000)
    if double:
        jax.config.update("jax_enable_x64", True)
    if not accelerator and not jax.config.values["jax_platforms"]:
        jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(_cache()))


def _cache():
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    kind = platform.machine()
    if (processor := pathlib.Path("/proc/cpuinfo")).exists():
        abilities = [line for line in processor.read_text().splitlines() if "flags" in line]
        kind += "-" + hashlib.sha256("".join(abilities[:1]).encode()).hexdigest()[:8]
    return pathlib.Path(home) / "lindyn" / kind


def leave(code: int) -> NoReturn:
    """Ends the process at once: taking XLA's programs apart would take a fifth of a second."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def number(
    flag: str,
    value: float | int,
    least: float | int = -math.inf,
    most: float | int = math.inf,
    *,
    above: bool = False,
    why: str = "",
) -> None:
    """`UsageError` unless least <= value <= most (least < value if `above`), and finite."""
    low_enough = value > least if above else value >= least
    if math.isfinite(value) and low_enough and value <= most:
        return
    bounds = [f"{'above' if above else 'at least'} {least:g}"] * math.isfinite(least)
    bounds += [f"at most {most:g}"] * math.isfinite(most)
    allowed = " and ".join(["finite", *bounds])
    raise UsageError(f"{flag} {value:g}: must be {allowed}" + f" ({why})" * bool(why))


def interval(flag: str, ends: tuple[float | int, float | int]) -> None:
    """`UsageError` unless the two ends are of a drawable size, in order and apart."""
    for end in ends:
        number(flag, end, -1e6, 1e6)
    low, high = ends
    if not low < high:
        raise UsageError(f"{flag} {low:g} {high:g}: the lower end must come first")
    if high - low < max(1e-9, 1e-6 * max(abs(low), abs(high))):
        raise UsageError(f"{flag} {low:g} {high:g}: too narrow to draw")


def redraw(name: str, config: Any, preset: Any) -> str:
    """The command that gives the same output: the flags that differ from the preset's.

    A field without a default is no flag, but a word by its place.
    """
    words = ["python", "-m", f"lindyn.{name}"]
    if preset is not None:
        words += ["--preset", preset.preset]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        start = field.default if preset is None else getattr(preset, field.name)
        if value == start or field.name in ("out", "json", "show", "preset"):
            continue
        if field.default is dataclasses.MISSING:
            words.append(str(value))
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{flag}", *map(str, values)]
    return shlex.join(words)


def provenance(name: str, config: Any, preset: Any = None) -> dict[str, Any]:
    """What every output file carries."""
    return {
        "command": redraw(name, config, preset),
        "version": f"lindyn {version('lindyn')}",
        "parameters": {
            field.name: getattr(config, field.name)
            for field in dataclasses.fields(config)
            if field.name not in ("out", "json", "show")
        },
    }


def targets(
    out: pathlib.Path,
    stem: str,
    formats: Sequence[str],
    known: Sequence[str],
    *,
    make: bool = True,
) -> dict[str, pathlib.Path]:
    """The file for each format: `out` is a folder, or a file whose suffix is a format too.

    The first of `known` is taken if neither names one. With `make`, makes the folder, and
    proves that it can be written to before any work is done.
    """
    suffix, folder = out.suffix.removeprefix("."), out
    if suffix and not out.is_dir():
        if suffix not in known:
            raise UsageError(f"--out {out}: the suffix must be one of {', '.join(known)}")
        folder, stem, formats = out.parent, out.stem, [suffix, *formats]
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        raise UsageError(f"--out {out}: cannot write there ({error.strerror})") from None
    return {each: folder / f"{stem}.{each}" for each in dict.fromkeys(formats or known[:1])}


def as_json(content: Any) -> str:
    """Strict JSON: NaN and infinities, which it lacks, are null and "inf"."""
    return json.dumps(_strict(content), allow_nan=False)


def progress(
    items: Sequence[T], noun: str, label: Callable[[T], str] = lambda _: ""
) -> Iterator[T]:
    """`items`, with a bar on stderr if they are several, or lines if it is no terminal."""
    if len(items) < 2:
        yield from items
        return
    from rich.console import Console
    from rich.progress import (
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    begin = told = time.monotonic()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(noun, total=len(items))
        for done, item in enumerate(items):
            bar.update(task, completed=done, description=f"{noun} {label(item)}")
            now = time.monotonic()
            if not console.is_terminal and now - told > 10:
                told, left = now, (now - begin) / done * (len(items) - done)
                told_of = f"{done} of {len(items)} {noun}, about {left:.0f} s left"
                console.print(f"{told_of}, {label(item)}".removesuffix(", "), soft_wrap=True)
            yield item


def _strict(x):
    if isinstance(x, Mapping):
        return {key: _strict(value) for key, value in x.items()}
    if hasattr(x, "tolist"):
        x = x.tolist()
    if isinstance(x, list | tuple):
        return [_strict(value) for value in x]
    if isinstance(x, complex):
        return [_strict(x.real), _strict(x.imag)]
    if isinstance(x, float) and not math.isfinite(x):
        return None if math.isnan(x) else ("inf" if x > 0 else "-inf")
    return str(x) if isinstance(x, pathlib.Path) else x


def _parse(name, config, argv, default):
    said = io.StringIO()
    keep = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(config, prog=f"lindyn {name}", args=argv, **keep)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UsageError(_one_line(said.getvalue())) from None


def _one_line(box: str) -> str:
    """tyro's framed error, up to its first rule, without the frame."""
    lines = [line.strip("│ ") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    rule = next((i for i, line in enumerate(lines) if line.startswith("──")), len(lines))
    return " ".join(" ".join(lines[:rule]).split())

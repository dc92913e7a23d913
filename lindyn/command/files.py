"""Files that say how to redraw them, and files that are written whole or not at all."""

import dataclasses
import json
import math
import os
import pathlib
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from lindyn.command.usage import UsageError


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


def as_json(content: Any) -> str:
    """Strict JSON: NaN and infinities, which it lacks, are null and "inf"."""
    return json.dumps(_strict(content), allow_nan=False)


def save(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
    """An npz file, the same bytes each time."""
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]


def whole(path: pathlib.Path, write: Callable[[pathlib.Path], object]) -> None:
    """`write` a file that is never seen in part: under another name, which is then changed."""
    other = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(other)
        other.replace(path)
    finally:
        other.unlink(missing_ok=True)


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

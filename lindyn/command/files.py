"""Output files: their paths, the command that redraws them, and atomic writing.

Read `program` first.
"""

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

from lindyn.command.usage import UsageError


def targets(
    out: pathlib.Path,
    stem: str,
    formats: Sequence[str],
    known: Sequence[str],
    *,
    make: bool = True,
) -> dict[str, pathlib.Path]:
    """The path of the output file for each format.

    `out` is a folder, in which the files are called `stem`, or a file whose suffix names one
    more format. If neither `formats` nor a suffix names a format, the first of `known` is used.
    With `make`, the folder is created, and a temporary file proves that it can be written to
    before any work is done. `UsageError` if the suffix of `out` is not one of `known`, or if
    the folder cannot be created or written to.
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
    return {kind: folder / f"{stem}.{kind}" for kind in dict.fromkeys(formats or known[:1])}


def redraw(name: str, config: Any, preset: Any) -> str:
    """The shell command that gives the same output.

    It has a flag for each field of `config` whose value differs from that of `preset`, or from
    its default if there is no preset. A field without a default is a positional argument.
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
    """What every output file records: the command that redraws it, version and parameters."""
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
    """Strict JSON, which has no NaN and no infinities: they become null, "inf" and "-inf".

    Arrays become lists, a complex number a list of its two parts, and a path a string.
    """
    return json.dumps(_strict(content), allow_nan=False)


def save(path: pathlib.Path, arrays: Mapping[str, Any]) -> None:
    """Write `arrays` to an npz file. The same arrays give the same bytes."""
    import numpy as np  # imported here so that --help stays fast

    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def whole(path: pathlib.Path, write: Callable[[pathlib.Path], object]) -> None:
    """Write a file atomically, so that nobody reads an incomplete file.

    `write` is called with a temporary path in the same folder, which is then renamed to `path`.
    """
    part = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


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

"""How a command begins and ends: its flags, its exit code, and what JAX is told."""

import contextlib
import gc
import hashlib
import io
import os
import pathlib
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TypeVar

import tyro

from lindyn.command.usage import UsageError


Config = TypeVar("Config")
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


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


def leave(code: int) -> NoReturn:
    """Ends the process at once: taking XLA's programs apart would take a fifth of a second."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _cache():
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    kind = platform.machine()
    if (processor := pathlib.Path("/proc/cpuinfo")).exists():
        abilities = [line for line in processor.read_text().splitlines() if "flags" in line]
        kind += "-" + hashlib.sha256("".join(abilities[:1]).encode()).hexdigest()[:8]
    return pathlib.Path(home) / "lindyn" / kind


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

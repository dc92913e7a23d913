"""How a command begins and ends: parsing its flags, configuring JAX, and its exit code."""

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
    """Parse `argv` into a `config`, call `main` with it, and return the exit code.

    `presets` maps each name that `--preset` takes to a configuration, whose values other flags
    override. A `UsageError` is printed as one line, with exit code 2. An interrupt by the user
    has exit code 130. A closed pipe on stdout is no error: its exit code is 0.
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
    except BrokenPipeError:  # whoever reads stdout, `head` for example, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def start(*, double: bool = True, accelerator: bool = False) -> None:
    """Configure JAX: its precision, its device and a persistent cache of compiled programs.

    `double` sets double precision. Without `accelerator` JAX runs on the CPU, unless
    JAX_PLATFORMS says otherwise: a picture is not worth a GPU's start-up time and memory.

    Compiled programs are stored in the user's cache folder, separately for each kind of CPU,
    unless JAX_COMPILATION_CACHE_DIR names another folder. JAX_ENABLE_COMPILATION_CACHE=0
    turns the cache off.
    """
    import jax

    gc.freeze()  # tracing makes many objects and little garbage: collect rarely
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
    """End the process at once: freeing XLA's programs would take a fifth of a second."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _cache():
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    kind = platform.machine()
    if (processor := pathlib.Path("/proc/cpuinfo")).exists():
        cpu_flags = [line for line in processor.read_text().splitlines() if "flags" in line]
        kind += "-" + hashlib.sha256("".join(cpu_flags[:1]).encode()).hexdigest()[:8]
    return pathlib.Path(home) / "lindyn" / kind


def _parse(name, config, argv, default):
    message = io.StringIO()
    options = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(message):
            return tyro.cli(config, prog=f"lindyn {name}", args=argv, **options)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UsageError(_one_line(message.getvalue())) from None


def _one_line(box: str) -> str:
    """The text of tyro's framed error message, up to its first horizontal rule."""
    lines = [line.strip("│ ") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    rule = next((i for i, line in enumerate(lines) if line.startswith("──")), len(lines))
    return " ".join(" ".join(lines[:rule]).split())

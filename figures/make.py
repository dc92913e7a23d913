"""Redraws the figures one after another, each in its own process.

`python figures/make.py [--quick] [--only fig03 fig05] [--out FOLDER]`. If a script fails, its
name is printed and the exit code is 1.
"""

import argparse
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence


FOLDER = pathlib.Path(__file__).parent
NAMES = (
    "fig02",
    "fig03",
    "fig04",
    "fig05",
    "fig06",
    "fig07",
    "fig08",
    "fig09",
    "fig10",
    "collapse",
    "separatrix",
    "curriculum",
    "sgd",
    "levels",
    "knn",
    "predicted",
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python figures/make.py")
    parser.add_argument("--quick", action="store_true", help="rougher pictures in seconds")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    parser.add_argument("--out", type=pathlib.Path, default=FOLDER, help="a folder")
    asked = parser.parse_args(argv)
    failed = [name for name in asked.only if not drawn(name, asked.out, asked.quick)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def drawn(name: str, folder: pathlib.Path, quick: bool) -> bool:
    """Runs one script. Returns whether it succeeded, and prints its stderr if it failed."""
    out = folder / f"{name}.png"
    words = [FOLDER / f"{name}.py", *["--quick"] * quick, "--out", out]
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    result = out if done.returncode == 0 else f"failed with {done.returncode}"
    print(f"{name:<12}{seconds:7.1f} s  {result}", flush=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr, flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())

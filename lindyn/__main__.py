"""The console script: `lindyn COMMAND ...` is the same as `python -m lindyn.COMMAND ...`."""

import sys
from importlib import import_module


COMMANDS = {
    "predict": "will it collapse? what the theory says of a trainer's settings",
    "phase": "phase diagrams: flow, fixed points, nullclines, what collapses",
    "explore": "an interactive page: move the sliders, see why it does not collapse",
    "sweep": "maps over two parameters: collapse, basins, escape times, alignment",
    "train": "real networks: BYOL, SimSiam, DirectPred, and their spectra",
    "compare": "a run of the trainer against the theory",
    "verify": "the theorems and closed forms, checked on random problems",
}
USAGE = "usage: lindyn COMMAND [OPTIONS]\n\n" + "".join(
    f"  {name:8s} {what}\n" for name, what in COMMANDS.items()
)


def main() -> int:
    """Run the named command and return its exit code; 2 if there is no such command."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(USAGE + "\n`lindyn COMMAND --help` lists the options of a command.")
        return 0
    if name not in COMMANDS:
        names = ", ".join(COMMANDS)
        print(f"lindyn {name}: no such command; choose one of {names}", file=sys.stderr)
        return 2
    return import_module(f"lindyn.{name}").main(rest)


if __name__ == "__main__":
    sys.exit(main())

"""The learning dynamics of linear BYOL (Tian, Chen and Ganguli, ICML 2021, arXiv 2102.06810).

The package solves the equations of motion, draws their phase portraits and checks trained
networks against them. The names below are imported on first use. Each command of the command
line, such as `lindyn phase`, has a folder of its own.
"""

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from lindyn import explore as explore, plot as plot, sweep as sweep, theory as theory
    from lindyn.record.reading import load_run as load_run
    from lindyn.solve import ensemble as ensemble, trajectory as trajectory
    from lindyn.theory import (
        cosine as cosine,
        critical_decay as critical_decay,
        fixed_points as fixed_points,
        predictors as predictors,
        spectra as spectra,
        steps as steps,
    )
    from lindyn.theory.states import (
        Data as Data,
        Full as Full,
        Modes as Modes,
        Moments as Moments,
        Params as Params,
    )

_MODULES = {
    "lindyn": ("explore", "plot", "sweep", "theory"),
    "lindyn.solve": ("ensemble",),
    "lindyn.theory": ("cosine", "fields", "predictors", "spectra", "steps"),
}
_OBJECTS = {
    "lindyn.record.reading": ("load_run",),
    "lindyn.solve": ("trajectory",),
    "lindyn.theory": ("critical_decay", "fixed_points"),
    "lindyn.theory.states": ("Data", "Full", "Modes", "Moments", "Params"),
}
_MODULE = {name: f"{home}.{name}" for home, names in _MODULES.items() for name in names}
_HOME = {name: home for home, names in _OBJECTS.items() for name in names}
__all__ = [*_MODULE, *_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    """Import on first use: diffrax and matplotlib cost more than most commands need."""
    if name in _MODULE:
        return import_module(_MODULE[name])
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'lindyn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

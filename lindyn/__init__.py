"""The learning dynamics of linear BYOL: solved, drawn and checked."""

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from lindyn import (
        cosine as cosine,
        ensemble as ensemble,
        explore as explore,
        fields as fields,
        plot as plot,
        predictors as predictors,
        spectra as spectra,
        steps as steps,
        sweep as sweep,
        theory as theory,
    )
    from lindyn.fields import (
        Data as Data,
        Full as Full,
        Modes as Modes,
        Moments as Moments,
        Params as Params,
    )
    from lindyn.runs import load_run as load_run
    from lindyn.solve import trajectory as trajectory
    from lindyn.theory import (
        critical_decay as critical_decay,
        fixed_points as fixed_points,
    )

_MODULES = (
    *("cosine", "ensemble", "explore", "fields", "plot", "predictors"),
    *("spectra", "steps", "sweep", "theory"),
)
_HOMES = {
    "fields": ("Data", "Full", "Modes", "Moments", "Params"),
    "runs": ("load_run",),
    "solve": ("trajectory",),
    "theory": ("critical_decay", "fixed_points"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = [*_MODULES, *_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    """Import on first use: diffrax and matplotlib cost more than most commands need."""
    if name in _MODULES:
        return import_module(f"lindyn.{name}")
    if name in _HOME:
        return getattr(import_module(f"lindyn.{_HOME[name]}"), name)
    raise AttributeError(f"module 'lindyn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

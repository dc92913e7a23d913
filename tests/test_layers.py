"""Which module may import which. A new arrow is a design decision: make it here."""

import ast
import pathlib
import subprocess
import sys

import pytest


PACKAGE = pathlib.Path(__file__).parents[1] / "lindyn"
MAY_IMPORT = {
    "__main__": set(),
    "command": set(),
    "fields": set(),
    "predictors": {"spectra", "xla"},
    "spectra": {"xla"},
    "stability": set(),
    "plot": set(),
    "rules": set(),
    "taylor": {"rules"},
    "xla": set(),
    "lanes": {"rules", "taylor"},
    "kernel": {"lanes"},
    "engine": {"kernel", "lanes", "rules", "taylor", "xla"},
    "ensemble": {"engine", "lanes"},
    "solve": {"fields", "xla"},
    "theorems": {"fields", "xla"},
    "runs": {"command"},
    "laws": {"fields", "runs", "spectra", "theorems", "units"},
    "forecast": {"fields", "laws", "solve", "spectra", "units"},
    "fate": {
        "basins",
        "ensemble",
        "fields",
        "flow",
        "forecast",
        "portrait",
        "spectra",
        "theory",
        "units",
    },
    "plot_run": {"plot"},
    "answers": {
        "command",
        "fate",
        "forecast",
        "laws",
        "predictors",
        "runs",
        "units",
    },
    "report": {"answers", "fate", "forecast", "laws", "units"},
    "compare": {"answers", "chunks", "command", "plot_run", "report", "runs"},
    "units": {"fields"},
    "theory": {"fields", "predictors", "stability"},
    "flow": {"ensemble"},
    "portrait": {"ensemble", "fields", "flow", "theory", "xla"},
    "phase": {"command", "competition", "fields", "flow", "plot", "portrait", "theory"},
    "competition": {
        "cosine",
        "ensemble",
        "fields",
        "flow",
        "portrait",
        "stability",
        "theory",
    },
    "basins": {"fields", "theory"},
    "case": {"fields", "predictors", "steps", "theory", "units"},
    "setting": {"case", "fields", "steps"},
    "asked": {"command", "predict", "setting", "trial"},
    "maps": {"basins", "ensemble", "fields", "setting", "stepped", "theory"},
    "stepped": {"basins", "curves", "fields", "setting", "steps", "trial"},
    "curves": {"fields", "setting", "steps", "theory"},
    "chart": {"curves", "setting"},
    "chunks": {"command"},
    "sweep": {"asked", "chart", "chunks", "command", "maps", "plot"},
    "outlook": {"basins", "case", "ensemble", "fields", "maps"},
    "steps": {"fields", "stability", "theory"},
    "cosine": {"fields", "theory"},
    "population": {"fields", "predictors", "spectra", "steps"},
    "trial": {"case", "population", "steps"},
    "remedies": {"basins", "case", "fields", "outlook", "steps", "theory", "trial", "units"},
    "reasons": {"case", "cosine", "trial"},
    "predict": {"case", "command", "runs", "reasons", "remedies"},
    "problems": {"fields"},
    "claims.claim": {"fields", "problems"},
    "claims.networks": {"claims.claim", "fields", "problems", "solve", "theorems"},
    "claims.steps": {"claims.claim", "problems", "theorems"},
    "claims.alignment": {"claims.claim", "fields", "solve", "spectra", "theorems", "theory"},
    "claims.modes": {"claims.claim", "fields", "solve", "spectra", "theory"},
    "claims.cosine": {
        "claims.claim",
        "cosine",
        "fields",
        "solve",
        "spectra",
        "steps",
        "theory",
    },
    "claims.fates": {
        "claims.claim",
        "ensemble",
        "fields",
        "predictors",
        "solve",
        "stability",
        "theory",
    },
    "verify": {"claims", "command", "problems"},
    "explore.__main__": {"command", "explore.movie", "explore.page", "explore.presets"},
    "explore.equations": {
        "cosine",
        "explore.javascript",
        "explore.presets",
        "fields",
        "flow",
        "portrait",
        "predictors",
        "stability",
        "theory",
    },
    "explore.javascript": set(),
    "explore.movie": {"answers", "command", "fate", "forecast", "runs", "units"},
    "explore.page": {"command", "explore.equations", "explore.plots", "explore.presets"},
    "explore.plots": {"plot"},
    "explore.presets": {"command"},
    "train.__main__": {
        "command",
        "train.config",
        "train.gaussian",
        "train.loop",
        "train.presets",
        "train.source",
    },
    "train.augment": set(),
    "train.balance": {"theorems", "train.byol", "train.layers"},
    "train.byol": {"train.layers", "train.resnet", "xla"},
    "train.checkpoint": {"command"},
    "train.config": {"command"},
    "train.gaussian": {"command", "train.config"},
    "train.data": {"command", "train.pickled"},
    "train.evaluate": {"train.augment"},
    "train.folders": {"command", "train.data"},
    "train.layers": set(),
    "train.loop": {
        "command",
        "train.checkpoint",
        "train.config",
        "train.evaluate",
        "train.record",
        "train.setup",
        "train.source",
        "train.step",
        "train.weights",
    },
    "train.pickled": {"command"},
    "train.presets": {"train.config"},
    "train.record": {"command", "spectra", "train.step"},
    "train.resnet": {"train.layers"},
    "train.setup": {
        "predictors",
        "theorems",
        "train.augment",
        "train.byol",
        "train.config",
        "train.gaussian",
        "train.step",
    },
    "train.source": {
        "command",
        "train.config",
        "train.data",
        "train.evaluate",
        "train.folders",
        "train.gaussian",
        "train.step",
    },
    "train.step": {"predictors", "theorems", "train.balance", "train.byol"},
    "train.weights": {"chunks", "command", "train.resnet"},
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "lindyn":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lindyn."):
            module = (node.module or "").removeprefix("lindyn.")
            if module in ("explore", "train"):
                yield from (f"{module}.{alias.name}" for alias in node.names)
            else:
                yield module
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.removeprefix("lindyn.")
                for alias in node.names
                if alias.name.startswith("lindyn.")
            )


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_imports_point_downwards(path):
    if path.stem == "__init__":
        return
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    assert set(imported(path)) <= MAY_IMPORT[name]


def test_the_theory_does_not_import_the_training_nor_the_training_the_theory():
    # theorems: one recursion is Theorem 1 for steps, for the trainer's sums and for `verify`.
    shared = {"chunks", "command", "predictors", "spectra", "theorems", "xla"}
    for name, targets in MAY_IMPORT.items():
        inside = {target for target in targets if target.startswith("train.")}
        if name.startswith("train."):
            assert targets - inside <= shared
        else:
            assert not inside


def test_few_modules_import_diffrax_and_matplotlib():
    def users(library):
        return {
            path.stem
            for path in PACKAGE.rglob("*.py")
            if f"import {library}" in path.read_text() or f"from {library}" in path.read_text()
        }

    assert users("diffrax") == {"solve", "lanes"}  # its solvers, and one of its tableaus
    assert users("matplotlib") == {"plot", "plot_run"}


def test_importing_lindyn_brings_in_little_and_all_names_are_there():
    program = (
        "import sys, lindyn as ld;"
        "assert not {'jax', 'diffrax', 'matplotlib'} & set(sys.modules);"
        "assert set(ld.__all__) <= set(dir(ld));"
        "[getattr(ld, name) for name in ld.__all__]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_name_is_an_attribute_error():
    import lindyn

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lindyn.nothing

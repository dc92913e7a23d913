"""Which folder of lindyn may import which. The tests call a folder of the package a room.

A new arrow is a design decision: make it here, in `MAY_IMPORT`.
"""

import ast
import graphlib
import pathlib
import subprocess
import sys

import pytest


PACKAGE = pathlib.Path(__file__).parents[1] / "lindyn"
# For each room, the rooms that it may import.
MAY_IMPORT = {
    "theory": set(),
    "command": set(),
    "plot": set(),
    "solve": {"theory"},
    "record": {"command", "theory"},
    "verify": {"command", "solve", "theory"},
    "phase": {"command", "plot", "solve", "theory"},
    "predict": {"command", "record", "solve", "theory"},
    "sweep": {"command", "plot", "predict", "solve", "theory"},
    "compare": {"command", "phase", "plot", "record", "solve", "theory"},
    "explore": {"command", "compare", "phase", "plot", "record", "theory"},
    "train": {"command", "record", "theory"},
}
FILES = {"__init__.py", "__main__.py", "py.typed"}  # Python prescribes these names


def modules():
    return {
        ".".join(("lindyn", *path.relative_to(PACKAGE).with_suffix("").parts)): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imported(path):
    """The modules and packages of lindyn that a file imports, also inside its functions."""
    known = modules()
    for node in ast.walk(ast.parse(path.read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").partition(".")[0] == "lindyn"
        ):
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                is_module = inside in known or f"{inside}.__init__" in known
                yield inside if is_module else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (x.name for x in node.names if x.name.partition(".")[0] == "lindyn")


def room(module):
    return module.split(".")[1]


@pytest.mark.parametrize("name", sorted(MAY_IMPORT))
def test_a_room_imports_only_what_is_beneath_it(name):
    for path in (PACKAGE / name).rglob("*.py"):
        found = {room(module) for module in imported(path)} - {name}
        assert found <= MAY_IMPORT[name], path


def test_a_long_file_says_why_it_is_one_file():
    files = [path for kind in ("*.py", "*.js") for path in PACKAGE.rglob(kind)]
    for path in files:
        lines = path.read_text().splitlines()
        assert len(lines) <= 300 or "One file" in " ".join(lines[:25]), path


def test_rooms_and_modules_import_in_no_circle():
    graphlib.TopologicalSorter(MAY_IMPORT).prepare()
    known = {name: path for name, path in modules().items() if name != "lindyn.__init__"}
    inside = lambda name: {*imported(known[name])} & known.keys() - {name}
    graphlib.TopologicalSorter({name: inside(name) for name in known}).prepare()


def test_training_takes_of_the_theory_what_is_measured_on_matrices():
    """Of the theory, the trainer imports only modules that work on measured matrices.

    `theorems` is one of them, since the trainer's ledger and `verify` share one recursion:
    Theorem 1 for steps.
    """
    measured = {"precision", "predictors", "spectra", "theorems"}
    for path in (PACKAGE / "train").rglob("*.py"):
        names = {name for name in imported(path) if name.startswith("lindyn.theory")}
        assert names <= {f"lindyn.theory.{name}" for name in measured}, path


def test_only_one_room_draws_and_two_modules_know_diffrax():
    def users(library):
        return {
            str(path.relative_to(PACKAGE))
            for path in PACKAGE.rglob("*.py")
            if f"import {library}" in path.read_text() or f"from {library}" in path.read_text()
        }

    # diffrax_solver uses diffrax's solvers, and stepping uses one of its Butcher tableaus.
    assert users("diffrax") == {"solve/diffrax_solver.py", "solve/stepping.py"}
    assert {user.partition("/")[0] for user in users("matplotlib")} == {"plot"}


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


@pytest.mark.parametrize("name", sorted(MAY_IMPORT))
def test_a_room_says_what_it_may_import(name):
    said = ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text())) or ""
    allowed = ", ".join(sorted(MAY_IMPORT[name])) or "nothing else of lindyn"
    assert said.endswith(f"May import: {allowed}.")


def test_every_room_is_in_the_table_and_there_are_few():
    entries = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert entries - FILES == set(MAY_IMPORT)
    assert len(MAY_IMPORT) <= 12

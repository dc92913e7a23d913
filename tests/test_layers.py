"""Which room may import which. A new arrow is a design decision: make it here."""

import ast
import pathlib

import pytest


PACKAGE = pathlib.Path(__file__).parents[1] / "lindyn"
# A room, and the rooms beneath it that it may import.
MAY_IMPORT = {
    "theory": {"solve"},
    "command": set(),
    "plot": set(),
    "solve": {"theory"},
    "record": {"command", "theory", "train"},
    "verify": {"command", "solve", "theory"},
    "phase": {"command", "plot", "solve", "theory"},
    "predict": {"command", "record", "solve", "sweep", "theory"},
    "sweep": {"command", "plot", "predict", "solve", "theory"},
    "compare": {"command", "phase", "plot", "record", "solve", "sweep", "theory"},
    "explore": {"command", "compare", "phase", "plot", "record", "solve", "theory"},
    "train": {"command", "record", "solve", "sweep", "theory"},
}
FILES = {"__init__.py", "__main__.py"}  # what Python itself asks for


def modules():
    return {
        ".".join(("lindyn", *path.relative_to(PACKAGE).with_suffix("").parts)): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imported(path):
    """Modules and packages that a file imports, wherever in it."""
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


def test_every_room_is_in_the_table_and_there_are_few():
    entries = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert entries - FILES == set(MAY_IMPORT)
    assert len(MAY_IMPORT) <= 12

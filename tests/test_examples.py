"""Runs the Python code of the README and the examples of docstrings, and checks the output."""

import doctest
import importlib
import operator
import pathlib
import pkgutil
import re

import pytest

import lindyn


README = pathlib.Path(__file__).parents[1] / "README.md"
WITH_EXAMPLES = ("lindyn.theory", "lindyn.solve")


def modules(package):
    module = importlib.import_module(package)
    return [f"{package}.{each.name}" for each in pkgutil.iter_modules(module.__path__)]


def test_the_python_of_readme_runs():
    """All blocks run in order, as one program. Compiling its solves takes ten seconds."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    blocks = [block for block in blocks if "torchvision" not in block]
    assert len(blocks) >= 4
    names: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["survives"].shape == (200, 200) and 0.3 < names["survives"].mean() < 1


@pytest.mark.parametrize("name", [name for room in WITH_EXAMPLES for name in modules(room)])
def test_examples_print_what_they_say(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_what_users_call_first_has_an_example():
    for name in ("trajectory", "fixed_points", "critical_decay", "Params", "Modes.of"):
        assert ">>> " in (operator.attrgetter(name)(lindyn).__doc__ or ""), name

"""Tests that marks for XLA's CPU compiler do not change the results of programs."""

import json
import pathlib
import subprocess
import sys
import warnings

import numpy as np
import pytest
from random_programs import Program

from lindyn.solve import ensemble, taylor_rules, xla_marks
from lindyn.theory import fields
from lindyn.theory.states import Modes, Params


SCRIPT = pathlib.Path(__file__).with_name("random_programs.py")
FEW, MANY = 8, 200
PARAMS = Params(alpha_p=2.0, beta=0.4, eta=0.02, sigma2=0.3)


def start(first, end, *flags):
    command = [sys.executable, str(SCRIPT), str(first), str(end), *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def results(process, end):
    """The results of a process, by the number of the program.

    If a program has aborted the process, the test fails and names this program.
    """
    printed, errors = process.communicate()
    lines = [json.loads(line) for line in printed.splitlines()]
    found = {number: result for number, result in lines if isinstance(result, list)}
    if process.returncode or end - 1 not in found:
        pytest.fail(f"the process ended with program {lines[-1:]}\n{errors[:2000]}")
    return found


def compare(first, end):
    """Compares the same programs with and without marks, in two processes at the same time."""
    processes = start(first, end, "--marks"), start(first, end)
    marked, plain = (results(process, end) for process in processes)
    for number, result in plain.items():
        for x, y in zip(marked[number], result, strict=True):
            x, y = np.array(x, float), np.array(y, float)
            assert np.allclose(x, y, rtol=1e-9, atol=1e-9, equal_nan=True), str(Program(number))


@pytest.mark.skipif(
    not xla_marks.marked, reason=f"jaxlib {xla_marks.RELEASE}: no marks are set"
)
def test_marks_change_nothing():
    """XLA compiles each program for a second or two, with marks and without."""
    compare(0, FEW)


@pytest.mark.slow
def test_marks_change_nothing_in_many_programs():
    """Also runs on a release of jaxlib that is not in `xla_marks.PROVEN`.

    Add a release on which this test passes to `xla_marks.PROVEN`.
    """
    compare(FEW, MANY)


def test_random_programs_have_every_operation():
    drawn = set().union(*(Program(number).operations() for number in range(MANY)))
    # Newer releases of JAX have these operations, but jax.numpy does not use them yet.
    assert taylor_rules.ELEMENTWISE - drawn <= {"expand_dims", "stack", "unstack"}
    assert any(Program(number).vector for number in range(FEW))


def test_without_marks_an_ensemble_is_right_and_says_once_that_it_is_slower(monkeypatch):
    p = np.linspace(-0.9, 1.1, 40)
    solve = lambda field: ensemble.final(field, Modes.of(p=p, s=0.3, tau=0.2), PARAMS, 20.0)
    usual = solve(fields.modes)
    monkeypatch.setattr(xla_marks, "marked", False)
    xla_marks.tell_that_marks_are_missing.cache_clear()
    with pytest.warns(UserWarning, match=f"jaxlib {xla_marks.RELEASE}.*slower"):
        plain = solve(lambda t, y, args: fields.modes(t, y, args))
    assert np.allclose(plain.y.p, usual.y.p, rtol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve(lambda t, y, args: fields.modes(t, y, args))

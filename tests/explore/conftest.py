"""Fixtures that run the page's JavaScript in Node."""

import json
import math
import shutil
import subprocess

import pytest

from lindyn.explore import equations


# JSON has no NaN and no infinities, so they are passed as strings.
RUN = """
const unwritten = (_, x) => ["NaN", "Infinity", "-Infinity"].includes(x) ? Number(x) : x;
const written = (_, x) => typeof x === "number" && !Number.isFinite(x) ? String(x) : x;
const said = JSON.parse(require("fs").readFileSync(0, "utf8"), unwritten);
const of = new Function(...Object.keys(said.data), said.source + ";\\nreturn " + said.wanted);
console.log(JSON.stringify(of(...Object.values(said.data)), written));
"""


@pytest.fixture(scope="session")
def source():
    """The JavaScript source of the page's equations."""
    return equations.source()


@pytest.fixture(scope="session")
def node():
    """`node(source, wanted, **data)`: the value of the expression `wanted` after `source`.

    Both are JavaScript, and can use the entries of `data` as variables.
    """
    program = shutil.which("node")
    if program is None:
        pytest.skip("there is no `node` on the PATH to run the page's JavaScript")

    def run(source, wanted, **data):
        said = json.dumps(_written(dict(source=source, wanted=wanted, data=data)))
        done = subprocess.run([program, "-e", RUN], input=said, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return _unwritten(json.loads(done.stdout))

    return run


def _written(x):
    if isinstance(x, dict):
        return {key: _written(each) for key, each in x.items()}
    if hasattr(x, "tolist"):
        x = x.tolist()
    if isinstance(x, list | tuple):
        return [_written(each) for each in x]
    if isinstance(x, float) and not math.isfinite(x):
        return "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"
    return x


def _unwritten(x):
    if isinstance(x, dict):
        return {key: _unwritten(each) for key, each in x.items()}
    if isinstance(x, list):
        return [_unwritten(each) for each in x]
    return float(x) if x in ("NaN", "Infinity", "-Infinity") else x

"""Tests of the tutorial: it runs as a reader runs it, and its stored file is clean."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from lindyn.solve import ensemble
from lindyn.theory import fields, states
from lindyn.theory.states import Modes, Params


FILE = pathlib.Path(__file__).parents[2] / "figures" / "tutorial.ipynb"
NOTEBOOK = json.loads(FILE.read_text())
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
CHAPTERS = 12
# Does what a Jupyter kernel does: it runs the cells in order in one namespace, and displays the
# value of the last line of each cell.
RUN = """
import ast, json, pathlib, sys

space = {"__name__": "__main__"}
for cell in json.loads(pathlib.Path(sys.argv[1]).read_text())["cells"]:
    if cell["cell_type"] == "code":
        body = ast.parse("".join(cell["source"])).body
        last = [body.pop()] if isinstance(body[-1], ast.Expr) else []
        exec(compile(ast.Module(body, []), cell["id"], "exec"), space)
        for line in last:
            shown = eval(compile(ast.Expression(line.value), cell["id"], "eval"), space)
            if hasattr(shown, "_repr_html_"):
                shown._repr_html_()
for number in space["plt"].get_fignums():
    space["plt"].figure(number).savefig(f"{sys.argv[2]}/{number}.png")
"""


def test_the_tutorial_runs_from_top_to_bottom(tmp_path):
    words = [sys.executable, "-W", "error", "-c", RUN, str(FILE), str(tmp_path)]
    plain = {**os.environ, "MPLBACKEND": "Agg"}
    done = subprocess.run(words, cwd=FILE.parent, env=plain, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "differs in 0 cells" in done.stdout
    drawn = sum(output.get("output_type") == "display_data" for output in _outputs())
    assert len(list(tmp_path.glob("*.png"))) == drawn


def test_every_chapter_shows_one_picture_and_says_what_to_see():
    text = ["".join(cell["source"]) for cell in NOTEBOOK["cells"]]
    told = "\n\n".join(text)
    assert re.findall(r"^## (\d+)\.", told, re.M) == [str(i + 1) for i in range(CHAPTERS)]
    assert told.count("**What to see:**") == CHAPTERS - 1 == len(_pictures())
    assert 2 <= told.count("**Exercise ") <= 3


def test_what_is_stored_is_clean():
    content = FILE.read_text()
    assert len(content) < 700_000
    told = re.sub(r'"image/png": "[^"]*"', "", content)
    assert not re.search(r"/(tmp|work|home|root|usr)/|file:| at 0x", told)
    assert not {"error"} & {output["output_type"] for output in _outputs()}
    assert not any(output.get("name") == "stderr" for output in _outputs())
    assert CODE[-1]["outputs"] == []  # the page is too large to be stored
    assert all(cell["execution_count"] is None for cell in CODE)
    assert not any(cell["metadata"] for cell in NOTEBOOK["cells"])
    names = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len({*names}) == len(names) and all(re.fullmatch("[a-z0-9-]+", x) for x in names)
    assert set(NOTEBOOK["metadata"]) == {"kernelspec", "language_info"}


def test_exercise_1_the_plane_knows_alpha_p_and_s_by_their_product_alone():
    p, s = np.array([0.2, -0.4]), np.array([0.3, 0.1])
    one, four = (Params(alpha_p=alpha, eta=0.15) for alpha in (1.0, 4.0))
    slow = fields.modes_fixed_tau(0.0, states.Plane(p=p, s=s), one)
    fast = fields.modes_fixed_tau(0.0, states.Plane(p=p, s=s / 4), four)
    assert np.allclose(slow.p, fast.p) and np.allclose(slow.s, 4 * fast.s)


@pytest.mark.parametrize("beta, alive", ((0.01, True), (0.005, False)))
def test_exercise_3_a_target_may_not_be_too_slow(beta, alive):
    p = np.linspace(0.3, 0.5, 6)
    start, params = Modes.of(p=p, s=p**2, tau=0.0), Params(eta=0.04, beta=beta)
    ends = ensemble.final(fields.modes, start, params, 2000.0, quick=True).y
    assert np.all((np.asarray(ends.p) > 0.9) == alive)
    assert alive or np.all(np.abs(ends.p) < 1e-6)


def _outputs():
    return [output for cell in CODE for output in cell["outputs"]]


def _pictures():
    return [output for output in _outputs() if "image/png" in output.get("data", {})]

"""Tests of the wheel: it works without the repository, and a type checker reads its types."""

import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile

import pytest


ROOT = pathlib.Path(__file__).parents[1]

PROGRAM = """
import jax.numpy as jnp

import lindyn as ld

params = ld.Params(alpha_p=2.0, eta=0.02, sigma2=0.3)
y0 = ld.Modes.of(p=jnp.array([0.2, -0.5]), s=0.05, tau=0.0)
ys: ld.Modes = ld.trajectory(ld.fields.modes, y0, params, jnp.linspace(0.0, 10.0, 11))
names: list[str] = ld.fixed_points(params).names
ends = ld.ensemble.final(ld.fields.modes, y0, params, 10.0)
where: ld.Modes = ends.y
verdict: str = ld.spectra.verdict(jnp.eye(4), jnp.zeros(4), 64).kind
sgd = ld.steps.SGD(rate=0.3, momentum=0.9)
rate = ld.steps.largest_rate(0.5, momentum=0.9)
figure = ld.explore.figure(params)
reveal_type(ld.critical_decay(params))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with a wheel and an sdist.

    Building takes five seconds, since the build backend copies all files twice.
    """
    folder = tmp_path_factory.mktemp("dist")
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_the_wheel_holds_the_package_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = (path for path in (ROOT / "lindyn").rglob("*") if path.is_file())
    here = {str(path.relative_to(ROOT)) for path in package if "__pycache__" not in path.parts}
    assert names == here and "lindyn/py.typed" in names


def test_the_sdist_holds_what_a_build_and_the_tests_need(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "tests/test_layers.py"} <= names


def test_the_wheel_works_without_the_repository(built, tmp_path):
    """Runs `phase`, and `explore`, whose scripts and styles are data files of the package."""
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    for command in ("phase --wd 0.01 --grid 4", "explore --out page.html"):
        subprocess.run(
            [sys.executable, "-m", *f"lindyn.{command}".split()],
            check=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
        )
    where = [sys.executable, "-c", "import lindyn; print(lindyn.__file__)"]
    found = subprocess.check_output(where, cwd=tmp_path, env=environment, text=True)
    assert found.startswith(str(tmp_path))
    assert (tmp_path / "page.html").stat().st_size > 1e6
    assert (tmp_path / "lindyn-out" / "phase.png").exists()


def test_a_type_checker_reads_a_program_that_uses_lindyn(tmp_path):
    """Takes ten seconds, since pyright reads JAX and equinox as well."""
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "program.py"]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert "0 errors, 0 warnings" in checked.stdout

    (tmp_path / "program.py").write_text(PROGRAM + "\nld.Params(alpha=1.0)\n")
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert checked.returncode == 1 and 'No parameter named "alpha"' in checked.stdout

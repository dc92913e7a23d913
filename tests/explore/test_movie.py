"""Tests of a run on the page: the modes of its matrices, and the parameters of its settings."""

import json
import shutil

import numpy as np
import pytest

from lindyn.command import UsageError
from lindyn.compare import analysis
from lindyn.explore import movie
from lindyn.record.reading import load_run
from lindyn.train import main as train


FLAGS = ("--preset", "linear", "--checkpoint-every", "100000", "--inputs", "10", "--dim", "6")
SETTINGS = dict(alpha_p=2.0, beta=0.4, eta_p=0.01, eta_s=0.01, sigma2=0.3, tau=1.0)


def run_of(folder, *flags):
    assert train([*FLAGS, "--out", str(folder), *map(str, flags)]) == 0
    return folder


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A run with isotropic data, alpha_p = 2, eta_p = eta_s, and an EMA target."""
    folder = tmp_path_factory.mktemp("runs") / "linear"
    alpha = ("--alpha-p", 2, "--wd-p", 0.005)
    return run_of(folder, *alpha, "--symmetric", "--epochs", 1500)


@pytest.fixture(scope="module")
def shown(linear):
    return movie.movie(linear)


def test_modes_are_those_of_the_matrices(linear, shown):
    run = load_run(linear)
    W, Wp = (np.asarray(run.arrays[name], float) for name in ("W", "Wp"))
    F = W @ np.swapaxes(W, 1, 2)
    at = analysis.begin(run)
    assert 0 < at < len(F) / 5
    U = np.linalg.eigh(F[at])[1][:, ::-1]
    for name, matrices in (("p", Wp), ("s", F)):
        values = np.array([np.diag(U.T @ x @ U) for x in matrices])
        assert np.allclose(shown[name], values, rtol=1e-4, atol=1e-6)
    assert np.allclose(np.linalg.eigvalsh(F[at])[::-1], shown["s"][at], rtol=1e-5)


def test_effective_parameters_are_the_settings_for_isotropic_data(shown):
    for params, tau in zip(shown["params"], shown["tau"], strict=True):
        assert params == pytest.approx(SETTINGS | {"tau": min(tau, 1)}, rel=1e-5)
    assert 0 < shown["tau"][0] < 0.5 and shown["tau"][-1] == pytest.approx(1, abs=0.01)


def test_all_is_json_of_one_length_and_rounded(linear, shown):
    text = json.dumps(shown, allow_nan=False)
    assert json.loads(text) == shown and shown["name"] == linear.name
    assert shown["steps"] == load_run(linear).step.tolist()
    lengths = {len(shown[name]) for name in ("epochs", "steps", "p", "s", "tau", "params")}
    assert lengths == {len(shown["steps"])}
    flat = np.ravel(shown["p"]).tolist()
    assert flat == [float(f"{x:.6g}") for x in flat]
    assert any("time of a step" in note for note in shown["notes"])


def test_long_runs_are_thinned_and_small_modes_left_out(linear, shown, monkeypatch):
    monkeypatch.setattr(movie, "RECORDS", 7)
    monkeypatch.setattr(movie, "MODES", 2)
    short = movie.movie(linear)
    every = [shown["steps"].index(step) for step in short["steps"]]
    assert len(every) == 7 and every[0] == 0 and every[-1] == len(shown["steps"]) - 1
    assert max(np.diff(every)) - min(np.diff(every)) <= 1
    assert short["s"] == [shown["s"][i][:2] for i in every]
    assert any("2 largest modes of 6" in note for note in short["notes"])


def test_a_closed_form_and_a_copied_target_are_shown(tmp_path):
    flags = ("--predictor", "directpred", "--target", "none", "--rho", 0, "--epochs", 400)
    found = movie.movie(run_of(tmp_path / "run", *flags))
    p, s = np.array(found["p"][2:]), np.array(found["s"][2:])
    assert np.allclose(p, np.sqrt(s / s.max(axis=1, keepdims=True)) + 0.1, atol=0.02)
    assert found["params"][-1]["beta"] is None and found["params"][-1]["tau"] == 1
    assert any("p is a function of s" in note for note in found["notes"])


@pytest.mark.parametrize(
    "change, said",
    (
        (dict(method="simclr"), "negative pairs"),
        (dict(predictor="two-layer"), "no mode equations for the predictor two-layer"),
        (dict(predictor="none"), "no mode equations for the predictor none"),
        (dict(stop_gradient=False), "without stop-gradient"),
    ),
)
def test_a_run_without_modes_is_refused_with_the_reason(change, said, linear, tmp_path):
    shutil.copytree(linear, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UsageError, match=said):
        movie.movie(tmp_path / "run")


def test_a_folder_that_has_too_little_is_refused(linear, tmp_path):
    with pytest.raises(UsageError, match="holds no run"):
        movie.movie(tmp_path)
    shutil.copytree(linear, tmp_path / "run")
    for file in sorted((tmp_path / "run" / "spectra").iterdir())[3:]:
        file.unlink()
    with pytest.raises(UsageError, match="fewer than 4 records"):
        movie.movie(tmp_path / "run")


def test_outputs_that_are_zero_are_left_out(linear, shown, tmp_path):
    shutil.copytree(linear, tmp_path / "run")
    files = sorted((tmp_path / "run" / "spectra").iterdir())
    for file in files[-2:]:
        with np.load(file) as arrays:
            dead = {name: 0 * arrays[name] for name in arrays.files}
        np.savez(file, **dead)
    found = movie.movie(tmp_path / "run")
    assert found["steps"] == shown["steps"][:-2]
    assert any("2 records of outputs" in note for note in found["notes"])

"""Tests of the figures: each is drawn, says how to redraw it, and shows correct data."""

import functools
import importlib
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from lindyn import theory
from lindyn.phase import flow_lines
from lindyn.solve import ensemble
from lindyn.theory import fields
from lindyn.theory.states import Correlations, Modes, Params


FIGURES = pathlib.Path(__file__).parents[2] / "figures"
sys.path.append(str(FIGURES))
make = importlib.import_module("make")


@functools.cache
def computed(name):
    """The script, its quick setting, and the arrays that it computes for this setting."""
    script = importlib.import_module(name)
    return script, script.QUICK, script.compute(script.QUICK)


TRAINS = ("sgd", "levels")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in TRAINS)) for n in make.NAMES]
)
def test_a_script_draws_the_same_bytes_and_says_how(name, tmp_path, capsys, monkeypatch):
    script = importlib.import_module(name)
    assert script.main(["--quick", "--out", str(tmp_path / "first.png")]) == 0
    found = computed(name)[2]  # computed a second time; other tests use it too
    monkeypatch.setattr(script, "compute", lambda setting: found)
    assert script.main(["--quick", "--out", str(tmp_path / "second.png")]) == 0
    assert "first.png" in capsys.readouterr().out
    for first in tmp_path.glob("first.*"):
        second = first.with_stem("second")
        assert first.read_bytes() == second.read_bytes()
    picture = Image.open(tmp_path / "first.png")
    assert 800 < picture.width < 1500 and np.asarray(picture)[..., :3].std() > 10
    assert picture.info["Title"] == f"python figures/{name}.py --quick"
    assert picture.info["Software"].startswith("lindyn ")
    assert set(json.loads(picture.info["Description"])) == set(vars(script.QUICK))


def run_make(*argv):
    words = [sys.executable, str(FIGURES / "make.py"), *argv]
    return subprocess.run(words, capture_output=True, text=True)


def test_make_draws_what_is_asked_for_into_a_folder(tmp_path):
    done = run_make("--quick", "--only", "fig04", "--out", str(tmp_path))
    assert done.returncode == 0 and done.stdout.startswith("fig04")
    assert [path.name for path in tmp_path.iterdir()] == ["fig04.png"]


def test_make_names_the_script_that_fails(tmp_path):
    file = tmp_path / "file"
    file.touch()
    done = run_make("--quick", "--only", "fig04", "--out", str(file / "folder"))
    assert done.returncode == 1
    assert "failed: fig04" in done.stderr and "NotADirectoryError" in done.stderr


def test_make_knows_every_script():
    scripts = {
        path.stem for path in FIGURES.glob("*.py") if "import drawing" in path.read_text()
    }
    assert scripts == {*make.NAMES}


def test_fig03_all_that_is_left_of_strong_decay_is_collapse():
    _, setting, (none, weak, strong) = computed("fig03")
    assert strong.share == 1 and 0 < weak.share < none.share < 0.2
    p, s = weak.points.T
    assert np.allclose(s, p**2 / setting.alpha_p)
    assert np.allclose(p[1:], theory.decay_roots(weak.params))


def test_fig04_rests_at_the_decay_roots():
    _, _, lines = computed("fig04")
    for line in lines:
        roots = np.append(0.0, theory.decay_roots(line.params))
        inside = (roots > line.p[0]) & (roots < line.p[-1])
        turns = np.flatnonzero(np.diff(np.sign(line.rate)))
        step = line.p[1] - line.p[0]
        found = line.p[turns]
        if line.params.eta_s == 0:  # p = 0 is a double root, where dp/dt keeps its sign
            inside &= roots > 0
            turns = found = found[np.abs(found) > 2 * step]
        assert len(turns) >= inside.sum()
        for root in roots[inside]:
            assert np.abs(found - root).min() < 1.01 * step


def test_fig05_keeps_the_invariant():
    _, setting, sweeps = computed("fig05")
    etas = np.reshape(setting.etas, (-1, 1, 1)), setting.eta
    for row, eta in zip(sweeps[1:], etas, strict=True):
        c = row.s - row.p**2 / setting.alpha_p
        assert np.allclose(c, c[..., :1] * np.exp(-2 * eta * sweeps.ts), atol=1e-8)


def test_fig05_decay_and_a_slow_target_keep_K_up():
    _, _, sweeps = computed("fig05")
    assert np.all(np.diff(sweeps.by_eta.K.min(axis=(1, 2))) > 0)
    assert np.all(np.diff(sweeps.by_beta.K.min(axis=(1, 2))) < 0)
    assert sweeps.by_eta.K[0].min() < 0 < sweeps.by_eta.K[-1].min()


def test_fig07_the_target_is_along_the_encoder_in_the_end():
    _, setting, found = computed("fig07")
    at = setting.etas.index(0.1), setting.gammas.index(0.996)
    assert found.values[*at, :, -1].mean() > 0.85
    assert np.all(np.abs(found.values) <= 1 + 1e-9)


def test_fig08_the_antisymmetric_part_decays_as_fast_as_weights_or_faster():
    _, setting, parts = computed("fig08")
    for eta, norm in zip(setting.etas, parts.antisymmetric, strict=True):
        assert np.all(norm <= norm[..., :1] * np.exp(-eta * parts.ts) * (1 + 1e-6))


def test_fig09_the_bound_holds_where_K_is_positive():
    _, _, found = computed("fig09")
    positive = found.least.min(axis=-1) > 0
    assert positive.any() and not positive.all()
    assert np.array_equal(positive, np.isfinite(found.bound).all(axis=-1))
    assert np.all(found.norm[positive] <= found.bound[positive] * (1 + 1e-6))
    grown = found.norm.max(axis=-1) / found.norm[..., 0]
    assert np.all(grown[positive] <= 1 + 1e-9) and np.all(found.least[grown > 1.01].min() < 0)


def test_fig10_rests_where_wa_is_w_and_wp_is_ld_over_ls():
    script, setting, cuts = computed("fig10")
    w = np.linspace(-2.0, 2.0, 9)
    goal = np.full_like(w, setting.across / setting.same)
    rate = script.rates(setting, p=goal, w=w, wa=w)
    assert np.allclose([rate.p, rate.w, rate.wa], 0, atol=1e-14)
    assert np.abs(script.rates(setting, p=goal + 0.1, w=w, wa=w).w).max() > 0.1
    kinds = [[kind for *_, kind in cut.rests] for cut in cuts]
    assert kinds == [["saddle"], ["degenerate", "stable node"], ["stable node"]]


def test_fig10_the_balanced_cut_is_invariant():
    script, setting, _ = computed("fig10")
    w, wa = np.array([0.3, -0.7]), np.array([0.2, 0.9])
    rate = script.rates(setting, p=w, w=w, wa=wa)
    assert np.allclose(rate.p, rate.w)


def test_fig10_half_of_the_balanced_starts_collapse():
    script, setting, _ = computed("fig10")
    w, wa = script.window(setting).place(flow_lines.scattered(100)).T
    data = Correlations(same=setting.same, across=setting.across)
    args = Params(alpha_p=setting.alpha_p, beta=setting.beta), data
    start = Modes(p=jnp.asarray(w), w=jnp.asarray(w), wa=jnp.asarray(wa))
    ends = ensemble.final(fields.mode_pair, start, args, 1e3, quick=True).y
    assert np.all(np.abs(ends.w[w < 0]) < 0.01)  # they decay as 1/t
    assert np.allclose(ends.w[w > 0], setting.across / setting.same)


def test_collapse_diverges_under_a_cosine_where_decay_overshoots():
    """Checks the map of the quick setting, and the record of networks that were trained."""
    script, setting, drawn = computed("collapse")
    assert drawn["cosine"].agreement.differ == 0
    limit = 2 * (1 + setting.momentum)
    trained = json.loads(script.RECORD.read_text())["settings"]
    for each in trained:
        told, kind = each["told"], each["observed"]["kind"]
        if told["loss"] == "cosine":
            assert (kind == "diverges") == (told["lr"] * told["wd"] > limit)
        elif told["wd"] >= 1 and told["lr"] <= 0.1:  # at least 2.6 times the critical decay
            assert kind == "collapses"
    assert len(trained) == 96


def test_separatrix_passes_through_the_saddles_and_ends_in_a_fold():
    _, setting, edges = computed("separatrix")
    for edge in edges[1:]:
        assert abs(np.interp(edge.saddle[0], *edge.curve.T) - edge.saddle[1]) < 1e-3
    critical = theory.critical_decay(
        Params(eta=edges[-1].eta, sigma2=setting.sigma2, tau=setting.tau)
    )
    assert edges[-1].eta == critical
    assert np.allclose(edges[-1].saddle, edges[-1].goal)
    p, s = edges[0].curve.T
    params = Params(alpha_p=setting.alpha_p, sigma2=setting.sigma2, tau=setting.tau)
    exact = jax.vmap(lambda p: theory.basin_edge_without_decay(p, params))(jnp.asarray(p))
    assert np.allclose(s, exact)


def test_curriculum_keeps_K_positive_and_tau_1_does_not():
    _, setting, found = computed("curriculum")
    assert found.ema.K.min() > 0 > found.fixed.K.min()
    assert found.ema.apart.max() == 1 < found.fixed.apart.max()
    goal = theory.decay_roots(Params(eta=setting.eta, sigma2=setting.sigma2))[1]
    assert np.allclose(found.fixed.p[:, -1], goal)
    assert np.all(found.ema.p[:, -1] > 0.9 * goal)  # with an EMA, p grows more slowly


@pytest.mark.slow
def test_sgd_gradient_descent_is_of_first_order_and_noise_of_one_over_the_batch():
    _, setting, found = computed("sgd")
    ratio = setting.rates[0] / setting.rates[1]
    assert found["errors"][0] / found["errors"][1] == pytest.approx(ratio, rel=0.15)
    more = setting.batches[-1] / setting.batches[0]
    assert more / 3 < found["power"][0].mean() / found["power"][-1].mean() < 3 * more
    assert np.allclose(found["slopes"] * np.array(setting.alphas)[:, None], 1, atol=0.1)


@pytest.mark.parametrize(
    "file", sorted((FIGURES / "records").glob("*.npz")), ids=lambda p: p.stem
)
def test_a_record_is_small_and_whole(file):
    assert file.stat().st_size < 1e6
    run, told = dict(np.load(file)), json.loads(file.with_suffix(".json").read_text())
    assert told["records"] == len(run["step"]) == len(run["own_s"])
    assert told["fate"]["observed"]["verdict"] in (
        "healthy",
        "dimensional collapse",
        "complete collapse",
    )
    assert len(run["evaluation_epoch"]) == len(run["evaluation_knn"])


def test_the_record_of_sgd_keeps_theorem_1():
    told = json.loads((FIGURES / "records" / "compare-sgd-linear.json").read_text())
    weights = told["invariance"]["weights"]
    assert abs(weights["a"] - 1) < 2 * weights["error"] < 0.02
    balance = told["balance"]
    assert balance["rate"] == pytest.approx(balance["expected_rate"], rel=0.05)
    assert balance["largest_residual"] < 0.02

"""Tests of `lindyn compare`.

For linear networks trained by SGD the theory must hold. For other runs the report must say
which checks do not apply. One file, since the tests share runs that take long to train.
"""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from lindyn import solve
from lindyn.command import UsageError
from lindyn.compare import (
    alignment,
    analysis,
    balance,
    command as compare,
    forecast,
    invariance,
    report,
    run_moments,
)
from lindyn.record.reading import load_run
from lindyn.theory import fields, predictors
from lindyn.theory.hyperparameters import Scales, effective, units
from lindyn.theory.states import Data, Full
from lindyn.train import main as train


FLAGS = ("--preset", "linear", "--checkpoint-every", "100000", "--inputs", "10", "--dim", "6")
START = 7  # the record at which the command starts its forecasts by default


def run_of(folder, *flags):
    assert train([*FLAGS, "--out", str(folder), *map(str, flags)]) == 0
    return load_run(folder)


def from_time(run, begin):
    """The record nearest to the time `begin`, the times since then, and the parameters."""
    unit = units(run.config)
    params, kappa = effective(unit, Scales())
    t = kappa * unit.step * run.step
    first = int(np.argmin(np.abs(t - begin)))
    return first, t[first:] - t[first], params


def off_the_flow(run, begin=2.0):
    """The absolute differences of W, Wp and Wa from the solution of (2)-(4), at all records.

    The solution starts at the record nearest to the time `begin`.
    """
    first, t, params = from_time(run, begin)
    matrices = {name: jnp.asarray(run.arrays[name][first]) for name in ("W", "Wp", "Wa")}
    data = Data(X=jnp.asarray(run.X), X_aug=jnp.asarray(run.X_aug))
    flow = solve.trajectory(fields.full, Full(**matrices), (params, data), t, rtol=1e-9)
    gaps = {name: np.abs(getattr(flow, name) - run.arrays[name][first:]) for name in matrices}
    return gaps


@pytest.fixture(scope="module")
def by_step(tmp_path_factory):
    """Gradient descent on the population loss, with data neither isotropic nor aligned."""
    runs = []
    for rate, every in ((0.04, 50), (0.02, 100), (0.01, 200)):
        folder = tmp_path_factory.mktemp("runs") / f"rate{rate}"
        steps = ("--epochs", round(20 / rate), "--ema", 1 - 0.4 * rate, "--lr", rate)
        steps += ("--record-every", every)
        runs.append(run_of(folder, *steps, "--covariances", "random"))
    return runs


@pytest.fixture(scope="module")
def simsiam(tmp_path_factory):
    """A run with X = I, symmetric Wp and Wa = W, as Theorem 3 and the mode equations assume."""
    folder = tmp_path_factory.mktemp("runs") / "simsiam"
    return run_of(folder, "--symmetric", "--target", "none", "--epochs", 4000)


def test_gradient_descent_converges_to_the_flow_at_first_order(by_step):
    errors = [max(gap.max() for gap in off_the_flow(run).values()) for run in by_step]
    slope = np.polyfit(np.log([4, 2, 1]), np.log(errors), 1)[0]
    assert 0.9 < slope < 1.1
    assert errors[-1] < 3e-3


def test_the_balance_is_kept_to_first_order_in_the_step(by_step):
    residuals = []
    for run in by_step:
        first, *_ = from_time(run, 2.0)
        later = run_moments.measured(run, units(run.config)).at(slice(first, None))
        residuals.append(balance.balance(later, units(run.config)).residual[-1])
    slope = np.polyfit(np.log([4, 2, 1]), np.log(residuals), 1)[0]
    assert 0.9 < slope < 1.1 and residuals[-1] < 2e-3


def test_the_invariance_has_the_slope_of_the_theory_in_the_weights_and_not_for_any_data(
    by_step, tmp_path
):
    run = by_step[-1]
    found = invariance.invariance(
        run_moments.measured(run, units(run.config)), units(run.config)
    )
    assert abs(found.weights.a - 1) < 0.01 and found.weights.r2 > 0.9999
    assert abs(found.features.a - 1) > 0.05  # since X is not I
    run = run_of(tmp_path / "run", "--alpha-p", 2.5, "--wd-p", 0.01 / 2.5, "--epochs", 2000)
    found = invariance.invariance(
        run_moments.measured(run, units(run.config)), units(run.config)
    )
    assert abs(found.features.a * 2.5 - 1) < 0.01 and found.features.error < 0.01


def test_the_commutator_stays_below_its_bound(simsiam):
    found = alignment.alignment(
        run_moments.measured(simsiam, units(simsiam.config)), units(simsiam.config)
    )
    assert alignment.over_bound(found) < 0.05
    assert found.relative[-1] < 1e-6 < found.relative[0]
    holds_and_falls, holds_and_rises, *_ = found.counts
    real = np.sum(found.relative > alignment.ROUNDING)
    assert holds_and_falls >= 0.8 * real and holds_and_rises <= len(found.least) - real


def test_noise_shrinks_as_one_over_the_batch(tmp_path):
    power = []
    for batch, epochs in ((32, 16), (512, 256)):
        flags = ("--views", "fresh", "--batch", batch, "--epochs", epochs)
        run = run_of(tmp_path / str(batch), *flags)
        power.append(np.mean(off_the_flow(run)["W"][-1] ** 2))
    assert 16 / 3 < power[0] / power[1] < 16 * 3


@pytest.mark.parametrize("target", ("ema", "none"))
def test_modes_follow_the_mode_equations(target, simsiam, tmp_path):
    run = simsiam
    if target == "ema":
        run = run_of(tmp_path / "run", "--symmetric", "--epochs", 4000)
    unit = units(run.config)
    m = run_moments.measured(run, unit)
    seen = forecast.observed(m, START)
    told = forecast.given(seen, unit, m.scales(START))
    assert told.error_p < 3e-3 * told.naive_p
    assert told.error_s < 0.02 * told.naive_s


def test_a_fit_finds_a_rate_that_was_wrong(simsiam):
    unit = units(simsiam.config)
    m = run_moments.measured(simsiam, unit)
    slow = unit._replace(gain=unit.gain / 2, alpha_p=unit.alpha_p * 1.5)
    seen = forecast.observed(m, START)
    given, fitted = forecast.forecast(seen, slow, m.scales(START), window=40)
    assert fitted.error_p < given.error_p / 3
    assert fitted.factors[0] * fitted.factors[1] * 1.5 / 2 == pytest.approx(1, rel=0.1)


def test_a_run_that_collapses_was_said_to(tmp_path):
    run = run_of(tmp_path / "run", "--symmetric", "--target", "none", "--wd", 0.3)
    found = analysis.analyse(run, START)
    assert found.fate is not None and found.whole is not None
    assert found.fate.params.eta_s > found.fate.critical and found.fate.doomed.all()
    assert found.whole.s[-1].max() < 1e-3 * found.whole.s[0].max()
    assert found.seen is not None
    assert found.seen.s[-1].max() < 1e-3 * found.seen.s[0].max()


def test_the_closed_form_of_a_predictor_is_carried_on(tmp_path):
    flags = ("--predictor", "directpred", "--normalisation", "paper", "--eps", 0.0)
    run = run_of(tmp_path / "run", *flags, "--target", "none", "--epochs", 2000)
    unit, config = units(run.config), run.config
    m = run_moments.measured(run, unit)
    rule = predictors.on_eigenvalues("directpred", eps=0.0, normalisation="paper")
    told = forecast.given(forecast.observed(m, 2), unit, m.scales(2), rule=rule)
    assert told.error_s < 0.05 * told.naive_s
    assert config["predictor"] == "directpred"


def test_the_command_says_all_and_draws_the_same_bytes(simsiam, tmp_path, capsys):
    assert compare.main([str(simsiam.path), "--out", str(tmp_path / "one"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["command"] == f"python -m lindyn.compare {simsiam.path}"
    assert told["invariance"]["weights"]["a"] == pytest.approx(1, rel=0.01)
    assert told["fate"]["predicted_rank"][0] == told["fate"]["observed"]["rank"]
    assert told["balance"]["largest_unexplained"] < 1e-12 < told["balance"]["largest_averaged"]
    told["balance"]["expected_rate"] = np.nan
    assert "decays differ" in dict(report.lines(told))["balance, flow"]
    assert compare.main([str(simsiam.path), "--out", str(tmp_path / "two")]) == 0
    assert "s of W W^T" in capsys.readouterr().out
    for file in (tmp_path / "one").iterdir():
        other = tmp_path / "two" / file.name
        assert file.suffix == ".json" or file.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    "change, silent",
    (
        (
            dict(predictor="directpred"),
            {"invariance", "balance", "identity", "alignment", "plane"},
        ),
        (
            dict(stop_gradient=False),
            {"invariance", "balance", "identity", "alignment", "trajectories", "plane"},
        ),
        (
            dict(method="simclr"),
            {"invariance", "balance", "identity", "alignment", "trajectories", "plane"},
        ),
        (dict(predictor="two-layer"), {"invariance", "trajectories", "plane"}),
        (
            dict(predictor="none"),
            {"invariance", "balance", "identity", "alignment", "trajectories", "plane"},
        ),
        (dict(wd_p=0.0), {"invariance"}),
        (dict(optimiser="lars"), {"identity"}),
        (dict(loss="huber"), {"alignment", "trajectories", "plane"}),
    ),
)
def test_a_run_of_which_less_can_be_said_is_told_so(simsiam, change, silent):
    other = simsiam._replace(config={**simsiam.config, **change})
    assert set(analysis.silent(other)) == silent


@pytest.mark.parametrize(
    "flags",
    (
        ("--wd-p", 0.03, "--alpha-p", 2, "--momentum", 0.9, "--decay", "decoupled"),
        ("--wd-p", 0.03, "--momentum", 0.8, "--nesterov", "--schedule", "cosine"),
        ("--predictor", "two-layer", "--predictor-hidden", 12, "--predictor-bias"),
        ("--symmetric", "--momentum", 0.5),
    ),
)
def test_the_balance_of_any_sgd_is_explained_to_rounding(flags, tmp_path):
    run = run_of(tmp_path / "run", *flags, "--epochs", 1000, "--lr", 0.01)
    unit = units(run.config)
    b = balance.balance(run_moments.measured(run, unit), unit, 2)
    assert b.unexplained is not None and b.averaged is not None
    assert b.unexplained.max() < 1e-12 < 1e-6 < b.averaged.max()
    if run.config["schedule"] == "constant":
        assert b.averaged[2:].max() < b.residual[2:].max() / 5
    assert ("invariance" in analysis.silent(run)) == ("--symmetric" not in flags)
    assert {"balance", "identity"}.isdisjoint(analysis.silent(run))


def test_the_flow_holds_for_decays_that_differ(by_step):
    """For two decays the flow is a quadrature over records; for one decay it is exponential.

    The two agree if the decays are nearly equal.
    """
    run = by_step[-1]
    m, unit = run_moments.measured(run, units(run.config)), units(run.config)
    one, nearly = (
        balance.balance(m, unit._replace(eta_p=eta_p), 2)
        for eta_p in (unit.eta_s, unit.eta_s * (1 + 1e-7))
    )
    assert np.isnan(nearly.expected) and one.expected == 0.02
    assert np.allclose(one.predicted, nearly.predicted, rtol=3e-3)
    for found in (one, nearly):
        assert found.averaged is not None
        assert found.averaged[2:].max() < found.residual[2:].max() / 5


def test_a_run_of_an_older_version_is_told_that_its_steps_were_not_entered(simsiam, tmp_path):
    older = tmp_path / "run"
    shutil.copytree(simsiam.path, older)
    for file in (older / "spectra").iterdir():
        with np.load(file) as kept:
            arrays = {name: kept[name] for name in kept.files}
        for name in ("balance_first", "balance_steps", "balance_source"):
            del arrays[name]
        np.savez(file, **arrays)
    config = json.loads((older / "config.json").read_text())
    del config["nesterov"]
    (older / "config.json").write_text(json.dumps(config))
    assert compare.main([str(older), "--out", str(tmp_path / "out")]) == 0
    told = json.loads((tmp_path / "out" / "compare-run.json").read_text())
    assert "older version" in told["silent"]["identity"] and "balance" not in told["silent"]
    assert {"largest_unexplained", "largest_averaged"}.isdisjoint(told["balance"])
    assert load_run(older).config["nesterov"] is False
    two = load_run(older)._replace(config=config | dict(predictor="two-layer"))
    assert "first layer" in analysis.silent(two)["balance"]


def test_a_stiff_forecast_is_solved_and_shrinks_the_predictor_by_its_decay_alone(simsiam):
    """The cosine loss does not depend on |Wp|, so |p| decays exactly at the rate eta_p.

    Its gradient is orthogonal to p, and grows as 1/|p|^2. In the end the explicit method would
    need more steps than it may take.
    """
    unit = units({**simsiam.config, "loss": "cosine", "alpha_p": 16.0, "wd": 5e-4})
    rng = np.random.default_rng(0)
    p, s, t = rng.uniform(0.1, 1, (1, 6)), rng.uniform(0.1, 1, (1, 6)), np.linspace(0, 800, 9)
    seen = forecast.ModeSeries(t=t, p=p, s=s, wa=np.sqrt(s), same=rng.uniform(1.2, 4, 6))
    seen = seen._replace(p=np.tile(p, (9, 1)), s=np.tile(s, (9, 1)))
    told = forecast.given(seen, unit, Scales(excess=1.0))
    for values, rate in ((told.p**2, 2 * unit.eta_p), (told.s, 2 * unit.eta_s)):
        assert values.sum(1) == pytest.approx(values[0].sum() * np.exp(-rate * t), rel=1e-4)
    assert np.all(np.abs(told.p[-1] * seen.same / (told.p[-1] * seen.same).mean() - 1) < 1e-3)


def test_a_forecast_that_cannot_be_solved_predicts_nothing(simsiam, monkeypatch):
    def too_stiff(*args, **how):
        raise solve.SolveError("too many steps")

    monkeypatch.setattr(solve, "trajectory", too_stiff)
    told = report.numbers(analysis.analyse(simsiam, 2))
    assert told["fate"]["predicted"].startswith("nothing")
    said = dict(report.lines(told))
    assert "predicted at the start: nothing" in said["fate"] and "nan" not in str(said)


@pytest.mark.parametrize("records", (1, 3, 4))
def test_a_run_that_has_just_begun_is_told_so(records, simsiam, tmp_path, capsys):
    shutil.copytree(simsiam.path, tmp_path / "run")
    for file in sorted((tmp_path / "run" / "spectra").iterdir())[records:]:
        file.unlink()
    assert compare.main([str(tmp_path / "run"), "--out", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["records"] == records
    assert ("invariance" in told) == (records == 4) == ("trajectories" in told)


def test_a_folder_that_is_no_run_is_refused(simsiam, tmp_path):
    with pytest.raises(UsageError, match="holds no run"):
        load_run(tmp_path)
    shutil.copytree(simsiam.path, tmp_path / "run")
    file = sorted((tmp_path / "run" / "spectra").iterdir())[3]
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UsageError, match="is damaged"):
        load_run(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "spectra")
    with pytest.raises(UsageError, match="no spectra"):
        load_run(tmp_path / "run")
    assert compare.main([str(simsiam.path), "--epoch", "1e9"]) == 2


def test_settings_mean_the_same_flow(simsiam):
    config = dict(simsiam.config)
    heavy = units({**config, "lr": 0.03, "momentum": 0.9})
    plain = units({**config, "lr": 0.3, "momentum": 0.0})
    assert heavy.step == pytest.approx(plain.step) and heavy.eta == plain.eta
    paper = dict(lr=0.01, momentum=0.0, target="ema", ema=0.996, decay="decoupled", wd=0.04)
    fig5 = units({**config, **paper})
    assert (fig5.beta, fig5.eta) == (pytest.approx(0.4), pytest.approx(0.04))
    both = units({**config, "both_directions": True, "loss": "cosine"})
    assert both.gain == 4 and both.cosine
    fast = units({**config, "alpha_p": 5.0})  # the optimiser also decays Wp five times as fast
    assert fast.eta_p == pytest.approx(5 * fast.eta_s) and fast.eta is None
    params, kappa = effective(units({**config, "both_directions": True}), Scales())
    assert (kappa, params.eta_s) == (2, config["wd"] / 2)

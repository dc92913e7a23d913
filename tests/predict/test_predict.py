"""Tests of the predict command: what it says of a trainer's settings must come true.

One file, since all tests read the same JSON of the command.
"""

import dataclasses
import json
import shlex

import jax.numpy as jnp
import numpy as np
import pytest

from lindyn import solve, theory
from lindyn.phase import command as phase
from lindyn.predict import command as predict
from lindyn.theory import fields
from lindyn.theory.predictors import Power
from lindyn.theory.states import Data, Modes, Online, Params, Plane
from lindyn.train.config import Config as TrainConfig


FIG5 = "--lr 0.01 --momentum 0 --decay decoupled --loss l2 --no-both-directions --ema 0.996"
L2 = "--loss l2 --no-both-directions --momentum 0 --lr 0.01"
PLAIN = "--loss l2 --no-both-directions"  # the loss (1) itself
KINDS = (
    *("collapses", "does not collapse", "depends on the start"),
    *("loses modes", "diverges", "is ruled by noise"),
)


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture
def said(capsys):
    """`said(argv, code)`: the JSON that the command prints with these flags."""

    def said(argv, code=0):
        assert predict.main(["--json", "--steps", "400", *shlex.split(argv)]) == code
        return json.loads(capsys.readouterr().out)

    return said


def params_of(found):
    names = [field.name for field in dataclasses.fields(Params)]
    return Params(**{name: float(found["effective"][name]) for name in names})


def test_the_papers_figure_5_is_beta_04_and_eta_004(said):
    found = said(f"{FIG5} --wd 0.04 --sigma2 0")
    effective = found["effective"]
    assert np.isclose(effective["step"], 0.01) and effective["kappa"] == 1
    assert np.isclose(effective["beta"], 0.4) and np.isclose(effective["eta_p"], 0.04)
    assert effective["eta_p"] == effective["eta_s"] and effective["alpha_p"] == 1
    per_step = said(f"{FIG5} --wd 0.0004")["eta_if_the_decay_is"]
    assert np.isclose(per_step["wd_a_step"], 0.04)  # the paper's decay of 0.0004 per step


def test_a_cosine_in_both_directions_is_four_times_as_fast(said):
    effective = said("")["effective"]  # 2 directions, times 2 for the cosine
    assert np.isclose(effective["kappa"], 4) and np.isclose(effective["step"], 1.2)
    assert np.isclose(effective["eta_s"], 1e-4) and np.isclose(effective["beta"], 0.004 / 1.2)


def test_momentum_is_a_larger_learning_rate_but_for_decoupled_decay(said):
    heavy = said("--lr 0.03 --momentum 0.9 --wd 0.01")["effective"]
    plain = said("--lr 0.3 --momentum 0 --wd 0.01")["effective"]
    assert all(np.isclose(heavy[name], plain[name], rtol=1e-12) for name in plain)
    decoupled = "--decay decoupled --wd 0.01"
    heavy = said(f"--lr 0.03 --momentum 0.9 {decoupled}")["effective"]
    plain = said(f"--lr 0.3 --momentum 0 {decoupled}")["effective"]
    assert np.isclose(heavy["eta_s"], 0.1 * plain["eta_s"], rtol=1e-12)
    assert np.isclose(heavy["step"], plain["step"], rtol=1e-12)


@pytest.mark.parametrize("decay", ("coupled", "decoupled"))
@pytest.mark.parametrize("predictor_lr", (slow(1e-4), 3e-4))
def test_sgd_of_a_mode_follows_the_flow(decay, predictor_lr, said):
    """The steps are those of an optimiser: the learning rate multiplies gradient and decay."""
    lr, momentum, wd, sigma2, ema, steps = 1e-4, 0.9, 0.5, 0.3, 0.9995, 4000
    argv = f"--lr {lr} --predictor-lr {predictor_lr} --wd {wd} --decay {decay} --ema {ema}"
    found = said(f"{argv} --loss l2 --no-both-directions --sigma2 {sigma2}")
    x, velocity, wa = np.array([0.4, 0.6]), np.zeros(2), 0.1
    rates = np.array([predictor_lr, lr])
    for _ in range(steps):
        residual = wa - (1 + sigma2) * x[0] * x[1]
        gradient = -residual * x[::-1]
        velocity = momentum * velocity + gradient + (wd * x if decay == "coupled" else 0)
        x = x - rates * (velocity + (wd * x if decay == "decoupled" else 0))
        wa = ema * wa + (1 - ema) * x[1]
    y0 = Modes(p=jnp.array(0.4), w=jnp.array(0.6), wa=jnp.array(0.1))
    ts = jnp.array([0.0, steps * found["effective"]["step"]])
    end = solve.trajectory(fields.modes, y0, params_of(found), ts)
    assert np.allclose([x[0], x[1], wa], [end.p[-1], end.w[-1], end.wa[-1]], rtol=5e-3)
    assert np.max(np.abs(x - [0.4, 0.6])) > 0.05


def ends(found, p, s, t1=2000.0):
    """s of modes at the time t1, by the reference solver."""
    params, tau = params_of(found), found["box"]["tau"]
    ts = jnp.array([0.0, t1])
    if np.isinf(params.beta):
        y0 = Plane(p=jnp.asarray(p), s=jnp.asarray(s))
        return solve.trajectory(fields.modes_fixed_tau, y0, params, ts, atol=1e-30).s[-1]
    y0 = Modes.of(p=jnp.asarray(p), s=jnp.asarray(s), tau=tau)
    return solve.trajectory(fields.modes, y0, params, ts, atol=1e-30).s[-1]


@pytest.mark.parametrize("target", (slow("--target none"), "--ema 0.98"))
def test_above_the_critical_decay_all_modes_die(target, said):
    found = said(f"{L2} --wd 0.25 {target} --steps 5000")
    assert found["verdict"] == "collapses" and found["box"]["share"] == 1
    p, s = np.array([0.8, 0.3, 0.1, -0.5]), np.array([1.0, 0.2, 0.5, 0.6])
    assert np.all(ends(found, p, s) < 1e-12)


@pytest.mark.parametrize(
    "target, p0",
    (
        *(("--ema 0.98", -0.4), ("--ema 0.98", 0.5)),
        *(slow("--target none", p0) for p0 in (0.06, 0.5, -0.4, 1.2)),
        *(slow("--ema 0.98", p0) for p0 in (0.06, 1.2)),
        *(slow("--target-start copy", p0) for p0 in (0.06, 0.5, -0.4, 1.2)),
    ),
)
def test_the_fate_of_a_start_is_that_of_its_solution(target, p0, said):
    found = said(f"{L2} --wd 0.06 {target} --p0={p0} --s0 0.01")
    alive = ends(found, p0, 0.01) > 1e-3
    assert found["start"]["fate"] == ("does not collapse" if alive else "collapses")
    assert found["verdict"] == found["start"]["fate"]
    edge = found["start"]["edge_p"]
    if edge is not None:
        assert np.isclose(found["start"]["away"], p0 - edge)
        both = ends(found, np.array([edge - 1e-3, edge + 1e-3]), np.full(2, 0.01)) > 1e-3
        assert both[0] != both[1]


def test_the_share_without_decay_is_the_exact_basin(said):
    found = said("--loss l2 --wd 0 --target none --predictor-lr 0.06")
    middles = (np.arange(22) + 0.5) / 22
    p = found["box"]["p"][1] * (2 * middles - 1)
    edge = theory.basin_edge_without_decay(p, params_of(found))
    dies = found["box"]["s"][1] * middles[:, None] <= np.asarray(edge)[None]
    assert np.isclose(found["box"]["share"], dies.mean(), rtol=1e-12)


@pytest.mark.parametrize(
    "argv",
    (
        f"{PLAIN} --wd 1 --ema 0.9",
        slow(f"{PLAIN} --wd 0.5 --predictor-lr 0.3"),
        slow(f"{PLAIN} --wd 0.3 --p0=-0.1 --s0 0.01 --target none"),
        f"{PLAIN} --wd 0.2 --p0 0.1",
        slow("--target none --no-stop-gradient"),
        "--target none --no-stop-gradient --predictor none",
        slow(f"{PLAIN} --lr 2"),
        slow("--lr 30 --wd 1 --momentum 0"),
        slow("--symmetric --target none --steps 3000"),
        slow(f"{PLAIN} --predictor directpred --wd 0.5 --ema 0.9"),
    ),
)
def test_a_suggestion_turns_the_verdict(argv, said):
    found = said(argv)
    assert found["verdict"] != "does not collapse" and 1 <= len(found["suggestions"]) <= 3
    for change in found["suggestions"]:
        after = said(f"{argv} {shlex.join(change['flags'])}")
        assert after["verdict"] == "does not collapse" and after["suggestions"] == []


def test_without_a_stop_gradient_w_falls_at_the_rate(said, key):
    found = said(f"{L2} --target none --no-stop-gradient --wd 0.01 --sigma2 0.5")
    assert found["verdict"] == "collapses" and "Theorem 2" in found["why"]
    rate, data = found["rate_of_collapse"], Data(X=jnp.eye(3), X_aug=0.5 * jnp.eye(3))
    W = jnp.array(np.random.default_rng(0).normal(size=(3, 3)))
    Wp, ts = jnp.eye(3) / 1.5 + 0.1 * W.T, jnp.linspace(0.0, 5.0, 6)
    args = (params_of(found), data)
    ys = solve.trajectory(fields.no_stop_gradient, Online(W=W, Wp=Wp), args, ts)
    norms = jnp.linalg.norm(ys.W, axis=(1, 2))
    assert np.all(norms <= norms[0] * np.exp(-rate * ts) * (1 + 1e-6))
    slope = fields.no_stop_gradient(0.0, Online(W=W, Wp=jnp.eye(3) / 1.5), args).W
    assert np.allclose(slope, -rate * W)  # equality holds at Wp = I/a


@pytest.mark.parametrize("target", ("--target none", "--ema 0.99"))
def test_without_a_predictor_the_rate_is_the_slowest_of_a_linear_flow(target, said):
    found = said(f"{L2} {target} --predictor none --wd 0.01 --sigma2 0.5")
    b, beta = 1.51, found["effective"]["beta"]
    slowest = b - 1
    if beta != "inf":
        slowest = -np.linalg.eigvals([[-b, 1], [beta, -beta]]).max()
    assert np.isclose(found["rate_of_collapse"], slowest, rtol=1e-12)
    assert found["verdict"] == "collapses"


def test_with_an_ema_target_a_stop_gradient_changes_nothing(said):
    with_it, without = said(""), said("--no-stop-gradient")
    assert with_it["trial"] == without["trial"]
    assert any("--target none" in line for line in without["beyond"])


@pytest.mark.parametrize("rule", ("directpred --eps 0", "directcopy --eps 0.02", "directpred"))
def test_the_edge_of_a_closed_form_is_where_its_flow_turns(rule, said):
    found = said(f"{L2} --wd 0.06 --predictor {rule}")
    a, eps = 1.0 if "copy" in rule else 0.5, found["settings"]["eps"]
    args = (params_of(found), Power(a=a, eps=eps))
    edge, ts = found["edge"], jnp.array([0.0, 1e4])
    s = jnp.array([0.9, 1.1]) * (edge or 1e-6)
    end = solve.trajectory(fields.predicted, s, args, ts, atol=1e-30)[-1]
    assert list(np.asarray(end > 1e-3)) == [edge == 0, True]


@pytest.mark.parametrize(
    "argv",
    (
        *(slow("--loss l2"), slow(f"{FIG5} --wd 0.04")),
        "--loss l2 --wd 0.1 --wd-p 0.2 --sigma2 0.7",
    ),
)
def test_the_fixed_points_are_those_of_the_phase_command(argv, said, folder, capsys):
    found = said(argv)
    asked = shlex.split(found["phase"])[3:]
    assert phase.main([*asked, "--grid", "6", "--format", "json", "--json"]) == 0
    (panel,) = json.loads(capsys.readouterr().out)["panels"]
    assert np.isclose(panel["critical_decay"], found["critical_decay"], rtol=1e-12)
    assert len(panel["fixed_points"]) == len(found["fixed_points"]) == 3
    for ours, theirs in zip(found["fixed_points"], panel["fixed_points"], strict=True):
        assert ours["name"] == theirs["name"] and ours["class"] == theirs["class"]
        assert np.allclose([ours["p"], ours["s"]], [theirs["p"], theirs["s"]], rtol=1e-12)
        assert np.allclose(ours["eigenvalues"], theirs["eigenvalues"], rtol=1e-9, atol=1e-14)
    assert found["edge"] == found["fixed_points"][1]["p"]
    assert not (folder / "lindyn-out/predict.json").exists()


def test_the_steps_to_grow_are_the_exact_time_on_the_parabola(said):
    found = said("--loss l2 --target none --wd 0.1 --p0 0.06 --steps 100")
    p0, half = 0.06, found["goal"] / 2
    time = float(theory.time_on_parabola(p0, half, params_of(found)))
    assert np.isclose(found["escape"]["steps"], time / found["effective"]["step"], rtol=1e-6)
    assert found["escape"]["in_the_run"]
    short = said("--loss l2 --target none --wd 0.1 --p0 0.06 --steps 5")
    assert not short["escape"]["in_the_run"]


def test_alignment_is_theorem_3_and_its_remedies(said):
    found = said(f"{L2} --wd 0.02 --target none --p0 0.3 --s0 0.01 --sigma2 0.2")
    aligned, params = found["alignment"], params_of(found)
    p = np.linspace(0.0, 1.0, 2001)
    least = theory.alignment_margin(p, p**2 / params.alpha_p, params)
    assert np.isclose(aligned["least_K"], least.min(), atol=1e-6) and least.min() < 0
    assert np.isclose(aligned["eta_from"], theory.aligned_window(params)[0])
    assert said(f"{L2} --target none --wd {aligned['eta_from'] + 1e-9}")["alignment"]["always"]
    worst = theory.alignment_margin(p, aligned["s_from"], params)
    assert np.isclose(worst.min(), 0, atol=1e-6)
    rate = aligned["predictor_lr_from"]
    eased = said(f"{L2} --wd 0.02 --target none --sigma2 0.2 --predictor-lr {rate}")
    assert np.isclose(theory.alignment_margin(0.3, 0.01, params_of(eased)), 0, atol=1e-12)


def test_json_has_one_object_with_these_keys(said):
    found = said("--loss l2 --p0 0.2")
    assert set(found) == {
        *("version", "settings", "verdict", "why", "effective", "eta_if_the_decay_is"),
        *("trial", "diverges_from_lr", "stable_up_to_lr", "memory"),
        *("critical_decay", "part_of_critical_decay", "edge", "goal", "rate_of_collapse"),
        *("fixed_points", "box", "start", "alignment", "escape", "suggestions", "phase"),
        *("notes", "beyond", "assumed"),
    }
    assert found["verdict"] in KINDS and found["settings"]["lr"] == 0.03


@pytest.mark.parametrize(
    "argv",
    (
        *("", "--loss l2 --wd 1", "--predictor none --sigma2 0 --wd 0", "--lr 5 --wd 1"),
        *("--loss l2 --wd 0.2 --p0 0.01", slow("--loss l2 --wd-p 0")),
        *("--predictor directcopy --eps 3", slow("--optimiser lars --lr 1 --momentum 0.5")),
        slow("--optimiser adam --lr 0.01 --decay decoupled --predictor optimal"),
        slow("--loss l2 --lr 5 --nesterov"),
        "--optimiser adam --lr 1 --decay decoupled --wd 3",  # no learning rate is named
    ),
)
def test_people_get_a_verdict_a_table_and_what_is_assumed(argv, capsys):
    assert predict.main(["--steps", "300", *shlex.split(argv)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(KINDS) and "eta" in shown
    assert "assumed: " in shown and "nan" not in shown and "None" not in shown


def test_a_collapse_can_be_the_exit_code(said):
    said(f"{PLAIN} --wd 1 --ema 0.9 --fail-on-collapse", code=1)
    said("--fail-on-collapse", code=0)
    said("--lr 5 --wd 1 --fail-on-collapse", code=1)  # it diverges, which counts too


def recorded(folder, broken=None, **changes):
    config = dataclasses.asdict(TrainConfig(**changes))
    config |= {"out": str(config["out"]), **(broken or {})}
    (folder / "run").mkdir()
    (folder / "run/config.json").write_text(json.dumps(config))


def test_a_run_gives_the_settings_and_flags_change_them(folder, said):
    recorded(folder, lr=0.25, alpha_p=3.0, wd=0.9, momentum=0.5, loss="l2", optimiser="lars")
    found = said("--run run")
    flags = "--lr 0.25 --predictor-lr 0.75 --wd 0.9 --momentum 0.5 --loss l2 --optimiser lars"
    assert found["effective"] == said(flags)["effective"]
    assert any("lars" in line for line in found["beyond"])
    assert any("16 modes stand for 128" in line for line in found["beyond"])
    assert said("--run run/config.json")["effective"] == found["effective"]
    changed = said("--run run --weight-decay 0.0004 --optimiser sgd")
    assert changed["part_of_critical_decay"] < found["part_of_critical_decay"]
    assert changed["effective"]["alpha_p"] == found["effective"]["alpha_p"]


def test_a_runs_flags_are_all_of_its_settings(folder, said):
    recorded(
        folder,
        predictor="directset",
        stop_gradient=False,
        both_directions=False,
        loss="l2",
        decay="decoupled",
        c=-0.01,
        wd_s=0.2,
        data="gaussian",
        model="linear",
        sigma2=0.7,
    )
    settings = said("--run run")["settings"]
    assert settings["predictor"] == "directset" and settings["c"] == -0.01
    assert settings["wd_s"] == 0.2 and settings["wd_p"] is None and settings["sigma2"] == 0.7
    assert not settings["stop_gradient"] and not settings["both_directions"]
    assert settings["loss"] == "l2" and settings["decay"] == "decoupled"


@pytest.mark.parametrize(
    "content, reason",
    (
        (None, "holds no run of lindyn train"),
        ("{", "is not whole"),
        ("[]", "is not whole"),
        ('{"lr": 0.1}', "lacks "),
        ({"method": "simclr"}, "SimCLR has negative pairs"),
        ({"lr": "much"}, "lr is 'much', which is no number"),
        ({"momentum": "much"}, "--momentum"),
        ({"decay": "linear"}, "--decay"),
        ({"ema": 2.0}, "--ema 2: must be"),
    ),
)
def test_what_is_no_run_is_one_line(content, reason, folder, capsys):
    if isinstance(content, dict):
        recorded(folder, content)
    elif content is not None:
        (folder / "run").mkdir()
        (folder / "run/config.json").write_text(content)
    assert predict.main(["--run", "run"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and reason in shown.err

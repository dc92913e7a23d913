"""Tests of the sentences on the page against the theory, with numbers to the digits shown.

One file, since all tests make states of the page with the same helper.
"""

import pathlib
import re
import shlex
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import tyro

from lindyn import explore, theory
from lindyn.phase import command as phase, portrait
from lindyn.theory import cosine
from lindyn.theory.states import Params


PAGE = pathlib.Path(explore.__file__).parent / "page"
WORDS = """cases.map(state => {
  const {regime, params, window, rule, starts} = state;
  const xs = Array.from({length: 201}, (_, i) =>
    window.x[0] + (window.x[1] - window.x[0]) * i / 200);
  const fixed = fixed_points(params);
  const both = arms(params, window, fixed);
  const known = {fixed, arms: both};
  const runs = starts.map((start) => launch(regime, params, rule, start, 20, window, known));
  const below = share(basin(params, window, fixed, both, xs), window);
  const found = {...known, share: below, runs};
  const at = starts[0] ?? [0.3, 0.2];
  return {
    ...words(state, found), pointer: pointer(state, ...at, known), command: command(state),
    bare: words(state), share: below, collapses: runs.map((run) => run.collapses),
  };
})
"""
OF_NETWORKS = """cases.map(state => {
  const {starts, params} = state;
  const {m} = fates(starts, params);
  const at = pointer({...state, params: keeping(m, params)}, 0.3, 0.2);
  return {...words(state), pointer: at, command: command(state), m};
})
"""
KEYS = ("alpha_p", "beta", "eta_p", "eta_s", "sigma2", "tau")


@pytest.fixture(scope="module")
def script(source):
    names = ("solve.js", "flow.js", "network.js", "words.js", "observations.js")
    texts = [(PAGE / name).read_text(encoding="utf-8") for name in names]
    return "\n".join([source, *texts])


@pytest.fixture(scope="module")
def said(node, script):
    return lambda *states: node(script, WORDS, cases=states)


def state(
    regime="fixed", /, *, eps=0.1, window=None, starts=((0.3, 0.2),), **changes
) -> dict[str, Any]:
    params = Params(**changes)
    shown = window or portrait.window(
        "p-s", params if regime != "ema" else Params(**{**changes, "tau": 1.0})
    )
    return dict(
        regime=regime,
        params={key: float(getattr(params, key)) for key in KEYS},
        rule=dict(a=0.5, eps=eps, c=0.0),
        window=dict(x=list(map(float, shown[0])), y=list(map(float, shown[1]))),
        starts=[list(start) for start in starts],
    )


def three(x):
    """x with three digits, as the page writes numbers."""
    text = f"{float(x):.3g}"
    if "e" in text:
        text = np.format_float_positional(float(text), trim="-")
    return text.replace("-", "−")


def numbers(found):
    return [each["number"] for each in found["observations"]]


def told(found, number):
    return next(each["text"] for each in found["observations"] if each["number"] == number)


def test_each_decay_has_its_sentence(said):
    settings = dict(
        none=dict(eta=0.0, sigma2=0.25),
        weak=dict(eta=0.05, sigma2=0.2),
        window=dict(eta=0.15, sigma2=0.1),
        critical=dict(eta=0.25),
        strong=dict(eta=0.3),
        hardly=dict(eta=0.25001),
        runaway=dict(eta_p=0.1, eta_s=0.0, sigma2=0.25, alpha_p=3.0),
        dying=dict(eta_p=0.0, eta_s=0.1),
        more=dict(eta_p=0.1, eta_s=0.05),
        less=dict(eta_p=0.05, eta_s=0.1),
        doomed=dict(eta_p=0.05, eta_s=0.3),
    )
    states = [state(**changes) for changes in settings.values()]
    found = dict(zip(settings, said(*states), strict=True))
    params = {name: Params(**changes) for name, changes in settings.items()}
    verdict = {name: each["verdict"] for name, each in found.items()}

    share = f"{three(100 * found['none']['share'])} % of the plane"
    assert verdict["none"].startswith("No weight decay: p ends at 0.8 ")
    assert verdict["none"].endswith(f"which collapse, {share}.")
    assert 1 < float(share.split()[0]) < 30

    low, high = map(float, theory.decay_roots(params["weak"]))
    critical = three(theory.critical_decay(params["weak"]))
    assert verdict["weak"] == (
        f"Weak decay, η = 0.05 below the critical {critical}: modes that start above the edge "
        f"survive, p ends at {three(high)}; {three(100 * found['weak']['share'])} % of the "
        "plane collapses."
    )
    assert f"saddle at p = {three(low)}, s = {three(low**2)}" in found["weak"]["why"]
    assert "SimSiam" in found["weak"]["why"]

    least, most = map(three, theory.aligned_window(params["window"]))
    assert f"η = 0.15 lies in the window from {least} to {most}" in verdict["window"]
    assert "(Observation 7)" in verdict["window"]

    assert "η = 0.25 is the critical decay" in verdict["critical"]
    assert "meet at p = 0.5" in verdict["critical"]
    assert verdict["strong"] == (
        "η = 0.3 is above the critical decay 0.25: every mode collapses (Observation 5)."
    )
    assert verdict["hardly"].startswith("η = 0.25001 is above the critical decay 0.25:")
    rate = three(theory.runaway_rate(params["runaway"]))
    assert f"p comes to 0.8, and s grows without end by {rate} per unit" in verdict["runaway"]
    assert "every mode collapses, s falls to 0" in verdict["dying"]

    for name, word in (("more", "more"), ("less", "less")):
        goal = theory.fixed_points(params[name]).y
        ends = f"p ends at {three(goal.p[2])} and s at {three(goal.s[2])}, {word} than"
        assert ends in verdict[name] and "η_s = " in verdict[name]
    assert verdict["doomed"].startswith("η_s = 0.3 is above the critical decay 0.25")


def test_observations_are_those_that_the_setting_shows(said):
    states = [
        state(eta=0.0),
        state(eta=0.05),
        state(eta=0.05, alpha_p=10.0),
        state(eta=0.15),
        state(eta=0.3),
        state(eta=0.01, tau=0.5),
        state(eta=0.1, tau=0.5),
        state(eta_p=0.1, eta_s=0.05),
        state("ema", eta=0.05, beta=0.05, tau=0.2),
        state("ema", eta=0.0),
        state("directpred", eta=0.3),
        state("directpred", eta=0.02, tau=0.5),
    ]
    found = said(*states)
    assert list(map(numbers, found)) == [
        [],
        [3, 4],
        [1, 2, 3, 4, 6],
        [3, 4, 7],
        [3, 5, 7],
        [3, 4, 10],
        [3, 5, 7, 10],
        [4],
        [3, 4, 8, 9, 10],
        [8],
        [5],
        [4, 10],
    ]
    params = Params(eta=0.05, alpha_p=10.0)
    low, high = map(float, theory.decay_roots(params))
    fast = found[2]
    assert f"s = {three(0.1)} at p = 1, where α_p = 1 has 1." in told(fast, 1)
    assert f"gains {three(high**2 / 10)} from" in told(fast, 2)
    assert f"halves every {three(np.log(2) / 0.1)} units" in told(fast, 3)
    assert f"p₋* = {three(low)};" in told(fast, 4)
    middle = np.mean(states[2]["window"]["y"])
    pair = [theory.alignment_margin(0.5, middle, each) for each in (params, Params(eta=0.05))]
    assert f"K is {three(pair[0])}, where α_p = 1 has {three(pair[1])}." in told(fast, 6)
    assert f"from η = {three(1 / 9)} on" in told(found[3], 7)
    small, unit = (three(theory.decay_roots(Params(eta=0.01, tau=t))[0]) for t in (0.5, 1.0))
    assert f"p₋* = {small} at τ = 0.5, p₋* = {unit} at τ = 1" in told(found[5], 10)
    assert "η = 0.1 is above the critical decay 0.0625" in told(found[6], 10)
    assert "from 0.2 to 1" in told(found[8], 8) and "1/β = 20" in told(found[8], 9)


def test_a_moving_target_is_judged_by_where_it_ends(said):
    starts = ((0.4, 0.4), (-0.3, 0.01), (0.02, 0.001))
    settings = [
        dict(eta=0.05, tau=0.5),
        dict(eta=0.05, tau=0.0),
        dict(eta=0.05, tau=1.0),
        dict(eta=0.3, tau=0.5),
        dict(eta_p=0.0, eta_s=0.1),
    ]
    found = said(*[state("ema", starts=starts, **changes) for changes in settings])
    goals = [float(theory.decay_roots(Params(eta=0.05, tau=tau))[1]) for tau in (0.5, 1.0)]
    assert (
        f"τ starts at 0.5 and follows to 1, and the goal for p moves from {three(goals[0])} "
        f"to {three(goals[1])} (Observation 8)." in found[0]["verdict"]
    )
    assert "at first without a goal" in found[1]["verdict"]
    assert f"trails it: p ends at {three(goals[1])} (Ob" in found[2]["verdict"]
    assert "above the critical decay 0.25" in found[3]["verdict"]
    assert "Decay on the encoder alone" in found[4]["verdict"]
    for each in found:
        lost = sum(each["collapses"])
        assert each["verdict"].endswith(f"Of the starts shown, {lost} of 3 collapse.")
    assert [sum(each["collapses"]) for each in found][2:] == [2, 3, 3]


def test_directpred_is_judged_by_its_boost(said):
    params = Params(eta=0.1)
    low, high = map(float, theory.decay_roots(params))
    states = [state("directpred", eta=0.1, eps=eps) for eps in (0.05, 0.2, 0.95)]
    states += [state("directpred", eta=0.0, eps=0.0), state("directpred", eta=0.3)]
    below, between, above, none, strong = (each["verdict"] for each in said(*states))
    edge = three(theory.directset_edge(params, eps=0.05))
    ends = [three(theory.directset_fixed_points(params, eps=e).y[2]) for e in (0.05, 0.2)]
    assert f"start below s = {edge} collapse" in below and f"s ends at {ends[0]}." in below
    assert between == (
        f"ε = 0.2 lies between p₋* = {three(low)} and p₊* = {three(high)}: every mode escapes "
        f"collapse, s ends at {ends[1]}."
    )
    assert f"ε = 0.95 is not below p₊* = {three(high)}" in above
    assert none == "No weight decay: no mode with s above 0 collapses, s ends at 1."
    assert "above the critical decay 0.25: every mode collapses" in strong


def test_a_network_is_judged_by_its_survivors(node, script):
    living = ((0.25, 0.5), (0.5, 0.35), (0.8, 0.55))
    dying = ((1.15, 0.08), (-0.4, 0.1))
    networks = {
        "some": living + dying,
        "one dies": living + dying[:1],
        "all": living,
        "one": ((0.3, 0.2), (1.5, 0.05)),
        "alone": living[:1],
        "opposite": ((-0.3, 0.05),),
        "alike": ((0.4, 0.1), (0.4, 0.3)),
        "opposed": ((-0.5, 0.1), (-0.3, 0.05)),
        "none": (),
        "still": ((0.4, 0.0),),
        "blind": ((0.0, 0.4), (0.0, 0.2)),
    }
    states = [state("cosine", starts=starts, alpha_p=0.9) for starts in networks.values()]
    found = dict(zip(networks, node(script, OF_NETWORKS, cases=states), strict=True))
    verdict = {name: each["verdict"] for name, each in found.items()}
    p, s = np.array(networks["some"]).T
    lives, m = cosine.survivors(jnp.asarray(p), jnp.asarray(s), 0.9)
    count, end = int(lives.sum()), f"p = m = {three(m)}"
    assert verdict["some"] == f"{count} of 5 modes live and end at {end}; the others die."
    assert (
        verdict["one dies"].startswith("3 of 4 modes live")
        and "other dies" in verdict["one dies"]
    )
    assert verdict["all"].startswith("All 3 modes live and end at p = m = ")
    assert verdict["one"].startswith("1 of 2 modes lives and ends at p = m = ")
    assert (
        f"P = Σp² = {three(np.sum(p**2))} and S = Σs = {three(s.sum())}" in found["some"]["why"]
    )
    assert verdict["alone"] == "One mode alone does not move: p = m = 0.25."
    assert "p = m = −0.3. There the loss is at its largest." in verdict["opposite"]
    assert verdict["alike"] == "All modes have one p, so that nothing moves: p = m = 0.4."
    assert verdict["opposed"].startswith("No mode comes to p > 0: one takes all of S")
    assert "compete" in verdict["none"] and "Click" in found["none"]["why"]
    assert "No mode has s above 0" in verdict["still"] and "p is 0 in every" in verdict["blind"]
    for name, each in found.items():
        assert each["observations"] == []
        line = (
            f"python -m lindyn.phase --alpha-p 0.9 --plane cosine --modes {len(networks[name])}"
        )
        assert each["command"] == (line if len(networks[name]) > 1 else "")
        for text in (each["verdict"], each["why"], each["pointer"]):
            assert text.endswith(".") and not re.search(r"NaN|undefined|null|unknown|  ", text)
        gains = "gains s, and survives" if each["m"] > 0.3 else "loses s, and survives"
        assert (gains if each["m"] > 0 else "none here has a goal") in each["pointer"], name


def test_the_pointer_tells_rates_alignment_and_fate(said):
    p, s = 0.35, 0.15
    settings = [
        ("fixed", dict(eta=0.05)),
        ("ema", dict(eta=0.05, tau=0.4)),
        ("fixed", dict(eta=0.3)),
        ("directpred", dict(eta=0.05)),
    ]
    states = [state(regime, starts=[(p, s)], **changes) for regime, changes in settings]
    texts = [each["pointer"] for each in said(*states, state(starts=[(0.2, -0.1)]))]
    for (regime, changes), text in zip(settings, texts, strict=False):
        params = Params(**changes)
        at = float(np.sqrt(s) + 0.1) if regime == "directpred" else p
        gain = params.tau - at
        rates = s * gain - params.eta_p * at, 2 * s * (at * gain - params.eta_s)
        margin = float(theory.alignment_margin(at, s, params))
        assert f"p = {three(at)}" in text and "s = 0.15" in text
        assert f"ds/dt = {three(rates[1])};" in text
        assert (f"dp/dt = {three(rates[0])}," in text) == (regime != "directpred")
        assert f"K (17) is {three(margin)}: the mode " in text
        assert ("does not align" in text) == (margin <= 0)
    assert "τ = 0.4" in texts[1]
    ends = [text.split()[-1] for text in texts[:4]]
    assert ends == ["survives.", "survives.", "collapses.", "survives."]
    assert "no negative eigenvalues" in texts[4]


@pytest.mark.parametrize("name", phase.PRESETS)
def test_every_preset_of_phase_has_a_verdict(name, said):
    config = phase.PRESETS[name]
    regime = "ema" if config.plane == "p-tau" else "fixed"
    window = config.p_range and (config.p_range, config.s_range or (0.0, 1.6))
    states = [
        state(
            regime,
            window=window,
            alpha_p=config.alpha_p,
            beta=config.beta,
            eta_p=params.eta_p,
            eta_s=params.eta_s,
            sigma2=config.sigma2,
            tau=config.tau,
        )
        for params in phase._panels(config)
    ]
    verdicts = [each["verdict"] for each in said(*states)]
    assert all(len(text) > 30 and text.endswith(".") for text in verdicts)
    assert len(set(verdicts)) == len(verdicts)


def random_states(count):
    rng = np.random.default_rng(4)
    pick = lambda *values: float(rng.choice(values))
    states = []
    for i in range(count):
        eta = pick(0.0, 1e-12, 1e-3, 0.25, 10 ** rng.uniform(-3, 0.3), rng.uniform(0, 0.25))
        regime = ("fixed", "ema", "directpred")[i % 3]
        tau = pick(1.0, 0.01, rng.uniform(0.05, 1))
        shifted = sorted(rng.uniform(-2, 2, 2)), (0.0, pick(0.1, 1e-3, rng.uniform(0.1, 5)))
        states.append(
            state(
                regime,
                eps=pick(0.0, 0.1, rng.uniform(0, 1)),
                window=shifted if i % 2 else None,
                starts=[(rng.uniform(-1, 2), pick(0.0, rng.uniform(0, 2)))] * int(pick(0, 1)),
                alpha_p=pick(1.0, 0.05, 50.0, 10 ** rng.uniform(-1, 1)),
                beta=pick(0.4, 0.01, 10 ** rng.uniform(-2, 1)),
                eta_p=pick(0.0, eta, eta, eta, rng.uniform(0, 0.5)),
                eta_s=eta,
                sigma2=pick(0.0, 5.0, rng.uniform(0, 5)),
                tau=0.0 if regime == "ema" and i % 4 == 0 else tau,
            )
        )
    return states


def test_no_text_has_a_hole(said):
    states = random_states(300)
    kinds = set()
    for given, found in zip(states, said(*states), strict=True):
        texts = [found["verdict"], found["why"], found["pointer"], found["bare"]["verdict"]]
        texts += [each["text"] for each in found["observations"]]
        for text in texts:
            assert isinstance(text, str) and text.endswith(".")
            holes = re.search(r"NaN|undefined|null|unknown|∞|object|  |\.\.", text)
            assert not holes, (text, given)
        kinds.add(re.sub(r"[\d.−e+]+", "#", found["bare"]["verdict"]))
        assert numbers(found) == sorted(set(numbers(found)))
    assert len(kinds) > 15


def test_the_command_draws_the_same_picture(said):
    states = random_states(120)
    for given, found in zip(states, said(*states), strict=True):
        line = found["command"]
        if given["regime"] == "directpred":
            assert line == ""
            continue
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", "lindyn.phase"] and words == line.split()
        config = tyro.cli(phase.Config, args=words[3:])
        (params,) = phase._panels(config)
        phase._ranges(config, [params])
        wanted = {**given["params"], "tau": given["params"]["tau"] or 1e-3}
        assert {key: getattr(params, key) for key in KEYS} == wanted, line
        assert config.plane == "p-s"
        for ends, shown in ((config.p_range, "x"), (config.s_range, "y")):
            shown = given["window"][shown]
            assert ends and np.allclose(ends, shown, rtol=0, atol=2e-5 * (shown[1] - shown[0]))
        flags = [word for word in words if word.startswith("--")]
        order = ["--" + name.replace("_", "-") for name in phase.Config.__annotations__]
        assert flags == sorted(flags, key=order.index)
        assert ("--tau" in flags) == (wanted["tau"] != 1)

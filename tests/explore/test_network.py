"""Tests of the modes of one network with the cosine loss: the page's against lindyn's own."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lindyn import explore, solve
from lindyn.explore import equations
from lindyn.theory import cosine, fields
from lindyn.theory.states import Correlations, Modes, Params


PAGE = pathlib.Path(explore.__file__).parent / "page"
WINDOW = dict(x=[-0.6, 1.6], y=[0.0, 2.0])
TOGETHER = """cases.map(({starts, params, time, window}) => {
  const fate = fates(starts, params);
  return {fate, runs: together(starts, params, time, window, fate)};
})
"""


@pytest.fixture(scope="module")
def script(source):
    names = ("solve.js", "flow.js", "network.js")
    texts = [(PAGE / name).read_text(encoding="utf-8") for name in names]
    return "\n".join([source, *texts])


@pytest.fixture(scope="module")
def together(node, script):
    """`together((starts, params), ...)`: the fate and the trajectories of each network."""

    def run(*networks, time=20.0):
        how = dict(time=time, window=WINDOW)
        cases = [
            dict(starts=np.asarray(starts).tolist(), params=vars(params), **how)
            for starts, params in networks
        ]
        return node(script, TOGETHER, cases=cases)

    return run


def networks(rng, count):
    """Random networks.

    Every third network has decays, which have no effect here, and some modes with s = 0, which
    do not move.
    """
    for i in range(count):
        modes = rng.integers(2, equations.WEIGHTS.size + 1)
        p, s = rng.uniform(-0.6, 1.5, modes), 10 ** rng.uniform(-2, 0.3, modes)
        decays = dict(eta_p=0.2, eta_s=0.1) if i % 3 == 0 else dict(eta=0.0)
        s[2:][rng.uniform(size=modes - 2) < 0.2 * (i % 3 == 0)] = 0
        rate, sigma2 = 10 ** rng.uniform(-1, 1), rng.uniform(0, 2)
        yield np.stack([p, s], 1), Params(alpha_p=rate, sigma2=sigma2, **decays)


def simsiam(t, y, params):
    data = Correlations(same=1 + params.sigma2, across=1.0)
    free = Params(alpha_p=params.alpha_p, sigma2=params.sigma2)
    rate = fields.cosine_modes(t, Modes(p=y.p, w=y.w, wa=y.w), (free, data))
    return Modes(p=rate.p, w=rate.w, wa=rate.w)


def test_the_cosine_is_what_its_flow_ascends(key):
    p, w, wa = jax.random.uniform(key, (3, equations.WEIGHTS.size))
    params = Params(sigma2=0.3)
    of = lambda p, w: equations._cosine(Modes(p=p, w=w, wa=wa)) / (1 + params.sigma2)
    rate = jax.jit(equations._cosine_modes)(Modes(p=p, w=w, wa=wa), params)
    assert np.allclose(
        jax.jit(jax.grad(of, (0, 1)))(p, w), (rate.p, rate.w), rtol=1e-12, atol=1e-14
    )


def padded(starts):
    """p and s, padded with zeros to the number of modes that the page's functions take.

    Modes that do not move also become zeros, so that they have no weight.
    """
    kept = np.where(starts[:, 1:] > 0, starts, 0)
    return np.concatenate([kept, np.zeros((equations.WEIGHTS.size - len(kept), 2))]).T


def test_modes_of_a_network_are_solved_together(together):
    several = list(networks(np.random.default_rng(0), 4))
    for (starts, params), found in zip(several, together(*several), strict=True):
        p, s = map(jnp.asarray, padded(starts))
        first = found["runs"][0]["forward"]
        at = np.linspace(0, len(first["t"]) - 1, 12).astype(int)
        ts = jnp.asarray(np.array(first["t"])[at])
        y0 = Modes.of(p=p, s=s, tau=1.0)
        true = solve.trajectory(simsiam, y0, params, ts, rtol=1e-10, atol=1e-13)
        ahead = {
            name: np.array([run["forward"][name] for run in found["runs"]]) for name in "ps"
        }
        assert first["t"][-1] == 20
        moving = starts[:, 1] > 0
        for name, wanted in (("p", true.p), ("s", true.s)):
            wanted = np.array(wanted)[:, : len(starts)][:, moving]
            assert np.allclose(ahead[name].T[at][:, moving], wanted, rtol=1e-6, atol=1e-6)
        conserved = np.sum(ahead["p"] ** 2, axis=0), np.sum(ahead["s"], axis=0)
        assert np.allclose(conserved, np.array(conserved)[:, :1], rtol=1e-6)
        assert np.allclose(np.array(first["m"])[at], cosine.goal(true.p, true.s), rtol=1e-4)
        assert max(map(abs, first["cosine"])) < 1 + 1e-9


def test_those_live_that_survivors_says(together):
    """The page, `cosine.survivors` and a long solve agree on the modes that survive."""
    several = list(networks(np.random.default_rng(1), 8))
    p, s = np.stack([padded(starts) for starts, _ in several], axis=1)
    rates = np.array([params.alpha_p for _, params in several])
    wanted = jax.jit(jax.vmap(cosine.survivors))(p, s, rates)
    for i, found in enumerate(together(*several, time=1e3)):
        lives, m = np.array(found["fate"]["lives"]), found["fate"]["m"]
        assert np.array_equal(lives, wanted[0][i][: len(lives)])
        assert m == pytest.approx(float(wanted[1][i]), rel=1e-12)
        ends = np.array([[run["forward"][x][-1] for x in "ps"] for run in found["runs"]])
        assert np.array_equal(ends[:, 1] > 1e-5 * ends[:, 1].sum(), lives)
        assert np.allclose(ends[lives, 0], m, rtol=1e-3)
        assert [run["collapses"] for run in found["runs"]] == list(~lives)


def test_the_past_of_a_network_leads_to_its_starts(together):
    several = list(networks(np.random.default_rng(2), 4))
    last = lambda found: [[run["backward"][x][-1] for x in "ps"] for run in found["runs"]]
    past = [last(found) for found in together(*several, time=1.0)]
    again = zip(past, [params for _, params in several], strict=True)
    for (starts, _), found in zip(several, together(*again, time=1.0), strict=True):
        ends = [[run["forward"][x][-1] for x in "ps"] for run in found["runs"]]
        assert np.allclose(ends, starts, rtol=1e-4, atol=1e-4)


def test_few_modes_move_as_without_those_that_pad_them(node, script, key):
    p, w = jax.random.uniform(key, (2, 5))
    params = Params(alpha_p=2.0, sigma2=0.3)
    wanted = equations._cosine_modes(Modes(p=p, w=w, wa=w), params)
    rates = "cosine_modes(weights(padded(p), padded(w)), params)"
    found = node(script, rates, p=p, w=w, params=vars(params))
    for name in ("p", "w"):
        assert np.allclose(found[name][:5], getattr(wanted, name), rtol=1e-12, atol=1e-14)
        assert not any(found[name][5:])


def test_a_mode_of_no_weight_changes_nothing(together):
    rng = np.random.default_rng(3)
    starts, params = np.stack([rng.uniform(-0.3, 1, 5), rng.uniform(0.1, 1, 5)], 1), Params()
    more = np.concatenate([starts[:2], [[0.7, 0.0]], starts[2:]])
    few, many = together((starts, params), (more, params))
    assert many["runs"][2]["forward"]["p"] == [0.7] * len(many["runs"][2]["forward"]["t"])
    assert many["fate"]["m"] == few["fate"]["m"] and many["runs"][2]["collapses"]
    del many["runs"][2]
    assert many["runs"] == few["runs"]


@pytest.mark.parametrize("p", (0.7, -0.4))
def test_modes_with_one_p_stay(together, p):
    for starts in ([[p, 0.2]], [[p, 0.2], [p, 0.9]]):
        (found,) = together((starts, Params()))
        assert found["fate"] == dict(lives=[True] * len(starts), m=p, rests=True)
        for run, (_, s) in zip(found["runs"], starts, strict=True):
            assert set(run["forward"]["p"]) == {p} and set(run["forward"]["s"]) == {s}
        first = found["runs"][0]["forward"]
        assert np.allclose(first["m"], p) and np.allclose(first["cosine"], np.sign(p))


def test_where_all_oppose_the_target_one_takes_all(together):
    starts = [[-0.5, 0.1], [-0.3, 0.05], [-0.4, 0.02]]
    (found,) = together((starts, Params()), time=300.0)
    p, s = np.array([[run["forward"][x][-1] for x in "ps"] for run in found["runs"]]).T
    assert found["fate"]["opposed"] and found["fate"]["lives"] == [True, False, False]
    assert s == pytest.approx([0.17, 0, 0], abs=1e-6)
    assert p[0] == pytest.approx(found["fate"]["m"], rel=1e-4)


def test_no_modes_and_modes_without_a_direction(together):
    blank, flat = [[0.3, 0.0]], [[0.0, 0.3]]
    empty, still, blind = together(([], Params()), (blank, Params()), (flat, Params()))
    assert empty["runs"] == [] and np.isnan(empty["fate"]["m"])
    assert np.isnan(still["fate"]["m"]) and still["fate"]["lives"] == [False]
    assert blind["fate"] == dict(lives=[True], m=0.0, rests=True)

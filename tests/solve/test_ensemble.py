"""Tests of ensembles against single solves and closed forms, and of solves that fail.

One file, since all tests are of the same two functions, `states` and `final`.
"""

import functools
import re
import socket
import subprocess
import sys
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh
from jax.tree_util import Partial

from lindyn import solve
from lindyn.solve import ensemble, pallas_kernel, scheduler, xla_marks
from lindyn.theory import fields, predictors, spectra
from lindyn.theory.states import Curriculum, Data, Full, Modes, Moments, Online, Params, Plane


PARAMS = Params(alpha_p=2.0, beta=0.4, eta=0.02, sigma2=0.3, tau=0.9)
TS = jnp.linspace(0.0, 20.0, 5)


@pytest.mark.parametrize(
    "field, make",
    (
        (fields.modes, lambda p, s: Modes.of(p=p, s=s, tau=0.5)),
        (fields.modes_fixed_tau, lambda p, s: Plane(p=p, s=s)),
        (fields.parabola, lambda p, s: p),
        (fields.parabola_ema, lambda p, s: Curriculum(p=p, tau=s)),
    ),
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_many_solves_are_the_same_as_one_by_one(field, make, key):
    p = jr.uniform(key, (30,), minval=-0.5, maxval=1.2)
    y0 = make(p, jr.uniform(jr.fold_in(key, 1), (30,), minval=0.05))
    many = ensemble.states(field, y0, PARAMS, TS, rtol=1e-9, atol=1e-12)
    one = solve.trajectory(field, y0, PARAMS, TS, rtol=1e-12)
    assert jnp.all(many.status == ensemble.REACHED) and jnp.all(many.steps > 0)
    for x, y in zip(jax.tree.leaves(many.y), jax.tree.leaves(one), strict=True):
        assert jnp.allclose(x, y.T, rtol=1e-6, atol=1e-9)


def test_parameters_may_differ_from_solve_to_solve():
    params = Params(alpha_p=2.0, beta=0.4, eta=jnp.array([0.0, 0.01, 0.1]), sigma2=0.3)
    many = ensemble.states(fields.parabola, jnp.full(3, 0.4), params, TS)
    for i, eta in enumerate((0.0, 0.01, 0.1)):
        alone = solve.trajectory(fields.parabola, 0.4, Params(eta=eta, sigma2=0.3), TS)
        assert jnp.allclose(many.y[i], alone, rtol=1e-6)


def matrices(key, name):
    """The initial conditions and the arguments of a field of matrices, for three solves."""
    keys = jr.split(key, 3)
    W, Wp, Wa = (0.5 * jr.normal(k, (3, 4, 4)) for k in keys)
    F, symmetric = W @ W.swapaxes(1, 2), (Wp + Wp.swapaxes(1, 2)) / 2
    params = Params(alpha_p=jnp.array([0.5, 1.0, 2.0]), beta=0.4, eta=0.02, sigma2=0.3)
    data = Data(X=jnp.stack([jnp.eye(4)] * 3), X_aug=0.3 * F)
    return {
        "full": (Full(W=W, Wp=Wp, Wa=Wa), (params, data)),
        "simsiam": (Online(W=W, Wp=Wp), (params, data)),
        "no_stop_gradient": (Online(W=W, Wp=0.2 * Wp), (params, data)),
        "no_predictor": (W, (params, data)),
        "moments": (Moments(F=F, Wp=symmetric), params),
        "moments_asymmetric": (Moments(F=F, Wp=Wp), params),
    }[name]


@pytest.mark.parametrize("name", ("full", "no_predictor", "moments_asymmetric"))
def test_matrices_are_solved_too(key, name):
    check_matrices(key, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ("simsiam", "no_stop_gradient", "moments"))
def test_every_field_of_matrices(key, name):
    check_matrices(key, name)


def check_matrices(key, name):
    y0, args = matrices(key, name)
    field = getattr(fields, name)
    many = ensemble.final(field, y0, args, 2.0, rtol=1e-9)
    assert np.all(many.status == ensemble.REACHED)
    for i in range(3):
        alone = solve.trajectory(
            field, _one(y0, i), _one(args, i), jnp.array([0.0, 2.0]), rtol=1e-11
        )
        for x, y in zip(jax.tree.leaves(many.y), jax.tree.leaves(alone), strict=True):
            assert np.allclose(x[i], y[1], rtol=1e-7, atol=1e-8)


def _one(tree, i):
    return jax.tree.map(lambda x: x[i] if jnp.ndim(x) else x, tree)


def test_large_matrices_and_arrays_that_all_solves_share(key):
    """The products are too large to be unrolled. The field holds X, so all solves share it."""
    n = 20
    W, Wp, Wa = (jr.normal(k, (2, n, n)) / n**0.5 for k in jr.split(key, 3))
    field = Partial(_with_data, Data(X=jnp.eye(n), X_aug=0.3 * jnp.eye(n)))
    many = ensemble.final(field, Full(W=W, Wp=Wp, Wa=Wa), PARAMS, 2.0, rtol=1e-9)
    first = Full(W=W[0], Wp=Wp[0], Wa=Wa[0])
    alone = solve.trajectory(field, first, PARAMS, jnp.array([0.0, 2.0]))
    assert np.allclose(many.y.W[0], alone.W[1], rtol=1e-6, atol=1e-8)


def _with_data(data, t, y, params):
    return fields.full(t, y, (params, data))


def test_fields_without_a_series_are_solved_too():
    rule = predictors.Power(a=0.5, c=0.02)
    s0 = jnp.array([0.01, 0.05, 0.3])
    ends = ensemble.final(fields.predicted, s0, (PARAMS, rule), 20.0, rtol=1e-9)
    for s, start in zip(ends.y, s0, strict=True):
        alone = solve.trajectory(fields.predicted, start, (PARAMS, rule), TS, rtol=1e-10)
        assert jnp.isclose(s, alone[-1], rtol=1e-6)


def test_each_error_follows_its_tolerance(key):
    """A tenth of the tolerance gives a tenth of the error, up to the noise of step sizes."""
    p = jr.uniform(key, (200,), minval=-0.5, maxval=1.2)
    run = lambda rtol: ensemble.final(
        fields.modes, Modes.of(p=p, s=0.3, tau=0.2), PARAMS, 30.0, rtol=rtol, atol=rtol
    )
    exact = run(1e-13).y.p
    errors = [np.median(np.abs(run(10.0**-d).y.p - exact)) for d in (4, 6, 8, 10)]
    orders = -np.diff(np.log10(errors)) / 2
    assert np.all(orders > 0.7) and errors[-1] < 1e-10


def test_single_precision():
    p = np.linspace(-0.5, 1.0, 20, dtype=np.float32)
    y0 = Modes(p=p, w=np.full_like(p, 0.5), wa=np.full_like(p, 0.1))
    ends = ensemble.final(fields.modes, y0, PARAMS, 20.0, rtol=1e-5, atol=1e-6)
    double = jax.tree.map(lambda x: x.astype(float), y0)
    exact = ensemble.final(fields.modes, double, PARAMS, 20.0, rtol=1e-10)
    assert ends.y.p.dtype == np.float32
    assert np.allclose(ends.y.p, exact.y.p, rtol=1e-3, atol=1e-4)


def test_each_solve_has_its_own_end_and_time_may_run_backward():
    decay = lambda t, y, rate: -rate * y
    t1 = np.array([0.0, 1.0, 3.0])
    ends = ensemble.final(decay, 2.0, 0.5, t1)
    assert np.allclose(ends.y, 2 * np.exp(-0.5 * t1), rtol=1e-8)
    assert np.array_equal(ends.t, t1)
    y0 = Modes.of(p=np.linspace(0.1, 0.6, 4), s=0.2, tau=0.7)
    there = ensemble.final(fields.modes, y0, PARAMS, 5.0, rtol=1e-11)
    back = ensemble.final(fields.modes, there.y, PARAMS, 0.0, t0=5.0, rtol=1e-11)
    assert np.allclose(back.y.p, y0.p, atol=1e-7) and np.all(back.t == 0.0)
    ts = np.array([5.0, 2.0, 0.0])
    way = ensemble.states(fields.modes, there.y, PARAMS, ts, rtol=1e-11)
    assert np.allclose(way.y.p[:, 2], y0.p, atol=1e-7)


@pytest.mark.parametrize("field", (lambda t, y, k: -k * y, lambda t, y, k: -k * jnp.abs(y)))
def test_an_event_is_found_at_its_time(field):
    """y = exp(-k t) falls below 1/10 at ln(10)/k. Tests Taylor series and Runge-Kutta."""
    rates = np.array([0.01, 0.3, 2.0])
    ends = ensemble.final(field, np.ones(3), rates, 10.0, event=lambda t, y, k: y < 0.1)
    assert ends.status.tolist() == [ensemble.REACHED, ensemble.EVENT, ensemble.EVENT]
    assert np.allclose(ends.t[1:], np.log(10) / rates[1:], rtol=1e-7)
    assert np.allclose(ends.y, [np.exp(-0.1), 0.1, 0.1], rtol=1e-7)
    assert np.all(ends.y[1:] < 0.1)


def test_an_event_that_holds_at_the_start_ends_there():
    ends = ensemble.final(
        fields.parabola, np.array([0.3, 0.6]), PARAMS, 5.0, event=lambda t, p, _: p < 0.5
    )
    assert ends.t[0] == 0.0 and ends.y[0] == 0.3 and ends.steps[0] == 0
    assert ends.status.tolist() == [ensemble.EVENT, ensemble.REACHED]


def test_an_event_may_say_which_of_several_it_is():
    fate = lambda t, p, params: jnp.where(p < 0.01, 1, jnp.where(p > 0.6, 2, 0))
    p0 = np.array([0.0, 0.02, 0.3, 0.65])
    ends = ensemble.final(fields.parabola, p0, PARAMS, 1e3, event=fate)
    assert ends.label.tolist() == [1, 1, 2, 2]
    assert np.allclose(ends.y[1:3], [0.01, 0.6], rtol=1e-6)
    assert ensemble.final(fields.parabola, p0, PARAMS, 1.0).label.tolist() == [0, 0, 0, 0]


ODD = {
    "nothing moves": (lambda t, y, args: jnp.zeros_like(y), np.eye(3), np.eye(3)),
    "matrices at rest": (
        lambda t, y, args: jnp.zeros((2, 2)),
        np.ones((3, 2, 2)),
        np.ones((3, 2, 2)),
    ),
    "time alone": (lambda t, y, args: t, np.zeros(3), np.full(3, 0.5)),
    "two alike": (
        lambda t, y, args: (y[1], y[0]),
        (np.ones(3), np.ones(3)),
        (np.full(3, np.e), np.full(3, np.e)),
    ),
    "one at rest": (
        lambda t, y, args: (-y[0], jnp.zeros_like(y[1])),
        (np.ones(3), np.ones(3)),
        (np.full(3, np.exp(-1)), np.ones(3)),
    ),
    "sorted": (lambda t, y, args: -jnp.sort(y), np.ones((3, 2)), np.full((3, 2), np.exp(-1))),
    "a loop": (
        lambda t, y, args: -jax.lax.fori_loop(0, 2, lambda _, x: 0.5 * x, 4 * y),
        np.ones(3),
        np.full(3, np.exp(-1)),
    ),
    "a branch": (
        lambda t, y, args: jax.lax.cond(y > 0, lambda y: -y, lambda y: y, y),
        np.ones(3),
        np.full(3, np.exp(-1)),
    ),
    "many modes": (
        lambda t, y, args: -y * jnp.sum(y) / 40,
        np.ones((3, 40)),
        np.full((3, 40), 0.5),
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_fields(name):
    """The compiler does not crash on unusual operations, and the state at t = 1 is right."""
    field, y0, expected = ODD[name]
    ends = ensemble.final(field, y0, None, 1.0)
    for x, y in zip(jax.tree.leaves(ends.y), jax.tree.leaves(expected), strict=True):
        assert np.allclose(x, y, rtol=1e-7)


def test_a_series_that_begins_with_zeros_is_not_trusted():
    """For dy/dt = t^20 and y(0) = 0, all computed coefficients vanish, but y does not."""
    ends = ensemble.final(lambda t, y, args: t**20 + 0 * y, np.zeros(2), None, 2.0)
    assert np.all(ends.rejected > 0)
    assert np.allclose(ends.y, 2**21 / 21, rtol=1e-7)


def test_results_do_not_depend_on_company(monkeypatch, key):
    """Bitwise the same results, however the problems are divided.

    The test solves a part of them alone, then in small chunks, then on one device of two.
    """
    p = jr.uniform(key, (700,), minval=-1.0, maxval=1.0)
    run = lambda p: ensemble.final(fields.modes, Modes.of(p=p, s=0.2, tau=0.5), PARAMS, 40.0)
    whole, some = run(p), run(p[333:340])
    assert np.array_equal(whole.y.p[333:340], some.y.p)
    assert len(jax.local_devices()) == 2
    with monkeypatch.context() as patch:
        patch.setattr(ensemble, "CHUNK", 64)
        assert np.array_equal(run(p).y.p, whole.y.p)
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    assert np.array_equal(run(p).y.p, whole.y.p)


def test_a_second_call_compiles_nothing(key):
    traces = []

    def field(t, y, params):
        traces.append(t)
        return fields.modes(t, y, params)

    def run(seed, **how):
        p = jr.uniform(jr.key(seed), (50,))
        eta = 0.01 * (1 + seed)
        ensemble.final(field, Modes.of(p=p, s=0.2, tau=0.5), Params(eta=eta), 9.0 + seed, **how)

    run(0)
    first = len(traces)
    run(1)
    run(2, rtol=1.1e-8, atol=1e-11, max_steps=777)
    assert first > 0 and len(traces) == first


def test_wasted_work_is_reported():
    ends = ensemble.final(fields.parabola, np.linspace(0.1, 1.0, 3000), PARAMS, 50.0)
    assert 0 < ends.wasted < 0.5
    assert ends.slots >= ends.steps.sum() + ends.rejected.sum()


def test_two_processes_share_the_work(tmp_path):
    script = tmp_path / "share.py"
    script.write_text(SHARE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    run = lambda *args: subprocess.Popen(
        [sys.executable, str(script), *args], stdout=subprocess.PIPE, text=True
    )
    alone = run().communicate()[0].splitlines()
    pair = [run(str(i), port) for i in range(2)]
    for process in pair:
        lines = process.communicate(timeout=100)[0].splitlines()
        assert process.returncode == 0 and lines[-1] == alone[-1]


SHARE = """
import sys
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
if sys.argv[1:]:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{sys.argv[2]}", 2, int(sys.argv[1]))
    assert jax.process_count() == 2
import lindyn as ld
y0 = ld.Modes.of(p=np.linspace(-1, 1, 101), s=0.2, tau=0.5)
ends = ld.ensemble.final(ld.fields.modes, y0, ld.Params(eta=0.05), 30.0)
print(ends.y.p.tobytes().hex() + ends.steps.tobytes().hex())
"""


@pytest.fixture
def asked(monkeypatch):
    """A list of the plans and arguments with which ensembles call their programs."""
    found, real = [], scheduler.compiled

    def spy(plan):
        def run(*args):
            found.append((plan, *args))
            return real(plan)(*args)

        return run

    monkeypatch.setattr(scheduler, "compiled", spy)
    return found


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated")
@pytest.mark.parametrize("dtype, rtol, apart", ((float, 1e-8, 1e-11), (np.float32, 1e-5, 1e-4)))
def test_the_gpu_kernel_gives_what_the_loop_gives(asked, dtype, rtol, apart):
    """The kernel runs in Pallas' interpreter, and it can be lowered for CUDA."""
    p = np.linspace(-0.9, 1.1, 64).astype(dtype)
    y0 = Modes(p=p, w=np.full_like(p, 0.4), wa=np.full_like(p, 0.1))
    event = lambda t, y, params: y.w < 0.01
    ends = ensemble.final(fields.modes, y0, PARAMS, 60.0, rtol=rtol, event=event)
    plan, rows, counts, inputs = asked[0]
    setting = scheduler.TracedProblem.of(plan, inputs, rows.dtype)
    assert pallas_kernel.obstacle(setting) is None
    out, slots = pallas_kernel.run(setting, rows, counts[0], interpret=True)
    out = scheduler._located(setting, rows, out)[: counts[0]]
    known = np.stack([ends.y.p, ends.y.w, ends.y.wa, ends.t])[:, : counts[0]]
    assert np.allclose(out[:, :4].T, known, atol=apart)
    assert np.array_equal(out[:, 5], ends.status[: counts[0]])
    assert np.array_equal(out[:, 4], ends.label[: counts[0]])
    assert slots >= ends.steps[: counts[0]].sum()
    run = jax.jit(lambda *args: pallas_kernel.run(setting._replace(inputs=args[2]), *args[:2]))
    with jax.sharding.use_abstract_mesh(A_GPU):
        traced = run.trace(rows, counts[0], inputs)
        lowered = traced.lower(lowering_platforms=("cuda",))
    assert "triton" in lowered.as_text()


A_GPU = AbstractMesh(
    (1,),
    ("device",),
    abstract_device=AbstractDevice("NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu"),
)


@pytest.mark.parametrize("dtype", (np.float32, float))
def test_the_loop_of_accelerators(asked, dtype):
    """This loop gives the same results as the CPU's, and can be lowered for GPUs and TPUs."""
    p = np.linspace(-0.9, 1.1, 40, dtype=dtype)
    y0 = Modes(p=p, w=np.full_like(p, 0.4), wa=np.full_like(p, 0.1))
    usual = ensemble.final(fields.modes, y0, PARAMS, 20.0, rtol=1e-5, **QUICK)
    plan, rows, counts, inputs = asked[0]
    one = plan._replace(devices=plan.devices[:1])
    setting = lambda inputs: scheduler.TracedProblem.of(one, inputs, rows.dtype)._replace(
        platform="x"
    )
    loop = lambda *args: scheduler._refilled(setting(args[2]), *args[:2])
    run = jax.jit(loop, compiler_options=xla_marks.QUICK)
    out, _, _ = run(rows[: len(rows) // 2], counts[0], inputs)
    assert np.allclose(out[: counts[0], 0], usual.y.p[: counts[0]], atol=1e-4)
    traced = run.trace(rows, counts[0], inputs)
    for platform in ("cuda", "tpu") if dtype == np.float32 else ("cuda",):
        assert "while" in traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize(
    "solve, reason",
    (
        (lambda: ensemble.states(fields.parabola, P, PARAMS, TS, **QUICK), "it saves states"),
        (
            lambda: ensemble.final(fields.parabola, P[:, None], PARAMS, 1.0, **QUICK),
            "is a vector",
        ),
        (
            lambda: ensemble.final(fields.predicted, P, (PARAMS, RULE), 1.0, **QUICK),
            "no Taylor series",
        ),
        (
            lambda: ensemble.final(fields.parabola, P, PARAMS, 1.0, event=_sorted, **QUICK),
            "the event has",
        ),
        (lambda: ensemble.final(Partial(_times, P), P, None, 1.0, **QUICK), "holds arrays"),
    ),
)
def test_what_a_kernel_cannot_do_is_told(asked, solve, reason):
    solve()
    plan, rows, _, inputs = asked[0]
    setting = scheduler.TracedProblem.of(plan, inputs, rows.dtype)._replace(platform="gpu")
    assert reason in (pallas_kernel.obstacle(setting) or "")
    scheduler._tell_of_the_loop.cache_clear()
    with pytest.warns(UserWarning, match=f"one kernel of the GPU, and is slower: .*{reason}"):
        assert not scheduler._has_kernel(setting)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the warning is given once
        assert not scheduler._has_kernel(setting)


QUICK: Any = dict(quick=True)
P, RULE = np.array([0.1, 0.2]), predictors.Power(a=0.5)


def _sorted(t, y, args):
    return jnp.sort(jnp.stack([y, y]))[0] > 9


def _times(x, t, y, args):
    return -y * x[0]


class Fake:
    def __init__(self, platform):
        self.platform = platform


def test_a_tpu_refuses_float64_and_says_what_to_do(monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: [Fake("tpu")])
    with pytest.raises(ValueError, match="float64, and TPUs.*float32.*JAX_PLATFORMS=cpu"):
        ensemble.final(fields.parabola, P, PARAMS, 1.0)


def test_a_few_solves_run_on_the_processor_of_a_machine_with_a_gpu(monkeypatch):
    real = jax.local_devices
    either = lambda backend=None: real(backend=backend) if backend else [Fake("gpu")]
    monkeypatch.setattr(jax, "local_devices", either)
    ends = ensemble.final(fields.parabola, P, PARAMS, 1.0, quick=True)
    assert np.all(ends.status == ensemble.REACHED)


def test_products_of_matrices_are_not_rounded_for_speed(asked, key):
    """GPUs and TPUs would round in float32, so each product requests the highest precision."""
    n = 20
    W, Wp, Wa = (jr.normal(k, (2, n, n), jnp.float32) / n**0.5 for k in jr.split(key, 3))
    eye = jnp.eye(n, dtype=jnp.float32)
    field = Partial(_with_data, Data(X=eye, X_aug=0.3 * eye))
    ensemble.final(field, Full(W=W, Wp=Wp, Wa=Wa), PARAMS, 0.1, rtol=1e-4, **QUICK)
    plan, *arguments = asked[0]
    one = lambda x: x[0]
    y0, ts = Full(W=W[0], Wp=Wp[0], Wa=Wa[0]), jnp.array([0.0, 1.0], jnp.float32)
    programs = (
        jax.jit(functools.partial(scheduler._device, plan)).lower(*arguments),
        jax.jit(lambda y0: solve.trajectory(field, y0, PARAMS, ts, rtol=1e-4)).lower(y0),
        jax.jit(predictors.correlation).lower(one(W), one(Wp)),
        jax.jit(spectra.shared_basis).lower(one(W), one(Wp)),
        jax.jit(predictors.directpred).lower(one(W)),
    )
    for program in programs:
        products = re.findall(r"dot_general.*", program.as_text())
        assert products and all("HIGHEST" in line for line in products)


def test_a_lane_that_diverges_leaves_the_others_alone():
    square = lambda t, y, args: y**2
    ts = jnp.array([0.0, 0.5, 3.0])
    ends = ensemble.states(square, jnp.array([1.0, -1.0, 0.1]), None, ts)
    assert np.isclose(ends.t[0], 1.0) and np.all(ends.t[1:] == 3.0)
    assert ends.status.tolist() == [ensemble.DIVERGED, ensemble.REACHED, ensemble.REACHED]
    assert jnp.isclose(ends.y[0, 1], 2.0) and jnp.isnan(ends.y[0, 2])
    alone = ensemble.states(square, jnp.array([-1.0, 0.1]), None, ts)
    assert jnp.array_equal(ends.y[1:], alone.y)
    assert jnp.array_equal(ends.steps[1:], alone.steps)


def test_a_lane_with_nan_or_too_many_steps_ends():
    field = lambda t, y, rate: rate * y
    ends = ensemble.states(
        field, jnp.ones(3), jnp.array([-1.0, jnp.nan, -1e7]), TS, max_steps=2000
    )
    assert ends.status.tolist() == [0, ensemble.DIVERGED, ensemble.EXHAUSTED]


@pytest.mark.parametrize(
    "how, message",
    (
        (dict(args=Params(eta=np.ones(2))), r"leading axes of y0 and args differ.*{2, 3}"),
        (dict(y0=0.5), "leading axes of y0 and args differ or are absent"),
        (dict(rtol=0.0), "rtol = 0.0: it must be finite and above 0"),
        (dict(atol=-1.0), "atol = -1.0: it must be finite and at least 0"),
        (dict(max_steps=0), "max_steps = 0: it must be finite and above 0"),
        (dict(t1=np.nan), "times must be finite"),
        (dict(t1=np.array([1.0, -1.0, 1.0])), "all increase, or all decrease"),
    ),
)
def test_bad_requests_are_refused(how, message):
    request = dict(y0=np.ones(3), args=PARAMS, t1=1.0) | how
    with pytest.raises(ValueError, match=message):
        ensemble.final(fields.parabola, **request)


def test_bad_times_are_refused():
    for ts, message in (([0.0], "two times or more"), ([0.0, 1.0, 1.0], "are the same")):
        with pytest.raises(ValueError, match=message):
            ensemble.states(fields.parabola, np.ones(3), PARAMS, np.array(ts))


def test_tracing_an_ensemble_is_refused():
    with pytest.raises(TypeError, match="not under jit"):
        jax.jit(lambda p: ensemble.final(fields.parabola, p, PARAMS, 1.0).y)(jnp.ones(3))

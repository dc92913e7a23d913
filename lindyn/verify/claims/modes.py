"""Claims about the decoupled modes: reduction, invariant, flow on the parabola, target."""

import jax
import jax.numpy as jnp
import jax.random as jr

from lindyn.solve import trajectory
from lindyn.theory import closed_forms, fields
from lindyn.theory.spectra import compose
from lindyn.theory.states import Correlations, Curriculum, Data, Full, Modes, Moments, Plane
from lindyn.verify.claims.claim import RTOL, aligned, apart, claim, isotropic, with_decay


@claim("aligned, isotropic, diagonal: the full flow is the modes' flow", "(11)-(13)", 1e-9)
def aligned_modes(problem):
    U, p, s = aligned(problem)
    w, wa = jnp.sqrt(s), 0.5 * jnp.sqrt(s)
    V = jnp.linalg.qr(jr.normal(problem.key, (len(U) + 1, len(U))))[0].T
    y0 = Full(W=(U * w[None]) @ V, Wp=compose(U, p), Wa=(U * wa[None]) @ V)
    ts = jnp.linspace(0.0, 10.0, 11)
    full = trajectory(fields.full, y0, (problem.params, isotropic(problem)), ts, rtol=RTOL)
    modes = trajectory(fields.modes, Modes(p=p, w=w, wa=wa), problem.params, ts, rtol=RTOL)
    return apart(_in_basis(full, U, V), modes)


@claim("so is it for data that commutes with the networks", "(104)-(106)", 1e-9)
def commuting_modes(problem):
    U, p, s = aligned(problem)
    same, across = (
        1 + jnp.arange(len(s)) / len(s),
        1 - 0.5 * jnp.arange(len(s)) / len(s),
    )
    w = jnp.sqrt(s)
    y0 = Full(W=U * w[None], Wp=compose(U, p), Wa=0.5 * U * w[None])
    data = Data(X=jnp.diag(across), X_aug=jnp.diag(same - across))
    ts, identity = jnp.linspace(0.0, 10.0, 11), jnp.eye(len(s))
    full = trajectory(fields.full, y0, (problem.params, data), ts, rtol=RTOL)
    pair = (problem.params, Correlations(same=same, across=across))
    modes = trajectory(fields.mode_pair, Modes(p=p, w=w, wa=0.5 * w), pair, ts, rtol=RTOL)
    return apart(_in_basis(full, U, identity), modes)


@claim("the cosine's modes descend on -cos of outputs of one length", "derived", 1e-12)
def cosine_descent(problem):
    _, p, s = aligned(problem)
    w, params = jnp.sqrt(s), problem.params
    steps = jnp.arange(len(s)) / len(s)
    data = Correlations(same=1 + steps, across=1 - 0.5 * steps)

    def loss(y):
        target = jax.lax.stop_gradient(y.wa)
        squares = [jnp.sum(data.same * x**2) for x in (y.p * y.w, target)]
        agreement = jnp.sum(data.across * y.p * y.w * target)
        return -agreement / jnp.sqrt(squares[0] * squares[1])

    y = Modes(p=p, w=w, wa=(0.5 + steps) * w)
    slope = jax.grad(loss)(y)
    expected = Modes(
        p=-params.alpha_p * slope.p - params.eta_p * p,
        w=-slope.w - params.eta_s * w,
        wa=params.beta * (y.w - y.wa),
    )
    return apart(fields.cosine_modes(0.0, y, (params, data)), expected)


@claim("aligned, the symmetric flow is that of (p, s)", "(7)-(8), (11)-(12)", 1e-12)
def moments_modes(problem):
    U, p, s = aligned(problem)
    y = Moments(F=compose(U, s), Wp=compose(U, p))
    rate = fields.moments(0.0, y, problem.params)
    modes = fields.modes_fixed_tau(0.0, Plane(p=p, s=s), problem.params)
    return apart(rate, Moments(F=compose(U, modes.s), Wp=compose(U, modes.p)))


@claim("at fixed tau, (p, s) is the modes' flow with Wa = tau W", "(11)-(12)", 1e-12)
def modes_at_fixed_tau(problem):
    _, p, s = aligned(problem)
    y = Modes.of(p=p, s=s, tau=problem.params.tau)
    rate = fields.modes(0.0, y, problem.params)
    modes = fields.modes_fixed_tau(0.0, Plane(p=p, s=s), problem.params)
    return apart(modes, Plane(p=rate.p, s=2 * y.w * rate.w))


@claim("s - p^2/alpha_p = c e^(-2 eta t), c its value at the start", "(14)", 1e-9)
def invariance(problem):
    _, p, s = aligned(problem)
    ts = jnp.linspace(0.0, 20.0, 21)
    y0 = Modes.of(p=p, s=s, tau=0.0)
    ys = trajectory(fields.modes, y0, problem.params, ts, rtol=RTOL)
    c = closed_forms.invariant(p, s, problem.params)[None]
    expected = c * jnp.exp(-2 * problem.params.eta_s * ts)[:, None]
    size = ys.s + ys.p**2 / problem.params.alpha_p
    return jnp.max(
        jnp.abs(closed_forms.invariant(ys.p, ys.s, problem.params) - expected) / size
    )


@claim("on the parabola p obeys (16) and s stays p^2/alpha_p", "(16)", 1e-9)
def parabola_flow(problem):
    p, params, ts = (
        jnp.linspace(0.05, 1.2, 6),
        problem.params,
        jnp.linspace(0.0, 20.0, 21),
    )
    y0 = Plane(p=p, s=p**2 / params.alpha_p)
    ys = trajectory(fields.modes_fixed_tau, y0, params, ts, rtol=RTOL)
    ps = trajectory(fields.parabola, p, params, ts, rtol=RTOL)
    return apart(ys, Plane(p=ps, s=ps**2 / params.alpha_p))


@claim(
    "with a moving target, (p, tau) on the parabola is the modes' flow",
    "(13), (16)",
    1e-9,
)
def parabola_target(problem):
    p, params, ts = (
        jnp.linspace(0.05, 1.2, 6),
        problem.params,
        jnp.linspace(0.0, 20.0, 21),
    )
    y0 = Modes.of(p=p, s=p**2 / params.alpha_p, tau=0.0)
    ys = trajectory(fields.modes, y0, params, ts, rtol=RTOL)
    start = Curriculum(p=p, tau=0 * p)
    reduced = trajectory(fields.parabola_ema, start, params, ts, rtol=RTOL)
    return apart(Curriculum(p=ys.p, tau=ys.tau), reduced)


@claim("tau(t) = (beta/p) e^(-beta t) int p e^(beta u), from tau(0) = 0", "(15)", 1e-7)
def target_integral(problem):
    params, t = problem.params, 10.0
    start = Modes.of(p=0.3, s=0.09 / params.alpha_p, tau=0.0)
    solve = lambda ts: trajectory(
        fields.modes, start, params, jnp.concatenate([jnp.zeros(1), ts]), rtol=RTOL
    )
    ratio = closed_forms.target_ratio(lambda u: solve(u).p[1:], t, params)
    return apart(ratio, solve(jnp.array([t])).tau[-1])


@claim("the time from p to p on the parabola, in closed form", "(16), derived", 1e-8)
def implicit_solution(problem):
    critical = closed_forms.critical_decay(problem.params)
    ts = jnp.array([0.0, 0.5, 2.0])
    p0 = jnp.array([0.6, 0.9]) * problem.params.tau / (1 + problem.params.sigma2)
    worst = []
    for share in (0.0, 1e-6, 0.5, 1.0, 1.5):  # fractions of the critical decay
        params = with_decay(problem.params, share * critical)
        ps = trajectory(fields.parabola, p0, params, ts, rtol=1e-13)
        times = closed_forms.time_on_parabola(p0[None], ps, params)
        worst.append(apart(times, jnp.broadcast_to(ts[:, None], times.shape)))
    return jnp.max(jnp.stack(worst))


def _in_basis(ys, U, V):
    """Modes of a matrix trajectory: the diagonals of U^T Wp U, U^T W V^T and U^T Wa V^T."""
    return Modes(
        p=jnp.einsum("ij,tik,kj->tj", U, ys.Wp, U),
        w=jnp.einsum("ij,tik,jk->tj", U, ys.W, V),
        wa=jnp.einsum("ij,tik,jk->tj", U, ys.Wa, V),
    )

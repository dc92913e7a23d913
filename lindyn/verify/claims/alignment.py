"""Claims about the isotropic reduction (7)-(8), Theorem 3 and its condition (17)."""

import jax
import jax.numpy as jnp
import jax.random as jr
from numpy.polynomial.legendre import leggauss

from lindyn.solve import trajectory
from lindyn.theory import closed_forms, equilibria, fields, spectra, theorems
from lindyn.theory.states import Full, Moments
from lindyn.verify.claims.claim import (
    RTOL,
    aligned,
    apart,
    claim,
    excess,
    isotropic,
    with_decay,
)


@claim(
    "for X = I, X' = sigma2 I, Wa = tau W, F = W W^T follows from Lemma 1",
    "(62)-(63)",
    1e-12,
)
def moments_reduction(problem):
    params, W, Wp = problem.params, problem.y.W, problem.y.Wp
    rate = fields.full(0.0, Full(W=W, Wp=Wp, Wa=params.tau * W), (params, isotropic(problem)))
    expected = Moments(F=rate.W @ W.T + W @ rate.W.T, Wp=rate.Wp)
    return apart(fields.moments_asymmetric(0.0, Moments(F=W @ W.T, Wp=Wp), params), expected)


@claim("symmetrising the predictor's step gives the symmetric flow", "(7)-(8)", 1e-12)
def moments_symmetrised(problem):
    y = _symmetric(problem)
    rate = fields.moments_asymmetric(0.0, y, problem.params)
    expected = Moments(F=rate.F, Wp=(rate.Wp + rate.Wp.T) / 2)
    return apart(fields.moments(0.0, y, problem.params), expected)


@claim(
    "C = [F, Wp] obeys dC/dt = -(C K + K C), split decay included",
    "Theorem 3, (9)",
    1e-11,
)
def theorem_3_identity(problem):
    y, params = (
        _symmetric(problem),
        with_decay(problem.params, eta_p=3 * problem.params.eta_p),
    )
    rate = fields.moments(0.0, y, params)
    commutator = lambda y: spectra.commutator(y.F, y.Wp)
    C, measured = jax.jvp(commutator, (y,), (rate,))
    K = theorems.alignment_rate(y.F, y.Wp, params)
    return apart(measured, -(C @ K + K @ C))


@claim(
    "|C(t)| <= e^(-2 l0 t) |C(0)|, l0 > 0 the least eigenvalue of K",
    "Theorem 3, (10)",
    1e-9,
)
def theorem_3_bound(problem):
    params = _with_window_decay(problem.params)
    y0 = _nearly_aligned(problem, params, turn=0.05)
    ts = jnp.linspace(0.0, 10.0, 201)
    ys = trajectory(fields.moments, y0, params, ts, rtol=RTOL)
    K = jax.vmap(theorems.alignment_rate, (0, 0, None))(ys.F, ys.Wp, params)
    least = jnp.min(jnp.linalg.eigvalsh(K))
    over = excess(jax.vmap(spectra.commutator)(ys.F, ys.Wp), ts, 2 * least)
    return jnp.where(least > 0, over, jnp.inf)


@claim(
    "where K < 0 the commutator grows: for two modes by exactly e^(-int tr K)",
    "(9)",
    1e-8,
)
def theorem_3_growth(problem):
    params = with_decay(problem.params, 0.01, tau=1.0)
    p = jnp.array([0.1, 0.15])
    F, turn = jnp.diag(p**2 / 10), _rotation(1e-3)
    y0 = Moments(F=F, Wp=turn @ jnp.diag(p) @ turn.T)
    nodes, weights = leggauss(32)  # for the integral of tr K over [0, 2 half]
    half = 2.0
    ts = jnp.concatenate([jnp.zeros(1), half * (1 + nodes), 2 * half * jnp.ones(1)])
    ys = trajectory(fields.moments, y0, params, ts, rtol=RTOL)
    C = jax.vmap(spectra.commutator)(ys.F, ys.Wp)[:, 0, 1]
    K = jax.vmap(theorems.alignment_rate, (0, 0, None))(ys.F, ys.Wp, params)
    trace = jnp.trace(K, axis1=1, axis2=2)
    growth = jnp.log(C[-1] / C[0])
    residual = jnp.abs(growth + half * weights @ trace[1:-1])
    return jnp.where(growth > 0.1, residual, jnp.inf)


@claim("K's eigenvalues are (alpha_p a s + eta_p)/2 - Delta, mode by mode", "(17)", 1e-12)
def alignment_condition(problem):
    params = with_decay(problem.params, eta_p=3 * problem.params.eta_p)
    U, p, s = aligned(problem)
    K = theorems.alignment_rate(spectra.compose(U, s), spectra.compose(U, p), params)
    margins = closed_forms.alignment_margin(p, s, params)
    return apart(jnp.linalg.eigvalsh(K), jnp.sort(margins))


@claim(
    "tau^2/9a and tau^2/4a bound the decays with K > 0 on the parabola and a goal",
    "derived",
    1e-9,
)
def aligned_window(problem):
    low, high = closed_forms.aligned_window(problem.params)
    p = jnp.linspace(0.0, 1.0, 20001) * problem.params.tau
    least = lambda decay: _least_margin_on_parabola(p, with_decay(problem.params, decay))
    goal = lambda decay: equilibria.decay_roots(with_decay(problem.params, decay))[1]
    sides = (least(0.999 * low) < 0) & (least(1.001 * low) > 0)
    sides &= jnp.isfinite(goal(0.999 * high)) & jnp.isnan(goal(1.001 * high))
    return jnp.where(sides, jnp.abs(least(low)), jnp.inf)


def _with_window_decay(params):
    low, high = closed_forms.aligned_window(params)
    return with_decay(params, (low + 3 * high) / 4)


def _symmetric(problem):
    W, Wp = problem.y.W, problem.y.Wp
    return Moments(F=W @ W.T, Wp=(Wp + Wp.T) / 2)


def _nearly_aligned(problem, params, turn):
    """A state within a tenth of the parabola s = p^2/alpha_p.

    The eigenvectors of Wp are those of F, rotated by an angle of about `turn`.
    """
    U, p, s = aligned(problem)
    p = 0.2 + 0.6 * (p + 0.5) / 1.7
    s = p**2 / params.alpha_p * (0.9 + s / 6)
    generator = turn * jr.normal(problem.key, U.shape)
    V = U @ jax.scipy.linalg.expm(generator - generator.T)
    return Moments(F=spectra.compose(U, s), Wp=spectra.compose(V, p))


def _rotation(angle):
    c, s = jnp.cos(angle), jnp.sin(angle)
    return jnp.array([[c, -s], [s, c]])


def _least_margin_on_parabola(p, params):
    return jnp.min(closed_forms.alignment_margin(p, p**2 / params.alpha_p, params))

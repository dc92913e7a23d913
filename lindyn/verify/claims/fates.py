"""Claims about the fates of modes: fixed points, critical decay, basins, closed forms."""

import jax
import jax.numpy as jnp
import jax.random as jr

from lindyn.solve import ensemble, trajectory
from lindyn.theory import closed_forms, equilibria, fields, predictors, stability
from lindyn.theory.states import Correlations, Modes, Plane
from lindyn.verify.claims.claim import apart, claim, with_decay


@claim("every field rests at its fixed points", "(11)-(16)", 1e-12)
def fixed_points(problem):
    worst, half = [], 0.5 * closed_forms.critical_decay(problem.params)
    same = with_decay(problem.params, half)
    split = with_decay(problem.params, half, eta_p=2 * half)
    for field in equilibria.CLOSED:
        worst.append(_rest(field, equilibria.fixed_points(same, field), same))
        if field not in (fields.parabola, fields.parabola_ema):
            worst.append(_rest(field, equilibria.fixed_points(split, field), split))
    pair = (same, Correlations(same=jnp.array(1.0), across=problem.params.tau))
    worst.append(_rest(fields.mode_pair, equilibria.pair_fixed_points(*pair), pair))
    return jnp.max(jnp.stack(worst))


@claim("the goal attracts, the edge is a saddle, collapse attracts", "(16)", 0.0)
def classes(problem):
    params = with_decay(problem.params, 0.5 * closed_forms.critical_decay(problem.params))
    wanted = [stability.STABLE_NODE, stability.SADDLE, stability.STABLE_NODE]
    kinds = equilibria.fixed_points(params).kind
    return jnp.sum(kinds != jnp.array(wanted)).astype(float)


@claim(
    "just below tau^2/4a a mode survives, just above it every mode collapses",
    "after (16)",
    1e-6,
)
def critical_decay(problem):
    critical = closed_forms.critical_decay(problem.params)
    shares = jnp.array([0.98, 1.02])
    params = with_decay(problem.params, shares * critical)
    p0 = problem.params.tau / (2 * (1 + problem.params.sigma2))
    p = _end(fields.parabola, jnp.full(2, p0), params, 400 / critical)
    goal = equilibria.decay_roots(with_decay(problem.params, 0.98 * critical))[1]
    return jnp.maximum(jnp.abs(p[0] / goal - 1), jnp.abs(p[1]) / p0)


@claim(
    "p-* divides the parabola: a thousandth above it survives, below it collapses",
    "(16)",
    1e-6,
)
def basin_edge(problem):
    params = with_decay(problem.params, 0.5 * closed_forms.critical_decay(problem.params))
    low, high = equilibria.decay_roots(params)
    p0 = low * jnp.array([0.999, 1.001])
    start = Plane(p=p0, s=p0**2 / params.alpha_p)
    p = _end(fields.modes_fixed_tau, start, params, 400 / params.eta_s).p
    return jnp.maximum(jnp.abs(p[0]) / low, jnp.abs(p[1] / high - 1))


@claim("without decay, the fate of every start in the plane", "(14), derived", 0.0)
def basin_without_decay(problem):
    params = with_decay(problem.params, 0.0)
    goal = params.tau / (1 + params.sigma2)
    keys = jr.split(problem.key)
    p0 = goal * jr.uniform(keys[0], (400,), minval=-2.0, maxval=3.0)
    s0 = goal**2 / params.alpha_p * jr.uniform(keys[1], (400,), maxval=4.0)
    edge = closed_forms.basin_edge_without_decay(p0, params)
    clear = jnp.abs(s0 - edge) > 1e-3 * goal**2 / params.alpha_p
    s = _end(fields.modes_fixed_tau, Plane(p=p0, s=s0), params, 4e3 / goal).s
    collapsed = s < 1e-3 * jnp.minimum(s0, goal**2 / params.alpha_p)
    return jnp.sum((collapsed != (s0 < edge)) & clear).astype(float)


@claim(
    "DirectSet: a thousandth above its edge a mode survives, below it collapses",
    "derived",
    1e-3,
)
def directset_edge(problem):
    params = with_decay(problem.params, 0.5 * closed_forms.critical_decay(problem.params))
    worst = []
    for a, eps, c in (
        (0.5, 0.0, 0.0),
        (1.0, 0.0, 0.0),
        (0.5, 0.0, 0.02),
        (0.5, 0.05, 0.01),
    ):
        eps = eps * equilibria.decay_roots(params)[0]
        edge = closed_forms.directset_edge(params, a, eps, c)
        s0 = edge * jnp.array([0.999, 1.001])
        fixed = equilibria.directset_fixed_points(params, a, eps, c)
        args = (params, predictors.Power(a=a, eps=eps, c=c))
        s = _end(fields.predicted, s0, args, 400 / params.eta_s)
        worst.append(jnp.maximum(s[0] / edge, jnp.abs(s[1] / fixed.y[2] - 1)))
        slope = fields.predicted(0.0, 1e-14, args) / 1e-14
        worst.append(jnp.abs(fixed.jacobian[0, 0, 0] / slope - 1))
    return jnp.max(jnp.stack(worst))


@claim("p-* < eps < p+*: DirectPred's eps lets collapse be escaped", "derived", 1e-6)
def directpred_escape(problem):
    params = with_decay(problem.params, 0.5 * closed_forms.critical_decay(problem.params))
    low, high = equilibria.decay_roots(params)
    eps = jnp.stack([0.9 * low, 1.1 * low, 0.9 * high])
    rule = predictors.Power(a=jnp.full(3, 0.5), eps=eps, c=jnp.zeros(3))
    s = _end(fields.predicted, jnp.full(3, 1e-10), (params, rule), 4000 / params.eta_s)
    goals = (high - eps[1:]) ** 2
    escaped = jnp.max(jnp.abs(s[1:] / goals - 1))
    edges = jnp.stack([closed_forms.directset_edge(params, eps=e) for e in eps])
    edges_hold = (edges[0] > 1e-10) & jnp.all(edges[1:] == 0)
    return jnp.where(edges_hold, jnp.maximum(escaped, s[0] / 1e-10), jnp.inf)


@claim(
    "IsoLoss is the flow without its factor p, and goes to (tau - eta)/a from any start",
    "Halvagal et al. 2023",
    1e-8,
)
def isoloss_goal(problem):
    rule = predictors.Power(a=1.0)
    s0 = jnp.array([1e-6, 0.1, 3.0])
    args = (problem.params, rule)
    s = _end(fields.isoloss, s0, args, 400.0)
    at_goal = apart(s, jnp.full(3, closed_forms.isoloss_goal(problem.params)))
    decay = 2 * problem.params.eta_s * s0
    with_factor = rule(s0) * (fields.isoloss(0.0, s0, args) + decay)
    expected = fields.predicted(0.0, s0, args) + decay
    return jnp.maximum(at_goal, apart(with_factor, expected))


@claim("eta_s = 0 < eta_p: p rests at tau/a while s grows linearly", "derived", 1e-2)
def runaway(problem):
    params = with_decay(problem.params, eta_p=problem.params.eta_p, eta_s=0.0)
    start, ts = (
        Plane(p=jnp.array(0.3), s=jnp.array(0.2)),
        jnp.array([0.0, 5000.0, 6000.0]),
    )
    ys = trajectory(fields.modes_fixed_tau, start, params, ts, rtol=1e-8)
    slope = (ys.s[2] - ys.s[1]) / 1000.0
    return jnp.abs(slope / closed_forms.runaway_rate(params) - 1)


@claim(
    "fixed steps converge at order 8, and at 5 where stiff",
    "Prince and Dormand; Kvaerno",
    0.8,
)
def solver_order(problem):
    params = with_decay(problem.params, alpha_p=4.0)
    start, ts = Modes.of(p=-0.5, s=2.0, tau=0.2), jnp.array([0.0, 4.0])
    run = lambda **options: trajectory(fields.modes, start, params, ts, **options)
    exact = run(rtol=1e-14)
    error = lambda **options: apart(run(**options), exact)
    slope = lambda dt, **options: jnp.log2(
        error(dt=2 * dt, **options) / error(dt=dt, **options)
    )
    explicit, implicit = slope(0.05), slope(0.0125, stiff=True, rtol=1e-10)
    return jnp.maximum(jnp.abs(explicit - 8), jnp.abs(implicit - 5))


def _rest(field, fixed, args):
    """The largest |field| at its three fixed points; infinite if one of them is missing."""
    rates = jax.vmap(lambda y: field(0.0, y, args))(fixed.y)
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in jax.tree.leaves(rates)]))
    return jnp.where(jnp.any(fixed.kind == stability.NONE), jnp.inf, largest)


def _end(field, y0, args, t1):
    """The states at t1 of an ensemble of initial value problems."""
    ends = ensemble.states(field, y0, args, jnp.stack([0.0, t1]), rtol=1e-9, atol=1e-18)
    return jax.tree.map(lambda y: y[:, -1], ends.y)

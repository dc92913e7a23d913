"""Claims about the cosine loss: its flow, its conserved quantities and the surviving modes."""

import jax
import jax.numpy as jnp
import jax.random as jr

from lindyn.solve import trajectory
from lindyn.theory import closed_forms, cosine, fields, steps
from lindyn.theory.spectra import compose
from lindyn.theory.states import Correlations, Data, Full, Modes, Online, Plane, Views
from lindyn.verify.claims.claim import RTOL, aligned, apart, claim, isotropic, with_decay


@claim("the cosine's flow descends on -C/(N_q N_z), outputs of one length", "derived", 1e-12)
def cosine_matrices(problem):
    return apart(
        fields.cosine(0.0, problem.y, _args(problem)), _descent(problem, _concentrated)
    )


@claim("SimSiam's cosine is that flow with Wa = W", "derived", 1e-12)
def cosine_without_ema(problem):
    y = Full(W=problem.y.W, Wp=problem.y.Wp, Wa=problem.y.W)
    gap = lambda field, other: apart(
        field(0.0, problem.online, _args(problem)), _online(other(0.0, y, _args(problem)))
    )
    return jnp.maximum(
        gap(fields.cosine_simsiam, fields.cosine),
        gap(fields.cosine_gaussian_simsiam, fields.cosine_gaussian),
    )


@claim("aligned and isotropic, it is the flow of the cosine's modes", "derived", 1e-12)
def cosine_decoupled(problem):
    U, p, s = aligned(problem)
    w, I = jnp.sqrt(s), jnp.eye(len(U))
    y = Full(W=U * w[None], Wp=compose(U, p), Wa=0.5 * U * w[None])
    sigma2 = problem.params.sigma2
    rate = fields.cosine(0.0, y, (problem.params, Data(X=I, X_aug=sigma2 * I)))
    modes = Modes(p=p, w=w, wa=0.5 * w)
    pair = problem.params, Correlations(same=1 + sigma2, across=1.0)
    d = fields.cosine_modes(0.0, modes, pair)
    return apart(rate, Full(W=U * d.w[None], Wp=compose(U, d.p), Wa=U * d.wa[None]))


@claim("the cosine of Gaussian outputs, whose lengths vary, has that flow", "derived", 1e-12)
def cosine_of_gaussians(problem):
    flow = fields.cosine_gaussian(0.0, problem.y, _args(problem))
    return apart(flow, _descent(problem, fields.gaussian_cosine))


@claim("up a batch's mean cosine: (z - cos q)/|q| of lengths 1, times x", "derived", 1e-12)
def cosine_of_samples(problem):
    keys, inputs = jr.split(problem.key), len(problem.data.X)
    x, other = (jr.normal(key, (inputs, 9)) for key in keys)
    views = [Views(online=x, target=other), Views(online=other, target=x)]
    y, params = problem.y, problem.params

    def residual(W, Wp, Wa, x, other):
        q, z = Wp @ W @ x, Wa @ other
        size, length = (jnp.linalg.norm(x, axis=0)[None] for x in (q, z))
        q, z = q / size, z / length
        cos = jnp.sum(q * z, axis=0)
        return jnp.mean(cos), (z - cos[None] * q) / size @ x.T / x.shape[1]

    def expected(Wa):
        first, second = (residual(y.W, y.Wp, Wa, *pair) for pair in ((x, other), (other, x)))
        R = (first[1] + second[1]) / 2
        W, Wp = y.Wp.T @ R - params.eta_s * y.W, params.alpha_p * R @ y.W.T
        flow = Full(W=W, Wp=Wp - params.eta_p * y.Wp, Wa=params.beta * (y.W - Wa))
        return (first[0] + second[0]) / 2, flow

    (value, flow), (_, simsiam_flow) = expected(y.Wa), expected(y.W)
    args = params, views
    gaps = [
        apart(fields.sampled_cosine(y, views), value),
        apart(fields.cosine_sampled(0.0, y, args), flow),
        apart(fields.cosine_sampled_simsiam(0.0, problem.online, args), _online(simsiam_flow)),
    ]
    return jnp.max(jnp.stack(gaps))


@claim("of k equal modes it is rho (1 - (1 - rho^2)/2k) + O(1/k^2)", "Hotelling, 1953", 1e-12)
def cosine_of_equal_modes(problem):
    k, a = len(problem.y.Wp), 1 + problem.params.sigma2
    Q = jnp.linalg.qr(jr.normal(problem.key, (len(problem.data.X), k)))[0].T
    y = Full(W=Q, Wp=1.7 * jnp.eye(k), Wa=0.3 * Q)
    rho = 1 / a
    expected = rho * (1 - (1 - rho**2) / (2 * k))
    return jnp.abs(fields.gaussian_cosine(y, isotropic(problem)) - expected)


@claim(
    "without decay sum p^2 and sum s stay, and c_j; with one all fade alike", "derived", 1e-9
)
def cosine_conserves(problem):
    y, args = _modes(problem)
    ts = jnp.linspace(0.0, 5.0, 6)
    ys = trajectory(simsiam_modes, y, args, ts, rtol=RTOL)
    fade = jnp.exp(-2 * args[0].eta_s * ts)
    sums = jnp.stack([jnp.sum(ys.p**2, -1), jnp.sum(ys.s, -1)])
    c = closed_forms.invariant(ys.p, ys.s, args[0])
    return jnp.maximum(apart(sums, sums[:, :1] * fade[None]), apart(c, c[:1] * fade[:, None]))


@claim("a mode gains of sum s if 0 < p_j < sum p^2 s/sum p s, and loses above", "derived", 0.0)
def cosine_shares(problem):
    y, args = _modes(problem)
    rate = simsiam_modes(0.0, y, (with_decay(args[0], 0.0), args[1]))
    m = cosine.goal(y.p, y.s)
    return jnp.sum((rate.w * y.w > 0) != ((y.p > 0) & (y.p < m))).astype(float)


@claim("those live that the starts' p and s say, and come to one p", "derived", 1e-5)
def cosine_survivors(problem):
    keys, (_, data) = jr.split(problem.key), _modes(problem)[1]
    p = jr.uniform(keys[0], (10,), minval=-1.0, maxval=1.5)
    s = jnp.exp(jr.uniform(keys[1], (10,), minval=-4.0, maxval=0.0))
    y, args = Modes.of(p=p, s=s, tau=1.0), (with_decay(problem.params, 0.0), data)
    live, m = cosine.survivors(y.p, y.s, args[0].alpha_p)
    end = trajectory(simsiam_modes, y, args, jnp.array([0.0, 2e3]), rtol=1e-8, atol=1e-12)
    p, s = end.p[-1], end.s[-1]
    alive = s > 1e-4 * jnp.max(s)
    return jnp.sum(alive != live) + jnp.max(jnp.where(live, jnp.abs(p / m - 1), 0))


@claim("one mode among many that keep m dies below the edge that m has", "derived", 0.0)
def cosine_edge(problem):
    m, alpha_p = 0.7, problem.params.alpha_p
    p = jnp.linspace(-1.0, 2.0, 31)
    edge = cosine.edge(p, m, alpha_p)
    others = jnp.full((len(p), 500), m)

    def lives(part):
        both = lambda one, many: jnp.concatenate([one[:, None], many], axis=1)
        s = jnp.maximum(part * edge, 1e-3)
        return cosine.survivors(both(p, others), both(s, others**2 / alpha_p), alpha_p)[0][:, 0]

    return jnp.sum((lives(0.9) | ~lives(1.1)) & (edge > 1e-2)).astype(float)


@claim("one mode and equal others: its share moves in a plane, at any decay", "derived", 1e-12)
def cosine_rival(problem):
    """`fields.cosine_rival` is the flow of p divided by the root mean square of all p.

    With sum p^2 = n and one weight decay eta its rate is dp/dt + eta p: the decay cancels.
    """
    keys, count, params = jr.split(problem.key), 5, with_decay(problem.params, 0.3)
    total = count / params.alpha_p
    p = jr.uniform(keys[0], (), minval=-1.5, maxval=2.0)
    s = total * jr.uniform(keys[1], (), minval=0.05, maxval=0.9)
    others = jnp.sqrt((count - p**2) / (count - 1)), (total - s) / (count - 1)
    equal = lambda one, other: jnp.append(jnp.full(count - 1, other), one)
    y = Modes.of(p=equal(p, others[0]), s=equal(s, others[1]), tau=1.0)
    a = 1 + params.sigma2
    d = simsiam_modes(0.0, y, (params, Correlations(same=a, across=1.0)))
    eta = params.eta_s
    share = Plane(p=d.p[-1] + eta * p, s=2 * y.w[-1] * d.w[-1] + 2 * eta * s)
    rate = fields.cosine_rival(0.0, Plane(p=p, s=s), (params, count))
    return apart(jax.tree.map(lambda x: x / a, rate), share)


@claim("in that plane it dies below one curve, and the others above another", "derived", 0.0)
def cosine_rival_edges(problem):
    count, alpha_p = 3, problem.params.alpha_p
    unit = jr.uniform(problem.key, (2, 400))
    p = (2 * unit[0] - 1) * jnp.sqrt(float(count))
    s = unit[1] * count / alpha_p
    low, high = cosine.rival_edges(p, count, alpha_p)
    others = jnp.sqrt((count - p**2) / (count - 1)), (count / alpha_p - s) / (count - 1)
    both = lambda one, other: jnp.stack([one] + [other] * (count - 1), axis=1)
    live, _ = cosine.survivors(both(p, others[0]), both(s, others[1]), alpha_p)
    wrong = (live[:, 0] != (s > low)) | (live[:, 1] != (s < high))
    return jnp.sum(wrong & (jnp.minimum(abs(s - low), abs(s - high)) > 1e-9)).astype(float)


@claim("at the settled state p_j returns at these speeds", "derived", 1e-9)
def cosine_speeds(problem):
    y, args = _settled(problem)
    P, S = jnp.sum(y.p**2), jnp.sum(y.s)
    alone, held = cosine.speeds(P, S, args[0])
    return jnp.maximum(
        jnp.abs(_fastest(simsiam_modes, y, args) / alone - 1),
        jnp.abs(_fastest(fields.cosine_modes, y, args) / held - 1),
    )


@claim("and at the resting scale a step is as long as is stable", "derived", 1e-12)
def cosine_resting_scale(problem):
    rate, momentum, params = 0.05, 0.9, problem.params
    P = cosine.resting_scale(rate, momentum, params)
    alone, _ = cosine.speeds(P, P / params.alpha_p, params)
    return jnp.abs(steps.largest_rate(alone, momentum) / rate - 1)


def simsiam_modes(t, y, args):
    """The flow `fields.cosine_modes` with the target wa = w, as in SimSiam."""
    dy = fields.cosine_modes(t, Modes(p=y.p, w=y.w, wa=y.w), args)
    return Modes(p=dy.p, w=dy.w, wa=dy.w)


def _args(problem):
    return problem.params, problem.data


def _concentrated(y, data):
    """C/(N_q N_z) of `fields.cosine`: the cosine of outputs whose lengths do not vary."""
    same = data.X + data.X_aug
    q2 = jnp.trace(y.Wp @ y.W @ same @ y.W.T @ y.Wp.T)
    z2 = jnp.trace(y.Wa @ same @ y.Wa.T)
    return jnp.trace(y.Wp.T @ y.Wa @ data.X @ y.W.T) / jnp.sqrt(q2 * z2)


def _descent(problem, agreement):
    """Gradient descent on -`agreement` by automatic differentiation, with decay and EMA."""
    y, params = problem.y, problem.params
    slope = jax.grad(lambda y: agreement(y, problem.data))(y)
    return Full(
        W=slope.W - params.eta_s * y.W,
        Wp=params.alpha_p * slope.Wp - params.eta_p * y.Wp,
        Wa=params.beta * (y.W - y.Wa),
    )


def _online(y):
    return Online(W=y.W, Wp=y.Wp)


def _modes(problem):
    """Modes with p of both signs and wa = w > 0, and the arguments for isotropic data."""
    _, p, s = aligned(problem)
    data = Correlations(same=1 + problem.params.sigma2, across=1.0)
    return Modes(p=p, w=jnp.sqrt(s), wa=jnp.sqrt(s)), (problem.params, data)


def _settled(problem):
    """A fixed point: all modes have the same p and the same s. Decays and beta are zero."""
    y, (params, data) = _modes(problem)
    y = Modes(p=jnp.full_like(y.p, 0.6), w=y.w, wa=y.w)
    s = jnp.mean(y.s)
    y = Modes(p=y.p, w=jnp.full_like(y.w, jnp.sqrt(s)), wa=jnp.full_like(y.w, jnp.sqrt(s)))
    return y, (with_decay(params, 0.0, beta=0.0), data)


def _fastest(field, y, args):
    """The largest modulus of the eigenvalues of the Jacobian of `field` in (p, w).

    The target wa is held fixed for `fields.cosine_modes`, and is w otherwise.
    """
    held = field is fields.cosine_modes
    leaves = lambda p, w: field(0.0, Modes(p=p, w=w, wa=y.wa if held else w), args)

    def flat(x):
        d = leaves(*jnp.split(x, 2))
        return jnp.concatenate([d.p, d.w])

    jacobian = jax.jacfwd(flat)(jnp.concatenate([y.p, y.w]))
    return jnp.max(jnp.abs(jnp.linalg.eigvals(jacobian)))

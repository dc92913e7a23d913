"""Forecasts the modes of a run from one of its records, by integrating the mode equations.

Read `run_moments` first.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from lindyn import solve
from lindyn.compare.run_moments import RunMoments, in_basis
from lindyn.theory import fields, spectra
from lindyn.theory.hyperparameters import Scales, Units, effective
from lindyn.theory.states import Correlations, Modes


RTOL = 1e-6
# The most steps of the explicit method, after which the implicit one is tried, and of that one.
# With derivatives, an implicit step costs about a hundred explicit ones.
STEPS = 20_000
IMPLICIT = 2_000
MOST = 20  # iterations of a fit, at most
FREE = ("rate", "alpha_p", "sigma2")  # what a fit changes, each by a factor
LEAST = 1e-6  # of the largest eigenvalue: a smaller one is float32 rounding, and not a mode


class ModeSeries(NamedTuple):
    """A time series of modes, in the basis U that F and Wp share at one record."""

    t: Float[np.ndarray, " times"]  # since the first of these records
    p: Float[np.ndarray, "times modes"]  # u_j^T Wp u_j
    s: Float[np.ndarray, "times modes"]  # u_j^T F u_j
    wa: Float[np.ndarray, "times modes"]  # u_j^T Wa X W^T u_j / sqrt(s_j)
    same: Float[np.ndarray, " modes"]  # l_s/l_d = 1 + sigma2 of each mode, at the record of U


class Forecast(NamedTuple):
    """Solved modes, and their root mean square errors over all records after the fit's window.

    If the window has all records, errors are over all but the first.
    """

    factors: Float[np.ndarray, " free"]  # on the given values of `FREE`; all 1 without a fit
    p: Float[np.ndarray, "times modes"]
    s: Float[np.ndarray, "times modes"]
    error_p: float  # error of p
    error_s: float  # error of s
    naive_p: float  # error of p, if p stayed at its first value
    naive_s: float  # error of s, if s stayed at its first value


def observed(m: RunMoments, first: int, *, basis_of: int | None = None) -> ModeSeries:
    """The modes of a run from its record `first` on.

    They are in the shared basis of that record, or of the record `basis_of`.
    """
    at = first if basis_of is None else basis_of
    basis = spectra.shared_basis(jnp.asarray(m.F[at]), jnp.asarray(m.Wp[at]))
    U = np.asarray(basis.U)
    is_mode = np.asarray(basis.s) > LEAST * float(basis.s[0])
    U = U[:, is_mode]
    later, here = m.at(slice(first, None)), m.at([at])
    s = np.maximum(in_basis(U, later.F), 0)
    return ModeSeries(
        t=later.t - later.t[0],
        p=in_basis(U, later.Wp),
        s=s,
        wa=in_basis(U, later.cross) / np.sqrt(np.where(s > 0, s, 1)),
        same=np.maximum((in_basis(U, here.same) / in_basis(U, here.F))[0], 1.0),
    )


def forecast(
    seen: ModeSeries, units: Units, scales: Scales, *, window: int, rule: Callable | None = None
) -> tuple[Forecast, Forecast]:
    """Two forecasts: with given parameters, and with factors fitted to `window` records.

    The given parameters come from the first record and the configuration. The equations are
    those of the run's loss, `fields.mode_pair` or `fields.cosine_modes`. The target moves by
    (13), or is the online network itself. With a predictor in closed form, p is `rule(s)`. The
    rates are exact except for l_d, which counts only the last layer's share of what moves F.

    The fit has one factor each on the rate of the gradient, on alpha_p and on sigma2, the same
    for all modes. It uses the Gauss-Newton method, with derivatives through the solver.
    """
    problem = _Problem.of(seen, units, scales, rule)
    as_given = _forecast(problem, seen, np.zeros(len(FREE)), window)
    return as_given, _forecast(problem, seen, _fit(problem, window), window)


def given(
    seen: ModeSeries, units: Units, scales: Scales, *, rule: Callable | None = None
) -> Forecast:
    """The first of the two forecasts of `forecast`, with errors over all records."""
    problem = _Problem.of(seen, units, scales, rule)
    return _forecast(problem, seen, np.zeros(len(FREE)), len(seen.t))


class _Problem(eqx.Module):
    """The inputs of a solve, and the measured modes with which it is compared."""

    t: Array
    p: Array
    s: Array
    start: Modes
    same: Array
    units: Units  # with beta = 0 if `copied`, and without its flag for the cosine loss
    across: Array
    cosine: bool = eqx.field(static=True)
    copied: bool = eqx.field(static=True)  # the target is the online network
    rule: Callable | None = eqx.field(static=True)

    @classmethod
    def of(cls, seen, units, scales, rule):
        w = np.sqrt(seen.s[0])
        copied = not np.isfinite(units.beta)
        start = Modes(
            p=jnp.asarray(seen.p[0]),
            w=jnp.asarray(w),
            wa=jnp.asarray(w if copied else seen.wa[0]),
        )
        numbers = units._replace(beta=0.0 if copied else units.beta)
        return cls(
            t=jnp.asarray(seen.t),
            p=jnp.asarray(seen.p),
            s=jnp.asarray(seen.s),
            start=start,
            same=jnp.asarray(seen.same),
            units=numbers._replace(cosine=False),  # `cosine_modes` computes the norms itself
            across=jnp.asarray(scales.across),
            cosine=units.cosine,
            copied=copied,
            rule=rule,
        )

    def solve(self, factors: np.ndarray) -> tuple[Modes, Modes]:
        """The modes, and their derivatives with respect to the logarithms of the factors.

        `factors` are those logarithms. The derivatives (times, free, modes) are integrated
        together with the modes. All are NaN if the equations could not be solved.
        """
        start = self.start
        if self.rule is not None:
            start = Modes(p=jnp.zeros_like(start.p), w=start.w, wa=start.wa)
        zeros = jax.tree.map(lambda x: jnp.zeros((len(FREE), *x.shape)), start)
        args = self.units, self.same, self.across, jnp.asarray(factors)
        field = Sensitive(ModeFlow(self.cosine, self.copied, self.rule))
        for stiff, steps in ((False, STEPS), (True, IMPLICIT)):
            options: Any = dict(rtol=RTOL, atol=1e-9, stiff=stiff, max_steps=steps)
            try:
                ys, slopes = solve.trajectory(field, (start, zeros), args, self.t, **options)
            except solve.SolveError:
                continue
            return (ys, slopes) if self.rule is None else jax.vmap(self._predicted)(ys, slopes)
        return jax.tree.map(lambda x: jnp.full_like(x[None], jnp.nan), (start, zeros))

    def _predicted(self, y, slopes):
        """Replace p and its derivatives by those of the closed form, as a function of w."""
        assert self.rule is not None
        rule = self.rule
        of_w = lambda w: rule(self.same * w**2)
        slope = jax.vmap(lambda dw: jax.jvp(of_w, (y.w,), (dw,))[1])(slopes.w)
        return Modes(of_w(y.w), y.w, y.wa), Modes(slope, slopes.w, slopes.wa)


class ModeFlow(eqx.Module):
    """The mode equations of a run, in time units of the encoder's learning rate.

    They are kappa times the equations with the parameters of `hyperparameters.effective`.
    """

    cosine: bool = eqx.field(static=True)
    copied: bool = eqx.field(static=True)  # the target is the online network
    rule: Callable | None = eqx.field(static=True)

    def __call__(self, t: Any, y: Modes, args: Any) -> Modes:
        units, same, across, (rate, alpha_p, sigma2) = args
        faster = units._replace(gain=rate * units.gain, alpha_p=alpha_p * units.alpha_p)
        params, kappa = effective(faster, Scales(across=across))
        p = y.p if self.rule is None else self.rule(same * y.s)
        here = Modes(p=p, w=y.w, wa=y.w if self.copied else y.wa)
        flow = fields.cosine_modes if self.cosine else fields.mode_pair
        data = Correlations(same=1 + sigma2 * (same - 1), across=jnp.ones_like(same))
        dy = jax.tree.map(lambda x: kappa * x, flow(t, here, (params, data)))
        return Modes(
            p=dy.p if self.rule is None else jnp.zeros_like(y.p),
            w=dy.w,
            wa=dy.w if self.copied else dy.wa,
        )


class Sensitive(eqx.Module):
    """A flow, and the derivatives y' of its state with respect to the log factors.

    dy'/dt = f_y y' + f_factors.
    """

    flow: ModeFlow

    def __call__(self, t: Any, both: Any, args: Any) -> Any:
        y, slopes = both
        *rest, factors = args
        rate = lambda y, factors: self.flow(t, y, (*rest, jnp.exp(factors)))
        along = lambda dy, unit: jax.jvp(rate, (y, factors), (dy, unit))[1]
        return rate(y, factors), jax.vmap(along)(slopes, jnp.eye(len(FREE)))


def _fit(problem, window):
    """The fitted logarithms of the factors.

    Least squares in p and |w|, each over its standard deviation, by Levenberg's method.
    """
    factors, damping = np.zeros(len(FREE)), 1e-3
    residual, jacobian = _residuals(problem, factors, window)
    if not np.isfinite(residual).all():
        return factors
    for _ in range(MOST):
        normal = jacobian.T @ jacobian
        damped = normal + damping * (np.diag(np.diag(normal)) + np.eye(len(FREE)))
        step = np.linalg.solve(damped, -jacobian.T @ residual)
        trial = factors + np.clip(step, -1, 1)
        other, slope = _residuals(problem, trial, window)
        before, after = residual @ residual, other @ other
        if not after < before:
            damping *= 8
            continue
        factors, residual, jacobian, damping = trial, other, slope, damping / 4
        if after > (1 - 1e-6) * before:
            break
    return factors


def _residuals(problem, factors, window):
    """Residuals, and their derivatives with respect to the log factors.

    p is left out if a closed form gives it, since it then adds no information.
    """
    ys, slopes = jax.tree.map(lambda x: np.asarray(x)[:window], problem.solve(factors))
    if not all(np.isfinite(x).all() for x in jax.tree.leaves((ys, slopes))):
        return np.array([np.inf]), np.zeros((1, len(FREE)))
    w = np.sqrt(problem.s[:window])
    slope_w = slopes.w * np.sign(ys.w)[:, None]
    parts = [(np.abs(ys.w) - w, slope_w, w)]
    if problem.rule is None:
        p = np.asarray(problem.p[:window])
        parts.append((ys.p - p, slopes.p, p))
    scaled = [(x / max(np.std(of), 1e-12), dx / max(np.std(of), 1e-12)) for x, dx, of in parts]
    residual = np.concatenate([x.ravel() for x, _ in scaled])
    columns = [np.moveaxis(dx, 1, 2).reshape(-1, len(FREE)) for _, dx in scaled]
    return residual, np.concatenate(columns)


def _forecast(problem, seen, factors, window):
    ys, _ = problem.solve(factors)
    p, s = (np.broadcast_to(np.asarray(x), seen.p.shape) for x in (ys.p, ys.s))
    after = slice(window, None) if window < len(seen.t) else slice(1, None)
    rms = lambda x: float(np.sqrt(np.mean(x[after] ** 2)))
    return Forecast(
        factors=np.exp(factors),
        p=p,
        s=s,
        error_p=rms(p - seen.p),
        error_s=rms(s - seen.s),
        naive_p=rms(seen.p - seen.p[:1]),
        naive_s=rms(seen.s - seen.s[:1]),
    )

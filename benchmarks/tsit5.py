"""Tsit5 for the mode equations in numba, written for speed only; used by `ensemble.py`.

The coefficients and the step size control are those of diffrax. A lane is one problem of the
batch. `numba_ends` and `numba_states` run one lane at a time on each thread. `numba_lanes`
advances `LANES` lanes at once, as vectors, and replaces finished lanes. Tuples and inlining
keep the state of a lane in registers.
"""

import functools

import diffrax as dfx
import jax.numpy as jnp
import numpy as np


try:
    import numba
except ImportError:
    numba = None

END = 100.0
FIRST_STEP = 0.01
LANES = 64


def compiled(function=None, **options):
    if numba is None:
        return function
    return numba.njit(function, fastmath=True, error_model="numpy", **options)


inlined = functools.partial(compiled, inline="always")
threaded = numba.njit(parallel=True) if numba else (lambda function: function)
prange = numba.prange if numba else range
TABLEAU = dfx.Tsit5.tableau
ROWS = tuple(  # coefficients of the stages, of the step and of its error estimate
    tuple(map(float, np.pad(row, (0, 7 - len(row)))))
    for row in (*TABLEAU.a_lower, TABLEAU.b_error)
)
ZERO = (0.0, 0.0, 0.0)


@inlined
def _rate(y, q):
    residual = y[2] - q[3] * y[0] * y[1]
    return (
        q[0] * residual * y[1] - q[2] * y[0],
        y[0] * residual - q[2] * y[1],
        q[1] * (y[1] - y[2]),
    )


@inlined
def _mix(row, ks, i):
    return (
        row[0] * ks[0][i]
        + row[1] * ks[1][i]
        + row[2] * ks[2][i]
        + row[3] * ks[3][i]
        + row[4] * ks[4][i]
        + row[5] * ks[5][i]
        + row[6] * ks[6][i]
    )


@inlined
def _move(row, h, y, ks):
    return (
        y[0] + h * _mix(row, ks, 0),
        y[1] + h * _mix(row, ks, 1),
        y[2] + h * _mix(row, ks, 2),
    )


@inlined
def _square(error, y, after, rtol, atol):
    ratio = error / (atol + rtol * max(abs(y), abs(after)))
    return ratio * ratio


@inlined
def _step(y, k1, h, q, rtol, atol):
    """One step: the new state, the rates of the stages, and the mean square of the error."""
    k2 = _rate(_move(ROWS[0], h, y, (k1, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO)), q)
    k3 = _rate(_move(ROWS[1], h, y, (k1, k2, ZERO, ZERO, ZERO, ZERO, ZERO)), q)
    k4 = _rate(_move(ROWS[2], h, y, (k1, k2, k3, ZERO, ZERO, ZERO, ZERO)), q)
    k5 = _rate(_move(ROWS[3], h, y, (k1, k2, k3, k4, ZERO, ZERO, ZERO)), q)
    k6 = _rate(_move(ROWS[4], h, y, (k1, k2, k3, k4, k5, ZERO, ZERO)), q)
    after = _move(ROWS[5], h, y, (k1, k2, k3, k4, k5, k6, ZERO))
    ks = (k1, k2, k3, k4, k5, k6, _rate(after, q))
    error = (
        _square(h * _mix(ROWS[6], ks, 0), y[0], after[0], rtol, atol)
        + _square(h * _mix(ROWS[6], ks, 1), y[1], after[1], rtol, atol)
        + _square(h * _mix(ROWS[6], ks, 2), y[2], after[2], rtol, atol)
    )
    return after, ks, error / 3


@inlined
def _clipped(factor, error):
    """diffrax's bounds: 1 to 10 after an accepted step, 0.2 to 0.9 after a rejected one."""
    low, high = (1.0, 10.0) if error < 1 else (0.2, 0.9)
    return min(max(factor, low), high)


@inlined
def _factor(error):
    return _clipped(0.9 * (error + 1e-300) ** -0.1, error)


@inlined
def _factor_of_roots(error):
    """error^(-3/32) in place of error^(-1/10), since square roots are vector instructions."""
    root = np.sqrt(np.sqrt(np.sqrt(np.sqrt(error + 1e-300))))
    return _clipped(0.9 / (root * np.sqrt(root)), error)


@inlined
def _problem(start, rates, lane):
    y = (start[0, lane], start[1, lane], start[2, lane])
    return y, (rates[0, lane], rates[1, lane], rates[2, lane], 1 + rates[3, lane])


@compiled
def _numba_lane(start, rates, lane, rtol, atol, ends, steps):
    y, q = _problem(start, rates, lane)
    k, t, h, count = _rate(y, q), 0.0, FIRST_STEP, 0
    while t < END:
        h = min(h, END - t)
        after, ks, error = _step(y, k, h, q, rtol, atol)
        if error < 1:
            t, y, k, count = t + h, after, ks[6], count + 1
        h *= _factor(error)
    ends[0, lane], ends[1, lane], ends[2, lane] = y
    steps[lane] = count


@compiled
def _numba_saved(start, rates, lane, rtol, atol, ts, powers, states, steps):
    y, q = _problem(start, rates, lane)
    k, t, h, count, saved = _rate(y, q), 0.0, FIRST_STEP, 0, 0
    while t < END:
        h = min(h, END - t)
        after, ks, error = _step(y, k, h, q, rtol, atol)
        if error < 1:
            while saved < len(ts) and (ts[saved] <= t + h or t + h >= END):
                x = (ts[saved] - t) / h
                row = _powers(powers, x)
                z = _move(row, h, y, ks)
                states[0, lane, saved] = z[0]
                states[1, lane, saved] = z[1]
                states[2, lane, saved] = z[2]
                saved += 1
            t, y, k, count = t + h, after, ks[6], count + 1
        h *= _factor(error)
    steps[lane] = count


@inlined
def _power(c, j, x):
    return x * (c[0, j] + x * (c[1, j] + x * (c[2, j] + x * c[3, j])))


@inlined
def _powers(c, x):
    return (
        _power(c, 0, x),
        _power(c, 1, x),
        _power(c, 2, x),
        _power(c, 3, x),
        _power(c, 4, x),
        _power(c, 5, x),
        _power(c, 6, x),
    )


def interpolant():
    """Coefficients of x, ..., x^4 of the interpolant for the 7 stages, taken from diffrax."""
    zero, x = jnp.zeros(7), np.array([0.25, 0.5, 0.75, 1.0])
    within = dfx.Tsit5.interpolation_cls(t0=0.0, t1=1.0, y0=zero, y1=zero, k=jnp.eye(7))
    values = np.stack([within.evaluate(each) for each in x])
    return np.linalg.solve(x[:, None] ** np.arange(1, 5), values)


@threaded
def numba_ends(start, rates, rtol, atol, ends, steps):
    for lane in prange(start.shape[1]):
        _numba_lane(start, rates, lane, rtol, atol, ends, steps)


@threaded
def numba_states(start, rates, rtol, atol, ts, powers, states, steps):
    for lane in prange(start.shape[1]):
        _numba_saved(start, rates, lane, rtol, atol, ts, powers, states, steps)


# Rows of the array `s` of numba-lanes: t, h, state (3), rate (3), alpha_p, beta, eta,
# 1 + sigma2, error, steps.


@compiled
def _advance(s, rtol, atol):
    for i in range(LANES):
        y, k = (s[2, i], s[3, i], s[4, i]), (s[5, i], s[6, i], s[7, i])
        q = (s[8, i], s[9, i], s[10, i], s[11, i])
        h = min(s[1, i], END - s[0, i])
        after, ks, error = _step(y, k, h, q, rtol, atol)
        good = error < 1
        s[0, i] += h if good else 0.0
        s[1, i] = h
        s[2, i] = after[0] if good else y[0]
        s[3, i] = after[1] if good else y[1]
        s[4, i] = after[2] if good else y[2]
        s[5, i] = ks[6][0] if good else k[0]
        s[6, i] = ks[6][1] if good else k[1]
        s[7, i] = ks[6][2] if good else k[2]
        s[12, i] = error
        s[13, i] += 1.0 if good else 0.0
    for i in range(LANES):
        s[1, i] *= _factor_of_roots(s[12, i])


@compiled
def _begin(s, i, start, rates, lane):
    y, q = _problem(start, rates, lane)
    s[0, i], s[1, i], s[13, i] = 0.0, FIRST_STEP, 0.0
    s[2, i], s[3, i], s[4, i] = y
    s[5, i], s[6, i], s[7, i] = _rate(y, q)
    s[8, i], s[9, i], s[10, i], s[11, i] = q


@compiled
def _numba_share(start, rates, lane, stop, rtol, atol, ends, steps):
    """Solves the problems from `lane` to `stop`."""
    s, held = np.zeros((14, LANES)), np.full(LANES, -1)
    s[0] = END
    going = True
    while going:
        going = False
        for i in range(LANES):
            if s[0, i] >= END:
                if held[i] >= 0:
                    ends[:, held[i]] = s[2:5, i]
                    steps[held[i]] = int(s[13, i])
                    held[i] = -1
                if lane < stop:
                    _begin(s, i, start, rates, lane)
                    held[i] = lane
                    lane += 1
            going |= held[i] >= 0
        if going:
            _advance(s, rtol, atol)


@threaded
def numba_lanes(start, rates, rtol, atol, share, ends, steps):
    lanes = start.shape[1]
    for i in prange(-(-lanes // share)):
        stop = min((i + 1) * share, lanes)
        _numba_share(start, rates, i * share, stop, rtol, atol, ends, steps)

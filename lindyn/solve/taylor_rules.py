"""The rules by which Taylor coefficients pass through each operation of a jaxpr.

Read `taylor` first. A rule computes the k-th coefficient of a result from the coefficients of
its operands up to k and from its own coefficients before k (Jorba and Zou 2005, proposition
2.1). Solves are the last axis of every array.

One file, since the table of operations is one thing.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array


SHORT = 16  # sums of at most this many terms are unrolled


class NotAnalytic(ValueError):
    """The field has an operation that has no Taylor series. The message names it."""


class Constant:
    """A value that does not change along a step. `lanes`: whether it has an axis of solves."""

    def __init__(self, value, lanes):
        self.value, self.lanes = value, lanes


class Series:
    """The Taylor coefficients of a value so far; `rule(k)` computes the k-th coefficient."""

    kept = False  # whether coefficients are stored, since they are used several times
    scaled: tuple[Any, "Series"] | None = None  # (c, v) if this series is a constant c times v

    def __init__(self, lanes, rule, keep=lambda x: x):
        self.c, self.lanes, self.rule, self.keep = [], lanes, rule, keep

    def extend(self, k):
        x = self.rule(k)
        self.c.append(self.keep(x) if self.kept else x)


def square(u, k):
    """The k-th coefficient of u^2, in half the products of a Cauchy sum."""
    twice = [u[j] * u[k - j] for j in range((k + 1) // 2)]
    middle = [u[k // 2] * u[k // 2]] if k % 2 == 0 else []
    return written_sum(([2 * written_sum(twice)] if twice else []) + middle)


def _add(graph, eqn, u, v):
    return graph.linear(
        lambda a, b: _plus(a, b, lambda b: b, jnp.add), *_wide(graph, eqn, u, v)
    )


def _sub(graph, eqn, u, v):
    return graph.linear(
        lambda a, b: _plus(a, b, jnp.negative, jnp.subtract), *_wide(graph, eqn, u, v)
    )


def _plus(a, b, alone, both):
    if a is None or b is None:
        return alone(b) if a is None else a
    return both(a, b)


def _mul(graph, eqn, u, v):
    return graph.product(jnp.multiply, *_wide(graph, eqn, u, v))


def _div(graph, eqn, u, v):
    return _quotient(graph, *_wide(graph, eqn, u, v))


def _quotient(graph, u: Any, v: Any):
    if isinstance(v, Constant):
        inverse = 1 / v.value
        return graph.node(lambda k: u.c[k] * inverse)

    def rule(w, k):
        past = [w[j] * v.c[k - j] for j in range(k)]
        above = at(u, k)
        terms = ([] if above is None else [above]) + [-x for x in past]
        return written_sum(terms) / v.c[0]

    return graph.recurrence(v, rule)


def _dot(graph, eqn, u, v):
    lanes = (u.lanes, v.lanes)
    return graph.product(lambda a, b: contract(a, b, lanes, **eqn.params), u, v)


def _integer_pow(graph, eqn, u):
    n = eqn.params["y"]
    one = Constant(jnp.ones((), eqn.invars[0].aval.dtype), False)
    if n == 0:
        return one
    if n < 0:
        return _quotient(graph, one, _power(graph, u, -n))
    return _power(graph, u, n)


def _power(graph, u, n):
    if n == 1:
        return u
    half = _power(graph, u, n // 2)
    even = graph.product(jnp.multiply, half, half)
    return graph.product(jnp.multiply, u, even) if n % 2 else even


def _sqrt(graph, eqn, u):
    def rule(w, k):
        if k == 0:
            return jnp.sqrt(u.c[0])
        past = [w[j] * w[k - j] for j in range(1, k)]
        return (u.c[k] - written_sum(past) if past else u.c[k]) / (2 * w[0])

    return graph.recurrence(u, rule)


def _exp(graph, eqn, u):
    def rule(w, k):
        return jnp.exp(u.c[0]) if k == 0 else _slope(u.c, w, k)

    return graph.recurrence(u, rule)


def _log(graph, eqn, u):
    def rule(w, k):
        if k == 0:
            return jnp.log(u.c[0])
        past = [(j / k) * w[j] * u.c[k - j] for j in range(1, k)]
        return (u.c[k] - written_sum(past) if past else u.c[k]) / u.c[0]

    return graph.recurrence(u, rule)


def _pow(graph, eqn, u: Any, v):
    if not isinstance(v, Constant):
        raise NotAnalytic("no Taylor series for 'pow' with an exponent that moves")
    u, r = _wide(graph, eqn, u, v)

    def rule(w, k):
        if k == 0:
            return u.c[0] ** r.value
        terms = (((r.value + 1) * (j / k) - 1) * u.c[j] * w[k - j] for j in range(1, k + 1))
        return written_sum(terms) / u.c[0]

    return graph.recurrence(u, rule)


def _tanh(graph, eqn, u):
    return _own_slope(graph, u, jnp.tanh, lambda w: 1 - w)


def _own_slope(graph, u, value, slope):
    """The series of w = value(u), where dw/du = slope(w^2)."""

    def rule(w, k):
        if k == 0:
            return value(u.c[0])
        rates = [slope(w[0] * w[0])] + [-square(w, j) for j in range(1, k)]
        return _slope(u.c, rates, k)

    return graph.recurrence(u, rule)


def _slope(u, rates, k):
    """The coefficient w_k of w, where dw/dt = rates du/dt."""
    return written_sum((j / k) * u[j] * rates[k - j] for j in range(1, k + 1))


def _negate(graph, eqn, u):
    return graph.node(lambda k: -u.c[k])


def _copy(graph, eqn, u):
    return u


def _convert(graph, eqn, u):
    if jnp.issubdtype(eqn.params["new_dtype"], jnp.inexact):
        return graph.alike(eqn, [u])[0]
    return graph.opaque(eqn, [u])[0]


RULES: dict[str, Callable] = {
    "add": _add,
    "add_any": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "neg": _negate,
    "square": lambda graph, eqn, u: graph.product(jnp.multiply, u, u),
    "integer_pow": _integer_pow,
    "pow": _pow,
    "sqrt": _sqrt,
    "exp": _exp,
    "log": _log,
    "tanh": _tanh,
    "dot_general": _dot,
    "copy": _copy,
    "convert_element_type": _convert,
}
# Linear operations, which act on each coefficient in the same way.
STRUCTURAL = frozenset(
    "broadcast_in_dim reshape squeeze expand_dims transpose slice concatenate rev "
    "reduce_sum stack unstack split".split()
)


CALLS = "jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call"


def inner(eqn):
    """The jaxpr that a call runs; None if the operation is no call."""
    if eqn.primitive.name in CALLS:
        return eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    return None


def elementwise(jaxpr) -> bool:
    """Whether the jaxpr has only operations on single numbers, with short sums unrolled."""
    for eqn in jaxpr.eqns:
        called = inner(eqn)
        if called is not None:
            if not elementwise(called.jaxpr):
                return False
        elif eqn.primitive.name == "dot_general":
            if not _is_short(eqn.params["dimension_numbers"], eqn.invars[0].aval.shape):
                return False
        elif eqn.primitive.name not in ELEMENTWISE:
            return False
    return True


ELEMENTWISE = (RULES.keys() | STRUCTURAL) - {"reduce_sum"} | frozenset(
    "abs sign max min lt le gt ge eq ne and or not xor select_n is_finite "
    "sin cos logistic erf floor ceil round clamp log1p expm1 cbrt rsqrt iota".split()
)


def at(x, k):
    """The k-th coefficient of `x`; None if `x` is a constant and k > 0."""
    if isinstance(x, Constant):
        return x.value if k == 0 else None
    return x.c[k]


def is_one(value):
    """Whether `value` is known at trace time to be the number 1."""
    return not isinstance(value, Tracer) and np.ndim(value) == 0 and value == 1


def _wide(graph, eqn, u, v) -> Any:
    """Both operands of an elementwise operation, with axes added so that their ranks agree."""
    rank = eqn.outvars[0].aval.ndim

    def wide(x, aval):
        missing = (1,) * (rank - aval.ndim)
        if isinstance(x, Constant):
            value = jnp.asarray(x.value)
            if x.lanes or rank:
                value = value.reshape(*missing, *value.shape, *([] if x.lanes else [1]))
            return Constant(value, x.lanes) if value.ndim else x
        if not missing:
            return x
        return graph.node(lambda k: x.c[k].reshape(*missing, *x.c[k].shape))

    return [wide(x, var.aval) for x, var in zip((u, v), eqn.invars, strict=True)]


def bind(eqn, values, lanes):
    """Applies the operation to values; those with `lanes` have solves as their last axis."""
    if eqn.primitive.name == "dot_general" and any(lanes):
        return [contract(values[0], values[1], lanes, **eqn.params)]
    run = lambda *xs: eqn.primitive.bind(*xs, **eqn.params)
    if any(lanes):
        axes = tuple(-1 if many else None for many in lanes)
        run = jax.vmap(run, in_axes=axes, out_axes=-1)
    outs = run(*values)
    return outs if eqn.primitive.multiple_results else [outs]


def bind_at(eqn, inputs, k):
    """Applies the operation to k-th coefficients, which are zero for constants if k > 0."""
    values = [
        jnp.zeros_like(x.value) if isinstance(x, Constant) and k > 0 else at(x, k)
        for x in inputs
    ]
    return bind(eqn, values, [x.lanes for x in inputs])


def contract(a, b, lanes, dimension_numbers, **params):
    """The product of matrices or vectors of many solves; short sums are unrolled."""
    if _is_short(dimension_numbers, a.shape):
        ((left,), (right,)), _ = dimension_numbers
        a, b = (x if many else x[..., None] for x, many in zip((a, b), lanes, strict=True))
        a, b = jnp.moveaxis(a, left, 0), jnp.moveaxis(b, right, 0)
        a = jnp.expand_dims(a, tuple(range(a.ndim - 1, a.ndim + b.ndim - 3)))
        b = jnp.expand_dims(b, tuple(range(1, a.ndim - b.ndim + 1)))
        return written_sum(a[i] * b[i] for i in range(len(a)))
    run = lambda a, b: lax.dot_general(a, b, dimension_numbers, **params)
    axes = tuple(-1 if many else None for many in lanes)
    return jax.vmap(run, in_axes=axes, out_axes=-1)(a, b)


def _is_short(dimension_numbers, shape):
    (left, _), (batch, _) = dimension_numbers
    return len(left) == 1 and not batch and shape[left[0]] <= SHORT


def over(ufunc: Any, x: Array) -> Array:
    """The reduction of x by `ufunc` over all axes except the last; short axes are unrolled."""
    while x.ndim > 1:
        x = functools.reduce(ufunc, x) if len(x) <= SHORT else ufunc.reduce(x, axis=0)
    return x


def written_sum(terms):
    """The sum of the terms as a chain of additions."""
    first, *rest = terms
    for term in rest:
        first = first + term
    return first

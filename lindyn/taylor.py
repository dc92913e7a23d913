"""Taylor coefficients of the solution of a differential equation, from its own program.

If y = sum_k y_k t^k then dy/dt = f gives y_{k+1} = f_k / (k + 1), and f_k follows from
y_0 ... y_k by one rule for each operation: a product of two series is their Cauchy product
(A. Jorba and M. Zou, "A software package for the numerical integration of ODEs by means of
high-order Taylor methods", Experimental Mathematics 14 (2005), section 2).

Arrays here belong to many solves at once, and the solves are their last axis.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.extend import core
from jaxtyping import Array, PyTree


SHORT = 16  # sums up to this length are written out


class NotAnalytic(ValueError):
    """The field has an operation that has no Taylor series. The message names it."""


class Program:
    """A field for one solve, as a program that runs on the series of many.

    `keep` is applied to each coefficient that products use again and again: a place for a
    compiler to store it, where it would otherwise compute it anew for each use.
    """

    def __init__(self, field: Callable, t: Any, y: PyTree, args: PyTree):
        """`t`, `y` and `args` are shapes of one solve (`jax.ShapeDtypeStruct`)."""
        closed, shape = jax.make_jaxpr(field, return_shape=True)(t, y, args)
        if jax.tree.structure(shape) != jax.tree.structure(y):
            raise ValueError(
                f"the field returns {jax.tree.structure(shape)}, its state is"
                f" {jax.tree.structure(y)}"
            )
        for rate, like in zip(jax.tree.leaves(shape), jax.tree.leaves(y), strict=True):
            if rate.shape != like.shape:
                raise ValueError(
                    f"a rate of shape {rate.shape} for a state of shape {like.shape}"
                )
        self.jaxpr, self.consts = closed.jaxpr, closed.consts
        self.elementwise = elementwise(closed.jaxpr)
        self.structure = jax.tree.structure(y)
        many = lambda x: jax.ShapeDtypeStruct((*x.shape, 1), x.dtype)
        try:
            shared = jax.tree.map(lambda _: False, args)
            run = lambda t, y, args: self.series(t, y, args, shared, order=2)
            jax.eval_shape(run, many(t), jax.tree.map(many, y), args)
            self.analytic = True
        except NotAnalytic:
            self.analytic = False

    def rate(
        self, t: Array, y: PyTree, args: PyTree, many: PyTree, keep: Callable = lambda x: x
    ) -> PyTree:
        """f(t, y, args) for many solves. `many` says of each leaf of args if they differ."""
        return self.series(t, y, args, many, 1, keep)[1]

    def series(
        self,
        t: Array,
        y: PyTree,
        args: PyTree,
        many: PyTree,
        order: int,
        keep: Callable = lambda x: x,
    ) -> list[PyTree]:
        """y_0 ... y_order around t, each like y. `NotAnalytic` beyond order 1."""
        zero, one = jnp.zeros_like(t), jnp.ones_like(t)
        time = _Series(True, lambda k: one if k == 1 else zero)
        time.c.append(t)
        state = [_State(x) for x in jax.tree.leaves(y)]
        given = [
            _Constant(x, lanes)
            for x, lanes in zip(jax.tree.leaves(args), jax.tree.leaves(many), strict=True)
        ]
        graph = _Graph(keep)
        rates = graph.run(self.jaxpr, self.consts, [time, *state, *given])
        for k in range(order):
            for node in graph.nodes:
                node.extend(k)
            for x, rate in zip(state, rates, strict=True):
                x.c.append(keep(_full(rate, k, x.c[0]) * (1 / (k + 1))))
            time.c.append(one if k == 0 else zero)
        return [
            jax.tree.unflatten(self.structure, [x.c[k] for x in state])
            for k in range(order + 1)
        ]


class _Constant:
    """What does not change along a step."""

    def __init__(self, value, lanes):
        self.value, self.lanes = value, lanes


class _Series:
    """A value and its coefficients so far; `rule(k)` gives the next."""

    kept = False
    scaled: tuple[Any, "_Series"] | None = None  # a constant, and what it multiplies

    def __init__(self, lanes, rule, keep=lambda x: x):
        self.c, self.lanes, self.rule, self.keep = [], lanes, rule, keep

    def extend(self, k):
        x = self.rule(k)
        self.c.append(self.keep(x) if self.kept else x)


class _State(_Series):
    def __init__(self, x):
        super().__init__(True, None)
        self.c.append(x)


Value = _Constant | _Series


class _Graph:
    """Operations in the order in which each coefficient is computed."""

    def __init__(self, keep):
        self.nodes: list[_Series] = []
        self.keep = keep

    def run(self, jaxpr, consts, inputs):
        values: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
        values |= {
            var: _Constant(x, False) for var, x in zip(jaxpr.constvars, consts, strict=True)
        }
        read = lambda x: _Constant(x.val, False) if isinstance(x, core.Literal) else values[x]
        for eqn in jaxpr.eqns:
            outs = self.apply(eqn, [read(x) for x in eqn.invars])
            values |= zip(eqn.outvars, outs, strict=True)
        return [read(x) for x in jaxpr.outvars]

    def apply(self, eqn, inputs: list) -> Sequence[Value]:
        inner = _inner(eqn)
        if inner is not None:
            return self.run(inner.jaxpr, inner.consts, inputs)
        name = eqn.primitive.name
        if all(isinstance(x, _Constant) for x in inputs):
            lanes = any(x.lanes for x in inputs)
            outs = _bind(eqn, [x.value for x in inputs], [x.lanes for x in inputs])
            return [_Constant(x, lanes) for x in outs]
        if name in RULES:
            return [RULES[name](self, eqn, *inputs)]
        if name in STRUCTURAL:
            return self.alike(eqn, inputs)
        return self.opaque(eqn, inputs)

    def node(self, rule) -> _Series:
        node = _Series(True, rule, self.keep)
        self.nodes.append(node)
        return node

    def alike(self, eqn, inputs):
        """An operation that acts on each coefficient in the same way."""
        at = functools.cache(lambda k: _bind_at(eqn, inputs, k))
        return [self.node(lambda k, i=i: at(k)[i]) for i in range(len(eqn.outvars))]

    def opaque(self, eqn, inputs):
        """An operation that only has a value, the first coefficient."""
        first = functools.cache(lambda: _bind_at(eqn, inputs, 0))

        def rule(k, i):
            if k > 0:
                raise NotAnalytic(f"no Taylor series for {eqn.primitive.name!r}")
            return first()[i]

        return [self.node(lambda k, i=i: rule(k, i)) for i in range(len(eqn.outvars))]

    def linear(self, combine, *inputs):
        """`combine` of the k-th coefficients, where a missing one is None."""
        return self.node(lambda k: combine(*(_at(x, k) for x in inputs)))

    def product(self, bilinear, u, v):
        """The Cauchy product under `bilinear(a, b)`."""
        if bilinear is jnp.multiply:
            if isinstance(u, _Constant) or isinstance(v, _Constant):
                return self.scale(*((u, v) if isinstance(u, _Constant) else (v, u)))
            if u.scaled is not None or v.scaled is not None:
                return self.outside(u, v)
        if isinstance(u, _Constant):
            return self.node(lambda k: bilinear(u.value, v.c[k]))
        if isinstance(v, _Constant):
            return self.node(lambda k: bilinear(u.c[k], v.value))
        u.kept = v.kept = True
        if u is v and bilinear is jnp.multiply:
            return self.node(lambda k: _square(u.c, k))
        return self.node(lambda k: _sum(bilinear(u.c[j], v.c[k - j]) for j in range(k + 1)))

    def scale(self, factor, u):
        if _is_one(factor.value):
            return u
        node = self.node(lambda k: factor.value * u.c[k])
        node.scaled = (factor, u)
        return node

    def outside(self, u, v):
        """Constant factors of a product are taken out of the sum."""
        if u.scaled is None:
            u, v = v, u
        factor, inner = u.scaled
        return self.scale(factor, self.product(jnp.multiply, inner, v))

    def recurrence(self, u, rule):
        """A series w of its own past: rule(w, k) gives w_k."""
        u.kept = True
        w = self.node(lambda k: rule(w.c, k))
        w.kept = True
        return w


def _square(u, k):
    twice = [u[j] * u[k - j] for j in range((k + 1) // 2)]
    middle = [u[k // 2] * u[k // 2]] if k % 2 == 0 else []
    return _sum(([2 * _sum(twice)] if twice else []) + middle)


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
    if isinstance(v, _Constant):
        inverse = 1 / v.value
        return graph.node(lambda k: u.c[k] * inverse)

    def rule(w, k):
        past = [w[j] * v.c[k - j] for j in range(k)]
        above = _at(u, k)
        terms = ([] if above is None else [above]) + [-x for x in past]
        return _sum(terms) / v.c[0]

    return graph.recurrence(v, rule)


def _dot(graph, eqn, u, v):
    lanes = (u.lanes, v.lanes)
    return graph.product(lambda a, b: _contract(a, b, lanes, **eqn.params), u, v)


def _integer_pow(graph, eqn, u):
    n = eqn.params["y"]
    if n <= 0:
        one = _Constant(jnp.ones((), eqn.invars[0].aval.dtype), False)
        return _quotient(graph, one, _power(graph, u, -n))
    return _power(graph, u, n)


def _power(graph, u, n):
    if n == 1:
        return u
    half = _power(graph, u, n // 2)
    square = graph.product(jnp.multiply, half, half)
    return graph.product(jnp.multiply, u, square) if n % 2 else square


def _sqrt(graph, eqn, u):
    def rule(w, k):
        if k == 0:
            return jnp.sqrt(u.c[0])
        past = [w[j] * w[k - j] for j in range(1, k)]
        return (u.c[k] - _sum(past) if past else u.c[k]) / (2 * w[0])

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
        return (u.c[k] - _sum(past) if past else u.c[k]) / u.c[0]

    return graph.recurrence(u, rule)


def _pow(graph, eqn, u: Any, v):
    if not isinstance(v, _Constant):
        raise NotAnalytic("no Taylor series for 'pow' with an exponent that moves")
    u, r = _wide(graph, eqn, u, v)

    def rule(w, k):
        if k == 0:
            return u.c[0] ** r.value
        terms = (((r.value + 1) * (j / k) - 1) * u.c[j] * w[k - j] for j in range(1, k + 1))
        return _sum(terms) / u.c[0]

    return graph.recurrence(u, rule)


def _tanh(graph, eqn, u):
    return _own_slope(graph, u, jnp.tanh, lambda w: 1 - w)


def _own_slope(graph, u, value, slope):
    """w = value(u) with dw/du = slope(w^2)."""

    def rule(w, k):
        if k == 0:
            return value(u.c[0])
        rates = [slope(w[0] * w[0])] + [-_square(w, j) for j in range(1, k)]
        return _slope(u.c, rates, k)

    return graph.recurrence(u, rule)


def _slope(u, rates, k):
    """w_k where dw/dt = rates du/dt."""
    return _sum((j / k) * u[j] * rates[k - j] for j in range(1, k + 1))


def _negate(graph, eqn, u):
    return graph.node(lambda k: -u.c[k])


def _copy(graph, eqn, u):
    return u


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
    "copy_p": _copy,
    "stop_gradient": _copy,
}
# Operations that act on each coefficient alike.
STRUCTURAL = frozenset(
    "broadcast_in_dim reshape squeeze expand_dims transpose slice concatenate rev "
    "reduce_sum convert_element_type stack unstack split".split()
)


def _inner(eqn):
    """The program of a call."""
    if eqn.primitive.name in ("jit", "pjit", "closed_call", "custom_jvp_call"):
        return eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    return None


def elementwise(jaxpr) -> bool:
    """Whether it comes down to operations on numbers, small sums written out."""
    for eqn in jaxpr.eqns:
        inner = _inner(eqn)
        if inner is not None:
            if not elementwise(inner.jaxpr):
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


def _at(x, k):
    if isinstance(x, _Constant):
        return x.value if k == 0 else None
    return x.c[k]


def _is_one(value):
    return not isinstance(value, Tracer) and np.ndim(value) == 0 and value == 1


def _full(x, k, like):
    value = _at(x, k)
    return jnp.zeros_like(like) if value is None else jnp.broadcast_to(value, like.shape)


def _wide(graph, eqn, u, v) -> Any:
    """The operands of an elementwise operation, of one rank: solves are the last axis."""
    rank = eqn.outvars[0].aval.ndim

    def wide(x, aval):
        missing = (1,) * (rank - aval.ndim)
        if isinstance(x, _Constant):
            value = jnp.asarray(x.value)
            if x.lanes or rank:
                value = value.reshape(*missing, *value.shape, *([] if x.lanes else [1]))
            return _Constant(value, x.lanes) if value.ndim else x
        if not missing:
            return x
        return graph.node(lambda k: x.c[k].reshape(*missing, *x.c[k].shape))

    return [wide(x, var.aval) for x, var in zip((u, v), eqn.invars, strict=True)]


def _bind(eqn, values, lanes):
    """The operation itself, on the last axis of what has many solves."""
    if eqn.primitive.name == "dot_general" and any(lanes):
        return [_contract(values[0], values[1], lanes, **eqn.params)]
    run = lambda *xs: eqn.primitive.bind(*xs, **eqn.params)
    if any(lanes):
        axes = tuple(-1 if many else None for many in lanes)
        run = jax.vmap(run, in_axes=axes, out_axes=-1)
    outs = run(*values)
    return outs if eqn.primitive.multiple_results else [outs]


def _bind_at(eqn, inputs, k):
    """The operation on k-th coefficients, where a constant has zeros."""
    values = [
        jnp.zeros_like(x.value) if isinstance(x, _Constant) and k > 0 else _at(x, k)
        for x in inputs
    ]
    return _bind(eqn, values, [x.lanes for x in inputs])


def _contract(a, b, lanes, dimension_numbers, **params):
    """A product of matrices or vectors: as sums along the solves where they are small."""
    if _is_short(dimension_numbers, a.shape):
        ((left,), (right,)), _ = dimension_numbers
        a, b = (x if many else x[..., None] for x, many in zip((a, b), lanes, strict=True))
        a, b = jnp.moveaxis(a, left, 0), jnp.moveaxis(b, right, 0)
        a = jnp.expand_dims(a, tuple(range(a.ndim - 1, a.ndim + b.ndim - 3)))
        b = jnp.expand_dims(b, tuple(range(1, a.ndim - b.ndim + 1)))
        return _sum(a[i] * b[i] for i in range(len(a)))
    run = lambda a, b: lax.dot_general(a, b, dimension_numbers, **params)
    axes = tuple(-1 if many else None for many in lanes)
    return jax.vmap(run, in_axes=axes, out_axes=-1)(a, b)


def _is_short(dimension_numbers, shape):
    (left, _), (batch, _) = dimension_numbers
    return len(left) == 1 and not batch and shape[left[0]] <= SHORT


def over(ufunc: Any, x: Array) -> Array:
    """`ufunc` over all axes but the last, written out where they are short."""
    while x.ndim > 1:
        x = functools.reduce(ufunc, x) if len(x) <= SHORT else ufunc.reduce(x, axis=0)
    return x


def _sum(terms):
    first, *rest = terms
    for term in rest:
        first = first + term
    return first

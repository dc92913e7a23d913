"""Taylor coefficients of the solution of a differential equation, from the jaxpr of its field.

If y = sum_k y_k t^k, then dy/dt = f gives y_{k+1} = f_k/(k + 1). The coefficient f_k follows
from y_0 ... y_k by one rule for each operation of the jaxpr; for example, the product of two
series is their Cauchy product. `taylor_rules` has the rules. Source: A. Jorba and M. Zou, "A
software package for the numerical integration of ODEs by means of high-order Taylor methods",
Experimental Mathematics 14 (2005), section 2.

Arrays in this module hold values of many solves, and the solves are their last axis.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import Array, PyTree

from lindyn.solve import taylor_rules
from lindyn.solve.taylor_rules import Constant, NotAnalytic, Series


class Program:
    """The program of a field for one solve, which can run on the Taylor series of many solves.

    The argument `keep` of its methods is applied to each coefficient that products use several
    times. It makes the compiler store the coefficient instead of computing it at each use.
    """

    def __init__(self, field: Callable, t: Any, y: PyTree, args: PyTree):
        """Traces `field`. `t`, `y` and `args` are those of one solve as `ShapeDtypeStruct`s.

        Raises ValueError if dy/dt differs from y in structure or shape.
        """
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
        self.elementwise = taylor_rules.elementwise(closed.jaxpr)
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
        """f(t, y, args) for many solves.

        `many` has for each leaf of args whether the leaf has an axis of solves.
        """
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
        """The coefficients y_0 ... y_order at time t, each with the structure of y.

        Raises `NotAnalytic` for an order above 1 if the field has no Taylor series.
        """
        zero, one = jnp.zeros_like(t), jnp.ones_like(t)
        time = Series(True, lambda k: one if k == 1 else zero)
        time.c.append(t)
        state = [_State(x) for x in jax.tree.leaves(y)]
        given = [
            Constant(x, lanes)
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


class _State(Series):
    """The series of a leaf of y, whose coefficients `Program.series` appends."""

    def __init__(self, x):
        super().__init__(True, None)
        self.c.append(x)


Value = Constant | Series


class _Graph:
    """The operations of a field, in the order in which each coefficient is computed."""

    def __init__(self, keep):
        self.nodes: list[Series] = []
        self.keep = keep

    def run(self, jaxpr, consts, inputs):
        """Adds the operations of `jaxpr` to the graph, and returns its outputs."""
        values: dict[Any, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
        values |= {
            var: Constant(x, False) for var, x in zip(jaxpr.constvars, consts, strict=True)
        }
        read = lambda x: Constant(x.val, False) if isinstance(x, core.Literal) else values[x]
        for eqn in jaxpr.eqns:
            outs = self.apply(eqn, [read(x) for x in eqn.invars])
            values |= zip(eqn.outvars, outs, strict=True)
        return [read(x) for x in jaxpr.outvars]

    def apply(self, eqn, inputs: list) -> Sequence[Value]:
        called = taylor_rules.inner(eqn)
        if called is not None:
            return self.run(called.jaxpr, called.consts, inputs)
        name = eqn.primitive.name
        if all(isinstance(x, Constant) for x in inputs):
            lanes = any(x.lanes for x in inputs)
            outs = taylor_rules.bind(eqn, [x.value for x in inputs], [x.lanes for x in inputs])
            return [Constant(x, lanes) for x in outs]
        if name in taylor_rules.RULES:
            return [taylor_rules.RULES[name](self, eqn, *inputs)]
        if name in taylor_rules.STRUCTURAL:
            return self.alike(eqn, inputs)
        return self.opaque(eqn, inputs)

    def node(self, rule) -> Series:
        """A new series whose k-th coefficient is `rule(k)`."""
        node = Series(True, rule, self.keep)
        self.nodes.append(node)
        return node

    def alike(self, eqn, inputs):
        """An operation that acts on each coefficient in the same way."""
        at = functools.cache(lambda k: taylor_rules.bind_at(eqn, inputs, k))
        return [self.node(lambda k, i=i: at(k)[i]) for i in range(len(eqn.outvars))]

    def opaque(self, eqn, inputs):
        """An operation without a Taylor rule: only its value, the coefficient 0, is known."""
        first = functools.cache(lambda: taylor_rules.bind_at(eqn, inputs, 0))

        def rule(k, i):
            if k > 0:
                raise NotAnalytic(f"no Taylor series for {eqn.primitive.name!r}")
            return first()[i]

        return [self.node(lambda k, i=i: rule(k, i)) for i in range(len(eqn.outvars))]

    def linear(self, combine, *inputs):
        """`combine` of the k-th coefficients; a coefficient that is always zero is None."""
        return self.node(lambda k: combine(*(taylor_rules.at(x, k) for x in inputs)))

    def product(self, bilinear, u, v):
        """The Cauchy product under `bilinear(a, b)`."""
        if bilinear is jnp.multiply:
            if isinstance(u, Constant) or isinstance(v, Constant):
                return self.scale(*((u, v) if isinstance(u, Constant) else (v, u)))
            if u.scaled is not None or v.scaled is not None:
                return self.outside(u, v)
        if isinstance(u, Constant):
            return self.node(lambda k: bilinear(u.value, v.c[k]))
        if isinstance(v, Constant):
            return self.node(lambda k: bilinear(u.c[k], v.value))
        u.kept = v.kept = True
        if u is v and bilinear is jnp.multiply:
            return self.node(lambda k: taylor_rules.square(u.c, k))
        return self.node(
            lambda k: taylor_rules.written_sum(
                bilinear(u.c[j], v.c[k - j]) for j in range(k + 1)
            )
        )

    def scale(self, factor, u):
        """The product of a constant and a series."""
        if taylor_rules.is_one(factor.value):
            return u
        node = self.node(lambda k: factor.value * u.c[k])
        node.scaled = (factor, u)
        return node

    def outside(self, u, v):
        """A product of series in which a constant factor is moved out of the Cauchy sum."""
        if u.scaled is None:
            u, v = v, u
        factor, inner = u.scaled
        return self.scale(factor, self.product(jnp.multiply, inner, v))

    def recurrence(self, u, rule):
        """A series w whose coefficient w_k = rule(w, k) depends on w_0 ... w_{k-1}."""
        u.kept = True
        w = self.node(lambda k: rule(w.c, k))
        w.kept = True
        return w


def _full(x, k, like):
    """The k-th coefficient of `x`, broadcast to the shape of `like`."""
    value = taylor_rules.at(x, k)
    if value is None:
        return jnp.zeros_like(like)
    if isinstance(x, Constant) and not x.lanes:
        value = jnp.asarray(value)[..., None]
    return jnp.broadcast_to(value, like.shape)

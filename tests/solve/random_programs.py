"""Random fields. They are solved in a separate process, since an abort of XLA cannot be caught.

    python tests/solve/random_programs.py 0 400 --marks

Solves the programs 0 to 399, with the marks of `lindyn.solve.xla_marks`. Without --marks, no
marks are set. For each program it prints two lines of JSON: the number and the text of the
program before the solve, and the number and the results after the solve.
"""

import argparse
import json
import random
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lindyn.solve import ensemble, taylor_rules, xla_marks


SOLVES = 5
RTOL = 1e-3

# Operations on values of equal shapes. Their results stay small and smooth.
UNARY = {
    "-x": lambda x: -x,
    "square": lambda x: jnp.square(jnp.tanh(x)),
    "x**3": lambda x: jnp.tanh(x) ** 3,
    "x**-2": lambda x: (2 + x * x) ** -2,
    "pow": lambda x: (1 + x * x) ** 0.7,
    "sqrt": lambda x: jnp.sqrt(1 + x * x),
    "exp": lambda x: jnp.exp(-x * x),
    "log": lambda x: jnp.log(1 + x * x),
    "tanh": jnp.tanh,
    "abs": jnp.abs,
    "sign": lambda x: 0.1 * jnp.sign(x),
    "sin": jnp.sin,
    "cos": jnp.cos,
    "logistic": jax.nn.sigmoid,
    "erf": jax.scipy.special.erf,
    "floor": lambda x: 0.1 * jnp.floor(x),
    "ceil": lambda x: 0.1 * jnp.ceil(x),
    "round": lambda x: 0.1 * jnp.round(x),
    "clamp": lambda x: jax.lax.clamp(-0.5, x, 0.5),
    "log1p": lambda x: jnp.log1p(x * x),
    "expm1": lambda x: jnp.expm1(-x * x),
    "cbrt": lambda x: jnp.cbrt(1 + x * x),
    "rsqrt": lambda x: jax.lax.rsqrt(1 + x * x),
    "is_finite": lambda x: jnp.where(jnp.isfinite(x), x, 0.0),
    "relu": jax.nn.relu,
    "copy": lambda x: jnp.array(x, copy=True),
    "gradient": lambda x: jax.grad(lambda x: jnp.sum(x * jnp.tanh(x) + x))(x),
}
BINARY = {
    "x + y": lambda x, y: x + y,
    "x - y": lambda x, y: x - y,
    "x * y": lambda x, y: jnp.tanh(x) * y,
    "x / y": lambda x, y: x / (2 + y * y),
    "max": jnp.maximum,
    "min": jnp.minimum,
    "x < y": lambda x, y: jnp.where(x < y, x, 0.5 * y),
    "x <= y": lambda x, y: (x <= y).astype(x.dtype),
    "x > y": lambda x, y: jnp.where((x > y) & (x > 0), y, 0.25),
    "x >= y": lambda x, y: jnp.where((x >= y) | (y > 1), x, y),
    "x == y": lambda x, y: jnp.where(x == y, 0.5, x),
    "x != y": lambda x, y: jnp.where((x != y) ^ (x > 0), y, 0.3),
    "not": lambda x, y: jnp.where(~(x < y), x, -0.2),
    "power": lambda x, y: jnp.where(x > y, jnp.where(x > y, x - y, 1.0) ** 0.5, 0) + 0.1,
}
# Operations on a vector that change shapes: the result is a vector, or a number.
VECTOR = {
    "rev": lambda v: v[::-1],
    "concatenate": lambda v: jnp.concatenate([v[1:], v[:1]]),
    "split": lambda v: jnp.concatenate(jnp.split(v, [1])[::-1]),
    "stack": lambda v: jnp.stack(list(v)) * jnp.arange(1.0, 1 + len(v)) / len(v),
    "transpose": lambda v: jnp.tanh(jnp.outer(v, v[::-1])).T @ v / len(v),
    "reshape": lambda v: jnp.squeeze(v.reshape(1, -1) + 0.1, 0),
    "iota": lambda v: v * jax.lax.iota(v.dtype, len(v)) / len(v),
}
TO_NUMBER = {
    "v[0]": lambda v: v[0],
    "v[-1]": lambda v: v[-1],
    "v . v": lambda v: jnp.tanh(v) @ v / len(v),
    "sum": lambda v: sum(v[i] for i in range(len(v))),
}
LENGTH = 3


class Program:
    """A field of numbers, at times with a vector or a matrix, as a list of instructions."""

    def __init__(self, number: int):
        draw = random.Random(number)
        self.numbers = draw.choice((1, 1, 2, 3))  # how many numbers the state has
        self.vector = draw.random() < 0.3
        self.matrix = not self.vector and draw.random() < 0.1
        self.saved, self.event = draw.random() < 0.1, draw.random() < 0.3
        self.quick = draw.random() < 0.85  # an option to compile faster
        # All solves share the first argument, and at random the third, but not the second.
        self.shared = (True, False, draw.random() < 0.5)
        self.code, kinds = [], ["n"] * (1 + self.numbers + 3) + ["v"] * self.vector
        for _ in range(draw.randint(2, 8)):
            kind, name, operands = self._instruction(draw, kinds)
            self.code.append((name, operands))
            kinds.append(kind)
        last = lambda kind: [i for i, x in enumerate(kinds) if x == kind][-4:]
        self.rates = [draw.choice(last("n")) for _ in range(self.numbers)]
        self.rates += [draw.choice(last("v")) for _ in range(self.vector)]
        self.start = np.random.default_rng(number)

    def _instruction(self, draw, kinds):
        of = lambda kind: [i for i, x in enumerate(kinds) if x == kind]
        if self.vector and draw.random() < 0.5:
            v = draw.choice(of("v"))
            way = draw.randrange(4)
            if way == 0:
                return "v", draw.choice(list(VECTOR)), (v,)
            if way == 1:
                return "n", draw.choice(list(TO_NUMBER)), (v,)
            if way == 2:
                return "v", draw.choice(list(UNARY)), (v,)
            other = draw.choice(of("v") + of("n"))  # a number is broadcast to a vector
            return "v", draw.choice(list(BINARY)), (v, other)
        x = draw.choice(of("n"))
        if draw.random() < 0.5:
            return "n", draw.choice(list(UNARY)), (x,)
        return "n", draw.choice(list(BINARY)), (x, draw.choice(of("n")))

    def __str__(self):
        lines = [f"{name}{operands}" for name, operands in self.code]
        flags = [name for name in ("saved", "event", "quick", "matrix") if getattr(self, name)]
        return f"{'; '.join(lines)} -> {self.rates} {' '.join(flags)} shared {self.shared}"

    def field(self, t, y, args):
        numbers, more = y[: self.numbers], y[self.numbers :]
        values = [jnp.asarray(t), *numbers, *args, *(more if self.vector else ())]
        for name, operands in self.code:
            inputs = [values[i] for i in operands]
            if jnp.ndim(inputs[0]) == 1:
                inputs = [jnp.broadcast_to(x, inputs[0].shape) for x in inputs]
            values.append((UNARY | BINARY | VECTOR | TO_NUMBER)[name](*inputs))
        flat = lambda x: 0.3 * jnp.tanh(x)
        moving = (*numbers, *more) if self.vector else numbers
        rates = [flat(values[i]) - 0.2 * y for i, y in zip(self.rates, moving, strict=True)]
        if self.matrix:
            rates.append(flat(values[-1]) * jnp.eye(2) - more[0] @ more[0])
        return tuple(rates)

    def holds(self, t, y, args):
        return jnp.where(y[0] > 0.6, 2, jnp.where(y[0] < -0.6, 1, 0))

    def solve(self):
        """The end states or saved states, and the times and labels of the ends, as lists."""
        uniform = lambda *shape: self.start.uniform(-1, 1, (SOLVES, *shape))
        y0 = tuple(uniform() for _ in range(self.numbers))
        y0 += (uniform(LENGTH),) * self.vector + (0.3 * uniform(2, 2),) * self.matrix
        args = tuple(uniform()[0] if shared else uniform() for shared in self.shared)
        how: Any = dict(rtol=RTOL, atol=RTOL / 10, quick=self.quick, max_steps=500)
        if self.saved:
            ends = ensemble.states(self.field, y0, args, np.linspace(0, 1.5, 4), **how)
        else:
            event = self.holds if self.event else None
            ends = ensemble.final(self.field, y0, args, 1.5, event=event, **how)
        return [np.asarray(x).tolist() for x in (*jax.tree.leaves(ends.y), ends.t, ends.label)]

    def operations(self) -> set[str]:
        """The names of the primitives in the field."""
        one = lambda *shape: jax.ShapeDtypeStruct(shape, float)
        y = (one(),) * self.numbers
        y += (one(LENGTH),) * self.vector + (one(2, 2),) * self.matrix
        return set(_primitives(jax.make_jaxpr(self.field)(one(), y, (one(),) * 3).jaxpr))


def _primitives(jaxpr):
    for eqn in jaxpr.eqns:
        called = taylor_rules.inner(eqn)
        if called is None:
            yield eqn.primitive.name
        else:
            yield from _primitives(called.jaxpr)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=int)
    parser.add_argument("end", type=int)
    parser.add_argument("--marks", action="store_true")
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    xla_marks.marked = options.marks
    for number in range(options.first, options.end):
        program = Program(number)
        print(json.dumps([number, str(program)]), flush=True)
        print(json.dumps([number, program.solve()]), flush=True)


if __name__ == "__main__":
    sys.exit(main())

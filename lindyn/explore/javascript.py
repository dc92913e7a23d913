"""Translates a numerical Python function into JavaScript, by way of the jaxpr that JAX traces.

The translation is scalar: each element of an array becomes one JavaScript variable. Operations
that only move elements, such as a slice or a transposition, are carried out during the
translation, on arrays of variable names. Each arithmetic operation becomes one line of
JavaScript. One file, since the tables of operations and the translator that reads them are
maintained together.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend import core
from jax.tree_util import DictKey, GetAttrKey, SequenceKey


class Untranslatable(ValueError):
    """The function uses an operation that cannot be translated; the message names it."""


MOVES = {
    "broadcast_in_dim",
    "concatenate",
    "copy",
    "expand_dims",
    "reshape",
    "rev",
    "slice",
    "split",
    "squeeze",
    "stack",
    "transpose",
    "unstack",
}
FOLDS = {"cumsum": "add", "reduce_max": "max", "reduce_sum": "add"}
CALLS = {"closed_call", "custom_jvp_call", "custom_vjp_call", "jit", "pjit"}
LINES = {
    "abs": "Math.abs({})",
    "add": "{} + {}",
    "add_any": "{} + {}",
    "and": "{} && {}",
    "ceil": "Math.ceil({})",
    "cos": "Math.cos({})",
    "div": "{} / {}",
    "eq": "{} === {}",
    "exp": "Math.exp({})",
    "expm1": "Math.expm1({})",
    "floor": "Math.floor({})",
    "ge": "{} >= {}",
    "gt": "{} > {}",
    "is_finite": "Number.isFinite({})",
    "le": "{} <= {}",
    "log": "Math.log({})",
    "log1p": "Math.log1p({})",
    "lt": "{} < {}",
    "max": "Math.max({}, {})",
    "min": "Math.min({}, {})",
    "mul": "{} * {}",
    "ne": "{} !== {}",
    "neg": "-{}",
    "not": "!{}",
    "or": "{} || {}",
    "pow": "Math.pow({}, {})",
    "sign": "Math.sign({})",
    "sin": "Math.sin({})",
    "sqrt": "Math.sqrt({})",
    "square": "{0} * {0}",
    "sub": "{} - {}",
    "tanh": "Math.tanh({})",
}
# The permutation that sorts an array (argsort). NaN comes last, as in JAX.
ORDER = (
    "{0}.map((_, i) => i).sort((i, j) => isNaN({0}[i]) - isNaN({0}[j])"
    " || ({0}[i] > {0}[j]) - ({0}[i] < {0}[j]))"
)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A complex number, as the names of two JavaScript variables."""

    real: str
    imag: str


def translate(name: str, function: Callable, *examples: Any) -> str:
    """JavaScript source of `function NAME(...) {...}`, with the parameter names of `function`.

    `examples` are arguments with the shapes and the structure of the later ones: pytrees of
    numbers and arrays. In JavaScript, an object stands for a dictionary, a named tuple or a
    module, and a nested array stands for a sequence or an array. The function is traced in
    double precision. Raises `Untranslatable` if it uses an operation that is not in the tables.
    """
    with jax.enable_x64(True):
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*examples)
        parameters = list(inspect.signature(function).parameters)[: len(examples)]
        given = [
            _inputs(parameter + _path(path), np.shape(leaf))
            for parameter, example in zip(parameters, examples, strict=True)
            for path, leaf in jax.tree_util.tree_leaves_with_path(example)
        ]
        writer = _Writer()
        results = writer.run(closed.jaxpr, closed.consts, given)
        results = [x if _named(x) else _written(x) for x in results]
    leaves = [_Leaf(result) for result in results]
    literal = _literal(jax.tree.unflatten(jax.tree.structure(shape), leaves))
    body = [f"  const {line};" for line in writer.needed(results)]
    return "\n".join(
        [f"function {name}({', '.join(parameters)}) {{", *body, f"  return {literal};", "}"]
    )


class _Writer:
    """Collects lines of JavaScript in order; an expression that occurs twice gets one line."""

    def __init__(self):
        self.names: dict[str, str] = {}
        self.operands: dict[str, list[str]] = {}

    def run(self, jaxpr, consts, given):
        value: dict[Any, np.ndarray] = dict(zip(jaxpr.invars, given, strict=True))
        value |= dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
        read = lambda x: np.asarray(x.val) if isinstance(x, core.Literal) else value[x]
        for eqn in jaxpr.eqns:
            results = self._results(eqn, [read(x) for x in eqn.invars])
            value |= dict(zip(eqn.outvars, results, strict=True))
        return [read(x) for x in jaxpr.outvars]

    def needed(self, results) -> list[str]:
        """The lines on which the results depend; all others are left out."""
        wanted, left = set(), [_parts(x) for result in results for x in result.ravel()]
        left = [name for names in left for name in names]
        while left:
            name = left.pop()
            if name in self.operands and name not in wanted:
                wanted.add(name)
                left += self.operands[name]
        lines = {name: line for line, name in self.names.items()}
        return [f"{name} = {lines[name]}" for name in self.operands if name in wanted]

    def _results(self, eqn, operands):
        name = eqn.primitive.name
        if name in CALLS:
            inner = eqn.params.get("jaxpr") or eqn.params["call_jaxpr"]
            return self.run(inner.jaxpr, inner.consts, operands)
        if not any(map(_named, operands)):
            return [np.asarray(x) for x in _bound(eqn, operands)]
        operands = [x if _named(x) else _written(x) for x in operands]
        if name in MOVES:
            return _moved(eqn, operands)
        shape = eqn.outvars[0].aval.shape
        if name == "argmax":
            rows = np.moveaxis(operands[0], eqn.params["axes"][0], -1)
            found = [self._first(rows[index]) for index in np.ndindex(*shape)]
            return [np.array(found, object).reshape(shape)]
        if name in FOLDS:
            return [self._folded(eqn, operands[0])]
        if name == "sort":
            return self._sorted(eqn, operands)
        if name == "gather":
            return [self._gathered(eqn, *operands).reshape(shape)]
        write = np.frompyfunc(self._rule(eqn), len(operands), 1)
        return [np.asarray(write(*operands), object).reshape(shape)]

    def _rule(self, eqn) -> Callable[..., Any]:
        name, params = eqn.primitive.name, eqn.params
        if name in LINES:
            return lambda *operands: self.line(LINES[name], *operands)
        if name == "integer_pow":
            return lambda x: self._power(x, params["y"])
        if name == "select_n":
            return self._select
        if name == "convert_element_type":
            return self._convert(eqn.invars[0].aval.dtype, params["new_dtype"])
        if name == "complex":
            return Pair
        if name in ("real", "imag"):
            return lambda x: getattr(x, name)
        raise Untranslatable(f"no JavaScript for the operation {name}")

    def line(self, form: str, *operands: str) -> str:
        """The name of the variable that holds the expression `form`, filled with operands."""
        text = form.format(*operands)
        if text not in self.names:
            name = self.names[text] = f"v{len(self.names)}"
            self.operands[name] = list(operands)
        return self.names[text]

    def _power(self, x, n):
        if n < 0:
            return self.line("1 / {}", self._power(x, -n))
        if n < 2:
            return x if n else "1"
        half = self._power(x, n // 2)
        even = self.line("{} * {}", half, half)
        return self.line("{} * {}", even, x) if n % 2 else even

    def _select(self, which, *cases):
        if len(cases) == 2:
            return self.line("{} ? {} : {}", which, cases[1], cases[0])
        places = ", ".join(["{}"] * len(cases))
        return self.line(f"[{places}][{{}}]", *cases, which)

    def _convert(self, old, new):
        if new.kind == "c" or (new.kind == "b" and old.kind != "b"):
            raise Untranslatable(f"no JavaScript for a conversion from {old} to {new}")
        if old.kind == "b" and new.kind != "b":
            return lambda x: self.line("{} ? 1 : 0", x)
        if old.kind == "f" and new.kind in "iu":
            return lambda x: self.line("Math.trunc({})", x)
        return lambda x: x

    def _folded(self, eqn, x):
        """A reduction (sum, maximum) or a cumulative sum, from the first element on."""
        form, params = LINES[FOLDS[eqn.primitive.name]], eqn.params
        fold = np.frompyfunc(lambda *pair: self.line(form, *pair), 2, 1)
        if eqn.primitive.name == "cumsum":
            flip = lambda x: np.flip(x, params["axis"]) if params["reverse"] else x
            return flip(fold.accumulate(flip(x), params["axis"], object))
        for axis in sorted(params["axes"], reverse=True):
            x = np.asarray(fold.reduce(x, axis, object), object)
        return x

    def _sorted(self, eqn, operands):
        if operands[0].ndim > 1 or eqn.params["num_keys"] > 1:
            raise Untranslatable("no JavaScript for the operation sort of more than one list")
        order = self.line(ORDER, self._array(operands[0]))
        places = [self.line(f"{{}}[{i}]", order) for i in range(operands[0].size)]
        return [self._at(operand, np.array(places, object)) for operand in operands]

    def _gathered(self, eqn, operand, places):
        if operand.ndim > 1 or eqn.params["mode"] != lax.GatherScatterMode.FILL_OR_DROP:
            raise Untranslatable("no JavaScript for the operation gather, except from a vector")
        return self._at(operand, places)

    def _at(self, operand, places):
        array = self._array(operand)
        each = [self.line("{}[{}] ?? NaN", array, i) for i in places.ravel()]
        return np.array(each, object).reshape(places.shape)

    def _array(self, x):
        return self.line(f"[{', '.join(['{}'] * x.size)}]", *x)

    def _first(self, row):
        """The argmax of booleans: the index of the first true one, or 0 if none is true."""
        found = "0"
        for index, x in reversed(list(enumerate(row))):
            found = self.line("{} ? {} : {}", x, str(index), found)
        return found


def _moved(eqn, operands):
    """An operation that only moves elements.

    The operation is run once on the elements' indices; its result says where each name goes.
    """
    sizes = [0, *np.cumsum([operand.size for operand in operands])]
    numbers = [
        np.arange(first, last).reshape(operand.shape)
        for first, last, operand in zip(sizes, sizes[1:], operands, strict=False)
    ]
    everything = np.concatenate([operand.ravel() for operand in operands])
    places = _bound(eqn, numbers)
    return [np.asarray(everything[np.asarray(each)], object) for each in places]


def _bound(eqn, operands) -> list[Any]:
    results = eqn.primitive.bind(*operands, **eqn.params)
    return results if eqn.primitive.multiple_results else [results]


def _named(x) -> bool:
    """Whether the array holds variable names. Other arrays hold constants, which JAX
    evaluates during the translation."""
    return x.dtype == object


def _inputs(name, shape):
    names = np.empty(shape, object)
    for index in np.ndindex(*shape):
        names[index] = name + "".join(f"[{i}]" for i in index)
    return names


def _written(value):
    return np.array([_number(x) for x in value.ravel().tolist()], object).reshape(value.shape)


def _number(x):
    if isinstance(x, bool):
        return str(x).lower()
    if isinstance(x, complex):
        raise Untranslatable("no JavaScript for a complex constant")
    if math.isfinite(x):
        return f"({x!r})" if math.copysign(1, x) < 0 else repr(x)
    return "NaN" if math.isnan(x) else f"({'-' * (x < 0)}Infinity)"


def _path(keys) -> str:
    def step(key):
        if isinstance(key, GetAttrKey):
            return f".{key.name}"
        if isinstance(key, DictKey):
            return f".{key.key}"
        if isinstance(key, SequenceKey):
            return f"[{key.idx}]"
        raise Untranslatable(f"no JavaScript for the pytree key {key} in an argument")

    return "".join(map(step, keys))


@dataclasses.dataclass
class _Leaf:
    names: np.ndarray


def _parts(x) -> Iterator[str]:
    yield from (x.real, x.imag) if isinstance(x, Pair) else (x,)


def _literal(x: Any) -> str:
    if isinstance(x, _Leaf):
        return _nested(x.names.tolist())
    if dataclasses.is_dataclass(x):
        x = {field.name: getattr(x, field.name) for field in dataclasses.fields(x)}
    elif hasattr(x, "_asdict"):
        x = x._asdict()
    if not isinstance(x, dict):
        return f"[{', '.join(map(_literal, x))}]"
    return "{" + ", ".join(f"{name}: {_literal(each)}" for name, each in x.items()) + "}"


def _nested(names) -> str:
    return f"[{', '.join(map(_nested, names))}]" if isinstance(names, list) else names

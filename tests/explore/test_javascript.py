"""Tests that translated functions give the same numbers in JavaScript as in JAX."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax import lax

from lindyn.explore import equations
from lindyn.explore.javascript import Untranslatable, translate
from lindyn.theory import stability
from lindyn.theory.predictors import Power
from lindyn.theory.states import Params, Plane


CASES = 40


def plain(x):
    """A pytree in the form that JavaScript gets: lists, dictionaries and numbers."""
    if isinstance(x, eqx.Module):
        return {name: plain(each) for name, each in vars(x).items()}
    if isinstance(x, dict):
        return {name: plain(each) for name, each in x.items()}
    if isinstance(x, list | tuple):
        return [plain(each) for each in x]
    return np.asarray(x).tolist()


def run(node, source, name, cases):
    calls = f"cases.map(args => {name}(...args))"
    return node(source, calls, cases=[[plain(arg) for arg in args] for args in cases])


def agree(found, wanted, rtol=1e-12):
    found, structure = jax.tree.flatten(found)
    wanted, expected = jax.tree.flatten(wanted)
    assert structure == expected
    assert np.allclose(found, wanted, rtol=rtol, atol=rtol, equal_nan=True)


def settings(key, case):
    """Random parameters; some have values that are a special case of the equations."""
    keys = iter(jr.split(key, 6))
    value = lambda low, high: float(jr.uniform(next(keys), minval=low, maxval=high))
    params = dict(
        alpha_p=10 ** value(-1, 1),
        beta=value(0.05, 1),
        eta_p=value(0, 0.2),
        eta_s=value(0, 0.2),
        sigma2=value(0, 2),
        tau=value(0.2, 1),
    )
    critical = params["tau"] ** 2 / (4 * (1 + params["sigma2"]))
    special = [
        {},
        dict(eta_p=params["eta_s"]),
        dict(eta_p=critical, eta_s=critical),
        dict(eta_p=0.0),
        dict(eta_s=0.0),
        dict(eta_p=0.0, eta_s=0.0),
        dict(eta_p=1.0, eta_s=1.0),
    ]
    return Params(**params | special[case % len(special)])


def like(key, example, case):
    """Random arguments with the structure of `example`."""
    if isinstance(example, Params):
        return settings(key, case)
    if isinstance(example, dict):
        keys = jr.split(key, len(example))
        parts = zip(keys, example.items(), strict=True)
        return {name: like(each, x, case) for each, (name, x) in parts}
    leaves, structure = jax.tree.flatten(example)
    sizes = [np.size(leaf) for leaf in leaves]
    drawn = jr.uniform(key, (sum(sizes),), minval=-0.2 if case % 3 else 0.05, maxval=1.5)
    if len(leaves) > 1 or case % 3 == 0:
        drawn = jnp.abs(drawn)
    parts = np.split(drawn, np.cumsum(sizes)[:-1])
    shaped = [part.reshape(np.shape(x)) for part, x in zip(parts, leaves, strict=True)]
    drawn = jax.tree.unflatten(structure, [x if x.ndim else float(x) for x in shaped])
    return Power(a=drawn.a, c=drawn.c) if isinstance(drawn, Power) and case % 2 else drawn


@pytest.mark.parametrize("name", equations.FUNCTIONS)
def test_the_page_computes_what_the_theory_says(node, source, key, name):
    function, *examples = equations.FUNCTIONS[name]
    cases = []
    for case in range(CASES):
        keys = jr.split(jr.fold_in(key, case), len(examples))
        pairs = zip(keys, examples, strict=True)
        cases.append([like(each, example, case) for each, example in pairs])
    wanted = [plain(function(*args)) for args in cases]
    assert len({str(x) for x in wanted}) > CASES / 4
    agree(run(node, source, name, cases), wanted)


def test_classes_have_the_names_of_the_theory(node, source):
    assert node(source, "KINDS") == list(stability.KINDS)


def test_a_changed_equation_changes_the_page(node, key):
    params = settings(key, 0)
    right = translate("f", lambda p, params: p * params.tau, 0.5, params)
    wrong = translate("f", lambda p, params: -p * params.tau, 0.5, params)
    assert run(node, right, "f", [(0.5, params)]) != run(node, wrong, "f", [(0.5, params)])


OPERATIONS = {
    "abs": jnp.abs,
    "ceil": jnp.ceil,
    "cos": jnp.cos,
    "exp": jnp.exp,
    "expm1": jnp.expm1,
    "floor": jnp.floor,
    "log": lambda x: jnp.log(jnp.abs(x)),
    "log1p": lambda x: jnp.log1p(jnp.abs(x)),
    "neg": lambda x: -x,
    "sign": jnp.sign,
    "sin": jnp.sin,
    "sqrt": jnp.sqrt,
    "square": jnp.square,
    "tanh": jnp.tanh,
    "powers": lambda x: [x**0, x**1, x**2, x**5, x**-3, jnp.abs(x) ** 0.3],
    "both": lambda x: [x + 2, 3 - x, x * x, 1 / x, jnp.maximum(x, 0), jnp.minimum(x, 1)],
    "compare": lambda x: [x < 1, x <= 1, x > 1, x >= 1, x == 1, x != 1, ~(x < 1)],
    "logic": lambda x: [(x > 0) & (x < 1), (x < 0) | (x > 1), jnp.isfinite(1 / (x - x))],
    "where": lambda x: jnp.where(x > 0, jnp.sqrt(x), -x),
    "numbers": lambda x: [(x > 0).astype(float), x.astype(int), (x > 0) + 2, x.astype(int) * 3],
    "select": lambda x: jnp.select([x < 0, x < 1], [x, 2 * x], 7.0),
    "which": lambda x: lax.select_n((x > 0).astype(jnp.int32) + (x > 1), x, 2 * x, 3 * x),
    "constants": lambda x: [x * jnp.inf, x - jnp.nan, x - 1e-300, jnp.array([1.5, -2.0])],
    "moves": lambda x: jnp.stack([x, 2 * x, 3 * x])[::-1].reshape(3, 1).T[:, 1:],
    "matrix": lambda x: jnp.concatenate([jnp.eye(2) * x, jnp.ones((1, 2))]),
    "split": lambda x: jnp.split(jnp.stack([x, x + 1, x + 2, x + 3]), 2),
    "sums": lambda x: _sums(jnp.stack(_rows(x)[1:] + _rows(1 - x)[1:])),
    "order": lambda x: [jnp.sort(row) for row in _rows(x)] + [jnp.argsort(_rows(x)[1])],
    "places": lambda x: jnp.take_along_axis(
        _rows(x)[0], (x > 0) + jnp.arange(2), axis=-1, mode="fill"
    ),
    "derivative": jax.grad(lambda x: jnp.exp(-(x**2)) * x),
    "compiled": jax.jit(lambda x: jax.jit(jnp.exp)(x) + 1),
    "custom": lambda x: jax.nn.relu(x),
    "complex": lambda x: [jnp.real(lax.complex(x, 2 * x)), jnp.imag(lax.complex(x, 2 * x))],
    "dictionary": lambda x: {"a": x, "b": (x, [2 * x])},
}


def _rows(x):
    """Two vectors: one has NaN for negative x, and one has two equal entries."""
    return jnp.stack([x, jnp.sqrt(x), 1 - x, 0 * x]), jnp.stack([x, 0.5 - x, x, 0.3 + 0 * x])


def _sums(y):
    return [y.sum(), y.max(1), y.cumsum(0), lax.cumsum(y, 1, reverse=True)]


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(node, name):
    function = OPERATIONS[name]
    named = lambda x: function(x)
    cases = [(jnp.asarray(x),) for x in (-2.5, -0.3, 0.4, 1.0, 1.7)]
    wanted = [plain(function(*case)) for case in cases]
    agree(run(node, translate("f", named, jnp.asarray(0.5)), "f", cases), wanted)


def test_arrays_and_modules_are_taken_apart(node):
    function = lambda y, points: {"rate": points[1] * y.p - y.s, "first": points[0]}
    example = Plane(p=0.5, s=0.5), jnp.ones((2, 3))
    args = Plane(p=2.0, s=0.25), jnp.arange(6.0).reshape(2, 3)
    found = run(node, translate("f", function, *example), "f", [args])
    agree(found, [plain(function(*args))])


def test_nothing_is_computed_twice_or_for_nothing():
    text = translate(
        "f", lambda x: (jnp.exp(x), x * 0 + jnp.exp(x) - jnp.sin(3 * x) * 0)[0], 1.0
    )
    assert text.count("Math.exp") == 1 and "Math.sin" not in text


@pytest.mark.parametrize(
    "function",
    (
        jnp.cumprod,
        lambda x: jnp.sort(jnp.outer(x, x), axis=0),
        lambda x: jnp.lexsort((x, -x)),
        lambda x: jnp.outer(x, x)[jnp.argsort(x)],
        lambda x: lax.fori_loop(0, 3, lambda i, x: 2 * x, x),
    ),
)
def test_what_cannot_be_said_is_refused(function):
    with pytest.raises(Untranslatable, match="no JavaScript for"):
        translate("f", lambda x: function(x), jnp.ones(3))

"""Attributes ("marks") on calls, which make XLA compile ensembles for a CPU into faster code.

With marks, ensembles on a CPU are several times faster. No release of XLA guarantees what the
marks do, and a program that they break aborts the process. So they are set only on tested
releases of jaxlib. The test `pytest -m slow tests/solve/test_marks.py` solves two hundred
random programs with and without marks, and requires equal results. On any other release the
same calls run without marks: their results are correct, but they are slower.
"""

import functools
import warnings
from collections.abc import Callable
from importlib.metadata import version

import jax
from jaxtyping import PyTree


# Compiler options: QUICK makes compilation fast, and VECTORS prefers 512-bit vectors.
QUICK: dict[str, int | bool | str] = {"xla_backend_optimization_level": 0}
VECTORS: dict[str, int | bool | str] = {"xla_cpu_prefer_vector_width": 512}

PROVEN = "0.10.2", "0.11.2", "0.12.0.1"  # releases of jaxlib that passed the test
RELEASE = version("jaxlib")
marked = RELEASE in PROVEN  # whether marks are set


def one_function(run: Callable) -> Callable:
    """`run`, compiled into one function of machine code if marks are set.

    Without the mark, XLA starts each loop of `run` separately. `run` must be arithmetic only,
    without products of large matrices and without LAPACK.
    """
    if not marked:
        return run

    def call(*args):
        reads, values = _used(run, args)
        return _marked(reads, inlineable="false", xla_cpu_small_call="true")(*values)

    return call


def stored(tree: PyTree) -> PyTree:
    """The same values, computed once if marks are set.

    Without the mark, XLA repeats shared work at each use of a value. The mark works because a
    call that is not inlined ends a fusion.
    """
    return _identity()(tree) if marked else tree


@functools.cache
def tell_that_marks_are_missing() -> None:
    """Warns, once per process, that ensembles are slower on this release of jaxlib."""
    warnings.warn(
        f"jaxlib {RELEASE}: ensembles on a CPU are several times slower than on "
        f"{' or '.join(PROVEN)}, since what makes them fast is not proven to be safe there",
        stacklevel=2,
    )


# The functions below import in their bodies, since other releases may lack these names.


def _marked(run, **marks):
    """`run` as a call with the attributes `marks`, which calls inside `run` do not inherit."""
    from jax.experimental.xla_metadata import set_xla_metadata

    @jax.jit
    def inner(*args):
        with set_xla_metadata(**dict.fromkeys(marks)):
            return run(*args)

    def call(*args):
        with set_xla_metadata(**marks):
            return inner(*args)

    return call


def _used(run: Callable, args: tuple) -> tuple[Callable, list]:
    """`run(*args)` as a function of only the values that it reads, and these values.

    This is needed because XLA of jaxlib 0.11.2 aborts on a marked call with an unused
    parameter.
    """
    from jax.core import eval_jaxpr
    from jax.extend.core import Literal
    from jax.interpreters import partial_eval

    leaves, structure = jax.tree.flatten(args)
    whole = lambda *leaves: run(*jax.tree.unflatten(structure, leaves))
    closed, shape = jax.make_jaxpr(whole, return_shape=True)(*leaves)
    jaxpr, used = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    read = {x for eqn in jaxpr.eqns for x in eqn.invars if not isinstance(x, Literal)}
    read |= {x for x in jaxpr.outvars if not isinstance(x, Literal)}
    outer = [
        value for x, value in zip(jaxpr.constvars, closed.consts, strict=True) if x in read
    ]
    inner = [value for value, is_used in zip(leaves, used, strict=True) if is_used]

    def reads(*values):
        given = iter(values)
        consts = [next(given) if x in read else None for x in jaxpr.constvars]
        results = eval_jaxpr(jaxpr, consts, *given)
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    return reads, outer + inner


@functools.cache
def _identity():
    return _marked(lambda tree: tree, inlineable="false")

"""What XLA is told, beyond the program.

On a CPU, marks on calls make ensembles several times faster. No release of XLA promises what
they do, and a program that they break aborts the process. So they are set only on releases of
jaxlib on which `pytest -m slow tests/test_marks.py` has solved two hundred random programs with
them and without, and got the same. On any other release the same calls are right, and slower.
"""

import functools
import warnings
from collections.abc import Callable
from importlib.metadata import version

import jax
from jaxtyping import PyTree


QUICK: dict[str, int | bool | str] = {"xla_backend_optimization_level": 0}  # to compile
VECTORS: dict[str, int | bool | str] = {"xla_cpu_prefer_vector_width": 512}

PROVEN = "0.10.2", "0.11.2", "0.12.0.1"  # releases of jaxlib
RELEASE = version("jaxlib")
marked = RELEASE in PROVEN  # whether marks are set


def one_function(run: Callable) -> Callable:
    """Calls it as one function of machine code; else each of its loops is started by itself.

    Nothing but arithmetic: no products of large matrices, no LAPACK.
    """
    if not marked:
        return run

    def call(*args):
        reads, values = _used(run, args)
        return _marked(reads, inlineable="false", xla_cpu_small_call="true")(*values)

    return call


def stored(tree: PyTree) -> PyTree:
    """The same values, computed once; else shared work is repeated for each of its uses.

    A call that is not inlined ends a fusion.
    """
    return _identity()(tree) if marked else tree


@functools.cache
def tell_that_marks_are_missing() -> None:
    """Warns, once a process."""
    warnings.warn(
        f"jaxlib {RELEASE}: ensembles on a CPU are several times slower than on "
        f"{' or '.join(PROVEN)}, since what makes them fast is not proven to be safe there",
        stacklevel=2,
    )


# What follows is imported where marks are set: another release may not have it.


def _marked(run, **marks):
    """A call with attributes that XLA reads; what it calls in turn does not have them."""
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
    """`run(*args)` as a function of only those values that it reads, and these values.

    XLA of jaxlib 0.11.2 aborts on a marked call with a parameter that nothing reads.
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

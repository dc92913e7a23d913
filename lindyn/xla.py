"""What XLA's CPU compiler is told, beyond the program."""

from collections.abc import Callable

import jax
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import PyTree


QUICK: dict[str, int | bool | str] = {"xla_backend_optimization_level": 0}  # to compile
VECTORS: dict[str, int | bool | str] = {"xla_cpu_prefer_vector_width": 512}


def one_function(run: Callable) -> Callable:
    """Calls it as one function of machine code; else each of its loops is started by itself.

    Nothing but arithmetic: no products of large matrices, no LAPACK.
    """
    return _marked(run, inlineable="false", xla_cpu_small_call="true")


def _marked(run, **marks):
    """A call with attributes that XLA reads; what it calls in turn does not have them."""

    @jax.jit
    def inner(*args):
        with set_xla_metadata(**dict.fromkeys(marks)):
            return run(*args)

    def call(*args):
        with set_xla_metadata(**marks):
            return inner(*args)

    return call


def stored(tree: PyTree) -> PyTree:
    """The same values, computed once; else shared work is repeated for each of its uses.

    A call that is not inlined ends a fusion.
    """
    return _identity(tree)


_identity = _marked(lambda tree: tree, inlineable="false")

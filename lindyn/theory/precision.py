"""The precision of matrix products on an accelerator."""

import functools
from collections.abc import Callable
from typing import TypeVar, cast

import jax


F = TypeVar("F", bound=Callable)


def exact_products(function: F) -> F:
    """Decorator: float32 matrices inside `function` are multiplied in full float32 precision.

    By default, GPUs round the factors to 10 bits, and TPUs round them to 8 bits.
    """

    @functools.wraps(function)
    def run(*args, **kwargs):
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return cast(F, run)

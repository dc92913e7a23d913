"""How exactly matrices are multiplied on an accelerator."""

import functools
from collections.abc import Callable
from typing import TypeVar, cast

import jax


F = TypeVar("F", bound=Callable)


def exact_products(function: F) -> F:
    """Multiplies float32 matrices in float32, where GPUs and TPUs round to 10 or 8 bits."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        with jax.default_matmul_precision("highest"):
            return function(*args, **kwargs)

    return cast(F, run)

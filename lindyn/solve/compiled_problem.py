"""The static specification of an ensemble's program, and the inputs that its problems share.

Read `ensemble` first.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


class Layout(NamedTuple):
    """The layout of a pytree in the columns of a row: its leaves one after another."""

    shapes: tuple[tuple[int, ...], ...]
    structure: Any

    @classmethod
    def of(cls, tree: PyTree) -> "Layout":
        leaves, structure = jax.tree.flatten(tree)
        return cls(tuple(tuple(x.shape) for x in leaves), structure)

    @property
    def width(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes)

    def unpack(self, columns: Any) -> PyTree:
        """The pytree of `columns` (width, lanes). The last axis of each leaf is the lanes."""
        leaves, first = [], 0
        for shape in self.shapes:
            size = math.prod(shape)
            if shape == ():
                leaves.append(columns[first])
            else:
                leaves.append(columns[first : first + size].reshape(*shape, columns.shape[-1]))
            first += size
        return jax.tree.unflatten(self.structure, leaves)


def pack(tree: PyTree, *more: jax.Array) -> jax.Array:
    """The inverse of `Layout.unpack`, with the columns `more` appended: (lanes, width)."""
    leaves = [*jax.tree.leaves(tree), *more]
    columns = [x.reshape(-1, x.shape[-1]).astype(leaves[0].dtype) for x in leaves]
    return jnp.concatenate(columns).T


class CompiledProblem(NamedTuple):
    """The static specification: a program is compiled once for each of its values."""

    functions: Any  # field and event without their arrays: leaves and structure
    y: Layout
    given: Layout  # the leaves of args that differ between problems
    args: Any  # the structure of args, and for each leaf whether it differs between problems
    order: int  # of the Taylor series, if the field has one
    saved: bool  # whether states at given times are saved, not only the last state
    devices: tuple
    kernel: bool  # whether a GPU may run a Pallas kernel instead of XLA's loop
    quick: bool  # whether to compile fast, at the expense of the run time


class SharedInputs(NamedTuple):
    """The inputs that all problems share."""

    shared: list  # scalar leaves of args
    arrays: PyTree  # arrays of the field and the event
    t0: Any
    rtol: Any
    atol: Any
    max_steps: Any
    times: Any  # at which states are saved, without t0

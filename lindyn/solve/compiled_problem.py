"""What a program for many solves is compiled for, and what it is given."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


class Layout(NamedTuple):
    """The columns of a row: the leaves of a pytree one after another."""

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
        """(width, lanes) to leaves whose last axis is the lanes."""
        leaves, at = [], 0
        for shape in self.shapes:
            size = math.prod(shape)
            if shape == ():
                leaves.append(columns[at])
            else:
                leaves.append(columns[at : at + size].reshape(*shape, columns.shape[-1]))
            at += size
        return jax.tree.unflatten(self.structure, leaves)


def pack(tree: PyTree, *more: jax.Array) -> jax.Array:
    """The inverse, and more columns: (lanes, width)."""
    leaves = [*jax.tree.leaves(tree), *more]
    columns = [x.reshape(-1, x.shape[-1]).astype(leaves[0].dtype) for x in leaves]
    return jnp.concatenate(columns).T


class CompiledProblem(NamedTuple):
    """What is compiled for."""

    functions: Any  # field and event without their arrays: leaves and structure
    y: Layout
    given: Layout  # those leaves of args that differ from solve to solve
    args: Any  # the structure of args, and which leaves differ
    order: int  # of the Taylor series, where the field has one
    saved: bool  # states at times, not only the last
    devices: tuple
    kernel: bool  # one kernel of its own on a GPU, not XLA's
    quick: bool  # to compile, not to run


class SharedInputs(NamedTuple):
    """What all solves share."""

    shared: list  # leaves of args
    arrays: PyTree  # those of the field and the event
    t0: Any
    rtol: Any
    atol: Any
    max_steps: Any
    times: Any  # at which states are saved

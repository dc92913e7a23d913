"""A Pallas kernel for ensembles on a GPU: each thread integrates one problem in its registers.

Read `scheduler` first.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from lindyn.solve import stepping
from lindyn.solve.stepping import Taylor


WARP = 32  # threads of a warp share each instruction, so their solves wait for each other


def obstacle(setting: Any) -> str | None:
    """The reason why the kernel cannot run these problems; None if it can."""
    plan = setting.plan
    if plan.saved:
        return "it saves states at given times"
    if any((*plan.y.shapes, *plan.given.shapes)):
        return "a leaf of y0 or args is a vector or a matrix for each solve"
    if jax.tree.leaves(setting.inputs.arrays):
        return "the field or the event is a pytree that holds arrays"
    if not isinstance(setting.method, Taylor):
        return "the field has no Taylor series"
    if not setting.simple:
        return "the field or the event has operations that are not arithmetic on numbers"
    return None


def run(setting, rows, count, *, interpret: bool = False):
    """Results (chunk, width) with the columns of `scheduler`'s loop, and the computed steps."""
    chunk, width = rows.shape
    shared, structure = jax.tree.flatten(setting.inputs._replace(times=None))
    shared = [jnp.reshape(x, (1,)) for x in shared]
    counts = jnp.reshape(count, (1,))
    outputs = setting.plan.y.width + 5

    def body(columns, count, *refs):
        *numbers, results = refs
        inputs = jax.tree.unflatten(structure, [x[0] for x in numbers])
        inside = setting._replace(inputs=inputs, platform="registers")
        block = pl.ds(pl.program_id(0) * WARP, WARP)
        given = [columns[i, block] for i in range(width)]
        now, args, end = inside.start(given)
        index = pl.program_id(0) * WARP + lax.iota(jnp.int32, WARP)
        end = jnp.where(index < count[0], end, now.t)

        def go(carry):
            now, turns = carry
            return inside.advance(now, args, end)[0], turns + 1

        def any_going(carry):
            return jnp.max(stepping.going(carry[0], end).astype(jnp.int32)) > 0

        now, turns = lax.while_loop(any_going, go, (now, jnp.int32(0)))
        values = [*jax.tree.leaves(now.y), now.t, now.h, now.status, now.steps, now.rejected]
        for i, x in enumerate([*values, jnp.full(WARP, turns)]):
            results[i, block] = x.astype(end.dtype)

    whole = pl.BlockSpec(memory_space=pl.ANY)
    results = pl.pallas_call(
        body,
        grid=(chunk // WARP,),
        in_specs=[whole] * (2 + len(shared)),
        out_specs=whole,
        out_shape=jax.ShapeDtypeStruct((outputs + 1, chunk), rows.dtype),
        compiler_params=triton.CompilerParams(num_warps=1),
        interpret=interpret,
    )(rows.T, counts, *shared)
    return results[:outputs].T, jnp.sum(results[outputs]).astype(int)

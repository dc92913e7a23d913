"""The solves of a block of GPU threads, from start to end in registers: a Pallas kernel."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from lindyn import lanes
from lindyn.lanes import Taylor


WARP = 32  # solves that share an instruction wait for each other


def fits(setting: Any) -> bool:
    """Whether the state of a solve is a few numbers, and its steps arithmetic on them."""
    plan = setting.plan
    scalars = (*plan.y.shapes, *plan.given.shapes)
    return (
        isinstance(setting.method, Taylor)
        and setting.simple
        and not plan.saved
        and all(shape == () for shape in scalars)
        and not jax.tree.leaves(setting.inputs.arrays)
    )


def run(setting, rows, count, *, interpret: bool = False):
    """Results (chunk, width) as those of the loop with refill, and the slots."""
    chunk, width = rows.shape
    shared, structure = jax.tree.flatten(setting.inputs._replace(times=None))
    shared = [jnp.reshape(x, (1,)) for x in shared]
    counts = jnp.reshape(count, (1,))
    outputs = setting.plan.y.width + 5

    def body(columns, count, *refs):
        *numbers, results = refs
        inputs = jax.tree.unflatten(structure, [x[0] for x in numbers])
        inside = setting._replace(inputs=inputs, platform="gpu")
        at = pl.ds(pl.program_id(0) * WARP, WARP)
        given = [columns[i, at] for i in range(width)]
        now, args, end = inside.start(given)
        index = pl.program_id(0) * WARP + lax.iota(jnp.int32, WARP)
        end = jnp.where(index < count[0], end, now.t)

        def go(carry):
            now, turns = carry
            return inside.advance(now, args, end)[0], turns + 1

        def any_going(carry):
            return jnp.max(lanes.going(carry[0], end).astype(jnp.int32)) > 0

        now, turns = lax.while_loop(any_going, go, (now, jnp.int32(0)))
        found = [*jax.tree.leaves(now.y), now.t, now.h, now.status, now.steps, now.rejected]
        for i, x in enumerate([*found, jnp.full(WARP, turns)]):
            results[i, at] = x.astype(end.dtype)

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

"""What the batching rules of the primitives share."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching


def front_axis(x: jax.Array, d: int | None, size: int) -> jax.Array:
    """x with its batch axis in front, repeated along it where it has none."""
    return jnp.broadcast_to(x, (size, *x.shape)) if d is None else jnp.moveaxis(x, d, 0)


def register(primitive: Primitive, rule: Callable, tables: Callable[..., int]) -> None:
    """Let `rule` batch a primitive of several results, whose first operands are a plan's tables:
    `tables` of its parameters.

    A vmap may repeat a plan along its axis: one copy is used, and different ones give NaN.
    """

    def batched(operands, dims, **parameters):
        operands, dims, same = list(operands), list(dims), []
        for i in range(tables(**parameters)):
            if dims[i] is not None:
                copies = jnp.moveaxis(operands[i], dims[i], 0)
                same.append(jnp.all(copies == copies[:1]))
                operands[i], dims[i] = copies[0], None
        if all(d is None for d in dims):
            out, axes = primitive.bind(*operands, **parameters), None
        else:
            out, axes = rule(operands, dims, **parameters)
        if same:
            out = [jnp.where(jnp.all(jnp.stack(same)), x, jnp.nan) for x in out]
        return out, [None] * len(out) if axes is None else axes

    batching.primitive_batchers[primitive] = batched

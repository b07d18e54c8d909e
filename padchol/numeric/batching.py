"""vmap of the primitive: which batch axes a computation gets, and where a batch is none.

A batch of vectors alone is a matrix of more columns; any other is handed to the engine as an axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from padchol.plan import Plan

if TYPE_CHECKING:
    from padchol.numeric.call import Call


def batch(operands, dims, *, what: Call):
    """A vmap may repeat a plan along its axis: one copy is used, and different ones give NaN."""
    operands, dims, same = list(operands), list(dims), []
    for i in range(what.plan.num_leaves):
        if dims[i] is not None:
            copies = jnp.moveaxis(operands[i], dims[i], 0)
            same.append(jnp.all(copies == copies[:1]))
            operands[i], dims[i] = copies[0], None
    out, axis = _batch_arrays(*what.split(operands), dims[what.plan.num_leaves :], what)
    if same:
        out = [jnp.where(jnp.all(jnp.stack(same)), x, _failed(x)) for x in out]
    return out, [axis] * len(out)


def _failed(x: jax.Array) -> Any:
    """What says that a result is none: NaN, or an `info` that is not zero."""
    return jnp.nan if jnp.issubdtype(x.dtype, jnp.floating) else jnp.ones((), x.dtype)


def _batch_arrays(plan: Plan, arrays: Sequence, dims: Sequence, what: Call):
    """Results, and the place of their batch axis, None where there is none."""
    mask = tuple(d is not None for d in dims)
    if not any(mask):
        return what.bind(plan, *arrays), None
    size = next(x.shape[d] for x, d in zip(arrays, dims, strict=True) if d is not None)
    vectors = what.computation.vectors(len(arrays))
    if not what.lead and all(v or not m for v, m in zip(vectors, mask, strict=True)):
        return _batch_columns(plan, arrays, dims, vectors, size, what)
    mask = what.computation.together(mask)
    moved = [_front(x, d, size) if own else x for x, d, own in zip(arrays, dims, mask, strict=True)]
    more = replace(what, lead=(size, *what.lead), has=(mask, *what.has))
    return more.bind(plan, *moved), 0


def _batch_columns(plan: Plan, arrays, dims, vectors, size: int, what: Call):
    """A batch of vectors as a matrix of more columns."""
    every = zip(arrays, dims, vectors, strict=True)
    moved = [jnp.moveaxis(_front(x, d, size), 0, 1) if v else x for x, d, v in every]
    k = next(x.shape[2] for x, v in zip(moved, vectors, strict=True) if v)
    merged = [x.reshape(len(x), -1) if v else x for x, v in zip(moved, vectors, strict=True)]
    return [x.reshape(len(x), size, k) for x in what.bind(plan, *merged)], 1


def _front(x: jax.Array, d: int | None, size: int) -> jax.Array:
    """x with its batch axis in front, repeated along it where it has none."""
    return jnp.broadcast_to(x, (size, *x.shape)) if d is None else jnp.moveaxis(x, d, 0)

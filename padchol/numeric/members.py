"""Batches of matrices: on a CPU one member after the other, whatever is computed for it.

A vmap batches operation by operation, so that the panels of all members go through memory once for
each. Taken one by one a member stays in the cache, and panels that nobody asked for are never
stored: 1.4 to 1.8 times as fast at 2D 30^2 to 100^2 (tests/bench/NOTES.md, experiment 24). Where
fronts are taken in chunks, members are folded into these instead: see `sweep`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import mlir

from padchol.numeric import fronts
from padchol.numeric.primitives import (
    as_columns,
    compile_eager_calls,
    from_columns,
    over_axes,
    register_batch,
)
from padchol.plan import Plan

members_p = Primitive("padchol_members")
members_p.multiple_results = True


@dataclass(frozen=True)
class Computation:
    """f(plan, *arrays) -> arrays, without derivatives; shapes(plan, *arrays) of what it gives.

    columns: whether the last operand is (n, k) and the only result its image, column by column.
    """

    f: Callable[..., Sequence[jax.Array]]
    shapes: Callable[..., Sequence[ShapedArray]]
    columns: bool = False


@dataclass(frozen=True)
class Batch:
    """A computation on a batch: its operands are the leaves of the plan, then arrays.

    lead    sizes of the batch axes, outermost first; results have them all
    has     of each axis, which of the arrays have it, in front of their own
    """

    computation: Computation
    plan: Any  # tree structure
    lead: tuple[int, ...] = ()
    has: tuple[tuple[bool, ...], ...] = ()


def call(computation: Computation, plan: Plan, *arrays: jax.Array) -> Sequence[jax.Array]:
    """f(plan, *arrays) of a computation, batched as said above; without derivatives."""
    tables, tree = jax.tree.flatten(plan)
    return members_p.bind(*tables, *map(lax.stop_gradient, arrays), what=Batch(computation, tree))


def elsewhere(plan: Plan) -> bool:
    """Whether members follow one another on other devices: where there are no chunks."""
    return not plan.layout.bins


def on_cpu(plan: Plan) -> bool:
    return fronts.TILED or elsewhere(plan)


def register_lowerings(primitive: Primitive, compute: Callable) -> None:
    """compute(*operands, one_by_one: of a plan, **parameters): for CPUs, and elsewhere."""
    for one_by_one, platform in ((elsewhere, None), (on_cpu, "cpu")):
        lowered = mlir.lower_fun(partial(compute, one_by_one=one_by_one), multiple_results=True)
        mlir.register_lowering(primitive, lowered, platform=platform)


def _split(operands: Sequence, what: Batch) -> tuple[Plan, Sequence]:
    tables = what.plan.num_leaves
    return jax.tree.unflatten(what.plan, operands[:tables]), operands[tables:]


def _compute(*operands, what: Batch, one_by_one: Callable[[Plan], bool]):
    plan, arrays = _split(operands, what)
    return over_axes(partial(what.computation.f, plan), what.has, one_by_one(plan))(*arrays)


compile_eager_calls(members_p)
register_lowerings(members_p, _compute)


@members_p.def_abstract_eval
def _abstract(*operands, what: Batch):
    plan, arrays = _split(operands, what)
    axes = [sum(mask[i] for mask in what.has) for i in range(len(arrays))]
    own = [ShapedArray(x.shape[k:], x.dtype) for x, k in zip(arrays, axes, strict=True)]
    found = what.computation.shapes(plan, *own)
    return [ShapedArray((*what.lead, *x.shape), x.dtype) for x in found]


def _batch(operands, dims, *, what: Batch):
    moved = [x if d is None else jnp.moveaxis(x, d, 0) for x, d in zip(operands, dims, strict=True)]
    mask = tuple(d is not None for d in dims[what.plan.num_leaves :])
    size = next(x.shape[0] for x, d in zip(moved, dims, strict=True) if d is not None)
    if what.computation.columns and not what.lead and not any(mask[:-1]):
        (out,) = members_p.bind(*moved[:-1], as_columns(moved[-1], 0, size), what=what)
        return [from_columns(out, size, moved[-1].shape[-1])], [1]
    more = replace(what, lead=(size, *what.lead), has=(mask, *what.has))
    out = members_p.bind(*moved, what=more)
    return out, [0] * len(out)


register_batch(members_p, _batch, lambda what: what.plan.num_leaves)

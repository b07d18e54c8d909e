"""Batches of matrices: on a CPU one member after the other, whatever is computed for it.

A vmap batches operation by operation, so that the panels of all members go through memory once for
each. Taken one by one a member stays in the cache, and panels that nobody asked for are never
stored: 1.4 to 1.8 times as fast at 2D 30^2 to 100^2 (tests/bench/NOTES.md, experiment 24). Plans
for accelerators fold members into their trips instead: see `levels`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, mlir

from padchol.numeric.devices import alike, knows_devices, lowering, results
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
    """f(plan, *arrays) -> arrays; shapes(plan, *arrays) of what it gives.

    columns: whether the last operand is (n, k) and the only result its image, column by column.
    moved: what makes it differentiable, a solve x = A^-1 b that is linear and symmetric in the last
    operand b: moved(plan, dots, x) is -dA x for the tangents of all other operands, which are None
    where there is none. Without it results are constants.
    """

    f: Callable[..., Sequence[jax.Array]]
    shapes: Callable[..., Sequence[ShapedArray]]
    columns: bool = False
    moved: Callable[..., jax.Array] | None = None


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
    """f(plan, *arrays) of a computation, batched as said above."""
    tables, tree = jax.tree.flatten(plan)
    given = arrays if computation.moved else map(lax.stop_gradient, arrays)
    return members_p.bind(*tables, *alike(*given), what=Batch(computation, tree))


def one_by_one(plan: Plan) -> bool:
    """Whether members follow one another."""
    return not plan.layout.in_levels


def register_lowering(primitive: Primitive, compute: Callable, axes: Callable) -> None:
    """compute(*operands, **parameters); axes: the batch axes of operands and results, see
    `devices.lowering`."""
    knows_devices(primitive)
    mlir.register_lowering(primitive, lowering(compute, axes))


def axes_of(lead: Sequence[int], ndim: int, columns: bool = False) -> tuple:
    """Which batch axis each axis of an array is, that has those of `lead` in front of its own; the
    columns of a single matrix's vectors are one, too."""
    inner: list = [None] * (ndim - len(lead))
    if columns and not lead:
        inner[-1] = 0
    return (*lead, *inner)


def _split(operands: Sequence, what: Batch) -> tuple[Plan, Sequence]:
    tables = what.plan.num_leaves
    return jax.tree.unflatten(what.plan, operands[:tables]), operands[tables:]


def _compute(*operands, what: Batch):
    plan, arrays = _split(operands, what)
    return over_axes(partial(what.computation.f, plan), what.has, one_by_one(plan))(*arrays)


def _axes(operands, what: Batch, **_):
    tables, arrays = (operands[: what.plan.num_leaves], operands[what.plan.num_leaves :])
    every, last = range(len(what.lead)), len(arrays) - 1
    columns = what.computation.columns and not what.lead
    taken = [axes_of((), x.ndim) for x in tables]
    for i, x in enumerate(arrays):
        lead = [axis for axis in every if what.has[axis][i]]
        taken.append(axes_of(lead, x.ndim, columns and i == last))
    return taken, [axes_of(every, x.ndim, columns) for x in _results(operands, what)]


def _results(operands, what: Batch) -> list[ShapedArray]:
    plan, arrays = _split(operands, what)
    axes = [sum(mask[i] for mask in what.has) for i in range(len(arrays))]
    own = [ShapedArray(x.shape[k:], x.dtype) for x, k in zip(arrays, axes, strict=True)]
    found = what.computation.shapes(plan, *own)
    return [ShapedArray((*what.lead, *x.shape), x.dtype) for x in found]


compile_eager_calls(members_p)
register_lowering(members_p, _compute, _axes)


@members_p.def_abstract_eval
def _abstract(*operands, what: Batch):
    return results(operands, _results(operands, what), _axes(operands, what))


def _jvp(primals, tangents, *, what: Batch):
    """dx = A^-1 (db - dA x): another solve."""
    (x,) = members_p.bind(*primals, what=what)
    of_matrix = what.computation.moved
    assert of_matrix is not None
    tables, leaves = what.plan.num_leaves, primals[: what.plan.num_leaves]
    plan = jax.tree.unflatten(what.plan, leaves)
    dots = [None if type(dot) is ad.Zero else dot for dot in tangents[tables:]]
    terms = []
    if any(dot is not None for dot in dots[:-1]):
        moving = [i for i, dot in enumerate(dots[:-1]) if dot is not None]

        def moved(*given):
            every = [None] * (len(dots) - 1)
            for i, dot in zip(moving, given, strict=False):
                every[i] = dot
            return of_matrix(plan, every, given[-1])

        has = [(*(mask[i] for i in moving), True) for mask in what.has]
        terms.append(over_axes(moved, has, False)(*(dots[i] for i in moving), x))
    if dots[-1] is not None:
        terms.append(_led(dots[-1], what))
    return [x], _solve(functools.reduce(jnp.add, terms), primals[:-1], what)


def _transpose(cotangents, *operands, what: Batch):
    """A^-1 is symmetric: the cotangent of b is the solution for that of x."""
    found = operands[-1]
    assert ad.is_undefined_primal(found)
    assert not any(map(ad.is_undefined_primal, operands[:-1]))
    (pulled,) = _solve(ad.instantiate_zeros(cotangents[0]), operands[:-1], what)
    repeated = [axis for axis, mask in enumerate(what.has) if not mask[-1]]
    return [None] * (len(operands) - 1) + [jnp.sum(pulled, repeated) if repeated else pulled]


def _solve(b, others, what: Batch):
    """The computation for a last operand that has all batch axes."""
    has = tuple((*mask[:-1], True) for mask in what.has)
    return members_p.bind(*others, b, what=replace(what, has=has))


def _led(b: jax.Array, what: Batch) -> jax.Array:
    """The last operand with all batch axes."""
    own = b.shape[sum(mask[-1] for mask in what.has) :]
    some = [size if mask[-1] else 1 for size, mask in zip(what.lead, what.has, strict=True)]
    return jnp.broadcast_to(b.reshape(*some, *own), (*what.lead, *own))


ad.primitive_jvps[members_p] = _jvp
ad.primitive_transposes[members_p] = _transpose


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

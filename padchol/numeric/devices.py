"""Values over several devices: primitives inside `jax.shard_map`, and batches that jit partitions.

Inside `shard_map` the type of an array says over which axes of the mesh it varies. A primitive's
operands are made to vary alike before it is bound, so that each result varies like any of them; what
it stands for is traced without these types, since it talks to no other device.

Under `jit` with a sharded batch, XLA would partition operation by operation, and a loop over members
not at all: every device would compute every member. So a batch on several devices is handed over as
a whole, with the rule that its batch axes may be cut and nothing else.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.core import ShapedArray
from jax.experimental.custom_partitioning import custom_partitioning
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec, use_abstract_mesh


def varying(x: Any) -> frozenset:
    """The axes of the mesh over which x varies, inside `shard_map`; none outside."""
    kind = jax.typeof(x)
    axes = getattr(kind, "manual_axis_type", None)  # jax < 0.10 has `vma` itself
    return frozenset(kind.vma if axes is None else axes.varying)


def alike(*arrays: Any) -> list[Any]:
    """The arrays, all of them varying over the axes over which any does."""
    every = frozenset().union(*map(varying, arrays))
    return [_vary(x, every) for x in arrays]


def _vary(x: Any, every: frozenset) -> Any:
    missing = tuple(sorted(every - varying(x)))
    return lax.pcast(x, missing, to="varying") if missing else x


def like(aval: Any, shape: Sequence[int], dtype: Any, lead: Sequence[Any] = ()) -> ShapedArray:
    """An abstract array of that shape that varies as `aval` does; lead: the axes of an explicit
    mesh along its first axes."""
    spec = PartitionSpec(*lead, *[None] * (len(shape) - len(lead)))
    sharding = NamedSharding(aval.sharding.mesh, spec)
    return aval.update(shape=tuple(shape), dtype=dtype, sharding=sharding)


def lead_of(avals: Sequence[Any], axes: Sequence[Sequence[Any]], count: int) -> list[Any]:
    """The axes of an explicit mesh along `count` batch axes; avals, axes as for `lowering`."""
    found: list[Any] = [None] * count
    for aval, each in zip(avals, axes, strict=True):
        for axis, name in zip(each, aval.sharding.spec, strict=False):
            if axis is not None and axis < count and isinstance(name, str | tuple):
                found[axis] = name
    return found


def plain(aval: Any) -> ShapedArray:
    """The abstract array without anything that concerns a mesh."""
    return ShapedArray(aval.shape, aval.dtype)


def lowering(compute: Callable, partition: Callable) -> Callable:
    """A lowering rule for compute(*operands, **parameters).

    partition(avals, **parameters): (operand axes, result axes), for each array the batch axis that
    each of its axes is, or None. Batch axes may be cut over devices.
    """

    def rule(ctx, *operands, **parameters):
        f = functools.partial(compute, **parameters)
        axes = partition(ctx.avals_in, **parameters)
        if _devices(ctx) > 1 and any(any(a is not None for a in each) for each in axes[1]):
            f = _partitioned(f, *axes)
        known = ctx.replace(
            avals_in=[plain(x) for x in ctx.avals_in], avals_out=[plain(x) for x in ctx.avals_out]
        )
        with use_abstract_mesh(AbstractMesh((), ())):
            return mlir.lower_fun(f, multiple_results=True)(known, *operands)

    return rule


def knows_devices(primitive: Primitive) -> None:
    """Have JAX name the devices of a program that holds the primitive, as it does for
    `custom_partitioning` itself. There is no public way; without it batches are not cut."""
    with contextlib.suppress(ImportError, AttributeError):
        from jax._src.dispatch import prim_requires_devices_during_lowering as known

        known.add(primitive)


def _devices(ctx: Any) -> int:
    """How many devices XLA may cut this program for; one inside `shard_map`."""
    return len(getattr(ctx.module_context.axis_context, "device_assignment", None) or ()) or 1


def _partitioned(f: Callable, operands: Sequence, results: Sequence) -> Callable:
    """f, of which XLA's partitioner may cut the batch axes."""

    def whole(*arrays):
        return tuple(f(*arrays))

    def partition(mesh, args, found):
        cut: dict[int, Any] = {}
        for axes, x in zip((*operands, *results), (*args, *found), strict=True):
            for axis, name in zip(axes, x.sharding.spec, strict=False):
                if axis is not None and name is not None:
                    cut.setdefault(axis, name)

        def sharding(axes):
            return NamedSharding(mesh, PartitionSpec(*(cut.get(axis) for axis in axes)))

        return mesh, whole, tuple(map(sharding, results)), tuple(map(sharding, operands))

    names = iter(range(10**6))

    def factors(axes):
        own = lambda axis: f"b{axis}" if axis is not None else f"i{next(names)}"
        return " ".join(own(axis) for axis in axes)

    taken, given = ([factors(axes) for axes in each] for each in (operands, results))
    rule = f"{', '.join(taken)} -> {', '.join(given)}"
    whole_axes = tuple(
        name for text in (*taken, *given) for name in text.split() if name.startswith("i")
    )
    call = custom_partitioning(whole)
    call.def_partition(partition, sharding_rule=rule, need_replication_factors=whole_axes)
    return call

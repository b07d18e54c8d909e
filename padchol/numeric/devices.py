"""Values over several devices: primitives inside `jax.shard_map`, and batches that jit partitions.

Inside `shard_map` the type of an array says over which axes of the mesh it varies. A primitive's
operands are made to vary alike before it is bound, so that each result varies like any of them;
what it stands for is traced without these types, since it talks to no other device.

Under `jit` with a sharded batch, XLA would partition operation by operation, and a loop over
members not at all: every device would compute every member. So a batch on several devices is handed
over as a whole, with the rule that its batch axes may be cut and nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.experimental.custom_partitioning import custom_partitioning
from jax.extend.core import ClosedJaxpr, Jaxpr, Primitive
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


def results(avals: Sequence[Any], shapes: Sequence[Any], axes: tuple) -> list[ShapedArray]:
    """Abstract results of these shapes and types on the mesh of the operands: they vary as those
    do, and batch axes are cut as theirs are; axes as `partition` gives them, see `lowering`."""
    aval: Any = next((x for x in reversed(avals) if not x.sharding.mesh.empty), avals[-1])
    cut = _cuts(axes[0], [x.sharding.spec for x in avals])

    def result(x, own):
        spec = PartitionSpec(*(cut.get(axis) for axis in own))
        sharding = NamedSharding(aval.sharding.mesh, spec)
        return aval.update(shape=x.shape, dtype=x.dtype, sharding=sharding)

    return [result(x, own) for x, own in zip(shapes, axes[1], strict=True)]


def _cuts(axes: Sequence, specs: Sequence) -> dict[int, Any]:
    """Over which axes of the mesh each batch axis is cut, where it is."""
    found: dict[int, Any] = {}
    for own, spec in zip(axes, specs, strict=True):
        for axis, name in zip(own, spec, strict=False):
            if axis is not None and isinstance(name, str | tuple):
                found.setdefault(axis, name)
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
        taken, given = ([plain(x) for x in avals] for avals in (ctx.avals_in, ctx.avals_out))
        known = ctx.replace(avals_in=taken, avals_out=given)
        with use_abstract_mesh(AbstractMesh((), ())):
            if _devices(ctx) > 1 and any(axis is not None for each in axes[1] for axis in each):
                f = _partitioned(f, taken, *axes)
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


def _partitioned(f: Callable, avals: Sequence, operands: Sequence, given: Sequence) -> Callable:
    """f, of which XLA's partitioner may cut the batch axes."""
    traced = jax.make_jaxpr(f)(*avals)
    count, consts = len(avals), traced.consts  # `custom_partitioning` wants constants as operands
    operands = (*operands, *([None] * np.ndim(x) for x in consts))

    @custom_partitioning
    def whole(*arrays):
        return tuple(jax.core.eval_jaxpr(traced.jaxpr, arrays[count:], *arrays[:count]))

    wide = jax.config.jax_enable_x64

    def partition(mesh, args, found):
        _set_precision(wide)
        cut = _cuts((*operands, *given), [x.sharding.spec for x in (*args, *found)])

        def sharding(axes):
            return NamedSharding(mesh, PartitionSpec(*(cut.get(axis) for axis in axes)))

        def part(*arrays):
            # Under jit: what is called has its own equations, what is evaluated is traced anew.
            own = _without_sources(jax.make_jaxpr(jax.jit(f))(*map(jax.typeof, arrays[:count])))
            return tuple(jax.core.eval_jaxpr(own.jaxpr, own.consts, *arrays[:count]))

        return mesh, part, tuple(map(sharding, given)), tuple(map(sharding, operands))

    rule, uncut = _rule(operands, given)
    whole.def_partition(partition, sharding_rule=rule, need_replication_factors=uncut)
    return lambda *arrays: whole(*arrays, *consts)


def _set_precision(wide: bool) -> None:
    """XLA asks from a thread of its own, which does not know of a `jax.enable_x64` in the caller's,
    and JAX traces there what it is given: that thread stays set."""
    if jax.config.jax_enable_x64 != wide:
        _entered.context = jax.enable_x64(wide)
        _entered.context.__enter__()


_entered = threading.local()


def _rule(operands: Sequence, results: Sequence) -> tuple[str, tuple[str, ...]]:
    """Shardy's rule, as `b0 i0, i1 -> b0 i2`, and those of its factors that must not be cut."""
    uncut: list[str] = []

    def factor(axis):
        if axis is not None:
            return f"b{axis}"
        uncut.append(f"i{len(uncut)}")
        return uncut[-1]

    taken, given = (
        ", ".join(" ".join(map(factor, axes)) for axes in x) for x in (operands, results)
    )
    return f"{taken} -> {given}", tuple(uncut)


def _without_sources(closed: Any) -> Any:
    """The program without the places in Python that its equations come from.

    XLA does not number these anew where it puts a partitioned program into another, and its pass
    `propagate-call-metadata` then follows them in a circle, for ever (jaxlib 0.10.2).
    """

    def of_equation(eqn):
        source = eqn.source_info
        params = {name: of_value(value) for name, value in eqn.params.items()}
        return eqn.replace(source_info=type(source)(None, source.name_stack), params=params)

    def of_value(x):
        if isinstance(x, Jaxpr):
            return x.replace(eqns=list(map(of_equation, x.eqns)))
        if isinstance(x, ClosedJaxpr):  # since JAX 0.12 a Jaxpr itself
            return x.replace(jaxpr=of_value(x.jaxpr))
        return tuple(map(of_value, x)) if type(x) is tuple else x

    return of_value(closed)

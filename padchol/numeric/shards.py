"""One sweep over several devices: each has its own subtrees, and all have the top.

    up      every device sweeps its subtrees, and hands up into a top of its own; these are summed,
            and every device sweeps the top
    down    every device sweeps the top, then its subtrees

So a sweep has one collective at most. What the user gives or gets is the same on all devices: a
result is summed over what each device has of it. See `symbolic.shards` for the cut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from padchol.plan import Plan

AXIS = "shards"


def mesh_of(plan: Plan, mesh: Any) -> Mesh | None:
    """The devices of a plan's shards, as a mesh of one axis; None for a plan of one shard."""
    shards = plan.layout.shards
    if mesh is None:
        if shards == 1:
            return None
        there = jax.devices()
        if len(there) < shards:
            raise ValueError(
                f"expected {shards} devices, one for each shard of the plan; this process sees "
                f"{len(there)} of platform {there[0].platform!r}. Devices of a CPU are as many as "
                "jax.config.update('jax_num_cpu_devices', k) says before JAX starts"
            )
        return Mesh(there[:shards], (AXIS,))
    if not isinstance(mesh, Mesh):
        raise TypeError(f"expected mesh to be a jax.sharding.Mesh; got {type(mesh).__name__}")
    if mesh.devices.shape != (shards,):
        raise ValueError(
            f"expected a mesh of one axis with {shards} devices, one for each shard of the plan "
            f"(analyze(A, shards={mesh.devices.size}) makes one for this mesh); got axes "
            f"{dict(mesh.shape)}"
        )
    return Mesh(mesh.devices, (AXIS,)) if shards > 1 else None


def placed(plan: Plan, mesh: Any = None) -> Plan:
    """The plan on these devices: each has its own row of the table, and all else."""
    if mesh is None and plan.mesh is not None:
        return plan
    mesh = mesh_of(plan, mesh)
    if mesh is None:
        return plan
    rows, everywhere = (
        NamedSharding(mesh, spec) for spec in (PartitionSpec(AXIS), PartitionSpec())
    )
    if isinstance(plan.table, jax.core.Tracer):
        table = lax.with_sharding_constraint(plan.table, rows)
    else:
        table = jax.device_put(plan.table, rows)
        plan = jax.device_put(replace(plan, table=None), everywhere)
    return replace(plan, table=table, mesh=mesh)


def on_shards(
    f: Callable, plan: Plan, arrays: Sequence, takes: Sequence, gives: Sequence, shapes: Sequence
) -> Sequence[jax.Array]:
    """f(plan, *arrays) on every device of the plan's mesh, with its own row of the table.

    takes, gives: which arrays, and which results, of these shapes, are panel storages: in f a row.
    """

    def own(plan, *arrays):
        rows = [x[..., 0, :] if i in takes else x for i, x in enumerate(arrays)]
        found = f(eqx.tree_at(lambda p: p.table, plan, plan.table[0]), *rows)
        return [x[..., None, :] if i in gives else x for i, x in enumerate(found)]

    everywhere = jax.tree.map(lambda _: PartitionSpec(), plan)
    plans = eqx.tree_at(lambda p: p.table, everywhere, PartitionSpec(AXIS))
    specs = {"in_specs": (plans, *_specs(arrays, takes)), "out_specs": _specs(shapes, gives)}
    return jax.shard_map(own, mesh=plan.mesh, **specs, check_vma=False)(plan, *arrays)


def kept_apart(plan: Plan, found: Sequence, gives: Sequence) -> list[jax.Array]:
    """Results where `on_shards` leaves them: it tells JAX which devices the program is for."""
    placed = [NamedSharding(plan.mesh, spec) for spec in _specs(found, gives)]
    return [lax.with_sharding_constraint(*each) for each in zip(found, placed, strict=True)]


def _specs(arrays: Sequence, stored: Sequence) -> list[PartitionSpec]:
    """Over which axes arrays are cut: those that are panel storages by the last axis but one."""
    return [
        PartitionSpec(*[None] * (x.ndim - 2), AXIS) if i in stored else PartitionSpec()
        for i, x in enumerate(arrays)
    ]


@dataclass(frozen=True)
class Top:
    """Of a storage: where the top begins in it, and the mesh's axis."""

    start: int
    axis: tuple[str, ...]

    def once(self, storage: jax.Array) -> jax.Array:
        """A storage whose top all devices have, so that it counts once in a sum."""
        top = storage[self.start :]
        first = lax.axis_index(self.axis) == 0
        return self._put(storage, jnp.where(first, top, 0))

    def summed(self, storage: jax.Array) -> jax.Array:
        """The storage with the sum of all tops."""
        return self._put(storage, lax.psum(storage[self.start :], self.axis))

    def _put(self, storage: jax.Array, top: jax.Array) -> jax.Array:
        return lax.dynamic_update_slice_in_dim(storage, top, self.start, 0)


def top_of(plan: Plan, node: str) -> Top | None:
    """Of the panel storage, or the pivot storage; None where there is one shard."""
    if plan.mesh is None:
        return None
    return Top(plan.layout.storage.top[0 if node == "panel" else 1], plan.mesh.axis_names)

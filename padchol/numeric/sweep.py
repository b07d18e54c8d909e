"""The two sweeps over the supernodes, as every routine is handed to them.

A sweep runs in place on a *storage* with one node a supernode: its panel (w pivot columns of all
its rows), or its w rows of a vector of k columns.

    up      leaves to root: a kernel turns a node into its final value, and hands an update on its
            rows below (m x m, or m x k), which is added to the nodes of its ancestors
    down    root to leaves: a kernel turns a node into its final value, and may read those of its
            ancestors at its rows below (m x m, or m x k)

The two are adjoint: up adds with the indices that down reads with. Of panels and m x m updates only
the lower triangle counts: what lies above may be anything.

Two engines run them: tiles take supernodes one by one, here; `levels` takes them in batches. Both
are loops that JAX differentiates forwards.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from padchol.numeric import levels
from padchol.numeric.shards import Top, top_of
from padchol.numeric.verbs import OnTiles, Verbs
from padchol.numeric.verbs.loops import loop, one_function
from padchol.numeric.verbs.supernode import front_at
from padchol.numeric.verbs.tiles import rooms
from padchol.plan import Plan
from padchol.symbolic.layout import Kind, Layout

COLUMNS = 32  # of vectors on tiles at a time


@dataclass(frozen=True)
class Routine:
    """What a sweep does: static, hashable.

    kernel    what is done with one supernode, in verbs
    up        direction
    node      what its storage holds: "panel", or "pivots"
    takes     kinds of the leaves that go into the kernel besides the node
    rooms     what its verbs need on tiles, see `verbs.tiles.rooms`
    alone     whether nothing is handed up or read below
    """

    kernel: Callable[[Verbs], None]
    up: bool
    node: Kind
    takes: tuple[Kind, ...] = ()
    rooms: tuple[str, ...] = ()
    alone: bool = False

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Of the storage and the leaves."""
        return (self.node, *self.takes)


def apply(routine: Routine, plan: Plan, storage: jax.Array, *leaves: jax.Array) -> jax.Array:
    """The final storage."""
    arrays = list(zip(routine.kinds, (storage, *leaves), strict=True))
    k = next((x.shape[-1] for kind, x in arrays if kind != "panel"), 1)
    if plan.n == 0 or k == 0:
        return storage
    table = jnp.asarray(plan.table)
    top = top_of(plan, routine.node) if routine.up else None
    if top:
        arrays[0] = (routine.node, top.once(storage))
    if plan.layout.in_levels:
        return levels.run(routine, plan.layout.levels, table, arrays[0][1], leaves, top)
    short = missing_columns(k)
    whole = [
        jnp.pad(x, ((0, 0), (0, short))) if short and kind != "panel" else x for kind, x in arrays
    ]
    found = _run(routine, plan.layout, k + short, top, *lax.optimization_barrier((table, *whole)))
    return found[:, :k] if short and routine.node != "panel" else found


def missing_columns(k: int) -> int:
    """How many columns k lacks of whole groups of `COLUMNS`; fewer are a group of their own."""
    return -k % min(k, COLUMNS)


def _run(routine: Routine, layout: Layout, k: int, top: Top | None, table, storage, *leaves):
    """All fronts on tiles; up a tree in shards those of the own subtrees, then those of the top,
    both in one loop, so that they are compiled once."""
    if top is None:
        return _on_tiles(routine, layout, k, False)(table, storage, *leaves)
    fronts, tiles = _on_tiles(routine, layout, k, True), layout.tiles

    def part(p, storage):
        bounds = jnp.where(p == 0, *np.array([[0, tiles.top], [tiles.top, tiles.fronts]], np.int32))
        storage = fronts(table, storage, *leaves, bounds)
        return loop(0, 1 - p, lambda _, storage: top.summed(storage), storage)

    return loop(0, 2, part, storage)


@functools.lru_cache(maxsize=256)
def _on_tiles(routine: Routine, layout: Layout, k: int, bounded: bool) -> Callable:
    return one_function(on_tiles(routine, layout, k, bounded))


def on_tiles(routine: Routine, layout: Layout, k: int, bounded: bool = False) -> Callable:
    """Supernodes one after the other, `COLUMNS` of the k columns at a time; all of them, or those
    from the first to the last that the last argument says. To be compiled as one function."""
    tiles, width = layout.tiles, min(k, COLUMNS)

    def fronts(table, storage, *leaves):
        first, last = 0, tiles.fronts
        if bounded:
            *leaves, bounds = leaves
            first, last = bounds[0], bounds[1]

        def columns(group, storage):
            def one(f, carry):
                f = f if routine.up else tiles.fronts - 1 - f
                storage, work = carry
                front = front_at(tiles, table, f, group * width)
                v = OnTiles(front, storage, leaves, work, width)
                routine.kernel(v)
                return v.storage, tuple(v.rooms)

            work = rooms(routine.rooms, tiles, width, storage.dtype)
            return loop(first, last, one, (storage, work))[0]

        return loop(0, k // width, columns, storage)

    return fronts

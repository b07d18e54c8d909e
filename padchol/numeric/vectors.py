"""Vectors through sweeps: into the pivot storage, up and down the tree, and out again.

On tiles as one function. Between kernels of its own XLA hands a program from thread to thread, and
it sends every program of a thousand flops and more to another thread than the caller's (what is in
a loop counts once): 80 us, where a solve of 50^2 takes 80 itself (experiment 42).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from padchol.numeric.sweep import Routine, apply, missing_columns, on_tiles
from padchol.numeric.values import empty_pivots, from_pivots, locations, to_pivots
from padchol.numeric.verbs.loops import get, loop, one_function, put
from padchol.plan import Plan
from padchol.symbolic.layout import Layout

ROWS = 4  # of vectors in a trip: a third faster than one by one (experiment 42)


def swept(
    plan: Plan,
    routines: tuple[Routine, ...],
    b: Float[Array, "n k"],
    panels: Float[Array, " panels"],
    factor: Float[Array, ""],
    users: bool = False,
) -> Float[Array, "n k"]:
    """The vectors after these sweeps, times `factor`; in the plan's order, or the user's."""
    n, k = b.shape
    if plan.layout.in_levels or plan.layout.shards > 1 or n == 0 or k == 0:
        stored = to_pivots(plan, b, users)
        for routine in routines:
            stored = apply(routine, plan, stored, panels)
        return from_pivots(plan, stored, users) * factor
    short = missing_columns(k)
    b = jnp.pad(b, ((0, 0), (0, short))) if short else b
    found = _on_tiles(routines, plan.layout, *b.shape, users)(
        *lax.optimization_barrier((jnp.asarray(plan.table), b, panels, factor))
    )
    return found[:, :k] if short else found


@functools.lru_cache(maxsize=256)
def _on_tiles(
    routines: tuple[Routine, ...], layout: Layout, n: int, k: int, users: bool
) -> Callable:
    places = locations(layout, users)
    sweeps = [on_tiles(routine, layout, k) for routine in routines]
    at_once = min(ROWS, n)

    def rows(table, move, target):
        """target = move(target, row of the vectors, row of the storage), for all rows."""

        def some(t, target):
            first = jnp.minimum(at_once * t, n - at_once)  # the last trip begins before its turn
            stored = get(table, (places.start + first,), (at_once,))
            for q in range(at_once):
                target = move(target, first + q, stored[q])
            return target

        return loop(0, np.int32(-(-n // at_once)), some, target)

    def whole(table, b, panels, factor):
        into = lambda storage, i, s: put(storage, get(b, (i, 0), (1, k)), (s, 0))
        storage = rows(table, into, empty_pivots(layout, k, b.dtype))
        for sweep in sweeps:
            storage = sweep(table, storage, panels)
        out = lambda x, i, s: put(x, get(storage, (s, 0), (1, k)) * factor, (i, 0))
        return rows(table, out, jnp.zeros_like(b))

    return one_function(whole)

"""All fronts, one after the other: a tiled kernel handed to a sweep."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from padchol.numeric.sweep import Sweep
from padchol.numeric.tiled.fronts import front_at
from padchol.numeric.tiled.loops import loop, one_function

COLUMNS = 32  # of vectors at a time


def run(spec: Sweep, kernel, scratch, bases, derived: Callable, table, operands):
    """The final storage, or what `derived` makes of the function that gives it.

    bases: which of the storage (0) and the leaves each operand is, or is a tangent of.
    """
    width = min(spec.k, COLUMNS)
    short = -spec.k % width

    def whole(x, base):
        return jnp.pad(x, ((0, 0), (0, short))) if short and spec.kinds[base] != "panel" else x

    def fronts(table, storage, *leaves):
        return (_fronts(spec, kernel, scratch, width, spec.k + short, table, storage, leaves),)

    call = one_function(derived(fronts))
    given = map(whole, operands, bases)
    found = call(*lax.optimization_barrier((jnp.asarray(table), *given)))
    return [x[:, : spec.k] if short and spec.node != "panel" else x for x in found]


def _fronts(spec: Sweep, kernel, scratch, width, k, table, storage, leaves):
    """`width` of the k columns at a time."""
    tiles = spec.layout.tiles

    def columns(group, storage):
        def one(f, carry):
            f = f if spec.up else tiles.fronts - 1 - f
            return kernel(front_at(tiles, table, f, group * width), carry, leaves)

        work = scratch(tiles, width, storage.dtype)
        return loop(0, tiles.fronts, one, (storage, work))[0]

    return loop(0, k // width, columns, storage)

"""All fronts, one after the other: a tiled kernel handed to a sweep."""

from __future__ import annotations

import math
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

    def flat(x, base):
        kind, axes = spec.kinds[base], len(spec.lead_of(base))
        x = x.reshape(-1, *x.shape[axes + 1 :])
        return jnp.pad(x, ((0, 0), (0, short))) if short and kind != "panel" else x

    def restored(x):
        x = x[:, : spec.k] if short and spec.node != "panel" else x
        return x.reshape(*spec.lead, -1, *x.shape[1:])

    def fronts(table, storage, *leaves):
        return (_members(spec, kernel, scratch, width, spec.k + short, table, storage, leaves),)

    call = one_function(derived(fronts))
    flattened = map(flat, operands, bases)
    return [restored(x) for x in call(*lax.optimization_barrier((jnp.asarray(table), *flattened)))]


def _members(spec: Sweep, kernel, scratch, width, k, table, storage, leaves):
    """Members of a batch follow one another, and each starts from clean scratch: what a failed one
    leaves behind must not reach the next."""
    tiles, B = spec.layout.tiles, math.prod(spec.lead)
    size = storage.shape[0] // B

    def member(b, storage):
        read = [(x, _start(spec, b, i, x)) for i, x in enumerate(leaves)]

        def columns(group, storage):
            def one(f, carry):
                f = f if spec.up else tiles.fronts - 1 - f
                front = front_at(tiles, table, f, group * width)
                return kernel(front, carry, b * size, read)

            work = scratch(tiles, width, storage.dtype)
            return loop(0, tiles.fronts, one, (storage, work))[0]

        return loop(0, k // width, columns, storage)

    return loop(0, B, member, storage)


def _start(spec: Sweep, b, leaf: int, x):
    """Where the part of a leaf starts that the b-th member of a batch reads: it may have some of
    the batch axes only."""
    mine, step = 0, x.shape[0] // math.prod(spec.lead_of(1 + leaf))
    for size, has in zip(reversed(spec.lead), reversed(spec.batched[leaf]), strict=True):
        here, b = lax.rem(b, jnp.asarray(size, b.dtype)), lax.div(b, jnp.asarray(size, b.dtype))
        if has:
            mine, step = mine + step * here, step * size
    return mine

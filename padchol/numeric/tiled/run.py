"""All fronts, one after the other: a tiled kernel handed to a sweep."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import lax

from padchol.numeric.sweep import Sweep
from padchol.numeric.tiled.fronts import front_at
from padchol.numeric.tiled.loops import loop, one_function

COLUMNS = 32  # of vectors at a time


def run(spec: Sweep, kernel, scratch, table, storage, leaves):
    """The final storage. Members of a batch follow one another, and each starts from clean scratch:
    what a failed one leaves behind must not reach the next."""
    tiles, axes, B = spec.layout.tiles, len(spec.lead), math.prod(spec.lead)
    batched = [B > 1 and all(mask) for mask in spec.batched]

    def fronts(table, storage, *leaves):
        size = storage.shape[0] // B

        def member(b, storage):
            read = [
                (x, b * (x.shape[0] // B) if own else 0)
                for x, own in zip(leaves, batched, strict=True)
            ]

            def columns(group, storage):
                def one(f, carry):
                    f = f if spec.up else tiles.fronts - 1 - f
                    front = front_at(tiles, table, f, group * width)
                    return kernel(front, carry, b * size, read)

                work = scratch(tiles, width, storage.dtype)
                return loop(0, tiles.fronts, one, (storage, work))[0]

            return loop(0, k // width, columns, storage)

        return loop(0, B, member, storage)

    width = min(spec.k, COLUMNS)
    k = -(-spec.k // width) * width
    flat = storage.reshape(-1, *storage.shape[axes + 1 :])
    if k > spec.k:
        flat = jnp.pad(flat, ((0, 0), (0, k - spec.k)))
    leaves = [x.reshape(-1, *x.shape[len(spec.lead_of(i)) + 1 :]) for i, x in enumerate(leaves)]
    found = one_function(fronts)(*lax.optimization_barrier((jnp.asarray(table), flat, *leaves)))
    return (found[:, : spec.k] if k > spec.k else found).reshape(storage.shape)

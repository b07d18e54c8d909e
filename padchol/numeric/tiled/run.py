"""All fronts, one after the other: a tiled kernel handed to a sweep."""

from __future__ import annotations

import math

from padchol.numeric.sweep import Sweep
from padchol.numeric.tiled.fronts import front_at
from padchol.numeric.tiled.loops import loop, one_function


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

            def one(f, carry):
                f = f if spec.up else tiles.fronts - 1 - f
                return kernel(front_at(tiles, table, f), carry, b * size, read)

            work = scratch(tiles, spec.k, storage.dtype)
            return loop(0, tiles.fronts, one, (storage, work))[0]

        return loop(0, B, member, storage)

    flat = storage.reshape(-1, *storage.shape[axes + 1 :])
    leaves = [x.reshape(-1, *x.shape[len(spec.lead_of(i)) + 1 :]) for i, x in enumerate(leaves)]
    return one_function(fronts)(table, flat, *leaves).reshape(storage.shape)

"""Between the tiled storages, in exact sizes, and those of the bins: linear, one gather each."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from padchol.numeric.values import section
from padchol.symbolic.layout import QUAD, RECORD, BinLayout, Kind, Layout


def to_chunks(layout: Layout, table, kind: Kind, x: jax.Array) -> jax.Array:
    """A tiled storage (lead..., length[, k]) as one of the bins; 1 on the diagonal of padded pivots
    of panels.

    For rows below, x is a pivot storage, from which they are read; zero at padding.
    """
    if kind == "rows":
        return _rows_below(layout, table, to_chunks(layout, table, "pivots", x))
    axis = x.ndim - (2 if kind == "pivots" else 1)
    parts = [_filled(x, axis, layout.start(kind, 0))]
    for bin in layout.bins:
        at, real, unit = _places(layout, table, bin, kind)
        found = _masked(jnp.take(x, at, axis, mode="clip"), real, axis)
        parts.append(found + unit.astype(x.dtype) if kind == "panel" else found)
    tail = layout.length(kind) - layout.start(kind, len(layout.bins))
    return jnp.concatenate([*parts, _filled(x, axis, tail)], axis)


def _rows_below(layout: Layout, table, x: jax.Array) -> jax.Array:
    axis = x.ndim - 2
    parts = [_filled(x, axis, layout.start("rows", 0))]
    for bin in layout.bins:
        rows = section(table, bin.rows)
        parts.append(_masked(jnp.take(x, rows, axis, mode="clip"), rows > 0, axis))
    return jnp.concatenate(parts, axis)


def _masked(x, real, axis: int):
    """x, or zero where an entry along the axis is not real."""
    return jnp.where(real.reshape(-1, *(1,) * (x.ndim - axis - 1)), x, 0)


def from_chunks(layout: Layout, table, kind: Kind, x: jax.Array) -> jax.Array:
    """The inverse of `to_chunks`."""
    axis = x.ndim - (2 if kind == "pivots" else 1)
    length = layout.tiles.panels if kind == "panel" else layout.tiles.pivots
    out = _filled(x, axis, length)
    for bin in layout.bins:
        at, real, _ = _places(layout, table, bin, kind)
        start = layout.start(kind, bin.index)
        part = lax.slice_in_dim(x, start, start + at.shape[0], axis=axis)
        beyond = length + jnp.arange(at.shape[0], dtype=at.dtype)  # distinct, and left out
        index = (*(slice(None),) * axis, jnp.where(real, at, beyond))
        out = out.at[index].set(part, mode="drop", unique_indices=True)
    return out


def _filled(x, axis: int, size: int):
    return jnp.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)


def _places(layout: Layout, table, bin: BinLayout, kind: Kind):
    """For each place of a bin's storage: where it is in the tiled one, whether it is there, and
    whether it is the diagonal of a pivot that is not."""
    records = section(table, layout.tiles.records).reshape(-1, RECORD)
    mine = records[section(table, bin.front)]
    panel, D, quads, _, pivot = (mine[:, i, None] for i in range(5))
    if kind == "pivots":
        column = np.arange(bin.W, dtype=np.int32)
        at, real = (pivot + column).reshape(-1), (column < QUAD * quads).reshape(-1)
        return at, real, ~real
    panel, D, quads = panel[..., None], D[..., None], quads[..., None]
    r, c = np.indices((bin.D, bin.W), np.int32)
    w = QUAD * quads
    row = jnp.where(r < bin.W, r, r - bin.W + w)
    real = (c < w) & jnp.where(r < bin.W, r < w, row < D)
    at = panel + QUAD * (c // QUAD * D + row) + c % QUAD
    return tuple(x.reshape(-1) for x in (at, real, (r == c) & (c >= w)))

"""Moves between a front and its ancestors: what a kernel hands up, and what it reads below.

Rows of vectors move one by one. Updates of panels move

    in blocks     runs of BLOCK columns, a cache line each: three times cheaper than entries, where
                  most of a block counts
    in entries    of the lower triangle, one by one: for small updates, whose rows are scattered

Both are loops over tiles of fixed size: a scatter into the storage outside of a loop of its own
makes XLA copy the storage, and a gather from it must be written into half of a double buffer, or
XLA on CPU splits it over its threads, which takes longer than the gather (tests/bench/NOTES.md,
experiment 13).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from padchol.symbolic.layout import BLOCK, BinLayout, Section

if TYPE_CHECKING:
    from padchol.numeric.sweep import Sweep

HALVES = 2  # tiles of entries a chunk


def read_below(sweep: Sweep, bin: BinLayout, table, storage, chunk):
    """What the ancestors' nodes hold at the rows below of one chunk; zero at padding."""
    shape = (*sweep.lead, bin.C, *bin.shape(sweep.below, sweep.k))
    if bin.M == 0:
        return jnp.zeros(shape, storage.dtype)
    if sweep.node == "pivots":
        return _read_rows(sweep, bin, table, storage, chunk).reshape(shape)
    read = _read_blocks if bin.blocks else _read_entries
    return read(sweep, bin, table, storage, chunk).reshape(shape)


def hand_up(sweep: Sweep, bin: BinLayout, table, storage, update, chunk):
    """Extend-add (Duff & Reid 1983) of a chunk's updates into the nodes of all ancestors."""
    if sweep.node == "pivots":
        return _hand_rows(sweep, bin, table, storage, update, chunk)
    hand = _hand_blocks if bin.blocks else _hand_entries
    return hand(sweep, bin, table, storage, update, chunk)


# ---- vectors ----------------------------------------------------------------------------------


def _read_rows(sweep: Sweep, bin: BinLayout, table, storage, chunk):
    rows = take(table, bin.rows, chunk, bin.C * bin.M)
    flat, at = _flat(sweep, storage, rows)
    found = flat.at[at].get(mode="promise_in_bounds")  # proved in range by symbolic.tables
    return jnp.where((rows == 0)[:, None], 0, found)


def _hand_rows(sweep: Sweep, bin: BinLayout, table, storage, update, chunk):
    rows = take(table, bin.rows, chunk, bin.C * bin.M)
    flat, at = _flat(sweep, storage, rows)
    moved = update.reshape(*at.shape, sweep.k)
    return flat.at[at].add(moved, mode="promise_in_bounds").reshape(storage.shape)


# ---- small updates, entry by entry ------------------------------------------------------------


def _read_entries(sweep: Sweep, bin: BinLayout, table, storage, chunk):
    """Zero above the diagonal, where nothing is handed up."""
    size = bin.C * bin.triangle // HALVES
    lead = _folded(sweep)
    axis = len(lead)

    def one_half(t, found):
        target = take(table, bin.entries, chunk * HALVES + t, size)
        flat, at = _flat(sweep, storage, target)
        here = jnp.where(target == 0, 0, flat.at[at].get(mode="promise_in_bounds"))
        return lax.dynamic_update_slice_in_dim(found, here, t * size, axis)

    empty = jnp.zeros((*lead, HALVES * size), storage.dtype)
    with jax.named_scope(f"{HALVES}_trips"):
        found = lax.fori_loop(0, HALVES, one_half, empty)
    found = found.reshape(*lead, bin.C, bin.triangle)
    i, j = np.indices((bin.M, bin.M))
    return jnp.where(i >= j, found[..., np.where(i >= j, i * (i + 1) // 2 + j, 0)], 0)


def _hand_entries(sweep: Sweep, bin: BinLayout, table, storage, update, chunk):
    size = bin.C * bin.triangle // HALVES
    lead = _folded(sweep)
    i, j = np.tril_indices(bin.M)
    update = update.reshape(*lead, bin.C, bin.M**2)[..., i * bin.M + j]
    update = update.reshape(*lead, HALVES * size)

    def one_half(t, storage):
        target = take(table, bin.entries, chunk * HALVES + t, size)
        flat, at = _flat(sweep, storage, target)
        moved = lax.dynamic_slice_in_dim(update, t * size, size, len(lead))
        return flat.at[at].add(moved, mode="promise_in_bounds").reshape(storage.shape)

    with jax.named_scope(f"{HALVES}_trips"):
        return lax.fori_loop(0, HALVES, one_half, storage)


# ---- large updates, block by block ------------------------------------------------------------


def _read_blocks(sweep: Sweep, bin: BinLayout, table, storage, chunk):
    assert bin.blocks is not None
    T, lead = bin.blocks.T, _folded(sweep)

    def one_tile(t, carry):
        update, moved = carry
        source, target, counts = _tile(bin, table, t)
        counts = counts & (target != 0)[:, :, None]
        found = jnp.where(counts, _get_runs(*_flat(sweep, storage, target)), 0)
        half, axis = (t & 1) * T, len(lead)
        moved = lax.dynamic_update_slice_in_dim(moved, found, half, axis)
        found = lax.dynamic_slice_in_dim(moved, half, T, axis)
        return _add_runs(*_flat(sweep, update, source), found).reshape(update.shape), moved

    update = jnp.zeros((*sweep.lead, bin.C * bin.M**2), storage.dtype)
    moved = jnp.zeros((*lead, 2 * T, BLOCK, BLOCK), storage.dtype)
    with jax.named_scope(f"tiles_of_bin_{bin.index}"):
        return lax.fori_loop(*_tiles(bin, table, chunk), one_tile, (update, moved))[0]


def _hand_blocks(sweep: Sweep, bin: BinLayout, table, storage, update, chunk):
    update = update.reshape(*sweep.lead, bin.C * bin.M**2)

    def one_tile(t, storage):
        source, target, counts = _tile(bin, table, t)
        moved = jnp.where(counts, _get_runs(*_flat(sweep, update, source)), 0)
        return _add_runs(*_flat(sweep, storage, target), moved).reshape(storage.shape)

    with jax.named_scope(f"tiles_of_bin_{bin.index}"):
        return lax.fori_loop(*_tiles(bin, table, chunk), one_tile, storage)


def take(table, section: Section, index, size: int):
    """table[section][index * size : (index + 1) * size]"""
    return lax.dynamic_slice_in_dim(table, section.start + index * size, size)


def _tiles(bin: BinLayout, table, chunk):
    """First and last + 1 tile of a chunk."""
    assert bin.blocks is not None
    first, last = take(table, bin.blocks.ptr, chunk, 1), take(table, bin.blocks.ptr, chunk + 1, 1)
    return first[0], last[0]


def _tile(bin: BinLayout, table, t):
    """Of each row of T blocks: where it starts in the update, where in the panel storage (both
    (T, BLOCK); 0 at padding), and which of its columns count (T, 1, BLOCK)."""
    blocks = bin.blocks
    assert blocks is not None
    lane = np.arange(BLOCK, dtype=np.int32)  # a literal: XLA spreads small fillings over threads
    source, columns = (take(table, part, t, blocks.T) for part in (blocks.source, blocks.columns))
    target = take(table, blocks.target, t, blocks.T * BLOCK).reshape(blocks.T, BLOCK)
    counts = (columns[:, None] >> lane) & 1 == 1
    return source[:, None] + bin.M * lane, target, counts[:, None]


def _folded(sweep: Sweep) -> tuple[int, ...]:
    """The batch axes as one, or none."""
    return (math.prod(sweep.lead),) if sweep.lead else ()


def _flat(sweep: Sweep, stored, at):
    """A storage with its batch axes flattened into its length, and addresses (B, ...) to match."""
    axes = len(sweep.lead)
    if axes:
        batch = jnp.arange(math.prod(sweep.lead), dtype=at.dtype)
        at = batch.reshape(-1, *(1,) * at.ndim) * stored.shape[axes] + at
    return stored.reshape(-1, *stored.shape[axes + 1 :]), at


def _get_runs(flat, at):
    """flat[at : at + BLOCK] at every address, each a slice."""
    numbers = lax.GatherDimensionNumbers((at.ndim,), (), (0,))
    return lax.gather(flat, at[..., None], numbers, (BLOCK,), mode="promise_in_bounds")


def _add_runs(flat, at, runs):
    """The adjoint of `_get_runs`: runs are added where they were read."""
    numbers = lax.ScatterDimensionNumbers((at.ndim,), (), (0,))
    return lax.scatter_add(flat, at[..., None], runs, numbers, mode="promise_in_bounds")

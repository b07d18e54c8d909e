"""Hand-over blocks: the pieces in which an update travels into the panels of its ancestors.

Entry (i, j) of an update goes into column j of the panel of the supernode that owns row j
(right-looking: Rothberg & Gupta 1994, SIAM J. Sci. Comput. 15(6), 1413-1439).
A *strip* is a run of at most BLOCK columns of an update that are neighbours in one owner; from its
diagonal downwards a strip is cut into blocks of BLOCK rows. Small updates travel in single entries.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padchol.symbolic.layout import (
    BLOCK,
    INT32_MAX,
    Blocks,
    Section,
    fits_int32,
    fits_memory,
)
from padchol.symbolic.placement import Placement
from padchol.symbolic.schedule import Bin
from padchol.symbolic.supernodes import Supernodes, begins, ramp

TILE_BLOCKS = 512  # at most so many blocks a tile (tests/bench/NOTES.md, experiment 8)
TILE_OVERHEAD = 32  # blocks that could be moved while one tile starts


class Strips(NamedTuple):
    """Runs of columns of updates, one a row."""

    front: np.ndarray
    column: np.ndarray  # the first, counted within the update
    count: np.ndarray  # 1 .. BLOCK
    owner: np.ndarray
    offset: np.ndarray  # the first, counted within the owner's pivots


class RowStarts(NamedTuple):
    """Where rows of updates start in the panels of their owners.

    starts[base[q] + t] + offset[q]: the place in the panel storage of row t of the update of strip
    q, in the strip's first column; for the rows from that column on.
    """

    starts: np.ndarray
    base: np.ndarray
    offset: np.ndarray


class AllBlocks(NamedTuple):
    """Blocks of all updates, one a row, by front; see `layout.Blocks`."""

    ptr: np.ndarray  # (S + 1,): where the blocks of each front begin
    source: np.ndarray  # within the (M, M) update
    columns: np.ndarray
    rows: np.ndarray  # which of its BLOCK rows count, as bits
    starts: np.ndarray  # where rows of updates start in the panels of their owners
    window: np.ndarray  # the first row of the block in `starts`
    offset: np.ndarray  # of its first column, counted from there

    def target(self, which: np.ndarray) -> np.ndarray:
        """(blocks, BLOCK): where the rows of these blocks start; the trash for those too many."""
        windows = np.lib.stride_tricks.sliding_window_view(self.starts, BLOCK)
        target = windows[self.window[which]]
        target += self.offset[which][:, None]
        rows = self.rows[which]
        partial = np.flatnonzero(rows != 2**BLOCK - 1)
        target[partial] *= (rows[partial][:, None] >> np.arange(BLOCK)) & 1
        return target


def strips(nodes: Supernodes) -> Strips:
    """The strips of all updates, by front, then column."""
    front = np.repeat(np.arange(nodes.parent.size), nodes.below)
    position = np.arange(front.size)
    owner = nodes.of_column[nodes.rows]
    starts = np.flatnonzero(begins(front, owner, nodes.rows - position))
    within = position - np.repeat(starts, np.diff(np.append(starts, front.size)))
    head = np.flatnonzero(within % BLOCK == 0)
    return Strips(
        front[head],
        head - nodes.row_ptr[front[head]],
        np.diff(np.append(head, front.size)),
        owner[head],
        nodes.rows[head] - nodes.first[owner[head]],
    )


def row_starts(nodes: Supernodes, where: Placement, found: Strips) -> RowStarts:
    """The look-up that blocks and entries share, so that each costs but a copy.

    Strips of one front and owner share their part of it. With BLOCK entries of room at both ends,
    and in int32, which the panel storage fits.
    """
    new = begins(found.front, found.owner)
    front, owner, column = found.front[new], found.owner[new], found.column[new]
    size = nodes.below[front] - column
    fits_memory(28 * int(size.sum()), "the table of rows handed over")
    i = nodes.rows[np.repeat(nodes.row_ptr[front] + column, size) + ramp(size)]
    starts = np.zeros(i.size + 2 * BLOCK, np.int32)
    starts[BLOCK : BLOCK + i.size] = where.row_start(nodes, np.repeat(owner, size), i)
    base = BLOCK + np.cumsum(size) - size - column
    return RowStarts(starts, base[np.cumsum(new) - 1], found.offset)


def all_blocks(
    nodes: Supernodes, where: Placement, found: Strips, at: RowStarts, entries_up_to: int
) -> AllBlocks:
    """Every strip of an update of more rows than `entries_up_to`, cut into blocks."""
    large = np.flatnonzero(where.M[found.front] > entries_up_to)
    front, column, run = found.front[large], found.column[large], found.count[large]
    M, below = where.M[front], nodes.below[front]
    count = -(-(below - column) // BLOCK)
    total = int(count.sum())
    fits_int32(BLOCK * total, f"the table of {total:,} blocks")
    fits_memory(4 * (BLOCK + 2) * total, f"the table of {total:,} blocks")
    left = np.minimum(column, M - BLOCK)
    shift = column - left
    columns = ((1 << run) - 1) << shift
    strip = np.repeat(np.arange(count.size), count)
    first = column[strip] + ramp(count) * BLOCK
    top = np.minimum(first, (M - BLOCK)[strip])  # blocks stay within the padded update
    real = np.minimum(below[strip] - top, BLOCK)
    rows = (1 << real) - (1 << (first - top))
    blocks = np.bincount(front, count, nodes.parent.size).astype(np.int64)
    return AllBlocks(
        np.append(0, np.cumsum(blocks)),
        top * M[strip] + left[strip],
        columns[strip],
        rows,
        at.starts,
        at.base[large][strip] + top,
        (at.offset[large] - shift).astype(np.int32)[strip],
    )


def entry_list(
    writer, nodes: Supernodes, found: Strips, at: RowStarts, bin: Bin, where: Placement, small: bool
) -> Section:
    """The entries of the updates that leave a bin of `small` ones: see `layout.BinLayout`."""
    triangle = bin.M * (bin.M + 1) // 2 if small else 0
    target = np.zeros((bin.fronts.size, triangle), np.int32)
    if small:
        base = np.repeat(at.base, found.count)  # of each column of each update
        offset = np.repeat(at.offset, found.count) + ramp(found.count)
        i, j = np.tril_indices(bin.M)
        places = np.flatnonzero(bin.fronts >= 0)
        s = bin.fronts[places]
        front, t = np.nonzero(i < nodes.below[s][:, None])
        column = nodes.row_ptr[s[front]] + j[t]
        target[places[front], t] = at.starts[base[column] + i[t]] + offset[column]
    return writer.add(target, 0, where.panel_end - BLOCK, "entries")


def block_list(writer, blocks: AllBlocks, bin: Bin, where: Placement) -> Blocks | None:
    """The blocks that leave a bin, by chunk, filled up to whole tiles."""
    place = np.flatnonzero(bin.fronts >= 0)
    s = bin.fronts[place]
    mine = blocks.ptr[s + 1] - blocks.ptr[s]
    if not mine.sum():
        return None
    counts = np.bincount(place // bin.C, mine, bin.chunks).astype(np.int64)
    lane = np.repeat(place % bin.C, mine)
    mine = np.repeat(blocks.ptr[s], mine) + ramp(mine)
    T = _tile(counts)
    tiles = -(-counts // T)
    ptr = np.concatenate([[0], np.cumsum(tiles)])
    slot = np.repeat(ptr[:-1] * T, counts) + ramp(counts)

    def table(values, high, what):
        filled = np.zeros((int(ptr[-1]) * T, *values.shape[1:]), values.dtype)
        filled[slot] = values
        return writer.add(filled, 0, high, what)

    source = lane * bin.M**2 + blocks.source[mine]
    last = bin.C * bin.M**2 - (BLOCK - 1) * bin.M - BLOCK
    return Blocks(
        T,
        writer.add(ptr, 0, INT32_MAX, "tile pointers"),
        table(source, last, "block source"),
        table(blocks.columns[mine], 2**BLOCK - 1, "block columns"),
        table(blocks.target(mine), where.panel_end - BLOCK, "block target"),
    )


def _tile(counts: np.ndarray) -> int:
    """Blocks per tile: the power of two that moves the fewest padded blocks."""
    sizes = 2 ** np.arange(TILE_BLOCKS.bit_length())
    cost = [(-(-counts // T)).sum() * (T + TILE_OVERHEAD) for T in sizes]
    return int(sizes[np.argmin(cost)])

"""Hand-over blocks: the pieces in which an update travels into the panels of its ancestors.

Entry (i, j) of an update goes into column j of the panel of the supernode that owns row j
(right-looking: Rothberg & Gupta 1994, SIAM J. Sci. Comput. 15(6), 1413-1439).
A *strip* is a run of at most BLOCK columns of an update that are neighbours in one owner; from its
diagonal downwards a strip is cut into blocks of BLOCK rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padchol.symbolic.layout import BLOCK, INT32_MAX, Blocks
from padchol.symbolic.placement import Placement
from padchol.symbolic.schedule import Bin
from padchol.symbolic.supernodes import Supernodes, ramp

TILE_BLOCKS = 512  # at most so many blocks a tile (tests/bench/NOTES.md, experiment 8)
TILE_OVERHEAD = 32  # blocks that could be moved while one tile starts


class Strips(NamedTuple):
    """Runs of columns of updates, one a row."""

    front: np.ndarray
    column: np.ndarray  # the first, counted within the update
    count: np.ndarray  # 1 .. BLOCK
    owner: np.ndarray
    offset: np.ndarray  # the first, counted within the owner's pivots


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
    breaks = np.ones(front.size, bool)
    for key in (front, owner, nodes.rows - position):
        breaks[1:] &= key[1:] == key[:-1]
    breaks[1:] = ~breaks[1:]
    starts = np.flatnonzero(breaks)
    within = position - np.repeat(starts, np.diff(np.append(starts, front.size)))
    head = np.flatnonzero(within % BLOCK == 0)
    return Strips(
        front[head],
        head - nodes.row_ptr[front[head]],
        np.diff(np.append(head, front.size)),
        owner[head],
        nodes.rows[head] - nodes.first[owner[head]],
    )


def all_blocks(nodes: Supernodes, where: Placement) -> AllBlocks:
    """Every strip cut into blocks."""
    found = strips(nodes)
    starts, base = _row_starts(nodes, where, found)
    M, below = where.M[found.front], nodes.below[found.front]
    count = -(-(below - found.column) // BLOCK)
    left = np.minimum(found.column, M - BLOCK)
    shift = found.column - left
    columns = ((1 << found.count) - 1) << shift
    strip = np.repeat(np.arange(count.size), count)
    first = found.column[strip] + ramp(count) * BLOCK
    top = np.minimum(first, (M - BLOCK)[strip])  # blocks stay within the padded update
    real = np.minimum(below[strip] - top, BLOCK)
    rows = (1 << real) - (1 << (first - top))
    blocks = np.bincount(found.front, count, nodes.parent.size).astype(np.int64)
    return AllBlocks(
        np.append(0, np.cumsum(blocks)),
        top * M[strip] + left[strip],
        columns[strip],
        rows,
        starts,
        base[strip] + top,
        (found.offset - shift).astype(np.int32)[strip],
    )


def _row_starts(
    nodes: Supernodes, where: Placement, found: Strips
) -> tuple[np.ndarray, np.ndarray]:
    """(starts, base): starts[base[q] + t] is where row t of the update of strip q starts.

    That is, in the panel of the strip's owner, for the rows from the strip's first column on. The
    strips of one front and owner share the look-up, so that a block costs but a copy. With BLOCK
    entries of room at both ends, and in int32, which the panel storage fits.
    """
    new = np.ones(found.front.size, bool)
    new[1:] = (found.front[1:] != found.front[:-1]) | (found.owner[1:] != found.owner[:-1])
    front, owner, column = found.front[new], found.owner[new], found.column[new]
    size = nodes.below[front] - column
    i = nodes.rows[np.repeat(nodes.row_ptr[front] + column, size) + ramp(size)]
    starts = np.zeros(i.size + 2 * BLOCK, np.int32)
    starts[BLOCK : BLOCK + i.size] = where.row_start(nodes, np.repeat(owner, size), i)
    base = BLOCK + np.cumsum(size) - size - column
    return starts, base[np.cumsum(new) - 1]


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

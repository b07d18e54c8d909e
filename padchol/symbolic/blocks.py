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
    """Blocks of all updates, one a row; see `layout.Blocks`."""

    front: np.ndarray
    source: np.ndarray  # within the (M, M) update
    columns: np.ndarray
    target: np.ndarray  # (blocks, BLOCK)


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
    """Every strip cut into blocks. Rows that a block has too many go to the trash."""
    found = strips(nodes)
    count = -(-(nodes.below[found.front] - found.column) // BLOCK)
    strip = np.repeat(np.arange(count.size), count)
    s, owner, column = found.front[strip], found.owner[strip], found.column[strip]
    first = column + ramp(count) * BLOCK
    top = np.minimum(first, where.M[s] - BLOCK)  # blocks stay within the padded update
    left = np.minimum(column, where.M[s] - BLOCK)
    shift = column - left
    row = top[:, None] + np.arange(BLOCK)
    real = (row >= first[:, None]) & (row < nodes.below[s][:, None])
    block = np.nonzero(real)[0]
    i = nodes.rows[(nodes.row_ptr[s][:, None] + row)[real]]
    target = np.zeros(row.shape, np.int64)
    start = where.row_start(nodes, owner[block], i)
    target[real] = start + (found.offset[strip] - shift)[block]
    columns = ((1 << found.count[strip]) - 1) << shift
    return AllBlocks(s, top * where.M[s] + left, columns, target)


def block_list(writer, blocks: AllBlocks, b: int, bin: Bin, where: Placement) -> Blocks | None:
    """The blocks that leave bin b, by chunk, filled up to whole tiles."""
    mine = np.flatnonzero(where.bin[blocks.front] == b)
    if not mine.size:
        return None
    s = blocks.front[mine]
    chunk = where.chunk[s]
    order = np.argsort(chunk, kind="stable")
    mine, s, chunk = mine[order], s[order], chunk[order]
    counts = np.bincount(chunk, minlength=bin.chunks)
    T = _tile(counts)
    tiles = -(-counts // T)
    ptr = np.concatenate([[0], np.cumsum(tiles)])
    slot = np.repeat(ptr[:-1] * T, counts) + ramp(counts)

    def table(values, high, what):
        filled = np.zeros((int(ptr[-1]) * T, *values.shape[1:]), np.int64)
        filled[slot] = values
        return writer.add(filled, 0, high, what)

    source = where.lane[s] * bin.M**2 + blocks.source[mine]
    last = bin.C * bin.M**2 - (BLOCK - 1) * bin.M - BLOCK
    return Blocks(
        T,
        writer.add(ptr, 0, INT32_MAX, "tile pointers"),
        table(source, last, "block source"),
        table(blocks.columns[mine], 2**BLOCK - 1, "block columns"),
        table(blocks.target[mine], where.panel_end - BLOCK, "block target"),
    )


def _tile(counts: np.ndarray) -> int:
    """Blocks per tile: the power of two that moves the fewest padded blocks."""
    sizes = 2 ** np.arange(TILE_BLOCKS.bit_length())
    cost = [(-(-counts // T)).sum() * (T + TILE_OVERHEAD) for T in sizes]
    return int(sizes[np.argmin(cost)])

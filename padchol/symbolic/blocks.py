"""Hand-over blocks: the pieces in which updates travel from a front into its parent's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padchol.symbolic.layout import INT32_MAX, LARGE_BLOCK, SMALL_BLOCK, BlockList
from padchol.symbolic.placement import Geometry
from padchol.symbolic.schedule import Bin
from padchol.symbolic.supernodes import Supernodes

TILE_ENTRIES = 32_768  # at most so many entries a tile (tests/bench/NOTES.md)
TILE_OVERHEAD = 2_000  # entries that could be moved while one tile starts


class Blocks(NamedTuple):
    """Hand-over blocks of one kind, one row each."""

    rank: int
    q: np.ndarray
    parent: np.ndarray  # supernode receiving the block
    address: np.ndarray
    stride: np.ndarray
    row: np.ndarray  # where the block's rows and columns start in the stacked relative rows
    col: np.ndarray
    rel: np.ndarray


def all_blocks(nodes: Supernodes, where: Geometry, slots, rel: list[np.ndarray]):
    """Blocks of all matrix messages, and of all vector messages."""
    child = np.flatnonzero(nodes.below > 0)
    b = where.bin_of[child]
    M, chunk, lane = where.M[b], where.chunk(child), where.lane(child)
    stacked = np.concatenate([[0], np.cumsum([table.size for table in rel])])
    start = stacked[b] + where.place[child] * M
    flat = np.concatenate([np.zeros(0, np.int64), *(table.reshape(-1) for table in rel)])
    out = []
    for rank in (2, 1):
        q = np.where((M >= 2 * LARGE_BLOCK) & (rank == 2), LARGE_BLOCK, SMALL_BLOCK)
        strips = -(-nodes.below[child] // q)
        count = strips * (strips + 1) // 2 if rank == 2 else strips
        owner = np.repeat(np.arange(child.size), count)
        k = np.arange(owner.size) - np.repeat(np.cumsum(count) - count, count)
        i, j = _triangle(k) if rank == 2 else (k, np.zeros_like(k))
        base = np.zeros(child.size, np.int64)
        for c, addresses in enumerate(slots[f"up{rank}"]):
            base[b == c] = addresses[chunk[b == c]]
        base += lane * M**rank
        stride = M[owner] if rank == 2 else np.ones(owner.size, np.int64)
        i, j = i * q[owner], j * q[owner]
        address = base[owner] + i * stride + j
        to = nodes.parent[child][owner]
        row, col = start[owner] + i, start[owner] + j
        out.append(Blocks(rank, q[owner], to, address, stride, row, col, flat))
    return out


def _triangle(k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(i, j) with i >= j of entry k of a lower triangle counted by rows: k = i (i + 1) / 2 + j."""
    i = ((np.sqrt(8.0 * k + 1) - 1) / 2).astype(np.int64)
    i -= i * (i + 1) // 2 > k
    i += (i + 1) * (i + 2) // 2 <= k
    return i, k - i * (i + 1) // 2


def block_list(writer, blocks: Blocks, q, b, bin: Bin, where: Geometry, ends):
    """The blocks of size q that go into bin b, by chunk, filled up to whole tiles."""
    mine = np.flatnonzero((blocks.q == q) & (where.bin_of[blocks.parent] == b))
    if not mine.size:
        return None
    chunk = where.chunk(blocks.parent[mine])
    order = np.argsort(chunk, kind="stable")
    mine, chunk = mine[order], chunk[order]
    counts = np.bincount(chunk, minlength=bin.chunks)
    T = _tile(counts, q**blocks.rank)
    tiles = -(-counts // T)
    ptr = np.concatenate([[0], np.cumsum(tiles)])
    before = np.cumsum(counts) - counts
    slot = np.repeat(ptr[:-1] * T - before, counts) + np.arange(mine.size)
    total = int(ptr[-1]) * T

    def table(values, high, what):
        filled = np.zeros((total, *values.shape[1:]), np.int64)
        filled[slot] = values
        return writer.add(filled, 0, high, what)

    matrix = blocks.rank == 2
    end, side = ends[f"up{blocks.rank}"], bin.W + bin.M
    reach = (q - 1) * (blocks.stride[mine] + matrix)
    if (blocks.address[mine] + reach).max() >= end:
        raise AssertionError("a hand-over block reaches beyond its buffer")
    lanes = np.arange(q)
    return BlockList(
        q,
        T,
        writer.add(ptr, 0, INT32_MAX, "tile pointers"),
        table(blocks.address[mine], end - 1, "block address"),
        table(blocks.rel[blocks.row[mine][:, None] + lanes], side - 1, "block rows"),
        table(where.lane(blocks.parent[mine]), bin.C - 1, "block lane"),
        table(blocks.stride[mine], INT32_MAX, "block stride") if matrix else None,
        table(blocks.rel[blocks.col[mine][:, None] + lanes], side - 1, "block columns")
        if matrix
        else None,
    )


def _tile(counts: np.ndarray, entries: int) -> int:
    """Blocks per tile: the power of two that moves the fewest padded entries."""
    best, best_cost, T = 1, np.inf, 1
    while T == 1 or T * entries <= TILE_ENTRIES:
        cost = (-(-counts // T)).sum() * (T * entries + TILE_OVERHEAD)
        if cost < best_cost:
            best, best_cost = T, cost
        T *= 2
    return best

"""Static index tables: what the numeric phase sees of a pattern, built from its schedule.

See `padchol.symbolic.layout` for the notation and for where each table lies.
"""

from __future__ import annotations

import numpy as np

from padchol.symbolic import tiles
from padchol.symbolic.blocks import all_blocks, block_list, entry_list, row_starts, strips
from padchol.symbolic.layout import BLOCK, INT32_MAX, BinLayout, Layout, Section, Writer, fits_int32
from padchol.symbolic.placement import Placement, placement
from padchol.symbolic.schedule import Bin, Schedule
from padchol.symbolic.supernodes import Supernodes


def build(
    nodes: Supernodes,
    plan: Schedule | None,
    perm: np.ndarray,
    relaxed: np.ndarray,
    i: np.ndarray,
    k: np.ndarray,
    entries_up_to: int,
) -> tuple[Layout, np.ndarray]:
    """Layout and flat table; those of the chunks where they are scheduled.

    perm (n,): the user's unknown at each plan position. relaxed (n,): plan position of each column
    of the relaxed order. i, k (nnz,): canonical entry v of A is (i[v], k[v]) with i >= k in the
    relaxed order. entries_up_to: see `CostModel`.
    """
    writer = Writer()
    if plan is not None:
        fits_int32(placement(nodes, plan).panel_end, "the panel storage in chunks")
    tiled = tiles.build(writer, nodes, perm, relaxed, i, k)
    if plan is None:
        return Layout(relaxed.size, tiled, (), *[Section(0, 0)] * 5), writer.pack()
    bins, shared = _chunks(writer, nodes, plan, relaxed, i, k, entries_up_to)
    return Layout(relaxed.size, tiled, bins, *shared), writer.pack()


def _chunks(writer: Writer, nodes: Supernodes, plan: Schedule, relaxed, i, k, entries_up_to: int):
    """Bins, and the sections that they share."""
    where = placement(nodes, plan)
    pointers = np.stack([bin.chunk_ptr for bin in plan.bins], 1) if plan.bins else np.zeros((1, 0))
    chunk_ptr = writer.add(pointers, 0, INT32_MAX, "chunk_ptr")
    columns = np.arange(relaxed.size)
    location, diagonal = np.empty_like(relaxed), np.empty_like(relaxed)
    location[relaxed] = where.pivot_row(nodes, columns)
    diagonal[relaxed] = _diagonal(nodes, where, columns)
    panel, pivot = where.panel_end - 1, where.pivot_end - 1
    shared = (
        chunk_ptr,
        writer.add(location, 1, pivot, "location"),
        writer.add(diagonal, 1, panel, "diagonal"),
        writer.add(_entry(nodes, where, i, k), 1, panel, "value"),
        writer.add(_padded_pivots(nodes, plan, where), 1, panel, "unit"),
    )
    found = strips(nodes)
    at = row_starts(nodes, where, found)
    blocks = all_blocks(nodes, where, found, at, entries_up_to)
    bins = tuple(
        BinLayout(
            b,
            bin.W,
            bin.M,
            bin.C,
            bin.chunks,
            writer.add(bin.fronts % (nodes.parent.size + 1), 0, INT32_MAX, "front"),
            writer.add(_rows_below(nodes, bin, where), 0, pivot, "rows"),
            block_list(writer, blocks, bin, where),
            entry_list(writer, nodes, found, at, bin, where, 0 < bin.M <= entries_up_to),
        )
        for b, bin in enumerate(plan.bins)
    )
    return bins, shared


def _entry(nodes: Supernodes, where: Placement, i: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Place of entry (i, k) of L in the panel storage."""
    s = nodes.of_column[k]
    return where.row_start(nodes, s, i) + k - nodes.first[s]


def _diagonal(nodes: Supernodes, where: Placement, k: np.ndarray) -> np.ndarray:
    """Place of entry (k, k) of L in the panel storage."""
    s = nodes.of_column[k]
    return where.panel[s] + (k - nodes.first[s]) * (where.W[s] + 1)


def _padded_pivots(nodes: Supernodes, plan: Schedule, where: Placement) -> np.ndarray:
    """Places of the diagonal of padded pivots, which are those of the identity."""
    found, start = [np.zeros(0, np.int64)], BLOCK
    for bin in plan.bins:
        entries = (bin.W + bin.M) * bin.W
        width = np.where(bin.fronts >= 0, nodes.width[bin.fronts], 0)
        front, column = np.nonzero(np.arange(bin.W) >= width[:, None])
        found.append(start + front * entries + column * (bin.W + 1))
        start += bin.fronts.size * entries
    return np.concatenate(found)


def _rows_below(nodes: Supernodes, bin: Bin, where: Placement) -> np.ndarray:
    """(F, M): where each row below lies in the pivot storage; 0 at padding."""
    rows = np.zeros((bin.fronts.size, bin.M), np.int64)
    places = np.flatnonzero(bin.fronts >= 0)
    s = bin.fronts[places]
    real = np.arange(bin.M) < nodes.below[s][:, None]
    front, t = np.nonzero(real)
    i = nodes.rows[nodes.row_ptr[s[front]] + t]
    rows[places[front], t] = where.pivot_row(nodes, i)
    return rows

"""Tables of supernodes in exact sizes, one behind the other, as a CPU runs them: `numeric.verbs`.

The panel of a supernode of w pivots and m rows below, both rounded up to whole quads of four, is
stored by quads of columns: (quads, D, 4) with D = w + m. Children come before parents.

Lengths are rounded up to a few sizes for every doubling, so that similar patterns share programs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padchol.symbolic.extend_add import moves
from padchol.symbolic.layout import (
    INT32_MAX,
    LANES,
    QUAD,
    RECORD,
    Storage,
    Tiles,
    Writer,
    capacity,
    fits_int32,
    fits_memory,
    rounded,
)
from padchol.symbolic.supernodes import Supernodes, ramp

# Sizes for every doubling: of the panel storage, which is filled with zeros in every call, and of
# all else.
FINE, COARSE = 4, 2


class Placement(NamedTuple):
    """Where each supernode sits in the tiled storages: (S,) arrays, and the two ends."""

    panel: np.ndarray
    pivot: np.ndarray
    quads: np.ndarray
    D: np.ndarray
    panel_end: int  # with room for one tile more
    pivot_end: int

    def place(self, nodes: Supernodes, s: np.ndarray, i: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Where entry (i, k) of L is, k a pivot of s."""
        column = k - nodes.first[s]
        quad = self.panel[s] + column // QUAD * (QUAD * self.D[s]) + column % QUAD
        return quad + QUAD * self.row(nodes, s, i)

    def row(self, nodes: Supernodes, s: np.ndarray, i: np.ndarray) -> np.ndarray:
        """Which row of the front of s row i is."""
        return nodes.place(s, i, QUAD * self.quads)


def placement(nodes: Supernodes) -> Placement:
    quads = rounded(nodes.width) // QUAD
    D = QUAD * quads + rounded(nodes.below)
    size = QUAD * quads * D
    panel, pivot = LANES + np.cumsum(size) - size, 1 + QUAD * (np.cumsum(quads) - quads)
    return Placement(
        panel,
        pivot,
        quads,
        D,
        LANES + int(size.sum()) + QUAD * LANES,
        1 + QUAD * int(quads.sum()),
    )


def prove_sizes(nodes: Supernodes) -> None:
    """Raise `OverflowError` or `MemoryError` for fronts too large for tables, or for this machine.

    Nothing but the counts of rows is needed: they may not have been found yet.
    """
    where, rows = placement(nodes), int(rounded(nodes.below).sum())
    fits_int32(where.panel_end, f"the panel storage of {where.panel_end:,} entries")
    fits_int32(rows, f"the table of {rows:,} rows of fronts")
    fits_memory(32 * rows, f"the analysis of {rows:,} rows of fronts")  # found as sorted keys


def build(
    writer: Writer,
    nodes: Supernodes,
    perm: np.ndarray,
    relaxed: np.ndarray,
    i: np.ndarray,
    k: np.ndarray,
) -> tuple[Storage, Tiles]:
    """The tables; arguments as those of `tables.build`, sizes proved."""
    where = placement(nodes)
    S, n = nodes.parent.size, relaxed.size
    room = rounded(nodes.below)
    fronts = capacity(S, COARSE)
    panels, pivots = capacity(where.panel_end, FINE), 1 + n + (QUAD - 1) * fronts
    panel, pivot = panels - 1, where.pivot_end - 1
    columns, s = np.arange(relaxed.size), nodes.of_column
    row = where.pivot[s] + columns - nodes.first[s]
    diagonal = where.place(nodes, s, columns, columns)
    handed = moves(nodes, where)
    ptr = (handed.square_ptr, handed.move_ptr)
    rows = np.zeros(capacity(int(room.sum()), COARSE), np.int64)
    start = np.cumsum(room) - room
    owner = nodes.of_column[nodes.rows]
    at = np.repeat(start, nodes.below) + ramp(nodes.below)
    rows[at] = where.pivot[owner] + nodes.rows - nodes.first[owner]
    records = np.zeros((fronts + 1, RECORD), np.int64)
    fields = (where.panel, where.D, where.quads, nodes.below, where.pivot, start)
    records[:S] = np.column_stack([*fields, *(x[:-1] for x in ptr)])
    records[S:, -2:] = [x[-1] for x in ptr]
    unit = np.zeros((QUAD - 1) * fronts, np.int64)
    padded = _padded_pivots(nodes, where)
    unit[: padded.size] = padded
    value = where.place(nodes, s[k], i, k)
    sizes, bounds = (panels, pivots), (1, pivot)
    storage = writer.storage(sizes, bounds, perm, relaxed, row, diagonal, value, unit)
    tables = Tiles(
        capacity(int(QUAD * where.quads.max(initial=0)), COARSE),
        capacity(int(room.max(initial=0)), COARSE),
        fronts,
        writer.add(records, 0, INT32_MAX, "fronts"),
        writer.add(rows, 0, pivot, "rows"),
        writer.add(_padded(handed.squares), 0, panel, "squares"),
        writer.add(_padded(handed.moves), 0, INT32_MAX, "moves"),
        writer.add(_padded(handed.strips), 0, panel, "strips"),
        writer.add(_padded(handed.pieces), 0, panel, "pieces"),
    )
    return storage, tables


def _padded(table: np.ndarray) -> np.ndarray:
    """With rows of zeros up to a capacity."""
    filled = np.zeros((capacity(len(table), COARSE), table.shape[1]), table.dtype)
    filled[: len(table)] = table
    return filled


def _padded_pivots(nodes: Supernodes, where: Placement) -> np.ndarray:
    """Places of the diagonal of padded pivots, which are those of the identity."""
    padded = QUAD * where.quads - nodes.width
    s, column = np.repeat(np.arange(padded.size), padded), np.repeat(nodes.width, padded)
    column = column + ramp(padded)
    return where.panel[s] + (column // QUAD * where.D[s] + column) * QUAD + column % QUAD

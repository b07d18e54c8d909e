"""Tables of supernodes in exact sizes, one behind the other, as a CPU runs them: `numeric.verbs`.

The panel of a supernode of w pivots and m rows below, both rounded up to whole quads of four, is
stored by quads of columns: (quads, D, 4) with D = w + m. Children come before parents.

Lengths are rounded up to a few sizes for every doubling, so that similar patterns share programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from padchol.symbolic.extend_add import moves
from padchol.symbolic.layout import (
    INT32_MAX,
    LANES,
    QUAD,
    Storage,
    Tiles,
    Writer,
    capacity,
    fits_int32,
    fits_memory,
    rounded,
)
from padchol.symbolic.pieces import piecewise
from padchol.symbolic.shards import Part
from padchol.symbolic.storages import Order, Places, write
from padchol.symbolic.supernodes import Supernodes, ramp

# Sizes for every doubling: of the panel storage, which is filled with zeros in every call, and of
# all else; of the panel storage of a shard, whose memory counts more than programs that are shared.
FINE, COARSE, FINEST = 4, 2, 16
MARGIN = QUAD * LANES  # before the first panel and behind the last: whole tiles are read


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
        quad = column // QUAD
        lane = column - QUAD * quad
        return self.panel[s] + QUAD * (quad * self.D[s] + self.row(nodes, s, i)) + lane

    def row(self, nodes: Supernodes, s: np.ndarray, i: np.ndarray) -> np.ndarray:
        """Which row of the front of s row i is."""
        return nodes.place(s, i, QUAD * self.quads)


def placement(
    nodes: Supernodes, top: int | None = None, gap: tuple[int, int] = (0, 0)
) -> Placement:
    """Of all supernodes, one behind the other; so many entries of panels, and rows of pivots, are
    left out before the top."""
    quads = rounded(nodes.width) // QUAD
    D = QUAD * quads + rounded(nodes.below)
    size = QUAD * quads * D
    panel, pivot = MARGIN + np.cumsum(size) - size, 1 + QUAD * (np.cumsum(quads) - quads)
    panel_end, pivot_end = 2 * MARGIN + int(size.sum()), 1 + QUAD * int(quads.sum())
    if top is not None:
        panel[top:] += gap[0]
        pivot[top:] += gap[1]
        panel_end, pivot_end = panel_end + gap[0], pivot_end + gap[1]
    return Placement(panel, pivot, quads, D, panel_end, pivot_end)


def _placements(parts: Sequence[Part]) -> list[Placement]:
    """Of all shards: the top is at the same place in each of them."""
    alone = [placement(part.nodes) for part in parts]

    def start(part, where):  # of the top
        S = part.nodes.parent.size
        ends = (where.panel_end - MARGIN, where.pivot_end)
        return ends if part.top == S else (where.panel[part.top], where.pivot[part.top])

    starts = np.array([start(*each) for each in zip(parts, alone, strict=True)])
    gaps = (starts.max(0) - starts).tolist()
    return [placement(x.nodes, x.top, tuple(gap)) for x, gap in zip(parts, gaps, strict=True)]


def prove_sizes(nodes: Supernodes) -> None:
    """Raise `OverflowError` or `MemoryError` for fronts too large for tables, or for this machine.

    Nothing but the counts of rows is needed: they may not have been found yet.
    """
    where, rows = placement(nodes), int(rounded(nodes.below).sum())
    fits_int32(where.panel_end, f"the panel storage of {where.panel_end:,} entries")
    fits_int32(rows, f"the table of {rows:,} rows of fronts")
    fits_memory(32 * rows, f"the analysis of {rows:,} rows of fronts")  # found as sorted keys


def build(writer: Writer, parts: Sequence[Part], order: Order) -> tuple[Storage, Tiles]:
    """The tables; arguments as those of `tables.build`, sizes proved."""
    where = _placements(parts)
    found = [_contents(part, own) for part, own in zip(parts, where, strict=True)]
    S, n = parts[0].nodes.parent.size, order.perm.size
    fronts = capacity(S, COARSE)
    steps = FINE if len(parts) == 1 else FINEST
    panels = capacity(max(own.panel_end for own in where), steps)
    columns = max(part.columns.size for part in parts)
    gap = max(own.pivot_end for own in where) - min(own.pivot_end for own in where)
    pivots = 1 + (n if len(parts) == 1 else capacity(columns + gap, COARSE)) + (QUAD - 1) * fronts
    panel, pivot = panels - 1, max(own.pivot_end for own in where) - 1

    def add(name: str, low: int, high: int, rows: int | None = None):
        tables = [getattr(x, name) for x in found]
        size = capacity(max(map(len, tables)), COARSE) if rows is None else rows
        return writer.add([_padded(x, size) for x in tables], low, high, name)

    for x in found:
        x.records = _padded_records(x.records, fronts + 1)
    top, starts = parts[0].top, (panels, pivots)
    if top < S:
        starts = (int(where[0].panel[top]), int(where[0].pivot[top]))
    units = (QUAD - 1) * fronts
    places = [x.places._replace(unit=_padded(x.places.unit, units)) for x in found]
    storage = write(writer, (panels, pivots), starts, (1, pivot), order, parts, places)
    tables = Tiles(
        capacity(max(int(QUAD * own.quads.max(initial=0)) for own in where), COARSE),
        capacity(max(int(rounded(x.nodes.below).max(initial=0)) for x in parts), COARSE),
        fronts,
        top if top < S else fronts,
        add("records", 0, INT32_MAX, fronts + 1),
        add("rows", 0, pivot),
        add("squares", 0, panel),
        add("moves", 0, INT32_MAX),
        add("strips", 0, panel),
        add("pieces", 0, panel),
    )
    return storage, tables


@dataclass
class _Contents:
    """The tables of one shard, before they are filled up to their capacities; see `Tiles`."""

    places: Places
    records: np.ndarray
    rows: np.ndarray
    squares: np.ndarray
    moves: np.ndarray
    strips: np.ndarray
    pieces: np.ndarray


def _contents(part: Part, where: Placement) -> _Contents:
    nodes = part.nodes
    room, s = rounded(nodes.below), nodes.of_column
    columns = np.arange(s.size)
    handed = moves(nodes, where)
    rows = np.zeros(int(room.sum()), np.int64)
    start = np.cumsum(room) - room
    owner = s[nodes.rows]
    at = np.repeat(start, nodes.below) + ramp(nodes.below)
    rows[at] = where.pivot[owner] + nodes.rows - nodes.first[owner]
    fields = (where.panel, where.D, where.quads, nodes.below, where.pivot, start)
    records = np.column_stack([*fields, handed.square_ptr[:-1], handed.move_ptr[:-1]])
    last = [[0] * len(fields) + [handed.square_ptr[-1], handed.move_ptr[-1]]]
    places = Places(
        where.pivot[s] + columns - nodes.first[s],
        where.place(nodes, s, columns, columns),
        piecewise(lambda i, k: where.place(nodes, s[k], i, k), part.i, part.k),
        _padded_pivots(nodes, where),
    )
    moved = (handed.squares, handed.moves, handed.strips, handed.pieces)
    return _Contents(places, np.concatenate([records, last]), rows, *moved)


def _padded(table: np.ndarray, rows: int) -> np.ndarray:
    """With rows of zeros up to so many."""
    filled = np.zeros((rows, *table.shape[1:]), table.dtype)
    filled[: len(table)] = table
    return filled


def _padded_records(records: np.ndarray, rows: int) -> np.ndarray:
    """The same for records of fronts, whose last says where what is handed up ends."""
    return np.concatenate([records, np.repeat(records[-1:], rows - len(records), 0)])


def _padded_pivots(nodes: Supernodes, where: Placement) -> np.ndarray:
    """Places of the diagonal of padded pivots, which are those of the identity."""
    padded = QUAD * where.quads - nodes.width
    s, column = np.repeat(np.arange(padded.size), padded), np.repeat(nodes.width, padded)
    column = column + ramp(padded)
    return where.panel[s] + (column // QUAD * where.D[s] + column) * QUAD + column % QUAD

"""Tables of the fronts in exact sizes, one behind the other, as a CPU runs them: `numeric.tiled`.

The panel of a front of w pivots and m rows below, both rounded up to whole quads of four, is stored
by quads of columns: (quads, D, 4) with D = w + m. Children come before parents.

Lengths are rounded up to a few sizes for every doubling, so that similar patterns share programs.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from padchol.symbolic.layout import (
    BAND,
    INT32_MAX,
    LANES,
    MOVE,
    QUAD,
    RECORD,
    Tiles,
    Writer,
    capacity,
    fits_int32,
    rounded,
)
from padchol.symbolic.supernodes import Supernodes, begins, ramp

# Sizes for every doubling: of the panel storage, which is filled with zeros in every call, and of
# all else.
FINE, COARSE = 4, 2
AT_ONCE = 1 << 16  # moves summed in one part: a megabyte (experiment 23)


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


def build(
    writer: Writer, nodes: Supernodes, relaxed: np.ndarray, i: np.ndarray, k: np.ndarray
) -> Tiles:
    """The tables; arguments as those of `tables.build`."""
    where = placement(nodes)
    S, n = nodes.parent.size, relaxed.size
    room = rounded(nodes.below)
    fronts = capacity(S, COARSE)
    panels, pivots = capacity(where.panel_end, FINE), 1 + n + (QUAD - 1) * fronts
    panel, pivot = panels - 1, where.pivot_end - 1
    fits_int32(panel, "panel storage")
    columns = np.arange(relaxed.size)
    location, diagonal = np.empty_like(relaxed), np.empty_like(relaxed)
    s = nodes.of_column
    location[relaxed] = where.pivot[s] + columns - nodes.first[s]
    diagonal[relaxed] = where.place(nodes, s, columns, columns)
    ptr, moves = _moves(nodes, where)
    rows = np.zeros(capacity(int(room.sum()), COARSE), np.int64)
    start = np.cumsum(room) - room
    owner = nodes.of_column[nodes.rows]
    at = np.repeat(start, nodes.below) + ramp(nodes.below)
    rows[at] = where.pivot[owner] + nodes.rows - nodes.first[owner]
    records = np.zeros((fronts + 1, RECORD), np.int64)
    fields = (where.panel, where.D, where.quads, nodes.below, where.pivot, start, ptr[:-1])
    records[:S] = np.column_stack(fields)
    records[S:, -1] = ptr[-1]
    unit = np.zeros((QUAD - 1) * fronts, np.int64)
    padded = _padded_pivots(nodes, where)
    unit[: padded.size] = padded
    return Tiles(
        capacity(int(QUAD * where.quads.max(initial=0)), COARSE),
        capacity(int(room.max(initial=0)), COARSE),
        fronts,
        panels,
        pivots,
        writer.add(location, 1, pivot, "tiled location"),
        writer.add(diagonal, 1, panel, "tiled diagonal"),
        writer.add(where.place(nodes, s[k], i, k), 1, panel, "tiled value"),
        writer.add(unit, 0, panel, "tiled unit"),
        writer.add(records, 0, INT32_MAX, "tiled fronts"),
        writer.add(rows, 0, pivot, "tiled rows"),
        writer.add(moves, 0, panel, "moves"),
    )


def _padded_pivots(nodes: Supernodes, where: Placement) -> np.ndarray:
    """Places of the diagonal of padded pivots, which are those of the identity."""
    padded = QUAD * where.quads - nodes.width
    s, column = np.repeat(np.arange(padded.size), padded), np.repeat(nodes.width, padded)
    column = column + ramp(padded)
    return where.panel[s] + (column // QUAD * where.D[s] + column) * QUAD + column % QUAD


def _moves(nodes: Supernodes, where: Placement) -> tuple[np.ndarray, np.ndarray]:
    """(S + 1,): first move of each front; (moves, MOVE): see `numeric.tiled.fronts`.

    A move is a block of an update that is contiguous in the panel of its owner: at most QUAD
    columns (of a strip), neighbours in one quad of it, and at most QUAD rows (a piece), neighbours
    in it and of one band. Strips of one front and owner share their pieces, but for those above
    their first column. Cost: a few passes over the moves, the rest over strips, pieces and bands.
    """
    S = nodes.parent.size
    front = np.repeat(np.arange(S), nodes.below)
    owner = nodes.of_column[nodes.rows]
    offset = nodes.rows - nodes.first[owner]
    head = np.flatnonzero(begins(front, owner, nodes.rows - np.arange(front.size), offset // QUAD))
    count = np.diff(np.append(head, front.size))
    front, owner, offset = front[head], owner[head], offset[head]
    column, skip = head - nodes.row_ptr[front], offset % QUAD
    new = begins(front, owner)
    group = np.cumsum(new) - 1
    pieces = _pieces(nodes, where, front[new], owner[new], column[new])
    runs, strip, begin = _runs(pieces, group, column)
    bands = -(-nodes.below // BAND)
    band = (np.cumsum(bands) - bands)[front[strip]] + pieces.row[begin] // BAND
    order = stable_order(band, int(bands.sum()))
    strip, begin, amount = strip[order], begin[order], runs[order]
    over = column[strip] - pieces.row[begin]
    inside = np.flatnonzero(over > 0)  # a strip that begins inside a piece: a piece of its own
    of_piece = pieces.records(begin[inside], over[inside])
    quad = where.panel[owner] + offset // QUAD * (QUAD * where.D[owner])
    counted = ((1 << count) - 1) << skip
    of_strip = np.column_stack([0 * column, column - skip + QUAD, counted, quad]).astype(np.int32)
    cut = np.zeros(begin.size, np.int32)
    cut[inside] = pieces.row.size - begin[inside] + np.arange(inside.size)
    records = _sums(of_piece, begin.astype(np.int32), cut, of_strip[strip], amount)
    return np.append(0, np.cumsum(np.bincount(front[strip], amount, S).astype(np.int64))), records


def _sums(of_piece, begin, cut, of_run, amount) -> np.ndarray:
    """The records of moves: what their pieces add to them, and the runs that these belong to.

    The pieces of a run are begin, begin + 1, ..., cut being added to the first. Part by part: large
    arrays that are used once cost more than their sums do (first touches of memory).
    """
    end = np.cumsum(amount)
    start, moves = end - amount, int(amount.sum())
    records = np.zeros((capacity(moves, COARSE), MOVE), np.int32)
    bounds = np.unique([*np.searchsorted(start, np.arange(0, moves, AT_ONCE)), end.size])
    for a, b in itertools.pairwise(bounds.tolist()):
        at, first = amount[a:b], start[a:b] - start[a]
        part = records[start[a] : end[b - 1]]
        piece = np.repeat(begin[a:b] - first.astype(np.int32), at)
        piece += np.arange(piece.size, dtype=np.int32)
        piece[first] += cut[a:b]
        np.take(of_piece, piece, axis=0, out=part, mode="clip")
        part += np.repeat(of_run[a:b], at, axis=0)
    return records


def _runs(
    pieces: Pieces, group: np.ndarray, column: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(amount, strip, begin): the pieces of each strip from its column on, by bands."""
    run = np.flatnonzero(begins(pieces.group, pieces.row // BAND))
    key = pieces.group * np.int64(2**32) + pieces.row
    first = np.searchsorted(key, group * np.int64(2**32) + column, side="right") - 1
    low = np.searchsorted(run, first, side="right") - 1
    count = np.searchsorted(pieces.group[run], group, side="right") - low
    strip = np.repeat(np.arange(column.size), count)
    r = low[strip] + ramp(count)
    begin = np.maximum(run[r], first[strip])
    return np.append(run, pieces.row.size)[r + 1] - begin, strip, begin


def stable_order(key: np.ndarray, keys: int) -> np.ndarray:
    """The stable argsort of integers in [0, keys), in linear time: a transposition counts them."""
    every = np.arange(key.size + 1, dtype=np.int32)
    one_each = (np.ones(key.size, np.int8), key, every)
    return sp.csc_array(one_each, shape=(max(keys, 1), key.size)).tocsr().indices


class Pieces(NamedTuple):
    """At most QUAD rows of an update, neighbours in the panel of an owner, and of one band."""

    group: np.ndarray  # which pair of front and owner
    row: np.ndarray  # the first, in the update
    size: np.ndarray
    target: np.ndarray  # where that row starts in a quad of columns of the owner

    def records(self, cut: np.ndarray, over: np.ndarray) -> np.ndarray:
        """What pieces add to the records of their moves; then pieces cut by their first rows."""
        row = np.append(self.row, self.row[cut] + over)
        size = np.append(self.size, self.size[cut] - over)
        target = np.append(self.target, self.target[cut] + QUAD * over)
        return np.column_stack([row, 0 * row, 2**QUAD * (size - 1), target]).astype(np.int32)


def _pieces(nodes: Supernodes, where: Placement, front, owner, column) -> Pieces:
    """Of the rows from `column` on of each pair of front and owner."""
    height = nodes.below[front] - column
    group, row = np.repeat(np.arange(front.size), height), ramp(height)
    row += np.repeat(column, height)
    i = nodes.rows[np.repeat(nodes.row_ptr[front], height) + row]
    target = QUAD * where.row(nodes, owner[group], i)
    run = np.flatnonzero(begins(group, target - QUAD * row, row // BAND))
    size = np.diff(np.append(run, row.size))
    count = -(-size // QUAD)
    done = QUAD * ramp(count)
    at = np.repeat(run, count) + done
    size = np.minimum(np.repeat(size, count) - done, QUAD)
    return Pieces(*(x.astype(np.int32) for x in (group[at], row[at], size, target[at])))

"""Fronts read back from a plan's tables, on the host: for export, pictures and notebooks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padchol.symbolic.etree import heights
from padchol.symbolic.layout import QUAD, RECORD, Layout, Section
from padchol.symbolic.supernodes import ramp


def read(table: np.ndarray, section: Section) -> np.ndarray:
    """One table of the flat array."""
    return np.asarray(table)[section.start : section.start + section.size].astype(np.int64)


def front_rows(layout: Layout, table: np.ndarray) -> list[np.ndarray]:
    """Per bin (F, D): plan position of each row of each front, n at padding."""
    position = np.full(layout.length("pivots"), layout.n)
    position[read(table, layout.location)] = np.arange(layout.n)
    rows = []
    for bin in layout.bins:
        start = layout.start("pivots", bin.index)
        pivots = position[start : start + bin.fronts * bin.W].reshape(bin.fronts, bin.W)
        below = position[read(table, bin.rows)].reshape(bin.fronts, bin.M)
        rows.append(np.concatenate([pivots, below], 1))
    return rows


def front_records(layout: Layout, table: np.ndarray) -> np.ndarray:
    """(fronts, RECORD): what each tiled front is, see `numeric.tiled.fronts`."""
    records = read(table, layout.tiles.records).reshape(-1, RECORD)
    return records[records[:, 2] > 0]


def _positions(layout: Layout, table: np.ndarray) -> np.ndarray:
    """Plan position of each row of the tiled pivot storage; n where there is none."""
    position = np.full(layout.tiles.pivots, layout.n)
    position[read(table, layout.tiles.location)] = np.arange(layout.n)
    return position


def panel_places(layout: Layout, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Plan positions of the row and the column of each entry of the tiled panels, from the first
    front to the last; n where there is none. What lies above the diagonal is not of L."""
    tiles, n = layout.tiles, layout.n
    position = _positions(layout, table)
    below = np.append(position[read(table, tiles.rows)], n)
    records = front_records(layout, table)
    D, w = records[:, 1], QUAD * records[:, 2]
    front, t = np.repeat(np.arange(D.size), w * D), ramp(w * D)
    quad, within = np.divmod(t, QUAD * D[front])
    r, c = np.divmod(within, QUAD)
    pivot, start, w = records[front, 4], records[front, 5], w[front]
    own = position[pivot + np.minimum(r, w - 1)]
    row = np.where(r < w, own, below[np.where(r < w, -1, start + r - w)])
    return row, position[pivot + QUAD * quad + c]


class Fronts(NamedTuple):
    """The fronts of a plan, children before parents."""

    pivots: list[np.ndarray]  # of each: plan positions of its pivot columns, sorted
    below: list[np.ndarray]  # plan positions of its rows below, sorted
    parent: np.ndarray  # (F,): the owner of the first row below, -1 at a root
    level: np.ndarray  # (F,): 0 at a leaf, else one more than the highest child


def fronts(layout: Layout, table: np.ndarray) -> Fronts:
    """Read back from the tables of the tiles."""
    tiles, n = layout.tiles, layout.n
    position = _positions(layout, table)
    records, rows = front_records(layout, table), read(table, tiles.rows)
    quads, m, pivot, start = records[:, 2:6].T
    own = [position[p : p + QUAD * q] for p, q in zip(pivot, quads, strict=True)]
    pivots = [np.sort(x[x < n]) for x in own]
    below = [np.sort(position[rows[s : s + k]]) for s, k in zip(start, m, strict=True)]
    first = np.append(rows, 0)[np.where(m > 0, start, -1)]
    parent = np.searchsorted(pivot, first, side="right") - 1  # place 0 is before all pivots
    return Fronts(pivots, below, parent, heights(parent))

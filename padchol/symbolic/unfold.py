"""Fronts read back from a plan's tables, on the host: for export, pictures and notebooks."""

from __future__ import annotations

import numpy as np

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
    return read(table, layout.tiles.records).reshape(-1, RECORD)[: layout.tiles.fronts]


def panel_places(layout: Layout, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Plan positions of the row and the column of each entry of the tiled panels, from the first
    front to the last; n where there is none. What lies above the diagonal is not of L."""
    tiles, n = layout.tiles, layout.n
    position = np.full(tiles.pivots, n)
    position[read(table, tiles.location)] = np.arange(n)
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


def front_parents(layout: Layout, table: np.ndarray) -> np.ndarray:
    """Parent of each front, fronts of all bins stacked; their total number where there is none.

    The parent owns the first row below.
    """
    owner = np.zeros(layout.length("pivots"), np.int64)
    total = 0
    for bin in layout.bins:
        start = layout.start("pivots", bin.index)
        owner[start : start + bin.fronts * bin.W] = np.repeat(np.arange(bin.fronts), bin.W) + total
        total += bin.fronts
    owner[0] = total  # the trash row, where padding points
    first = [
        read(table, bin.rows).reshape(bin.fronts, bin.M)[:, 0]
        if bin.M
        else np.zeros(bin.fronts, np.int64)
        for bin in layout.bins
    ]
    return owner[np.concatenate([np.zeros(0, np.int64), *first])]


def front_levels(parents: np.ndarray) -> np.ndarray:
    """Level of each front: 0 at a leaf (and at padding), else one more than the highest child."""
    level = np.zeros(parents.size + 1, np.int64)
    above, risen = np.append(parents, parents.size), np.arange(parents.size)
    while risen.size:
        before = level[above[risen]]
        np.maximum.at(level, above[risen], level[risen] + 1)
        level[-1] = 0
        risen = np.unique(above[risen][level[above[risen]] > before])
    return level[:-1]

"""Tables of padded supernodes, taken in batches, as an accelerator runs them: `numeric.levels`.

The panel of a supernode in a stage of shape (W, M) is stored by rows: (D, W) with D = W + M, pivots
at rows 0 .. W - 1, rows below from W on. Its *front* (D, D) holds what its children hand up
(Duff & Reid 1983, ACM TOMS 9(3), 302-325): with them a child's update finds its place by two
numbers for each of its rows, the front of the parent and the row in it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padchol.symbolic.layout import (
    INT32_MAX,
    Levels,
    Stage,
    Storage,
    Writer,
    fits_int32,
    fits_memory,
)
from padchol.symbolic.schedule import Schedule
from padchol.symbolic.supernodes import Supernodes, ramp


class Placement(NamedTuple):
    """Where each supernode sits: (S,) arrays, and the ends of the three storages."""

    W: np.ndarray  # padded shape
    D: np.ndarray
    panel: np.ndarray
    pivot: np.ndarray
    front: np.ndarray
    panel_end: int
    pivot_end: int
    front_end: int

    def entry(self, nodes: Supernodes, s: np.ndarray, i: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Where entry (i, k) of L is, k a pivot of s."""
        return self.panel[s] + nodes.place(s, i, self.W) * self.W[s] + k - nodes.first[s]

    def pivot_row(self, nodes: Supernodes, i: np.ndarray) -> np.ndarray:
        """Row of pivot i in the pivot storage."""
        s = nodes.of_column[i]
        return self.pivot[s] + i - nodes.first[s]


def placement(nodes: Supernodes, made: Schedule) -> Placement:
    W, D, panel, pivot, front = np.zeros((5, nodes.parent.size), np.int64)
    panel_end = pivot_end = front_end = 0
    for stage in made.stages:
        order, places = stage.W + stage.M, stage.nodes.size
        real = np.flatnonzero(stage.nodes >= 0)
        s = stage.nodes[real]
        W[s], D[s] = stage.W, order
        panel[s] = panel_end + real * order * stage.W
        pivot[s] = pivot_end + real * stage.W
        front[s] = front_end + real * order**2
        panel_end += places * order * stage.W
        pivot_end += places * stage.W
        front_end += places * order**2
    return Placement(W, D, panel, pivot, front, panel_end, pivot_end, front_end)


def build(
    writer: Writer,
    nodes: Supernodes,
    made: Schedule,
    perm: np.ndarray,
    relaxed: np.ndarray,
    i: np.ndarray,
    k: np.ndarray,
) -> tuple[Storage, Levels]:
    """The tables; arguments as those of `tables.build`."""
    where = placement(nodes, made)
    fits_int32(where.front_end, f"the storage of fronts of {where.front_end:,} entries")
    fits_memory(8 * where.front_end, f"the storage of fronts of {where.front_end:,} entries")
    columns, s = np.arange(relaxed.size), nodes.of_column
    storage = writer.storage(
        (where.panel_end, where.pivot_end),
        (0, where.pivot_end - 1),
        perm,
        relaxed,
        where.pivot_row(nodes, columns),
        where.entry(nodes, s, columns, columns),
        where.entry(nodes, s[k], i, k),
        _padded_pivots(nodes, made),
    )
    local = _local(nodes, where)
    stages, panel, pivot, front = [], 0, 0, 0
    for stage in made.stages:
        order, places = stage.W + stage.M, stage.nodes.size
        starts = (stage.W, stage.M, stage.C, stage.trips, panel, pivot, front)
        stages.append(Stage(*starts, *_stage(writer, nodes, where, local, stage.nodes, stage.M)))
        panel += places * order * stage.W
        pivot += places * stage.W
        front += places * order**2
    return storage, Levels(tuple(stages), where.front_end, _span(nodes, relaxed))


def _local(nodes: Supernodes, where: Placement) -> np.ndarray:
    """Which row of its parent's front each row below is."""
    owner = np.repeat(np.arange(nodes.parent.size), nodes.below)
    return nodes.place(nodes.parent[owner], nodes.rows, where.W)


def _stage(writer: Writer, nodes: Supernodes, where: Placement, local, places, M: int):
    """Sections of one stage: rows, parent, local."""
    rows = np.full((places.size, M), where.pivot_end)
    within = np.full((places.size, M), -1)
    parent = np.zeros((places.size, 2), np.int64)
    real = np.flatnonzero(places >= 0)
    s = places[real]
    size = nodes.below[s]
    at, t = np.repeat(real, size), ramp(size)
    source = np.repeat(nodes.row_ptr[s], size) + t
    rows[at, t] = where.pivot_row(nodes, nodes.rows[source])
    within[at, t] = local[source]
    has = nodes.parent[s] >= 0
    above = nodes.parent[s[has]]
    parent[real[has]] = np.column_stack([where.front[above], where.D[above]])
    return (
        writer.add(rows, 0, where.pivot_end, "rows below"),
        writer.add(parent, 0, INT32_MAX, "fronts of parents"),
        writer.add(within, -1, INT32_MAX, "rows of parents"),
    )


def _padded_pivots(nodes: Supernodes, made: Schedule) -> np.ndarray:
    """Places of the diagonal of padded pivots, which are those of the identity."""
    found, start = [np.zeros(0, np.int64)], 0
    for stage in made.stages:
        size = (stage.W + stage.M) * stage.W
        width = np.where(stage.nodes >= 0, nodes.width[stage.nodes], 0)
        place, column = np.nonzero(np.arange(stage.W) >= width[:, None])
        found.append(start + place * size + column * (stage.W + 1))
        start += stage.nodes.size * size
    return np.concatenate(found)


def _span(nodes: Supernodes, relaxed: np.ndarray) -> int:
    """Pivots from the first to the last of a supernode in the plan's order, at most."""
    if not relaxed.size:
        return 0
    start = nodes.first[:-1]
    low, high = np.minimum.reduceat(relaxed, start), np.maximum.reduceat(relaxed, start)
    return int((high - low).max()) + 1

"""Tables of padded supernodes, taken in batches, as an accelerator runs them: `numeric.levels`.

The panel of a supernode in a stage of shape (W, M) is stored by rows: (D, W) with D = W + M, pivots
at rows 0 .. W - 1, rows below from W on. Its *front* (D, D) holds what its children hand up
(Duff & Reid 1983, ACM TOMS 9(3), 302-325): with them a child's update finds its place by two
numbers for each of its rows, the front of the parent and the row in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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
from padchol.symbolic.shards import Part
from padchol.symbolic.storages import Order, Places, filled, write
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


def placement(nodes: Supernodes, made: Schedule, shard: int = 0) -> Placement:
    W, D, panel, pivot, front = np.zeros((5, nodes.parent.size), np.int64)
    panel_end = pivot_end = front_end = 0
    for stage in made.stages:
        order, places = stage.W + stage.M, stage.places
        real = np.flatnonzero(stage.nodes[shard] >= 0)
        s = stage.nodes[shard, real]
        W[s], D[s] = stage.W, order
        panel[s] = panel_end + real * order * stage.W
        pivot[s] = pivot_end + real * stage.W
        front[s] = front_end + real * order**2
        panel_end += places * order * stage.W
        pivot_end += places * stage.W
        front_end += places * order**2
    return Placement(W, D, panel, pivot, front, panel_end, pivot_end, front_end)


def build(
    writer: Writer, parts: Sequence[Part], made: Schedule, order: Order
) -> tuple[Storage, Levels]:
    """The tables; arguments as those of `tables.build`."""
    where = [placement(part.nodes, made, shard) for shard, part in enumerate(parts)]
    panel_end, pivot_end, front_end = where[0][-3:]
    fits_int32(front_end, f"the storage of fronts of {front_end:,} entries")
    fits_memory(8 * front_end, f"the storage of fronts of {front_end:,} entries")
    starts = np.cumsum([[0, 0, 0], *map(_sizes, made.stages)], 0).tolist()
    shards = [(part, own, _local(part, own)) for part, own in zip(parts, where, strict=True)]
    places = [_places(part, own, made, s) for s, (part, own, _) in enumerate(shards)]
    units = filled([own.unit for own in places], INT32_MAX)
    places = [own._replace(unit=unit) for own, unit in zip(places, units, strict=True)]
    top = tuple(starts[made.top][:2])
    storage = write(writer, (panel_end, pivot_end), top, (0, pivot_end - 1), order, parts, places)
    stages = []
    for stage, start in zip(made.stages, starts, strict=False):
        every = zip(shards, stage.nodes, strict=True)
        tables = [_stage(*shard, nodes, stage.M) for shard, nodes in every]
        rows, parent, within = zip(*tables, strict=True)
        stages.append(
            Stage(
                stage.W,
                stage.M,
                stage.C,
                stage.trips,
                start[0],
                start[1],
                start[2],
                writer.add(rows, 0, pivot_end, "rows below"),
                writer.add(parent, 0, INT32_MAX, "fronts of parents"),
                writer.add(within, -1, INT32_MAX, "rows of parents"),
            )
        )
    span = max(_span(part.nodes, order.position[part.columns]) for part in parts)
    return storage, Levels(tuple(stages), made.top, front_end, span)


def _sizes(stage: Any) -> tuple[int, int, int]:
    """What a stage takes of the panel storage, the pivot storage, and that of fronts."""
    order = stage.W + stage.M
    return tuple(stage.places * size for size in (order * stage.W, stage.W, order**2))


def _places(part: Part, where: Placement, made: Schedule, shard: int) -> Places:
    nodes, columns = part.nodes, np.arange(part.columns.size)
    s = nodes.of_column
    return Places(
        where.pivot_row(nodes, columns),
        where.entry(nodes, s, columns, columns),
        where.entry(nodes, s[part.k], part.i, part.k),
        _padded_pivots(nodes, made, shard),
    )


def _local(part: Part, where: Placement) -> np.ndarray:
    """Which row of its parent's front each row below is."""
    nodes = part.nodes
    owner = np.repeat(np.arange(nodes.parent.size), nodes.below)
    return nodes.place(nodes.parent[owner], nodes.rows, where.W)


def _stage(part: Part, where: Placement, local, places, M: int) -> tuple:
    """Tables of one stage in one shard: rows, parent, local."""
    nodes = part.nodes
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
    return rows, parent, within


def _padded_pivots(nodes: Supernodes, made: Schedule, shard: int) -> np.ndarray:
    """Places of the diagonal of padded pivots, which are those of the identity."""
    found, start = [np.zeros(0, np.int64)], 0
    for stage in made.stages:
        size = (stage.W + stage.M) * stage.W
        places = stage.nodes[shard]
        width = np.where(places >= 0, nodes.width[places], 0)
        place, column = np.nonzero(np.arange(stage.W) >= width[:, None])
        found.append(start + place * size + column * (stage.W + 1))
        start += stage.places * size
    return np.concatenate(found)


def _span(nodes: Supernodes, relaxed: np.ndarray) -> int:
    """Pivots from the first to the last of a supernode in the plan's order, at most."""
    if not relaxed.size:
        return 0
    start = nodes.first[:-1][nodes.width > 0]
    low, high = np.minimum.reduceat(relaxed, start), np.maximum.reduceat(relaxed, start)
    return int((high - low).max()) + 1

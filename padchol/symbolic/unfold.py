"""Fronts read back from a plan's tables, on the host: for export, pictures and notebooks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from padchol.symbolic.layout import QUAD, RECORD, Layout, Section
from padchol.symbolic.postorder import heights
from padchol.symbolic.supernodes import ramp


def of_shards(layout: Layout, table: ArrayLike) -> list[np.ndarray]:
    """The flat table of each shard."""
    return list(np.asarray(table).reshape(layout.shards, -1))


def read(table: ArrayLike, section: Section) -> np.ndarray:
    """One table of the flat array of one shard."""
    return np.asarray(table)[section.start : section.start + section.size].astype(np.int64)


def front_records(layout: Layout, table: ArrayLike) -> np.ndarray:
    """(fronts, RECORD): what each tiled front is, see `numeric.verbs.supernode`."""
    records = read(table, layout.tiles.records).reshape(-1, RECORD)
    return records[records[:, 2] > 0]


def positions(layout: Layout, table: ArrayLike) -> np.ndarray:
    """Plan position of each row of the pivot storage, and of what is behind it; n where none is."""
    position = np.full(layout.storage.pivots + 1, layout.n)
    location, number = read(table, layout.storage.location), np.arange(layout.n)
    if layout.shards > 1:
        number = read(table, layout.storage.which[0])
        location = location[number < layout.n]
    position[location] = number[number < layout.n]
    return position


def shard_of(layout: Layout, table: ArrayLike) -> np.ndarray:
    """(n,): the shard of each of the user's unknowns; of the top, how many shards there are."""
    found = np.full(layout.n, layout.shards)
    if layout.shards == 1:
        return 0 * found
    for shard, one in enumerate(of_shards(layout, table)):
        unknown = read(one, layout.storage.which[1])
        own = read(one, layout.storage.location) < layout.storage.top[1]
        found[unknown[own]] = shard
    return found


def stage_rows(layout: Layout, table: ArrayLike) -> list[np.ndarray]:
    """Of each stage (places, D): plan position of each row of each supernode, n at padding."""
    position, found = positions(layout, table), []
    for stage in layout.levels.stages:
        pivots = position[stage.pivot :][: stage.places * stage.W].reshape(-1, stage.W)
        below = position[read(table, stage.rows)].reshape(stage.places, stage.M)
        found.append(np.concatenate([pivots, below], 1))
    return found


def panel_places(layout: Layout, table: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places in the panel storage, and plan positions of the row and the column that stand there; n
    where there is none. What lies above the diagonal is not of L."""
    if not layout.in_levels:
        return _tiled_places(layout, table)
    row, column = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for stage, rows in zip(layout.levels.stages, stage_rows(layout, table), strict=True):
        shape = (stage.places, stage.D, stage.W)
        row.append(np.broadcast_to(rows[:, :, None], shape).ravel())
        column.append(np.broadcast_to(rows[:, None, : stage.W], shape).ravel())
    place = np.arange(layout.storage.panels)
    return place, np.concatenate(row), np.concatenate(column)


def _tiled_places(layout: Layout, table: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    tiles, n = layout.tiles, layout.n
    position = positions(layout, table)
    below = np.append(position[read(table, tiles.rows)], n)
    records = front_records(layout, table)
    D, w = records[:, 1], QUAD * records[:, 2]
    front, t = np.repeat(np.arange(D.size), w * D), ramp(w * D)
    place = records[front, 0] + t
    quad, within = np.divmod(t, QUAD * D[front])
    r, c = np.divmod(within, QUAD)
    pivot, start, w = records[front, 4], records[front, 5], w[front]
    own = position[pivot + np.minimum(r, w - 1)]
    row = np.where(r < w, own, below[np.where(r < w, -1, start + r - w)])
    return place, row, position[pivot + QUAD * quad + c]


class Fronts(NamedTuple):
    """The fronts of a plan, children before parents."""

    pivots: list[np.ndarray]  # of each: plan positions of its pivot columns, sorted
    below: list[np.ndarray]  # plan positions of its rows below, sorted
    parent: np.ndarray  # (F,): the owner of the first row below, -1 at a root
    level: np.ndarray  # (F,): 0 at a leaf, else one more than the highest child


def fronts(layout: Layout, table: ArrayLike) -> Fronts:
    """Read back from the tables."""
    each = _of_stages if layout.in_levels else _of_tiles
    own, under, above = [], [], ([], [])
    for one in of_shards(layout, table):
        pivots, below, top = each(layout, one)
        own, under = own + pivots[:top], under + below[:top]
        above = (pivots[top:], below[top:])  # the same in all shards
    own, under = own + above[0], under + above[1]
    pivots, below = ([np.sort(x[x < layout.n]) for x in each] for each in (own, under))
    if layout.in_levels:  # stages hold padded places as well
        real = [f for f, x in enumerate(pivots) if x.size]
        pivots, below = ([x[f] for f in real] for x in (pivots, below))
    owner = np.zeros(layout.n + 1, np.int64)
    for f, x in enumerate(pivots):
        owner[x] = f
    parent = np.array([owner[x[0]] if x.size else -1 for x in below], np.int64)
    return Fronts(pivots, below, parent, heights(parent))


def _of_stages(layout: Layout, table: ArrayLike) -> tuple[list, list, int]:
    """Pivots and rows below of the fronts of one shard, and which is the first of the top."""
    every = list(zip(layout.levels.stages, stage_rows(layout, table), strict=True))
    own = [row[: stage.W] for stage, rows in every for row in rows]
    top = sum(stage.places for stage in layout.levels.stages[: layout.levels.top])
    return own, [row[stage.W :] for stage, rows in every for row in rows], top


def _of_tiles(layout: Layout, table: ArrayLike) -> tuple[list, list, int]:
    position = positions(layout, table)
    rows = position[read(table, layout.tiles.rows)]
    quads, m, pivot, start = front_records(layout, table)[:, 2:6].T
    own = [position[p : p + QUAD * q] for p, q in zip(pivot, quads, strict=True)]
    before = read(table, layout.tiles.records).reshape(-1, RECORD)[: layout.tiles.top, 2]
    top = int((before > 0).sum())
    return own, [rows[s : s + k] for s, k in zip(start, m, strict=True)], top

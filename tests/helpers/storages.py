"""Storages looked into: which row and column of the matrix is where. No tests here."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import support

import padchol
from padchol.symbolic.layout import LANES, QUAD
from padchol.symbolic.unfold import front_records, panel_places, read, stage_rows

NAMES = (
    "grid2",
    "grid3",
    "band",
    "arrow_first",
    "arrow_last",
    "forest",
    "dense",
    "disconnected",
    "diagonal",
    "scattered",
)


def case_of(name, device: Any = "cpu"):
    """(plan, values) of one of NAMES; tall: updates of more rows than a band."""
    if name == "tall":
        A = support.grid(8, 8, 8)
        plan = padchol.analyze(A, device=device)
        return plan, plan.values(A)
    return support.case(name, device=device)[1:]


def in_panels(plan, L):
    """Entries of a dense lower triangle in the panel storage, of either engine."""
    out = np.zeros(plan.layout.storage.panels)
    place, row, column = panel_places(plan.layout, plan.table)
    real = (row < plan.n) & (column < plan.n) & (row >= column)
    out[place[real]] = np.asarray(L)[row[real], column[real]]
    return jnp.asarray(out)


# ---- levels -----------------------------------------------------------------------------------


def laid_out(plan, kind, values):
    """A storage that holds values(stage, rows of its supernodes)."""
    parts = [np.zeros(0)]
    for stage, rows in zip(
        plan.layout.levels.stages, stage_rows(plan.layout, plan.table), strict=True
    ):
        shape = {"panel": (stage.D, stage.W), "pivots": (stage.W, 1)}[kind]
        parts.append(np.broadcast_to(values(stage, rows), (stage.places, *shape)).ravel())
    return np.concatenate(parts)


def places(plan, kind):
    """Row and column of the matrix at each place of a storage, n where there is none.

    A place of panels counts on and below the diagonal; one of pivots has column 0.
    """
    n = plan.n
    end = {"panel": None, "pivots": 0}[kind]

    def row(stage, rows):
        return rows[:, : stage.D if end is None else stage.W, None]

    def column(stage, rows):
        above = np.arange(stage.D)[:, None] < np.arange(stage.W)
        return np.where(above, n, rows[:, None, : stage.W])

    rows = laid_out(plan, kind, row).astype(int)
    if kind == "pivots":
        return rows, np.where(rows < n, 0, n)
    return rows, laid_out(plan, kind, column).astype(int)


def counting(plan, kind):
    row, column = places(plan, kind)
    return (row < plan.n) & (column < plan.n)


# ---- tiles ------------------------------------------------------------------------------------


def tiled_panels(plan):
    """Of every place of the tiled panel storage: its front (-1: of none), and its row and column
    within the front, pivots first."""
    front, row, column = np.full((3, plan.layout.storage.panels), -1)
    for f, record in enumerate(records(plan)):
        panel, D, quads = record[:3]
        c, r, k = np.indices((quads, D, QUAD)).reshape(3, -1)
        mine = slice(panel, panel + c.size)
        assert (front[mine] == -1).all()
        front[mine], row[mine], column[mine] = f, r, QUAD * c + k
    assert (front[:LANES] == -1).all()
    return front, row, column


def records(plan):
    """(fronts, 7): panel, D, quads, rows below, pivot, rows, moves."""
    return front_records(plan.layout, plan.table)


def tiled_parts(plan):
    """Masks of the tiled panel storage: what lies above a diagonal, padded rows below, and what
    belongs to no front."""
    front, row, column = tiled_panels(plan)
    w, m = QUAD * records(plan)[front, 2], records(plan)[front, 3]
    idle = front < 0
    real = np.zeros(idle.size, bool)
    real[read(plan.table, plan.layout.storage.unit)] = True  # padded pivots
    padded = np.isin(column + 1e9 * front, (column + 1e9 * front)[real])
    above = ~idle & (row < column) & ~padded
    return above, ~idle & (row >= w + m) & ~padded, idle

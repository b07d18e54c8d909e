"""Storages looked into: which row and column of the matrix is where. No tests here."""

from __future__ import annotations

import jax
import numpy as np
import support

import padchol
from padchol.numeric import fronts
from padchol.symbolic.layout import LANES, QUAD
from padchol.symbolic.unfold import front_records, front_rows, read

TILED = (
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


def laid_out(plan, kind, ends, values):
    """A storage that holds values(bin, rows of its fronts), and `ends` at both ends."""
    out = np.full(plan.layout.length(kind), ends)
    for bin, rows in zip(plan.layout.bins, front_rows(plan.layout, plan.table), strict=True):
        shape = (bin.fronts, *bin.shape(kind, 1))
        start = plan.layout.start(kind, bin.index)
        filled = np.broadcast_to(values(bin, rows), shape).ravel()
        out[start : start + filled.size] = filled
    return out


def places(plan, kind):
    """Row and column of the matrix at each place of a storage, n where there is none.

    A place of panels counts on and below the diagonal; one of pivots has column 0.
    """
    n = plan.n
    row = laid_out(plan, kind, n, lambda bin, rows: rows[:, : bin.shape(kind, 1)[0], None])
    if kind == "pivots":
        return row, np.where(row < n, 0, n)
    return row, laid_out(
        plan, kind, n, lambda bin, rows: np.where(above(bin), n, rows[:, None, : bin.W])
    )


def above(bin):
    """Places of a panel above the diagonal."""
    return np.arange(bin.D)[:, None] < np.arange(bin.W)


def counting(plan, kind):
    row, column = places(plan, kind)
    return (row < plan.n) & (column < plan.n)


def tiled_case(name):
    """(plan, values) of one of TILED; tall: updates of more rows than a band."""
    if name == "tall":
        A = support.grid(8, 8, 8)
        plan = padchol.analyze(A, device="gpu")
        return plan, plan.values(A)
    return support.case(name)[1:]


def both_forms(routine, plan, storage, *leaves):
    """Run on tiles, and in chunks."""
    tiled = fronts.apply(routine, plan, storage, *leaves)
    what = fronts.described(routine, plan, storage, *leaves)
    chunks = jax.jit(lambda *args: fronts._in_chunks(*args, what=what))
    return tiled, chunks(plan.table, storage, *leaves)[0]


def tiled_panels(plan):
    """Of every place of the tiled panel storage: its front (-1: of none), and its row and column
    within the front, pivots first."""
    tiles = plan.layout.tiles
    front, row, column = np.full((3, tiles.panels), -1)
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
    real[read(plan.table, plan.layout.tiles.unit)] = True  # padded pivots
    padded = np.isin(column + 1e9 * front, (column + 1e9 * front)[real])
    above = ~idle & (row < column) & ~padded
    return above, ~idle & (row >= w + m) & ~padded, idle

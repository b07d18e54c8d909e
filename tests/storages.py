"""Storages looked into: which row and column of the matrix is where. No tests here."""

from __future__ import annotations

import numpy as np

from padchol.symbolic.unfold import front_rows


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

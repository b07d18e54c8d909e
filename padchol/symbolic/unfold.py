"""Fronts read back from a plan's tables, on the host: for export, pictures and notebooks."""

from __future__ import annotations

import numpy as np

from padchol.symbolic.layout import Layout, Section


def read(table: np.ndarray, section: Section) -> np.ndarray:
    """One table of the flat array."""
    return np.asarray(table)[section.start : section.start + section.size].astype(np.int64)


def front_parents(layout: Layout, table: np.ndarray) -> np.ndarray:
    """Parent of each front, fronts of all bins stacked; their total number where there is none."""
    if not layout.bins:
        return np.zeros(0, np.int64)
    return np.concatenate([read(table, bin.at["parent"]) for bin in layout.bins])


def front_levels(layout: Layout, table: np.ndarray) -> np.ndarray:
    """Level of each front, stacked like `front_parents`."""
    ptr = read(table, layout.chunk_ptr).reshape(layout.levels + 1, -1)
    return np.concatenate(
        [
            np.repeat(np.arange(layout.levels), np.diff(ptr[:, b]) * bin.C)
            for b, bin in enumerate(layout.bins)
        ]
        or [np.zeros(0, np.int64)]
    )


def front_rows(layout: Layout, table: np.ndarray) -> list[np.ndarray]:
    """Per bin (F, D): plan position of each row of each front, n at padding.

    Top down: the rows below of a front are rows of its parent's front, at its relative places.
    """
    ptr = read(table, layout.chunk_ptr).reshape(layout.levels + 1, -1)
    rows = [np.full((bin.fronts, bin.D), layout.n) for bin in layout.bins]
    offsets = np.concatenate([[0], np.cumsum([bin.fronts for bin in layout.bins])])
    for level in reversed(range(layout.levels)):
        for b, bin in enumerate(layout.bins):
            here = slice(int(ptr[level, b]) * bin.C, int(ptr[level + 1, b]) * bin.C)
            rows[b][here, : bin.W] = read(table, bin.at["pivot"]).reshape(-1, bin.W)[here]
            parent = read(table, bin.at["parent"])[here]
            rel = read(table, bin.at["rel"]).reshape(bin.fronts, bin.M)[here]
            real = np.arange(bin.M) < read(table, bin.at["below"])[here][:, None]
            home = np.searchsorted(offsets, parent, side="right") - 1
            for c in np.unique(home[parent < offsets[-1]]):
                mine = np.flatnonzero(home == c)
                found = rows[c][(parent[mine] - offsets[c])[:, None], rel[mine]]
                rows[b][here.start + mine, bin.W :] = np.where(real[mine], found, layout.n)
    return rows

"""Slow, obvious references for the symbolic phase.

Everything here is dense and boolean. S (n, n) is the pattern of a symmetric matrix with a full
diagonal; L (n, n) is the pattern of its Cholesky factor, found by eliminating column by column.
"""

from __future__ import annotations

import numpy as np


def eliminate(S: np.ndarray) -> np.ndarray:
    """Pattern of L: eliminating column j joins all the rows below its diagonal to one another."""
    L = np.tril(S).astype(bool)
    np.fill_diagonal(L, True)
    for j in range(len(L)):
        below = j + 1 + np.flatnonzero(L[j + 1 :, j])
        L[np.ix_(below, below)] = True
    return np.tril(L)


def tree(L: np.ndarray) -> np.ndarray:
    """Elimination tree: the first row below the diagonal of each column, -1 where there is none."""
    return np.array(
        [next((i for i in range(j + 1, len(L)) if L[i, j]), -1) for j in range(len(L))], np.int64
    )


def column_counts(L: np.ndarray) -> np.ndarray:
    """Entries of each column of L."""
    return L.sum(0).astype(np.int64)


def supernode_starts(L: np.ndarray) -> list[int]:
    """First columns of the maximal runs in which every column is the one before, less its pivot."""
    return [
        j for j in range(len(L)) if j == 0 or not (L[j, j - 1] and (L[j:, j - 1] == L[j:, j]).all())
    ]


def csc(L: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(indices, indptr) of a dense pattern, column by column."""
    cols, rows = np.nonzero(L.T)
    return rows.astype(np.int64), np.searchsorted(cols, np.arange(len(L) + 1)).astype(np.int64)

"""Rows far denser than the rest, set apart before an ordering sees the graph, and ordered last.

Amestoy, Davis & Duff (2004), "Algorithm 837: AMD", ACM TOMS 30(3), 381-388. One such row joins all
nodes to one another: minimum degree updates every degree whenever it takes a column (44 s for one
row of 200,000 columns), and no separator keeps two halves apart.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from padchol.symbolic.pattern import Pattern

Ordering = Callable[[Pattern], np.ndarray]

ROOTS, LEAST = 10.0, 16.0  # AMD's default: more than 10 sqrt(n) entries, and 16 at least
# Minimum degree does better with dense rows than without while it can bear them: six rows of 8,000
# on a path of 40,000 nodes save it 40 % of nnz(L). It takes 0.45 ns for each square of their
# numbers of entries (a star of 100,000 leaves, one row of 200,000): so many are half a second (39).
SQUARES = 1e9
# And it keeps rows of fewer entries than so many times the mean. Of two factors of which each level
# meets every one of the other's all rows are dense, and would stay in the order that they came in.
OVER_MEAN = 10.0


def dense_rows(pattern: Pattern) -> np.ndarray:
    """(n,): which rows are far denser than the rest, by AMD's rule."""
    return _degrees(pattern) > max(LEAST, ROOTS * np.sqrt(pattern.n))


def unbearable_rows(pattern: Pattern) -> np.ndarray:
    """(n,): the dense rows, less the least dense of them that minimum degree can bear."""
    degree, mean = _degrees(pattern), 2 * (pattern.rows.size - pattern.n) / max(pattern.n, 1)
    found = np.flatnonzero(dense_rows(pattern) & (degree > OVER_MEAN * mean))
    found = found[np.argsort(degree[found], kind="stable")]
    apart = np.zeros(pattern.n, bool)
    apart[found[np.cumsum(degree[found].astype(float) ** 2) > SQUARES]] = True
    return apart


def dense_last(order: Ordering, which: Ordering = dense_rows) -> Ordering:
    """The ordering of all other rows, then the dense ones as they came."""

    def ordered(pattern: Pattern) -> np.ndarray:
        dense = which(pattern)
        if not dense.any():
            return order(pattern)
        sparse = np.flatnonzero(~dense)[order(without(pattern, dense))]
        return np.append(sparse, np.flatnonzero(dense))

    return ordered


def _degrees(pattern: Pattern) -> np.ndarray:
    """(n,): entries of each row off the diagonal, both triangles counted."""
    both = np.bincount(pattern.rows, minlength=pattern.n)
    return both + np.bincount(pattern.cols, minlength=pattern.n) - 2


def without(pattern: Pattern, dense: np.ndarray) -> Pattern:
    """The pattern without these rows and columns."""
    place = np.cumsum(~dense) - 1
    kept = ~(dense[pattern.rows] | dense[pattern.cols])
    return Pattern(int((~dense).sum()), place[pattern.rows[kept]], place[pattern.cols[kept]])

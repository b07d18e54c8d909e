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
# Beside AMD's rule, as a multiple of the mean. In crossed factors of which each level meets most
# of the other's, all rows have more than 10 sqrt(n) entries: set apart they would keep the order
# that they came in. 500 levels with 500, shuffled: 1.3 times the nnz(L) of minimum degree.
OVER_MEAN = 10.0


def dense_rows(pattern: Pattern) -> np.ndarray:
    """(n,): which rows are far denser than the rest."""
    n, mean = pattern.n, 2 * (pattern.rows.size - pattern.n) / max(pattern.n, 1)
    return _degrees(pattern) > max(LEAST, ROOTS * np.sqrt(n), OVER_MEAN * mean)


def dense_last(order: Ordering) -> Ordering:
    """The ordering of all other rows, then the dense ones, those with the fewest entries first."""

    def ordered(pattern: Pattern) -> np.ndarray:
        dense = dense_rows(pattern)
        if not dense.any():
            return order(pattern)
        last = np.flatnonzero(dense)
        last = last[np.argsort(_degrees(pattern)[last], kind="stable")]
        return np.concatenate([np.flatnonzero(~dense)[order(without(pattern, dense))], last])

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

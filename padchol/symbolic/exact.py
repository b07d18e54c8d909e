"""The exact structure of L under an ordering: supernodes with their rows, and the CSC pattern."""

from __future__ import annotations

import numpy as np

from padchol.symbolic.etree import (
    column_counts,
    compress,
    elimination_tree,
    permuted_lower,
    postorder,
)
from padchol.symbolic.pattern import Pattern
from padchol.symbolic.supernodes import Supernodes, maximal, order_columns, ramp, with_rows


def exact_supernodes(
    pattern: Pattern, perm: np.ndarray, reorder: bool = False
) -> tuple[Supernodes, np.ndarray]:
    """Maximal supernodes of L with their exact rows, in a postorder; post[t] is its column t.

    reorder: sort the columns within each supernode. The rows are then those of the former order,
    in which L has the same entries or (next to a child that joins late) a few more.
    """
    n = pattern.n
    i, k = permuted_lower(pattern, perm)
    parent = elimination_tree(n, *compress(n, i, k))
    post = postorder(parent)
    place = np.empty(n, np.int64)
    place[post] = np.arange(n)
    above = parent[post]
    parent = np.where(above >= 0, place[above], -1)
    i, k = place[i], place[k]  # a postorder is topological: i > k stays true
    counts = column_counts(parent, *compress(n, k, i))
    exact = with_rows(*maximal(parent, counts), i, k)
    if reorder:
        exact, order = order_columns(exact, i, k)
        post = post[order]
    return exact, post


def full_pattern(exact: Supernodes, post: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CSC (indices, indptr) of L in plan order, from supernodes in a postorder of it.

    The rows of a column are ancestors, which every topological order sorts alike.
    """
    n = post.size
    s = exact.of_column
    pivots = exact.first[s + 1] - np.arange(n)
    indptr = _column_starts(exact, post)
    indices = np.empty(int(indptr[-1]), np.int64)
    for amount, source, base, shift in (
        (pivots, post, np.arange(n), np.zeros(n, np.int64)),
        (exact.below[s], post[exact.rows] if n else post, exact.row_ptr[s], pivots),
    ):
        k = ramp(amount)
        target = np.repeat(indptr[post] + shift, amount) + k
        indices[target] = source[np.repeat(base, amount) + k]
    return indices, indptr


def entry_places(exact: Supernodes, post: np.ndarray, i: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Position of entry (i, k), postordered, i >= k, in the data of `full_pattern`."""
    s = exact.of_column[k]
    offset = exact.place(s, i) - (k - exact.first[s])
    return _column_starts(exact, post)[post[k]] + offset


def _column_starts(exact: Supernodes, post: np.ndarray) -> np.ndarray:
    """indptr of L in plan order."""
    s = exact.of_column
    counts = np.empty(post.size, np.int64)
    counts[post] = exact.first[s + 1] - np.arange(post.size) + exact.below[s]
    return np.concatenate([[0], np.cumsum(counts)])

"""The exact structure of L under an ordering: supernodes with their rows, and the CSC pattern."""

from __future__ import annotations

import numpy as np

from padchol.symbolic.column_counts import RowSubtrees, column_counts, row_subtrees
from padchol.symbolic.etree import elimination_tree, permuted_lower
from padchol.symbolic.pattern import Pattern
from padchol.symbolic.pieces import pieces, piecewise
from padchol.symbolic.postorder import postorder, relabelled, subtree_sizes
from padchol.symbolic.supernodes import (
    Supernodes,
    maximal,
    order_columns,
    ramp,
    with_rows,
)


def exact_supernodes(
    pattern: Pattern, perm: np.ndarray, reorder: bool = False
) -> tuple[Supernodes, np.ndarray]:
    """Maximal supernodes of L with their exact rows, in a postorder; post[t] is its column t.

    reorder: sort the columns within each supernode, which changes neither L nor its rows.
    """
    counted, subtrees, post = counted_supernodes(pattern, perm, reorder)
    return with_rows(counted, subtrees), post


def counted_supernodes(
    pattern: Pattern, perm: np.ndarray, reorder: bool
) -> tuple[Supernodes, RowSubtrees, np.ndarray]:
    """The supernodes of `exact_supernodes` before their rows are found, and what they come from."""
    n = pattern.n
    i, k = permuted_lower(pattern, perm)
    parent = elimination_tree(n, i, k)
    size = subtree_sizes(parent)
    post = postorder(parent, size)
    parent, place = relabelled(parent, post)
    for index in (i, k):  # in place; a postorder is topological: i > k stays true
        for piece in pieces(index.size):
            index[piece] = place[index[piece]]
    first = np.arange(1, n + 1) - size[post]
    subtrees = row_subtrees(parent, first, i, k)
    nodes = maximal(parent, column_counts(first, subtrees))
    if reorder:
        order = order_columns(nodes.first, i, k)
        place[order] = np.arange(n)
        post, subtrees = post[order], subtrees._replace(row=place[subtrees.row])
    return nodes, subtrees, post


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


def entry_places(
    exact: Supernodes, post: np.ndarray, pattern: Pattern, place: np.ndarray
) -> np.ndarray:
    """Position of each canonical entry in the data of `full_pattern`; place (n,): the postordered
    column of each unknown."""
    of_column = exact.of_column
    starts = _column_starts(exact, post)[post] - np.arange(post.size) + exact.first[of_column]

    def places(row, column):
        a, b = place[row], place[column]
        k = np.minimum(a, b)
        return starts[k] + exact.place(of_column[k], np.maximum(a, b))

    return piecewise(places, pattern.rows, pattern.cols)


def _column_starts(exact: Supernodes, post: np.ndarray) -> np.ndarray:
    """indptr of L in plan order."""
    s = exact.of_column
    counts = np.empty(post.size, np.int64)
    counts[post] = exact.first[s + 1] - np.arange(post.size) + exact.below[s]
    return np.concatenate([[0], np.cumsum(counts)])

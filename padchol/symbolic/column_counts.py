"""Row subtrees, and the column counts of L from them.

Notation: row subtree i is the part of the elimination tree that row i of L is read from, its
columns and i itself; its leaves are entries of A (Liu 1986).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padchol.symbolic.pieces import pieces


class RowSubtrees(NamedTuple):
    """Row subtrees as disjoint paths: from `leaf` up to, and without, `stop`; and the row itself.

    The leaves are the entries of A that matter to L, by rows: Liu's skeleton matrix.
    """

    row: np.ndarray
    leaf: np.ndarray
    stop: np.ndarray


def row_subtrees(parent: np.ndarray, first: np.ndarray, i: np.ndarray, k: np.ndarray):
    """Paths of the row subtrees of a postordered tree with first descendants `first`.

    An entry is a leaf unless the entry before it in its row lies below it; its path ends at the
    least common ancestor of the two (Gilbert, Ng & Peyton 1994, SIAM J. Matrix Anal. Appl. 15(4),
    1075-1091), the first path of a row at the row.
    """
    n = parent.size
    keys = i * n
    keys += k
    keys.sort()
    found = [np.zeros((3, 0), np.int64)]
    for piece in pieces(keys.size):
        row, column = np.divmod(keys[max(piece.start - 1, 0) : piece.stop], max(n, 1))
        before = np.where(row[1:] == row[:-1], column[:-1], -1)
        if piece.start == 0:
            before = np.append(-1, before)
        row, column = row[-before.size :], column[-before.size :]
        found.append(np.stack([row, column, before])[:, before < first[column]])
    row, leaf, before = np.concatenate(found, 1)
    stop, later = row.copy(), np.flatnonzero(before >= 0)
    # in a postorder, the least common ancestor of a < b is the highest parent of a .. b - 1
    stop[later] = range_maxima(parent, before[later], leaf[later])
    return RowSubtrees(row, leaf, stop)


def range_maxima(values: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """max(values[start:end]) for each range, none of them empty.

    Two windows of one power of two cover a range. Cost: O(n log(longest) + ranges).
    """
    found = np.empty(start.size, np.int64)
    power = np.frexp(end - start)[1] - 1
    order = np.argsort(power, kind="stable")
    bounds = np.searchsorted(power[order], np.arange(int(power.max(initial=-1)) + 2))
    for d in range(bounds.size - 1):
        mine, window = order[bounds[d] : bounds[d + 1]], 1 << d
        found[mine] = np.maximum(values[start[mine]], values[end[mine] - window])
        values = np.maximum(values[:-window], values[window:])
    return found


def column_counts(first: np.ndarray, subtrees: RowSubtrees) -> np.ndarray:
    """counts (n,): entries of each column of L, the diagonal included.

    Column j is in the row subtrees with a path through j, those that begin at or below j less those
    that stop there: sums over the subtree of j (Gilbert, Ng & Peyton 1994). Cost: O(n + leaves).
    """
    n = first.size
    change = np.bincount(subtrees.leaf, minlength=n) - np.bincount(subtrees.stop, minlength=n)
    sums = np.append(0, np.cumsum(change))
    return 1 + sums[1:] - sums[first]

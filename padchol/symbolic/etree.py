"""Elimination tree, postorder, and column counts of the Cholesky factor.

Entries are those of the strict lower triangle of P A P^T, grouped by rows (for the tree) or by
columns (for the counts): list g is entries[ptr[g]:ptr[g + 1]].
The loops are over plain lists: CPython walks a list several times faster than a numpy array.
"""

from __future__ import annotations

import numpy as np

from padchol.symbolic.pattern import Pattern


def permuted_lower(pattern: Pattern, perm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strict lower entries (i > k) of A[perm][:, perm], unordered."""
    inverse = np.empty(pattern.n, np.int64)
    inverse[perm] = np.arange(pattern.n)
    a, b = inverse[pattern.rows], inverse[pattern.cols]
    strict = a != b
    return np.maximum(a, b)[strict], np.minimum(a, b)[strict]


def compress(n: int, major: np.ndarray, minor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Group entries by `major`: (ptr, minor sorted), list g being minor[ptr[g]:ptr[g + 1]]."""
    keys = np.sort(major * n + minor)
    return np.searchsorted(keys, np.arange(n + 1) * n), keys % max(n, 1)


def elimination_tree(n: int, ptr: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """parent (n,): the row of the first entry below the diagonal of column j of L, -1 at a root.

    Liu (1986), ACM TOMS 12(2), 127-148, with path compression ("virtual ancestors").
    Cost: O(nnz log n) at worst, nearly nnz in practice.
    """
    parent, ancestor = [-1] * n, [-1] * n
    bounds, entries = ptr.tolist(), cols.tolist()
    for i in range(n):
        for k in entries[bounds[i] : bounds[i + 1]]:
            while k != i:
                above = ancestor[k]
                ancestor[k] = i
                if above == -1:
                    parent[k] = i
                    break
                k = above
    return np.asarray(parent, np.int64)


def postorder(parent: np.ndarray) -> np.ndarray:
    """post (n,): the nodes in an order where every subtree is contiguous and ends with its root.

    Needs parent[j] > j. Siblings keep their order. No recursion: each node's range of places is
    handed down from its parent's, the last place of a range being the node's own.
    """
    n = parent.size
    above = parent.tolist()
    size = [1] * n
    for j, p in enumerate(above):
        if p >= 0:
            size[p] += size[j]
    free = [0] * n  # one past the places still free below node j
    place = np.empty(n, np.int64)
    roots_free = n
    for j in range(n - 1, -1, -1):
        p = above[j]
        end = roots_free if p < 0 else free[p]
        if p < 0:
            roots_free -= size[j]
        else:
            free[p] -= size[j]
        place[j] = free[j] = end - 1
    post = np.empty(n, np.int64)
    post[place] = np.arange(n)
    return post


def column_counts(parent: np.ndarray, ptr: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """counts (n,): entries of each column of L, the diagonal included.

    The tree must be postordered; entries by columns. Gilbert, Ng & Peyton (1994), SIAM J. Matrix
    Anal. Appl. 15(4), 1075-1091: a leaf of row subtree i adds one, the least common ancestor of
    consecutive leaves takes one away, and the counts are the subtree sums. Cost: nearly nnz.
    """
    n = parent.size
    above = parent.tolist()
    first = list(range(n))  # first descendant
    for j, p in enumerate(above):
        if p >= 0 and first[j] < first[p]:
            first[p] = first[j]
    weight = [int(first[j] == j) for j in range(n)]
    for p in above:
        if p >= 0:
            weight[p] -= 1
    previous = [-1] * n  # last leaf found of each row subtree
    linked = list(range(n))  # disjoint sets: visited columns hang under their nearest open ancestor
    bounds, entries = ptr.tolist(), rows.tolist()
    for j in range(n):
        start = first[j]
        for i in entries[bounds[j] : bounds[j + 1]]:
            leaf = previous[i]
            if leaf >= start:
                continue  # the previous leaf lies below j: j is no leaf of row subtree i
            weight[j] += 1
            previous[i] = j
            if leaf >= 0:
                weight[_find(linked, leaf)] -= 1
        if above[j] >= 0:
            linked[j] = above[j]
    for j, p in enumerate(above):
        if p >= 0:
            weight[p] += weight[j]
    return np.asarray(weight, np.int64)


def _find(linked: list[int], j: int) -> int:
    """Representative of j's set; the path walked is compressed."""
    top = j
    while linked[top] != top:
        top = linked[top]
    while linked[j] != top:
        linked[j], j = top, linked[j]
    return top

"""Elimination tree, postorder, row subtrees, and column counts of the Cholesky factor.

Entries (i, k) are those of the strict lower triangle of P A P^T, i > k, in any order.
Notation: row subtree i is the part of the elimination tree that row i of L is read from, its
columns and i itself; its leaves are entries of A (Liu 1986).
There is no loop over columns: passes are over whole arrays, their number logarithmic in n.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padchol.symbolic.pattern import Pattern


def permuted_lower(pattern: Pattern, perm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strict lower entries (i > k) of A[perm][:, perm], unordered."""
    inverse = np.empty(pattern.n, np.int64)
    inverse[perm] = np.arange(pattern.n)
    a, b = inverse[pattern.rows], inverse[pattern.cols]
    strict = a != b
    return np.maximum(a, b)[strict], np.minimum(a, b)[strict]


def elimination_tree(n: int, i: np.ndarray, k: np.ndarray) -> np.ndarray:
    """parent (n,): the row of the first entry below the diagonal of column j of L, -1 at a root.

    The parent of j is the smallest i > j that is joined to j through columns up to j (Liu 1986, ACM
    TOMS 12(2), 127-148): the join tree of the graph, its nodes taken in ascending order. Found by
    pruning as Carr, Weber, Sewell & Ahrens (2016, IEEE LDAV, 75-84) find it. Each node descends to
    some minimum, a node without lower neighbours. Up to its saddle, the smallest node with an edge
    between its basin and another, a basin is a chain of the tree; these chains are cut off, and
    their other neighbours join the saddle. Every round halves the minima at least.
    Cost: O(nnz log n) at worst, a few passes over nnz in practice.
    """
    parent, basin, saddle = np.full(n, -1), np.arange(n), np.full(n, n)
    left = np.arange(n)  # nodes without a parent yet
    while left.size:
        basin[left] = left
        basin[i] = k  # any lower neighbour
        to_roots(basin, left)
        own = basin[left]
        low, high = basin[k], basin[i]
        between = low != high
        saddle[own] = n
        np.minimum.at(saddle, low[between], i[between])
        np.minimum.at(saddle, high[between], i[between])
        pruned = left < saddle[own]
        keys = np.sort(own[pruned] * n + left[pruned])
        chain, node = keys // n, keys % n
        ends = np.append(chain[1:] != chain[:-1], True)
        parent[node] = np.where(ends, saddle[chain], np.append(node[1:], n))
        outside = i >= saddle[high]
        i, k, low = i[outside], k[outside], low[outside]
        k = np.where(k < saddle[low], saddle[low], k)
        i, k = i[i != k], k[i != k]
        left = left[~pruned]
    return np.where(parent < n, parent, -1)


def to_roots(link: np.ndarray, nodes: np.ndarray) -> None:
    """Let each of the nodes link to the end of its way, by pointer doubling."""
    while nodes.size:
        near = link[nodes]
        far = link[near]
        moved = near != far
        nodes = nodes[moved]
        link[nodes] = far[moved]


def subtree_sizes(parent: np.ndarray) -> np.ndarray:
    """size (n,): nodes of each subtree.

    After d passes: those less than 2^d below the root of the subtree. Cost: O(n log depth).
    """
    size, nodes = np.ones(parent.size, np.int64), np.flatnonzero(parent >= 0)
    above = parent.copy()
    while nodes.size:
        far = above[nodes]
        size += np.bincount(far, size[nodes], parent.size).astype(np.int64)
        above[nodes] = above[far]
        nodes = nodes[above[nodes] >= 0]
    return size


def heights(parent: np.ndarray) -> np.ndarray:
    """level (n,): 0 at a leaf, else one more than the highest child. Needs parent[j] > j."""
    level = [0] * parent.size
    for j, p in enumerate(parent.tolist()):
        if p >= 0 and level[p] <= level[j]:
            level[p] = level[j] + 1
    return np.asarray(level, np.int64)


def path_sums(parent: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Sum of the values from each node to its root, both included. Cost: O(n log depth)."""
    total, above = value.copy(), parent.copy()
    nodes = np.flatnonzero(parent >= 0)
    while nodes.size:
        far = above[nodes]
        total[nodes] += total[far]
        above[nodes] = above[far]
        nodes = nodes[above[nodes] >= 0]
    return total


def postorder(parent: np.ndarray, size: np.ndarray, by_size: bool = False) -> np.ndarray:
    """post (n,): the nodes in an order where every subtree is contiguous and ends with its root.

    Siblings keep their order, or are sorted by the sizes of their subtrees first. Every way to a
    root then leaves the run of successive nodes it is in at most log2(n) times.
    """
    n = parent.size
    siblings = np.argsort((parent + 1) * (n + 1) + (size if by_size else 0), kind="stable")
    before = np.cumsum(size[siblings]) - size[siblings]
    above = parent[siblings]
    eldest = np.append(True, above[1:] != above[:-1])[:n]
    shift = np.empty(n, np.int64)
    shift[siblings] = before - np.maximum.accumulate(np.where(eldest, before, 0))
    post = np.empty(n, np.int64)
    post[path_sums(parent, shift) + size - 1] = np.arange(n)
    return post


def relabelled(parent: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The tree with node order[t] as node t, and the place in `order` of each node."""
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    above = parent[order]
    above[above >= 0] = place[above[above >= 0]]
    return above, place


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
    keys = np.sort(i * n + k)
    row = keys // max(n, 1)
    column = keys - row * n
    before = np.where(np.append(True, row[1:] != row[:-1])[: row.size], -1, np.roll(column, 1))
    is_leaf = before < first[column]
    row, leaf, before = row[is_leaf], column[is_leaf], before[is_leaf]
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

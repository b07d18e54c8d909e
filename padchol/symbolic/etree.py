"""The elimination tree of the Cholesky factor.

Entries (i, k) are those of the strict lower triangle of P A P^T, i > k, in any order.
There is no loop over columns: passes are over whole arrays, their number logarithmic in n.
"""

from __future__ import annotations

import numpy as np

from padchol.symbolic.pattern import Pattern
from padchol.symbolic.postorder import to_roots


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
        if left.size**2 < i.size:
            i, k = _distinct(left, i, k, basin)
    return np.where(parent < n, parent, -1)


def _distinct(nodes: np.ndarray, i: np.ndarray, k: np.ndarray, place: np.ndarray):
    """The edges without repetition, all between few nodes. `place` (n,) is overwritten."""
    place[nodes] = np.arange(nodes.size)
    met = np.zeros(nodes.size**2, bool)
    met[place[i] * nodes.size + place[k]] = True
    i, k = np.divmod(np.flatnonzero(met), nodes.size)
    return nodes[i], nodes[k]

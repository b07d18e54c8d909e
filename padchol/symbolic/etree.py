"""The elimination tree of the Cholesky factor.

Entries (i, k) are those of the strict lower triangle of P A P^T, i > k, in any order.
There is no loop over columns: passes are over whole arrays, their number logarithmic in n.
"""

from __future__ import annotations

import numpy as np

from padchol.symbolic.pattern import Pattern, lower
from padchol.symbolic.pieces import pieces
from padchol.symbolic.postorder import to_roots


def permuted_lower(pattern: Pattern, perm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strict lower entries (i > k) of A[perm][:, perm], unordered."""
    inverse = np.empty(pattern.n, np.int64)
    inverse[perm] = np.arange(pattern.n)
    return lower(pattern, inverse, strict=True)


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
        saddle[own] = n
        for piece in pieces(i.size):
            low, high = basin[k[piece]], basin[i[piece]]
            between = np.flatnonzero(low != high)
            at = i[piece][between]
            np.minimum.at(saddle, low[between], at)
            np.minimum.at(saddle, high[between], at)
        pruned = left < saddle[own]
        keys = np.sort(own[pruned] * n + left[pruned])
        chain, node = keys // n, keys % n
        ends = np.append(chain[1:] != chain[:-1], True)
        parent[node] = np.where(ends, saddle[chain], np.append(node[1:], n))
        left = left[~pruned]
        i, k = _outside(i, k, basin, saddle, left)
    return np.where(parent < n, parent, -1)


def _outside(i, k, basin: np.ndarray, saddle: np.ndarray, left: np.ndarray):
    """The edges between what is left of the nodes when all chains are cut off; without repetition
    where these nodes are few."""
    few, found = left.size**2 < i.size, [np.zeros((2, 0), np.int64)]
    place = np.empty(basin.size if few else 0, np.int64)
    if few:
        place[left] = np.arange(left.size)
    for piece in pieces(i.size):
        high, low = i[piece], k[piece]
        outside = high >= saddle[basin[high]]
        high, low = high[outside], low[outside]
        end = saddle[basin[low]]
        low = np.where(low < end, end, low)
        high, low = high[high != low], low[high != low]
        if few:
            met = np.zeros(left.size**2, bool)
            met[place[high] * left.size + place[low]] = True
            high, low = (left[x] for x in np.divmod(np.flatnonzero(met), left.size))
        found.append(np.stack([high, low]))
    i, k = np.concatenate(found, 1)
    return i, k

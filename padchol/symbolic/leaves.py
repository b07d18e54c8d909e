"""Leaves of a dissection, ordered by minimum degree with their halos.

The halo of a leaf is the separators next to it: without it minimum degree takes the nodes along a
separator for cheap ones (Pellegrini, Roman & Amestoy 2000, Concurrency: Pract. Exper. 12, 69-84;
their halo is a constraint on the algorithm, here it is one on the graph).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse.csgraph as csgraph

from padchol.symbolic.multilevel import Graph, induced
from padchol.symbolic.pattern import Pattern

ANCHORS = 20  # more gained nothing on grids of 100^2, 300^2, 20^3 and a surface mesh; 8 lost 1-4 %


def order_leaves(
    g: Graph, inner: np.ndarray, minimum_degree: Callable[[Pattern], np.ndarray]
) -> np.ndarray:
    """The nodes of the leaves (inner, a mask), in order; one call of `minimum_degree` for all.

    Each leaf has copies of the nodes of its halo, all joined to a few added nodes, the anchors,
    that raise their degree above that of the leaf's nodes, which so go first.
    """
    nodes = np.flatnonzero(inner)
    block = induced(g, inner, g.domain[inner], g.domains)
    leaves, leaf = csgraph.connected_components(block.matrix, directed=False)
    place = np.cumsum(inner, dtype=np.int64) - 1
    out = inner[g.src] & ~inner[g.dst]
    inside = place[g.src[out]]
    halo, copy = np.unique(leaf[inside] * np.int64(g.n) + g.dst[out], return_inverse=True)
    beside = halo // max(g.n, 1)  # the leaf of each copy
    amount = np.minimum(np.bincount(beside, minlength=leaves), ANCHORS)
    first = nodes.size + halo.size + np.cumsum(amount) - amount
    each = amount[beside]
    ends = np.repeat(np.arange(halo.size), each)
    turn = np.arange(ends.size) - np.repeat(np.cumsum(each) - each, each)
    half = block.src > block.dst
    pattern = _lower(
        nodes.size + halo.size + int(amount.sum()),
        np.concatenate([block.src[half], nodes.size + copy, first[beside[ends]] + turn]),
        np.concatenate([block.dst[half], inside, nodes.size + ends]),
    )
    perm = minimum_degree(pattern)
    return nodes[perm[perm < nodes.size]]


def _lower(n: int, rows: np.ndarray, cols: np.ndarray) -> Pattern:
    """The canonical pattern of strictly lower entries without duplicates, and the diagonal."""
    every = np.arange(n)
    key = np.sort(np.concatenate([cols.astype(np.int64) * n + rows, every * (n + 1)]))
    return Pattern(n, key % max(n, 1), key // max(n, 1))

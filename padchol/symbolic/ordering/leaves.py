"""Leaves of a dissection, ordered by minimum degree with their halos.

The halo of a leaf is the separators next to it: without it minimum degree takes the nodes along a
separator for cheap ones (Pellegrini, Roman & Amestoy 2000, Concurrency: Pract. Exper. 12, 69-84;
their halo is a constraint on the algorithm, here it is one on the graph).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import scipy.sparse.csgraph as csgraph

from padchol.symbolic.ordering.multilevel import Graph, induced
from padchol.symbolic.pattern import Pattern
from padchol.symbolic.supernodes import ramp

ANCHORS = 20  # more gained nothing on grids of 100^2, 300^2, 20^3 and a surface mesh; 8 lost 1-4 %
AT_ONCE = 16_384  # nodes of leaves ordered together: 91 to 38 bytes per nnz(L) at 300^2 (23)


def order_leaves(
    g: Graph, inner: np.ndarray, minimum_degree: Callable[[Pattern], np.ndarray]
) -> np.ndarray:
    """The nodes of the leaves (inner, a mask), in order; many leaves in a `minimum_degree`."""
    nodes = np.flatnonzero(inner)
    if not nodes.size:
        return nodes
    block = induced(g, inner, g.domain[inner], g.domains)
    _, leaf = csgraph.connected_components(block.matrix, directed=False)
    order = np.argsort(leaf, kind="stable")
    nodes, leaf = nodes[order], leaf[order]
    ends = np.append(np.flatnonzero(np.diff(leaf)) + 1, nodes.size)
    cuts = ends[np.append(np.diff(ends // AT_ONCE) > 0, True)]
    place, found = np.zeros(g.n, np.int64), []
    for a, b in itertools.pairwise([0, *cuts.tolist()]):
        part = nodes[a:b]
        place[part] = np.arange(part.size)
        row, dst = g.rows(part)
        own = inner[dst]
        inside = row[own], place[dst[own]]
        pattern = _with_halos(leaf[a:b], inside, (row[~own], dst[~own]), g.n)
        perm = minimum_degree(pattern)
        found.append(part[perm[perm < part.size]])
    return np.concatenate(found)


def _with_halos(leaf: np.ndarray, inside: tuple, outside: tuple, n: int) -> Pattern:
    """The pattern of leaves (leaf: of each node), edges inside them, and edges to nodes outside.

    Each leaf has copies of the nodes of its halo, all joined to a few added nodes, the anchors,
    that raise their degree above that of the leaf's nodes, which so go first.
    """
    node, beyond = outside
    halo, copy = np.unique(leaf[node] * np.int64(n) + beyond, return_inverse=True)
    beside = halo // max(n, 1) - leaf[0]  # the leaf of each copy
    amount = np.minimum(np.bincount(beside), ANCHORS)
    first = leaf.size + halo.size + np.cumsum(amount) - amount
    each = amount[beside]
    ends = np.repeat(np.arange(halo.size), each)
    half = inside[0] > inside[1]
    return _lower(
        leaf.size + halo.size + int(amount.sum()),
        np.concatenate([inside[0][half], leaf.size + copy, first[beside[ends]] + ramp(each)]),
        np.concatenate([inside[1][half], node, leaf.size + ends]),
    )


def _lower(n: int, rows: np.ndarray, cols: np.ndarray) -> Pattern:
    """The canonical pattern of strictly lower entries without duplicates, and the diagonal."""
    every = np.arange(n)
    key = np.sort(np.concatenate([cols.astype(np.int64) * n + rows, every * (n + 1)]))
    return Pattern(n, key % max(n, 1), key // max(n, 1))

"""Nested dissection (George 1973, SIAM J. Numer. Anal. 10(2), 345-363) in numpy and scipy.

All subdomains of a depth are separated at once, so that the number of passes over the graph goes
with depth times levels of coarsening, not with the number of subdomains.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph as csgraph

from padchol.symbolic.ordering.bisection import bisect
from padchol.symbolic.ordering.leaves import order_leaves
from padchol.symbolic.ordering.multilevel import Former, Graph, filtered, induced
from padchol.symbolic.pattern import Pattern

LEAF = 90  # columns of a subdomain left to minimum degree: less fill than 300 (experiments 22, 23)
COMPRESSED = 0.85  # worth it where indistinguishable nodes bring the graph below this share


def nested_dissection(
    pattern: Pattern, minimum_degree: Callable[[Pattern], np.ndarray]
) -> np.ndarray:
    """perm (n,): leaves by minimum degree, separators from the deepest to the top."""
    graph = whole(pattern)
    member, small = compressed(graph)
    depth = separator_depths(small, np.random.default_rng(0))[member]
    leaves = order_leaves(graph, depth < 0, minimum_degree)
    last = np.argsort(-depth, kind="stable")[: graph.n - leaves.size]
    return np.concatenate([leaves, last])


def whole(pattern: Pattern) -> Graph:
    """The graph of a pattern, in one subdomain."""
    strict = pattern.rows != pattern.cols
    r, c = pattern.rows[strict].astype(np.int32), pattern.cols[strict].astype(np.int32)
    n = pattern.n
    data = np.ones(2 * r.size, np.int32)
    m = sp.csr_array((data, (np.concatenate([r, c]), np.concatenate([c, r]))), shape=(n, n))
    src = np.repeat(np.arange(n, dtype=np.int32), np.diff(m.indptr))
    one, zero = np.ones(n, np.int32), np.zeros(n, np.int32)
    return filtered(src, m.indices, m.data, one, zero, 1, np.ones(src.size, bool))


def compressed(g: Graph) -> tuple[np.ndarray, Graph]:
    """(member (n,), graph) with indistinguishable nodes (equal closed neighbourhoods) as one.

    Found by a sum of random 64-bit numbers over the neighbourhood (Ashcraft 1995, SIAM J. Sci.
    Comput. 16(6), 1404-1411, by hashing). A collision would cost quality, not correctness.
    """
    number = np.random.default_rng(1).integers(0, 1 << 63, g.n, np.uint64)
    sums = np.concatenate([[np.uint64(0)], np.cumsum(number[g.dst], dtype=np.uint64)])
    digest = number + sums[g.ptr[1:]] - sums[g.ptr[:-1]]
    _, first, member = np.unique(digest, return_index=True, return_inverse=True)
    if first.size > COMPRESSED * g.n:
        return np.arange(g.n), g
    kept = np.zeros(g.n, bool)
    kept[first] = True
    small = induced(g, kept, g.domain[kept], 1)
    place = np.cumsum(kept) - 1
    member = place[first[member]]
    size = np.bincount(member, minlength=small.n).astype(np.int32)
    return member, small._replace(size=size, heft=size[small.src] * size[small.dst])


def separator_depths(g: Graph, rng: np.random.Generator) -> np.ndarray:
    """(n,): the depth of the separator that a node belongs to, -1 inside the leaves.

    The subdomains of a depth are the connected parts that the separators above have left. Cost: a
    few passes over the graph for each depth and level of coarsening, and one flow each.
    """
    depth = np.full(g.n, -1, np.int64)
    nodes = np.arange(g.n)
    former = Former([], nodes)
    for level in range(g.n):
        _, domain = csgraph.connected_components(g.matrix, directed=False)
        large = np.bincount(domain, g.size) > LEAF
        kept = large[domain]
        if not kept.any():
            break
        name = np.cumsum(large, dtype=np.int32) - 1
        g = induced(g, kept, name[domain[kept]], int(large.sum()))
        nodes, former = nodes[kept], Former(former.clusters, former.at[kept])
        side, clusters = bisect(g, rng, former)
        depth[nodes[side == 2]] = level
        split = np.bincount(g.domain, side == 2, g.domains) > 0
        kept = split[g.domain] & (side < 2)
        g = induced(g, kept, g.domain[kept], g.domains)
        nodes, former = nodes[kept], Former(clusters, np.flatnonzero(kept))
    return depth

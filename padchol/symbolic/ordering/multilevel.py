"""Coarsening: heavy-edge matching and contraction of all subdomains of a graph at once.

Multilevel schemes: Hendrickson & Leland (1995), Supercomputing '95; Karypis & Kumar (1998), SIAM J.
Sci. Comput. 20(1), 359-392. No loop is over nodes or subdomains: a subdomain is a label, and edges
never leave one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

ROUNDS = 4  # of proposals in a matching
STALLED = 0.95  # a level that keeps more of the nodes than this is not worth its passes
HEAVIEST = 1.5  # a coarse node weighs at most this many times the mean of the coarsest graph


class Graph(NamedTuple):
    """Weighted graph in CSR, both directions of an edge stored, no loops, subdomains as labels."""

    ptr: np.ndarray  # (n + 1,)
    src: np.ndarray  # (edges,) the row of each entry
    dst: np.ndarray  # (edges,)
    heft: np.ndarray  # (edges,) edge weights: the edges of the finest graph that an edge stands for
    size: np.ndarray  # (n,) node weights: the columns of the matrix that a node stands for
    domain: np.ndarray  # (n,)
    domains: int

    @property
    def n(self) -> int:
        return self.size.size

    @property
    def nodes(self) -> np.ndarray:
        """(domains,) nodes of each subdomain."""
        return np.bincount(self.domain, minlength=self.domains)

    @property
    def weight(self) -> np.ndarray:
        """(domains,) weight of each subdomain."""
        return np.bincount(self.domain, self.size, self.domains)

    @property
    def matrix(self) -> sp.csr_array:
        """The adjacency matrix, with the edge weights as values."""
        return sp.csr_array((self.heft, self.dst, self.ptr), shape=(self.n, self.n))

    def rows(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row, dst): the edges of the nodes given, by place in `nodes`; in time for these."""
        start = self.ptr[nodes]
        count = self.ptr[nodes + 1] - start
        row = np.repeat(np.arange(nodes.size, dtype=np.int32), count)
        shift = start - (np.cumsum(count, dtype=np.int32) - count)
        return row, self.dst[np.arange(row.size, dtype=np.int32) + shift[row]]


def from_matrix(matrix: sp.csr_array, size: np.ndarray, domain: np.ndarray, domains: int) -> Graph:
    """A graph of the entries off the diagonal."""
    src = np.repeat(np.arange(size.size, dtype=np.int32), np.diff(matrix.indptr))
    return filtered(src, matrix.indices, matrix.data, size, domain, domains, src != matrix.indices)


def filtered(src, dst, heft, size, domain, domains: int, keep: np.ndarray) -> Graph:
    """A graph of the edges kept, which are sorted by src."""
    src, dst, heft = src[keep], dst[keep], heft[keep]
    ptr = np.zeros(size.size + 1, np.int32)
    np.cumsum(np.bincount(src, minlength=size.size), out=ptr[1:])
    return Graph(ptr, src, dst, heft, size, domain, domains)


def induced(g: Graph, kept: np.ndarray, domain: np.ndarray, domains: int) -> Graph:
    """The subgraph of the nodes kept (a mask), with new labels for them."""
    place = np.cumsum(kept, dtype=np.int32) - 1
    edges = kept[g.src] & kept[g.dst]
    src, dst = place[g.src[edges]], place[g.dst[edges]]
    every = np.ones(src.size, bool)
    return filtered(src, dst, g.heft[edges], g.size[kept], domain, domains, every)


def matching(g: Graph, limit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """mate (n,): the node each is matched with, itself where alone. limit (n,): weight of a pair.

    An edge is matched where both its ends rate it highest: rounds of locally dominant edges
    (Preis 1999), rated heft^2 / (size size) (Holtgrewe, Sanders & Schulz 2010) with random ties.
    Nodes left alone are then paired with others left alone by the same favourite neighbour.
    Cost: O(edges) a round, over the edges that are left.
    """
    mate = np.arange(g.n, dtype=np.int32)
    label = rng.integers(1, 1 << 30, g.n)
    src, dst = g.src, g.dst
    fits = g.size[src] + g.size[dst] <= limit[src]
    tie = ((label[src] * label[dst]) >> 12 & 0xFFFF) / 0xFFFF
    heft = g.heft.astype(np.float64)
    rating = heft * heft / (g.size[src].astype(np.float64) * g.size[dst]) * (1 + 0.01 * tie)
    src, dst, rating = src[fits], dst[fits], rating[fits]
    favourite = _favourites(g.n, src, dst, rating)
    for _ in range(ROUNDS):
        if not src.size:
            break
        best = np.zeros(g.n)
        starts = np.flatnonzero(np.r_[True, src[1:] != src[:-1]])
        best[src[starts]] = np.maximum.reduceat(rating, starts)
        dominant = (rating == best[src]) & (rating == best[dst])
        a, b = src[dominant], dst[dominant]
        mate[a] = b
        alone = mate[mate] != np.arange(g.n)  # where ratings were equal after all
        mate[alone] = np.flatnonzero(alone)
        free = mate == np.arange(g.n)
        left = free[src] & free[dst]
        src, dst, rating = src[left], dst[left], rating[left]
    return _two_hop(g, mate, favourite, limit)


def _favourites(n: int, src: np.ndarray, dst: np.ndarray, rating: np.ndarray) -> np.ndarray:
    """(n,) the neighbour over each node's best edge, -1 without one."""
    favourite = np.full(n, -1, np.int32)
    if src.size:
        starts = np.flatnonzero(np.r_[True, src[1:] != src[:-1]])
        best = np.zeros(n)
        best[src[starts]] = np.maximum.reduceat(rating, starts)
        top = rating == best[src]
        favourite[src[top]] = dst[top]
    return favourite


def _two_hop(g: Graph, mate: np.ndarray, favourite: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Pair the nodes left alone that have one favourite: stars would stall a matching of edges."""
    alone = np.flatnonzero((mate == np.arange(g.n)) & (favourite >= 0))
    alone = alone[np.argsort(favourite[alone], kind="stable")]
    run = favourite[alone]
    if alone.size < 2:
        return mate
    starts = np.flatnonzero(np.r_[True, run[1:] != run[:-1]])
    place = np.arange(run.size) - np.repeat(starts, np.diff(np.r_[starts, run.size]))
    first = np.flatnonzero((place[:-1] % 2 == 0) & (run[1:] == run[:-1]))
    a, b = alone[first], alone[first + 1]
    fits = g.size[a] + g.size[b] <= limit[a]
    mate[a[fits]], mate[b[fits]] = b[fits], a[fits]
    return mate


def pairs(mate: np.ndarray) -> np.ndarray:
    """(n,) the cluster of each node, numbered by their last nodes."""
    every = np.arange(mate.size, dtype=np.int32)
    place = np.cumsum(mate <= every, dtype=np.int32) - 1
    return place[np.maximum(mate, every)]


def inherited(g: Graph, parent: np.ndarray, shrink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(cluster (n,), parent of each cluster): clusters of a former matching, cut by subdomains.

    Nodes of one parent and one subdomain are a cluster; nodes that shall not shrink are alone.
    Cost: O(nodes), and a sort of the few that have lost their partners.
    """
    lead = np.full(int(parent.max()) + 1, -1, np.int32)
    lead[parent[shrink]] = g.domain[shrink]
    joined = shrink & (lead[parent] == g.domain)
    cut, alone = np.flatnonzero(shrink & ~joined), np.flatnonzero(~shrink)
    present = np.flatnonzero(lead >= 0)
    place = np.empty(lead.size, np.int32)
    place[present] = np.arange(present.size)
    key = parent[cut] * np.int64(g.domains) + g.domain[cut]
    parts, part = np.unique(key, return_inverse=True)
    cluster = place[parent]
    cluster[cut] = present.size + part
    cluster[alone] = present.size + parts.size + np.arange(alone.size)
    return cluster, np.concatenate([present, parts // g.domains, np.zeros(alone.size, np.int64)])


def contract(g: Graph, cluster: np.ndarray) -> Graph:
    """The coarse graph: the product P^T A P, and its diagonal dropped.

    Cost: O(edges), in compiled sparse products.
    """
    n = int(cluster.max()) + 1
    half = sp.csr_array((g.heft, cluster[g.dst], g.ptr), shape=(g.n, n))
    every = np.arange(g.n + 1, dtype=np.int32)
    gather = sp.csr_array((np.ones(g.n, np.int32), cluster, every), shape=(g.n, n))
    product = sp.csr_array(gather.T.tocsr() @ half)
    size = np.bincount(cluster, g.size, n).astype(np.int32)
    domain = np.empty(n, np.int32)
    domain[cluster] = g.domain
    return from_matrix(product, size, domain, g.domains)


class Former(NamedTuple):
    """The coarsening of a graph of which the present one is a part."""

    clusters: list[np.ndarray]
    at: np.ndarray  # the nodes of that graph that the present nodes are


def coarsen(
    g: Graph, target: int, rng: np.random.Generator, former: Former
) -> tuple[list[Graph], list[np.ndarray]]:
    """(graphs, clusters): from g down to about `target` nodes per subdomain.

    clusters[l] maps the nodes of graphs[l] to those of graphs[l + 1]. Subdomains that are small
    enough stay as they are while larger ones shrink. Former clusters are used as far as they go.
    """
    graphs, clusters, at = [g], [], former.at
    heaviest = (HEAVIEST * g.weight / target).astype(np.int64)
    while (shrink := g.nodes > 1.3 * target).any():
        if len(clusters) < len(former.clusters):
            cluster, at = inherited(g, former.clusters[len(clusters)][at], shrink[g.domain])
        else:
            cluster = pairs(matching(g, np.where(shrink, heaviest, 0)[g.domain], rng))
        if cluster.max() + 1 > STALLED * g.n:
            break
        g = contract(g, cluster)
        graphs.append(g)
        clusters.append(cluster)
    return graphs, clusters

"""Vertex separators of all subdomains of a graph at once, by minimum cuts in a band.

A separator is a label per node: 0 and 1 are the sides, 2 the separator. Refinement in place of
moves of single nodes (Fiduccia & Mattheyses 1982): of all the separators inside a band around the
present one a lightest is found by a maximum flow (Ashcraft & Liu 1998, SIAM J. Matrix Anal. Appl.
19(2), 325-354; Sanders & Schulz 2011). Subdomains do not touch, so one compiled flow serves all.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph as csgraph

from padchol.symbolic.ordering.multilevel import Graph

# Measured by nnz(L) on grids of 100^2, 300^2, 20^3 and 30^3, two surface meshes and a QP.
KEPT = 0.33  # of a subdomain's weight stays on each side of a band
WIDTH = 4  # layers of a band on each side of a separator; 2 fill in by 2 to 6 % more
EVEN = 3  # weight of balance: 1 fills in as much, in trees that are 3 % higher (experiment 23)
INSIDE = 0.2  # cost of one more neighbour inside the separator, as a share of its weight
UNBOUNDED = 1 << 29  # capacity beyond every weight


def weights(g: Graph, side: np.ndarray) -> np.ndarray:
    """(domains, 3): weight of both sides and of the separator."""
    return np.bincount(3 * g.domain + side, g.size, 3 * g.domains).reshape(-1, 3)


def cost(g: Graph, side: np.ndarray) -> np.ndarray:
    """(domains,): weight of the separator over a power of the product of the sides' shares.

    The ratio weighs balance against weight without a limit that is passed or not; it is infinite if
    a side is empty. Separators with few edges inside are preferred: they take more edges away from
    what is left.
    """
    a, b, s = weights(g, side).T
    shares = a * b / np.maximum(a + b + s, 1) ** 2
    nodes = np.flatnonzero(side == 2)
    domain = g.domain[nodes]
    row, dst = g.rows(nodes)
    inside = np.bincount(domain[row[side[dst] == 2]], minlength=g.domains)
    degree = inside / np.maximum(np.bincount(domain, minlength=g.domains), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(shares > 0, (s + 1e-3) * (1 + INSIDE * degree) / shares**EVEN, np.inf)


def refined(g: Graph, side: np.ndarray, rounds: int) -> np.ndarray:
    """Separators replaced by lightest ones of their bands, where those cost less."""
    present = cost(g, side)
    for _ in range(rounds):
        found, price = minimum_separator(g, side, band(g, side))
        better = price < present
        if not better.any():
            break
        side = np.where(better[g.domain], found, side)
        present = np.minimum(price, present)
    return side


def band(g: Graph, side: np.ndarray) -> np.ndarray:
    """(n,) mask: separators and WIDTH layers on either side, less those that leave too little."""
    free = side == 2
    layer = np.flatnonzero(free)
    room = (weights(g, side) - KEPT * g.weight[:, None]).ravel()
    for _ in range(WIDTH):
        layer = g.rows(layer)[1]
        layer = layer[~free[layer]]
        fresh = np.zeros(g.n, bool)
        fresh[layer] = True
        layer = np.flatnonzero(fresh)
        key = 3 * g.domain[layer] + side[layer]
        room -= np.bincount(key, g.size[layer], room.size)
        layer = layer[room[key] > 0]
        free[layer] = True
    return free


def minimum_separator(
    g: Graph, side: np.ndarray, free: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(side, cost) of the lightest set of free nodes that parts the others by their sides.

    Nodes are split into an arc of their weight (Even 1975); source and sink stand for all that is
    not free. By Menger's theorem a maximum flow is the weight of a lightest separator: of the one
    next to the source and the one next to the sink the cheaper is taken in each subdomain.
    """
    nodes = np.flatnonzero(free)
    m = nodes.size
    if m == 0:
        return side, cost(g, side)
    index = np.empty(g.n, np.int32)
    index[nodes] = np.arange(m, dtype=np.int32)
    a, dst = g.rows(nodes)
    inner = free[dst]
    beside = np.zeros((2, m), bool)
    beside[side[dst[~inner]], a[~inner]] = True
    network = split_network(g.size[nodes], a[inner], index[dst[inner]], beside)
    flow = csgraph.maximum_flow(network, 2 * m, 2 * m + 1).flow
    residual = network - flow
    residual.data = (residual.data > 0).astype(np.float64)
    residual.eliminate_zeros()
    near = _reached(residual, 2 * m, m)
    far = _reached(residual.T.tocsr(), 2 * m + 1, m)
    first, second = side.copy(), side.copy()
    first[nodes] = np.where(near[1], 0, np.where(near[0], 2, 1))
    second[nodes] = np.where(far[0], 1, np.where(far[1], 2, 0))
    one, other = cost(g, first), cost(g, second)
    return np.where((one <= other)[g.domain], first, second), np.minimum(one, other)


def split_network(
    size: np.ndarray, a: np.ndarray, b: np.ndarray, beside: np.ndarray
) -> sp.csr_array:
    """Entries of the m nodes, then exits, the source (2 m) and the sink; arcs a to b unbounded."""
    m = size.size
    every = np.arange(m, dtype=np.int32)
    source, sink = np.flatnonzero(beside[0]), np.flatnonzero(beside[1])
    tail = np.concatenate([every, a + m, np.full(source.size, 2 * m), sink + m])
    head = np.concatenate([every + m, b, source, np.full(sink.size, 2 * m + 1)])
    capacity = np.full(tail.size, UNBOUNDED, np.int32)
    capacity[:m] = size
    ends = tail.astype(np.int32), head.astype(np.int32)
    return sp.csr_array((capacity, ends), shape=(2 * m + 2, 2 * m + 2))


def _reached(residual: sp.csr_array, start: int, m: int) -> np.ndarray:
    """(2, m): whether the entry and the exit of each free node are reached in the residual."""
    found = np.zeros(2 * m + 2, bool)
    order = csgraph.breadth_first_order(residual, start, return_predecessors=False)
    found[order] = True
    return found[: 2 * m].reshape(2, m)

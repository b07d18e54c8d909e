"""Multilevel bisection of all subdomains of a graph at once: first separators, then refinement."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph as csgraph

from padchol.symbolic.ordering.multilevel import Former, Graph, coarsen
from padchol.symbolic.ordering.separators import cost, minimum_separator, refined

# Measured by nnz(L) and time on grids of 100^2, 300^2, 20^3 and 30^3, two surface meshes and a QP.
COARSEST = 100  # nodes of a subdomain at which it is separated first
TOGETHER = 16_000  # and of all together, where these are few: 8000 fill in by 4 % more at 300^2
STARTS = 3  # first separators tried in each subdomain, at most
TRIED = 48_000  # nodes of the graphs of all starts together: 16,000 cost 2 % more (experiment 23)
CORE = 0.33  # of the weight of a subdomain: what each side keeps at least of a first separator
SMOOTHING = 10  # averages over neighbours


def bisect(
    g: Graph, rng: np.random.Generator, former: Former
) -> tuple[np.ndarray, list[np.ndarray]]:
    """(side (n,): 0, 1 or 2, clusters); subdomains that do not separate have side 0 throughout."""
    target = max(COARSEST, TOGETHER // g.domains)
    graphs, clusters = coarsen(g, target, rng, former)
    side = first_separators(graphs[-1], rng)
    for graph, cluster in zip(graphs[-2::-1], clusters[::-1], strict=True):
        side = refined(graph, side[cluster], 1)
    split = np.isfinite(cost(g, side))
    return np.where(split[g.domain], side, 0), clusters


def first_separators(g: Graph, rng: np.random.Generator) -> np.ndarray:
    """The best of several starts: cuts across the smoothed distance between two far nodes."""
    starts = max(1, min(STARTS, TRIED // g.n))
    many = copies(g, starts)
    side = across(many, coordinate(many, rng))
    side = refined(many, side, 2)
    best = np.argmin(cost(many, side).reshape(starts, g.domains), axis=0)
    return side.reshape(starts, g.n)[best[g.domain], np.arange(g.n)]


def copies(g: Graph, k: int) -> Graph:
    """k copies of a graph side by side."""

    def shifted(array, by):
        return (array + by * np.arange(k, dtype=np.int32)[:, None]).ravel()

    edges = g.src.size
    ptr = np.append(shifted(g.ptr[:-1], edges), k * edges).astype(np.int32)
    return Graph(
        ptr,
        shifted(g.src, g.n),
        shifted(g.dst, g.n),
        np.tile(g.heft, k),
        np.tile(g.size, k),
        shifted(g.domain, g.domains),
        k * g.domains,
    )


def coordinate(g: Graph, rng: np.random.Generator) -> np.ndarray:
    """(n,): distance from one end of a subdomain less that from the other, smoothed.

    Ends: the last node of a breadth-first search from the last node of another (George & Liu 1979,
    pseudo-peripheral nodes). Smoothing (averages over neighbours) leads towards the Fiedler vector
    (Pothen, Simon & Liou 1990).
    """
    end = np.empty(g.domains, np.int64)
    shuffled = rng.permutation(g.n)
    end[g.domain[shuffled]] = shuffled
    _, end = distances(g, end)
    near, other = distances(g, end)
    far, _ = distances(g, other)
    x = (near - far).astype(np.float64)
    matrix = sp.csr_array((g.heft.astype(np.float64), g.dst, g.ptr), shape=(g.n, g.n))
    degree = np.maximum(matrix @ np.ones(g.n), 1e-300)
    for _ in range(SMOOTHING):
        x = 0.5 * (x + (matrix @ x) / degree)
    return x


def distances(g: Graph, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(distance (n,), last (domains,)): breadth-first from one node of each (connected) subdomain.

    One compiled search from an added node next to all the starts.
    """
    dst = np.concatenate([g.dst, start.astype(np.int32)])
    ptr = np.append(g.ptr, dst.size).astype(np.int32)
    rooted = sp.csr_array((np.ones(dst.size), dst, ptr), shape=(g.n + 1, g.n + 1))
    order, before = csgraph.breadth_first_order(rooted, g.n)
    distance = np.zeros(g.n + 1, np.int64)
    for depth, (done, until) in enumerate(layers(order, before)):
        distance[order[done:until]] = depth
    last = np.empty(g.domains, np.int64)
    last[g.domain[order[1:]]] = order[1:]
    return distance[:-1], last


def layers(order: np.ndarray, before: np.ndarray) -> Iterator[tuple[int, int]]:
    """Where the layers of a breadth-first search, but for its start, begin and end in its order.

    Predecessors come in the order of the search, so that the end of a layer tells the next one's.
    """
    place = np.empty(before.size, np.int64)
    place[order] = np.arange(order.size)
    above = place[before[order[1:]]]
    done = 1
    while done < order.size:
        until = 1 + int(np.searchsorted(above, done))
        yield done, until
        done = until


def across(g: Graph, x: np.ndarray) -> np.ndarray:
    """A lightest separator between the nodes of small x and those of large x."""
    order = np.lexsort((x, g.domain))
    total = g.weight
    before = np.cumsum(g.size[order]) - g.size[order] / 2
    before -= (np.cumsum(total) - total)[g.domain[order]]
    share = np.empty(g.n)
    share[order] = before / total[g.domain[order]]
    side = (share > 0.5).astype(np.int8)
    free = (share > CORE) & (share < 1 - CORE)
    touching = np.zeros(g.n, bool)
    cross = ~free[g.src] & ~free[g.dst] & (side[g.src] < side[g.dst])
    touching[g.src[cross]] = True
    return minimum_separator(g, side, free | touching)[0]

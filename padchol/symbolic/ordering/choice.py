"""Which orderings are worth their time: what each is predicted to cost, and to bring.

Counted, never timed, so that equal patterns get equal plans.
"""

from __future__ import annotations

import importlib.util
import itertools

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph as csgraph

from padchol.symbolic.ordering.bisection import layers
from padchol.symbolic.ordering.dense import dense_rows, without
from padchol.symbolic.ordering.dissection import LEAF
from padchol.symbolic.ordering.named import adjacency
from padchol.symbolic.pattern import Pattern

# Nested dissection here takes 5 times as long as METIS; where both can be had, it is tried up to
# this n, where it still brings most: a third fewer flops at 3D 30^3 (experiment 17). Minimum degree
# is left out beyond it, where METIS has found a mesh (experiment 23). Beyond it dissection is tried
# where a factorisation of METIS's plan is predicted to take a tenth of the time of a dissection,
# so many ns a node: 3D from 40^3 on, where it saves 36 % of the flops (36); not 2D.
ND_BESIDE_METIS = 30_000
ND_PER_NODE, ND_PAYS = 70_000.0, 0.1
# Minimum degree takes so many ns for each entry of L that a dissection leaves, 49 to 88 on random
# graphs of 5,000 to 70,000 nodes and degrees 3 to 5 (experiment 39). Left out beyond ten seconds.
MMD_PER_ENTRY, MMD_AT_MOST = 55.0, 1e10
# From so many nodes on a dissection goes first where the graph expands: below, minimum degree takes
# 1.5 s at most. Layers of a search hold 0.23 to 0.48 of a random graph, 0.1 of the smallest power
# network, 0.04 of counties, cubes and roads, less of all that is larger (39).
EXPANDS_FROM, LAYER = 20_000, 0.125
TREE = 1.05  # edges a node, below which a graph is hardly more than a tree: little can fill in
FILLS_NOTHING = 1.01  # times the entries of A: no other ordering can leave out more than this


def candidates(pattern: Pattern) -> list[str]:
    """The orderings that "auto" compares by the predicted cost of their plans, in that sequence."""
    metis_found = importlib.util.find_spec("pymetis") is not None
    names = ["metis"] * metis_found  # first: see `dissection_suffices`
    names.append("mmd")  # which orders all of a graph no larger than a leaf of the dissection
    if LEAF < pattern.n <= (ND_BESIDE_METIS if metis_found else pattern.n):
        names.append("nd")
    if names == ["mmd", "nd"] and expands(pattern):
        names.reverse()  # see `degree_hopeless`
    return names


def expands(pattern: Pattern) -> bool:
    """Whether the graph, large and without its dense rows, looks like one without small separators.

    A breadth-first search of a mesh, of d dimensions, finds some n^(1 - 1/d) nodes in a layer; one
    of a random graph of degree d multiplies by d - 1 in every layer until it has found nearly all.
    A tree may look like that as well: it loses the time of a dissection.
    """
    if pattern.n <= EXPANDS_FROM:
        return False
    sparse = without(pattern, dense_rows(pattern))
    if sparse.rows.size - sparse.n < TREE * sparse.n:
        return False
    graph = sp.csr_array(adjacency(sparse))
    start = int(np.argmax(np.diff(graph.indptr)))
    found = layers(*csgraph.breadth_first_order(graph, start, directed=False))
    near = itertools.islice(found, int(2 * np.log2(pattern.n)))
    return any(until - done > LAYER * pattern.n for done, until in near)


def dissection_suffices(n: int, widest: int) -> bool:
    """Whether METIS's widest separator, of so many columns, is that of a large mesh.

    Meshes of d dimensions have separators of about n^(1 - 1/d) nodes, and there minimum degree
    costs 1.1 to 3 times as much from two dimensions on; road and power networks have smaller ones,
    random graphs larger ones, and both do better by minimum degree (tests/bench/NOTES.md, 23).
    """
    return n > ND_BESIDE_METIS and np.sqrt(n) / 2 <= widest <= n**0.75


def dissection_pays(n: int, price: float) -> bool:
    """Whether a dissection is worth its time beside METIS's, whose plan takes so many ns."""
    return n > ND_BESIDE_METIS and _long(n, price)


def dissection_useless(pattern: Pattern, nnz_L: int, price: float) -> bool:
    """Whether minimum degree has left so few entries that a dissection can only have more, in a
    plan that does not take long. Where it does, more entries may cost less: columns of one factor
    of 500 levels, each crossed with all of another, are dear one by one and cheap together."""
    return nnz_L <= FILLS_NOTHING * pattern.rows.size and not _long(pattern.n, price)


def _long(n: int, price: float) -> bool:
    return price > ND_PAYS * ND_PER_NODE * n


def degree_hopeless(nnz_L: int) -> float:
    """Seconds that minimum degree would take where a dissection leaves so many entries, or 0 where
    it is worth them.

    It has no bound of its own: towards its end the graph is nearly complete, and every column that
    is taken changes the degrees of all others.
    """
    price = MMD_PER_ENTRY * nnz_L
    return price / 1e9 if price > MMD_AT_MOST else 0.0

"""Slow, obvious references for the symbolic phase, and the patterns that its tests draw.

Everything here is dense and boolean. S (n, n) is the pattern of a symmetric matrix with a full
diagonal; L (n, n) is the pattern of its Cholesky factor, found by eliminating column by column.
"""

from __future__ import annotations

import collections
import importlib.machinery
import importlib.util
import sys
import types

import numpy as np
import scipy.sparse as sp
from hypothesis import settings
from hypothesis import strategies as st

from padchol.symbolic.ordering import named
from padchol.symbolic.pattern import Pattern
from padchol.testing._brute_force import column_counts as column_counts
from padchol.testing._brute_force import csc as csc
from padchol.testing._brute_force import eliminate as eliminate
from padchol.testing._brute_force import supernode_starts as supernode_starts
from padchol.testing._brute_force import tree as tree

# Examples are cheap, but the first one may import and warm up: no deadline per example.
quick = settings(deadline=None, max_examples=60)


def ancestors(parent: np.ndarray, j: int) -> list[int]:
    """j's parent, its parent, and so on."""
    found = []
    while parent[j] >= 0:
        j = int(parent[j])
        found.append(j)
    return found


def heights(parent: np.ndarray) -> np.ndarray:
    """Longest way down to a leaf."""
    level = np.zeros(len(parent), np.int64)
    for j in range(len(parent)):
        for distance, above in enumerate(ancestors(parent, j), start=1):
            level[above] = max(level[above], distance)
    return level


def as_pattern(S: np.ndarray) -> Pattern:
    """Canonical pattern of S, entry by entry."""
    n = len(S)
    entries = [(i, j) for j in range(n) for i in range(j, n) if S[i, j] or i == j]
    rows, cols = np.array(entries, np.int64).reshape(-1, 2).T
    return Pattern(n, rows, cols)


def spd(S: np.ndarray, seed: int = 0) -> sp.csc_array:
    """A positive definite matrix on the pattern S: random off the diagonal, dominant on it."""
    values = np.tril(np.where(S, np.random.default_rng(seed).uniform(-1, 1, S.shape), 0), -1)
    values = values + values.T
    return sp.csc_array(values + np.diag(np.abs(values).sum(0) + 1))


def metis(monkeypatch) -> None:
    """pymetis where it is installed, else a stand-in that dissects as padchol does."""
    if importlib.util.find_spec("pymetis"):
        return

    def nested_dissection(graph):
        n = len(graph.adj_starts) - 1
        entries = np.ones(len(graph.adjacent), bool), graph.adjacent, graph.adj_starts
        S = sp.csr_array(entries, shape=(n, n)).toarray() | diagonal(n)
        perm = named.dissection(as_pattern(S))
        return perm.tolist(), np.argsort(perm).tolist()

    adjacency = collections.namedtuple("CSRAdjacency", ["adj_starts", "adjacent"])
    module = types.ModuleType("pymetis")
    module.__spec__ = importlib.machinery.ModuleSpec("pymetis", None)
    module.CSRAdjacency, module.nested_dissection = adjacency, nested_dissection
    monkeypatch.setitem(sys.modules, "pymetis", module)


# Patterns by name


def diagonal(n: int) -> np.ndarray:
    return np.eye(n, dtype=bool)


def full(n: int) -> np.ndarray:
    return np.ones((n, n), bool)


def path(n: int) -> np.ndarray:
    return np.abs(np.subtract.outer(np.arange(n), np.arange(n))) <= 1


def arrow(n: int, at: int) -> np.ndarray:
    """One dense row and column: no fill where it is the last, all fill where it is the first."""
    S = diagonal(n)
    S[at, :] = S[:, at] = True
    return S


def grid(rows: int, cols: int) -> np.ndarray:
    """Five-point stencil, row by row."""
    i, j = np.divmod(np.arange(rows * cols), max(cols, 1))
    return np.abs(np.subtract.outer(i, i)) + np.abs(np.subtract.outer(j, j)) <= 1


def edges(n: int, pairs) -> np.ndarray:
    S = diagonal(n)
    for i, j in pairs:
        S[i, j] = S[j, i] = True
    return S


def side_by_side(*blocks: np.ndarray) -> np.ndarray:
    """Block diagonal: a disconnected graph."""
    return sp.block_diag([sp.coo_array(b) for b in blocks]).toarray().astype(bool)


def shuffled(S: np.ndarray, seed: int) -> np.ndarray:
    p = np.random.default_rng(seed).permutation(len(S))
    return S[np.ix_(p, p)]


EXAMPLES = {
    "empty": diagonal(0),
    "one": diagonal(1),
    "diagonal": diagonal(7),
    "dense": full(11),
    "path": path(17),
    "arrow down": arrow(13, 12),
    "arrow up": arrow(13, 0),
    "grid": grid(6, 5),
    "shuffled grid": shuffled(grid(7, 7), 3),
    "forest": edges(12, [(0, 3), (1, 3), (3, 8), (2, 9), (4, 5), (7, 11), (10, 11)]),
    "disconnected": side_by_side(grid(3, 4), path(5), diagonal(2), full(4)),
    "dense rows": arrow(20, 4) | arrow(20, 11) | path(20),
}


# Patterns drawn by hypothesis


@st.composite
def random_pattern(draw, max_n: int) -> np.ndarray:
    """Any graph, from empty to dense: fills in at its leisure."""
    n = draw(st.integers(1, max_n))
    count = draw(st.integers(0, 3 * n))
    node = st.integers(0, n - 1)
    return edges(n, draw(st.lists(st.tuples(node, node), max_size=count)))


@st.composite
def forest(draw, max_n: int) -> np.ndarray:
    """Each node hangs under a later one, or is a root."""
    n = draw(st.integers(1, max_n))
    above = [draw(st.integers(j, n - 1)) for j in range(n)]
    return edges(n, enumerate(above))


@st.composite
def dense_rows(draw, max_n: int) -> np.ndarray:
    S = draw(random_pattern(max_n)).copy()
    for at in draw(st.lists(st.integers(0, len(S) - 1), min_size=1, max_size=3)):
        S |= arrow(len(S), at)
    return S


@st.composite
def arrows(draw, max_n: int) -> np.ndarray:
    n = draw(st.integers(1, max_n))
    return arrow(n, draw(st.sampled_from([0, n - 1])))


@st.composite
def grids(draw, max_n: int) -> np.ndarray:
    rows = draw(st.integers(1, max(1, int(max_n**0.5))))
    return grid(rows, draw(st.integers(1, max(1, max_n // rows))))


@st.composite
def patterns(draw, max_n: int = 30) -> np.ndarray:
    """A symmetric boolean pattern of any family, as it is or relabelled."""
    sizes = st.integers(0, max_n)
    connected = st.one_of(
        random_pattern(max_n),
        grids(max_n),
        forest(max_n),
        dense_rows(max_n),
        arrows(max_n),
        sizes.map(path),
        sizes.map(diagonal),
        st.integers(0, min(max_n, 12)).map(full),
    )
    S = draw(connected)
    if len(S) < max_n // 2 and draw(st.booleans()):
        other = draw(random_pattern(max(1, max_n // 2)))
        S = side_by_side(S, other) if len(S) else other
    return shuffled(S, draw(st.integers(0, 2**16))) if draw(st.booleans()) else S

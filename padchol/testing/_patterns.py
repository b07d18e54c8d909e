"""Random symmetric patterns, and the containers in which users have their matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from jax.experimental import sparse as jsparse

Rng = np.random.Generator
LARGEST = 40  # order of a pattern


class Entries(NamedTuple):
    """Of the lower triangle: rows >= cols, each pair once, the diagonal perhaps in part."""

    n: int
    rows: np.ndarray
    cols: np.ndarray
    data: np.ndarray

    @property
    def dense(self) -> np.ndarray:
        """The symmetric pattern, with a full diagonal."""
        S = np.eye(self.n, dtype=bool)
        S[self.rows, self.cols] = S[self.cols, self.rows] = True
        return S


# ---- edges (m, 2) of n unknowns ---------------------------------------------------------------


def scattered(rng: Rng, n: int) -> np.ndarray:
    return rng.integers(n, size=(rng.integers(3 * n + 1), 2))


def band(rng: Rng, n: int) -> np.ndarray:
    i = np.arange(n)
    offsets = rng.integers(1, 6, size=2)
    return np.concatenate([np.stack([i[d:], i[: max(n - d, 0)]], 1) for d in offsets])


def forest(rng: Rng, n: int) -> np.ndarray:
    i = np.arange(n)
    parent = i + np.floor(rng.uniform(size=n) * (n - i)).astype(int)
    return np.stack([i, parent], 1)


def arrow(rng: Rng, n: int) -> np.ndarray:
    return np.stack([np.arange(n), np.full(n, rng.choice([0, n - 1]))], 1)


def dense_rows(rng: Rng, n: int) -> np.ndarray:
    tips = rng.integers(n, size=rng.integers(1, 4))
    return np.concatenate(
        [scattered(rng, n), *(np.stack([np.arange(n), 0 * np.arange(n) + t], 1) for t in tips)]
    )


def grid(rng: Rng, n: int) -> np.ndarray:
    i = np.arange(n)
    k = int(rng.integers(1, n + 1))
    right = i[(i + 1) % k != 0]
    pairs = [np.stack([right, right + 1], 1), np.stack([i, i + k], 1)]
    edges = np.concatenate(pairs)
    return edges[(edges < n).all(1)]


def complete(rng: Rng, n: int) -> np.ndarray:
    m = int(rng.integers(1, n + 1))
    return np.stack(np.tril_indices(m, -1), 1) + (n - m)


def none(rng: Rng, n: int) -> np.ndarray:
    return np.zeros((0, 2), int)


FAMILIES: tuple[Callable[[Rng, int], np.ndarray], ...] = (
    *(scattered, band, forest, arrow, dense_rows, grid, complete, none),
)


def lower(edges: np.ndarray) -> np.ndarray:
    """Each pair once, the larger index first, none on the diagonal."""
    edges = np.sort(np.asarray(edges, int).reshape(-1, 2), 1)[:, ::-1]
    return np.unique(edges[edges[:, 0] > edges[:, 1]], axis=0)


def edges_of(rng: Rng, n: int) -> np.ndarray:
    """Of one family, or two side by side; relabelled half of the time."""
    if n == 0:
        return np.zeros((0, 2), int)
    found = FAMILIES[rng.integers(len(FAMILIES))](rng, n)
    if rng.random() < 0.2:
        half = found[(found < n // 2).all(1)]
        other = FAMILIES[rng.integers(len(FAMILIES))](rng, n - n // 2)
        found = np.concatenate([half, other + n // 2])
    return lower(rng.permutation(n)[found] if rng.random() < 0.5 else found)


def draw(rng: Rng) -> Entries:
    """A pattern with values: some zero, some diagonal entries missing."""
    n = int(rng.integers(LARGEST + 1)) if rng.random() < 0.9 else int(rng.integers(3))
    edges = edges_of(rng, n)
    kept = np.flatnonzero(rng.random(n) < rng.choice([1.0, 1.0, 0.7, 0.0]))
    rows, cols = np.append(edges[:, 0], kept), np.append(edges[:, 1], kept)
    data = rng.normal(size=rows.size)
    data[rng.random(rows.size) < rng.choice([0, 0.2])] = 0.0
    return Entries(n, rows, cols, data)


# ---- containers -------------------------------------------------------------------------------

SCIPY = ("csc_array", "csr_array", "coo_array", "csc_matrix", "csr_matrix", "coo_matrix")
BY_PAIRS = ("lil_array", "dok_array", "lil_matrix", "dok_matrix")


class Stored(NamedTuple):
    """A matrix as a user may have it, and what it holds."""

    A: Any
    lower: bool  # one triangle
    expected: Entries
    what: str


def stored(rng: Rng, e: Entries) -> Stored:
    """The entries in some container: both triangles or one, shuffled, some in two parts."""
    side = str(rng.choice(["both", "both", "lower", "upper"]))
    rows, cols, data = e.rows, e.cols, e.data
    if rng.random() < 0.3 and rows.size:  # duplicates: the same two parts on both sides
        twice = rng.integers(rows.size, size=rng.integers(1, 4))
        twice = np.unique(twice)
        part = rng.normal(size=twice.size)
        data = data.copy()
        data[twice] -= part
        rows, cols = np.append(rows, rows[twice]), np.append(cols, cols[twice])
        data = np.append(data, part)
    if side == "both":
        off = rows != cols
        rows, cols = np.append(rows, cols[off]), np.append(cols, rows[off])
        data = np.append(data, data[off])
    elif side == "upper":
        rows, cols = cols, rows
    order = rng.permutation(rows.size)
    rows, cols, data = rows[order], cols[order], data[order]
    name, A = container(rng, e.n, rows, cols, data)
    if name in BY_PAIRS:  # they may drop zeros
        held, coo = np.zeros((e.n, e.n), bool), A.tocoo()
        held[coo.row, coo.col] = True
        kept = (held | held.T)[e.rows, e.cols]
        e = Entries(e.n, e.rows[kept], e.cols[kept], e.data[kept])
    return Stored(A, side != "both", e, f"{name}, {side}, {rows.size} entries")


def container(rng: Rng, n: int, rows, cols, data) -> tuple[str, Any]:
    """Its name, and the matrix."""
    index = (np.int32, np.int64)[rng.integers(2)]
    names = (*SCIPY, *BY_PAIRS, "unsorted csc", "unsorted csr", "BCOO", "BCSR", "tuple")
    name = names[rng.integers(len(names))]
    rows, cols = rows.astype(index), cols.astype(index)
    if name == "tuple":
        return name, (rows, cols, n)
    if name == "BCOO":
        entries: Any = (data, np.stack([rows, cols], 1))
        return name, jsparse.BCOO(entries, shape=(n, n))
    if name == "BCSR" or name.startswith("unsorted"):
        return name, compressed(name, n, rows, cols, data)
    base = sp.coo_array((data, (rows, cols)), shape=(n, n))
    return name, getattr(sp, name)(base)


def compressed(name: str, n: int, rows, cols, data, shape: Any = None) -> Any:
    """By rows or columns of n, neither sorted within these nor summed."""
    if name.endswith("csc"):
        rows, cols = cols, rows
    order = np.argsort(rows, kind="stable")
    pointer = np.searchsorted(rows[order], np.arange(n + 1)).astype(rows.dtype)
    parts: Any = (data[order], cols[order], pointer)
    if name == "BCSR":
        return jsparse.BCSR(parts, shape=(n, n))
    return (sp.csc_array if name.endswith("csc") else sp.csr_array)(parts, shape=shape or (n, n))


def contents(A: Any) -> list[bytes]:
    """What a container or an array holds, to see whether anybody has changed it."""
    names = ("data", "indices", "indptr", "row", "col", "offsets")
    if isinstance(A, tuple | list | np.ndarray):
        held = [A] if isinstance(A, np.ndarray) else [*A]
    else:
        held = [getattr(A, k, None) for k in names]
    return [x.tobytes() for x in held if isinstance(x, np.ndarray) and x.dtype != object]


def order_of(rng: Rng, n: int) -> Any:
    """An ordering by name, or a random permutation."""
    names = ("auto", "natural", "rcm", "mmd", "nd", "given")
    name = names[rng.integers(len(names))]
    return rng.permutation(n) if name == "given" else name

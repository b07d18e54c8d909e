"""Fill-reducing orderings: permutations perm with L L^T = A[perm][:, perm].

natural   the identity
rcm       reverse Cuthill-McKee (George & Liu 1981), for bands
mmd       multiple minimum degree (Liu 1985, ACM TOMS 11(2), 141-153), through SuperLU
nd        nested dissection (George 1973), multilevel, with minimum cuts: `dissection`
metis     nested dissection by METIS (Karypis & Kumar 1998), where pymetis is installed

All but the first see the graph without its dense rows, which come last: `dense`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.csgraph as csgraph
import scipy.sparse.linalg as spla

from padchol.symbolic.ordering.dense import Ordering, dense_last, unbearable_rows
from padchol.symbolic.ordering.dissection import nested_dissection
from padchol.symbolic.ordering.forest import from_leaves
from padchol.symbolic.pattern import Pattern


def adjacency(pattern: Pattern, off_diagonal: float = 1.0, diagonal: float = 0.0) -> sp.csc_array:
    """Symmetric matrix on the pattern with constant values (no diagonal entries where 0)."""
    strict = pattern.rows != pattern.cols
    r, c = pattern.rows[strict].astype(np.int32), pattern.cols[strict].astype(np.int32)
    data = np.full(2 * r.size, off_diagonal)
    rows, cols = np.concatenate([r, c]), np.concatenate([c, r])
    if diagonal:
        every = np.arange(pattern.n, dtype=np.int32)
        rows, cols = np.concatenate([rows, every]), np.concatenate([cols, every])
        data = np.concatenate([data, np.full(pattern.n, diagonal)])
    return sp.csc_array((data, (rows, cols)), shape=(pattern.n, pattern.n))


def natural(pattern: Pattern) -> np.ndarray:
    return np.arange(pattern.n)


def reverse_cuthill_mckee(pattern: Pattern) -> np.ndarray:
    if pattern.n == 0:
        return natural(pattern)
    graph = sp.csr_array(adjacency(pattern))
    graph.indices, graph.indptr = graph.indices.astype(np.int32), graph.indptr.astype(np.int32)
    return csgraph.reverse_cuthill_mckee(graph, symmetric_mode=True).astype(np.int64)


def minimum_degree(pattern: Pattern) -> np.ndarray:
    """SuperLU's minimum degree ordering of A^T + A, read off an incomplete factorisation that keeps
    next to nothing. `perm_c` maps a column to its place, so the permutation is its argsort. Of
    forests, which need no search for it, `from_leaves`.
    """
    if pattern.n == 0 or pattern.rows.size == pattern.n:
        return natural(pattern)  # a diagonal matrix
    if pattern.rows.size < 2 * pattern.n:
        found = from_leaves(sp.csr_array(adjacency(pattern)))
        if found is not None:
            return found
    matrix = adjacency(pattern, off_diagonal=-1e-3, diagonal=4.0)
    lu = spla.spilu(
        sp.csc_matrix(matrix),
        drop_tol=0.9,
        fill_factor=1,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    return np.argsort(lu.perm_c).astype(np.int64)


def dissection(pattern: Pattern) -> np.ndarray:
    """Nested dissection, with leaves by minimum degree."""
    return nested_dissection(pattern, minimum_degree)


def metis(pattern: Pattern) -> np.ndarray:
    """METIS nested dissection; `ImportError` with the remedy where pymetis is missing."""
    try:
        import pymetis
    except ImportError as error:
        raise ImportError(
            "order='metis' needs pymetis: pip install 'padchol[metis]', or choose 'auto'"
        ) from error
    if pattern.n == 0 or pattern.rows.size == pattern.n:
        return natural(pattern)
    graph = sp.csr_array(adjacency(pattern))
    indptr, indices = np.asarray(graph.indptr, np.int64), np.asarray(graph.indices, np.int64)
    perm, _ = pymetis.nested_dissection(pymetis.CSRAdjacency(indptr, indices))
    return np.asarray(perm, np.int64)


NAMED: dict[str, Ordering] = {
    "natural": natural,
    "rcm": dense_last(reverse_cuthill_mckee),
    "mmd": dense_last(minimum_degree, unbearable_rows),
    "nd": dense_last(dissection),
    "metis": dense_last(metis),
}


def given(perm: Any, n: int) -> np.ndarray:
    """A user's permutation, checked; the user's array is copied."""
    array = np.array(perm)
    if array.shape != (n,) or (n and not np.issubdtype(array.dtype, np.integer)):
        raise ValueError(
            f"expected order to be one of {sorted([*NAMED, 'auto'])} or an integer permutation "
            f"of shape ({n},); got dtype {array.dtype}, shape {array.shape}"
        )
    array = array.astype(np.int64)
    seen = np.zeros(n, bool)
    seen[array[(array >= 0) & (array < n)]] = True
    if not seen.all():
        raise ValueError(
            f"expected a permutation of 0 to {n - 1}; index {int(np.argmin(seen))} is missing"
        )
    return array

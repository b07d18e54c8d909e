"""Readers: entries of a matrix in whatever sparse container it comes, as triplets.

scipy matrices and arrays, JAX BCOO and BCSR, and tuples (rows, cols, n). Nothing is written to.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from padchol.symbolic.layout import QUAD, fits_int32, fits_memory

# Bytes that an analysis holds at once: 340 and 450 a column at peak for paths and diagonal matrices
# of n = 2,000,000 in natural order, the least of all.
PER_COLUMN = 300


class Triplets(NamedTuple):
    """Raw entries as given: rows, cols (int64), data or None, and the shape of the matrix."""

    rows: np.ndarray
    cols: np.ndarray
    data: np.ndarray | None
    shape: tuple[int, int]

    @property
    def n(self) -> int:
        return self.shape[0]


def triplets(A: Any) -> Triplets:
    """Entries of a square A of an order that plans can have; see `entries`."""
    found = entries(A)
    if found.shape[0] != found.shape[1]:
        raise ValueError(f"expected a square matrix; got shape {found.shape}")
    # Panels hold four entries a column at least: `symbolic.tiles`.
    fits_int32(QUAD * found.n, f"the panel storage of a matrix of order {found.n:,}")
    fits_memory(PER_COLUMN * found.n, f"an analysis of order {found.n:,}")
    return found


def entries(A: Any, with_data: bool = True) -> Triplets:
    """Entries of A, whatever sparse container it is. Duplicates, zeros and order are kept."""
    if isinstance(A, tuple):
        return _from_tuple(A)
    if hasattr(A, "shape") and len(A.shape) != 2:
        raise ValueError(f"expected a square matrix; got shape {tuple(A.shape)}")
    if sp.issparse(A) and A.format == "dia":
        return _from_diagonals(A)
    if sp.issparse(A):
        coo = A.tocoo()
        shape = (int(A.shape[0]), int(A.shape[1]))
        return Triplets(coo.row.astype(np.int64), coo.col.astype(np.int64), coo.data, shape)
    if hasattr(A, "indices") and hasattr(A, "data") and hasattr(A, "shape"):
        return _from_jax_sparse(A, with_data)
    raise TypeError(
        "expected a scipy.sparse matrix, a jax.experimental.sparse BCOO or BCSR, "
        f"or a tuple (rows, cols, n); got {type(A).__name__}"
    )


def _from_diagonals(A: Any) -> Triplets:
    """Of a DIA matrix, data[d, j] in row j - offsets[d] of column j; scipy's way drops zeros."""
    m, n = A.shape
    d, cols = (index.reshape(-1) for index in np.indices(A.data.shape))
    rows = cols - np.asarray(A.offsets, np.int64)[d]
    inside = (rows >= 0) & (rows < m) & (cols < n)
    return Triplets(rows[inside], cols[inside], A.data.reshape(-1)[inside], (int(m), int(n)))


def _from_tuple(A: tuple) -> Triplets:
    if len(A) != 3:
        raise ValueError(f"expected a tuple (rows, cols, n); got {len(A)} items")
    rows, cols = np.asarray(A[0]), np.asarray(A[1])
    try:
        n = operator.index(A[2])
    except TypeError:
        raise TypeError(f"expected an order n that is an integer; got {A[2]!r}") from None
    for name, index in (("rows", rows), ("cols", cols)):
        if index.size and not np.issubdtype(index.dtype, np.integer):
            raise TypeError(f"expected integer {name}; got dtype {index.dtype}")
    if rows.shape != cols.shape or rows.ndim != 1:
        raise ValueError(
            f"expected rows and cols of one shape (m,); got {rows.shape} and {cols.shape}"
        )
    rows, cols = rows.astype(np.int64, copy=False), cols.astype(np.int64, copy=False)
    if n < 0:
        raise ValueError(f"expected an order n >= 0; got {n}")
    if rows.size and (min(rows.min(), cols.min()) < 0 or max(rows.max(), cols.max()) >= n):
        outside = (rows < 0) | (rows >= n) | (cols < 0) | (cols >= n)
        k = int(np.argmax(outside))
        raise ValueError(
            f"expected indices in [0, {n}); got entry ({rows[k]}, {cols[k]}) at position {k}"
        )
    return Triplets(rows, cols, None, (n, n))


def no_axes(A: Any) -> None:
    """Refuse a BCOO or BCSR whose entries are not numbers."""
    batch, dense = getattr(A, "n_batch", 0), getattr(A, "n_dense", 0)
    if batch or dense or len(A.shape) != 2:
        raise ValueError(
            f"expected a sparse matrix without batch and dense axes, data (nse,); got shape "
            f"{tuple(A.shape)} with n_batch={batch}, n_dense={dense}, data {tuple(A.data.shape)}: "
            "use jax.vmap over its data instead"
        )


def _from_jax_sparse(A: Any, with_data: bool = True) -> Triplets:
    """BCOO (indices (m, 2)) or BCSR (indices and indptr); recognised by shape, jax not imported."""
    no_axes(A)
    indices = np.asarray(A.indices).astype(np.int64)
    data = np.asarray(A.data) if with_data else None
    if hasattr(A, "indptr"):
        rows = np.repeat(np.arange(A.shape[0]), np.diff(np.asarray(A.indptr, np.int64)))
        cols, data = indices[: rows.size], data if data is None else data[: rows.size]
    else:
        rows, cols = indices[:, 0], indices[:, 1]
    m, n = A.shape
    inside = (rows < m) & (cols < n)  # BCOO pads with indices equal to the shape
    kept = None if data is None else data[inside]
    return Triplets(rows[inside], cols[inside], kept, (int(m), int(n)))

"""The canonical pattern: the lower triangle of A, diagonal present, sorted by column then row.

Notation used throughout the symbolic phase
    n       order of the matrix
    nnz     entries of the canonical pattern (one per symmetric pair, n on the diagonal)
    key     column * n + row: the canonical order is the order of the keys

Everything users hand in (scipy matrices and arrays, JAX BCOO and BCSR, index tuples) becomes a
`Triplets` first; nothing of theirs is written to.
"""

from __future__ import annotations

import hashlib
import math
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


class Pattern(NamedTuple):
    """Canonical pattern: rows >= cols, sorted by column, then row, every diagonal entry present."""

    n: int
    rows: np.ndarray
    cols: np.ndarray

    @property
    def keys(self) -> np.ndarray:
        return self.cols * self.n + self.rows

    @property
    def digest(self) -> str:
        """SHA-256 of the pattern."""
        found = hashlib.sha256(f"{self.n} ".encode())
        for index in (self.rows, self.cols):
            found.update(np.ascontiguousarray(index, np.int64).tobytes())
        return found.hexdigest()


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
    rows, cols = rows.astype(np.int64), cols.astype(np.int64)
    if n < 0:
        raise ValueError(f"expected an order n >= 0; got {n}")
    outside = (rows < 0) | (rows >= n) | (cols < 0) | (cols >= n)
    if outside.any():
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


def union(parts: list, lower: bool = False) -> Pattern:
    """Canonical pattern that contains those of all parts, which must be of one order."""
    if not parts:
        raise ValueError("expected at least one matrix; got an empty list")
    found = [canonical(part, lower) for part in parts]
    n = found[0].n
    if any(pattern.n != n for pattern in found):
        raise ValueError(f"expected matrices of one order; got {[p.n for p in found]}")
    keys = np.unique(np.concatenate([pattern.keys for pattern in found]))
    return Pattern(n, keys % max(n, 1), keys // max(n, 1))


def canonical(A: Any, lower: bool = False) -> Pattern:
    """Canonical pattern of A, or of the union of a list of matrices.

    `lower=False`: A must be symmetric in pattern, and in value where it has values. `lower=True`:
    only one triangle is stored, the lower or the upper one. Raises `ValueError` naming one
    offending entry (i, j) otherwise.
    """
    if isinstance(A, list):
        return union(A, lower)
    t = triplets(A)
    if lower:
        _check_one_triangle(t)
    else:
        _check_symmetric(t)
        keep = t.rows >= t.cols
        t = t._replace(rows=t.rows[keep], cols=t.cols[keep])
    high, low = np.maximum(t.rows, t.cols), np.minimum(t.rows, t.cols)
    diagonal = np.arange(t.n)
    by_columns = _by_columns(np.append(high, diagonal), np.append(low, diagonal), None, t.n)
    return Pattern(t.n, by_columns.indices.astype(np.int64), _columns(by_columns))


def _by_columns(rows, cols, data, n: int) -> sp.csc_array:
    """Entries sorted by column, then row, duplicates summed; zeros are kept. Cost: O(nnz)."""
    data = np.ones(rows.size, np.int8) if data is None else data
    return sp.csc_array((data, (rows, cols)), shape=(n, n))


def _columns(by_columns: sp.csc_array) -> np.ndarray:
    """Column of each entry."""
    return np.repeat(np.arange(by_columns.indptr.size - 1), np.diff(by_columns.indptr))


def _check_one_triangle(t: Triplets) -> None:
    below, above = t.rows > t.cols, t.rows < t.cols
    if below.any() and above.any():
        k, m = int(np.argmax(below)), int(np.argmax(above))
        raise ValueError(
            "lower=True expects one stored triangle; got entries on both sides: "
            f"({t.rows[k]}, {t.cols[k]}) and ({t.rows[m]}, {t.cols[m]})"
        )


def _check_symmetric(t: Triplets) -> None:
    """A is symmetric if it is the same by columns and by rows."""
    data, eps = t.data, 0.0
    if data is not None:
        data = data if np.issubdtype(data.dtype, np.inexact) else data.astype(np.float64)
        eps = float(np.finfo(data.dtype).eps)
        data = data.astype(np.float32) if data.dtype == np.float16 else data  # scipy has no half
    by_columns = _by_columns(t.rows, t.cols, data, t.n)
    by_rows = by_columns.tocsr()
    if not (
        np.array_equal(by_columns.indptr, by_rows.indptr)
        and np.array_equal(by_columns.indices, by_rows.indices)
    ):
        rows, cols = by_columns.indices.astype(np.int64), _columns(by_columns)
        k = int(np.argmin(np.isin(rows * t.n + cols, cols * t.n + rows)))
        i, j = int(rows[k]), int(cols[k])
        raise ValueError(
            f"expected a symmetric pattern; got an entry at ({i}, {j}) and none at ({j}, {i}). "
            "If only one triangle is stored, say lower=True"
        )
    if data is not None and not np.array_equal(by_columns.data, by_rows.data):
        _check_symmetric_values(by_columns, by_rows.data, eps)


def _check_symmetric_values(by_columns: sp.csc_array, mirror: np.ndarray, eps: float) -> None:
    value = by_columns.data
    off = differ(value, mirror, eps, np)
    if off.any():
        k = int(np.argmax(off))
        i, j = int(by_columns.indices[k]), int(_columns(by_columns)[k])
        raise ValueError(
            f"expected a symmetric matrix; got A[{i}, {j}] = {value[k]!r} and "
            f"A[{j}, {i}] = {mirror[k]!r}"
        )


def differ(value: Any, mirror: Any, eps: float, xp: Any) -> Any:
    """Which pairs are further apart than by the rounding of an assembly: sqrt(eps) relative to the
    larger of the pair. Of arrays of `xp`, numpy or JAX's."""
    size = xp.maximum(xp.abs(value), xp.abs(mirror))
    finite = xp.isfinite(size)  # NaN and infinity are the factorisation's to report
    gap = xp.abs(xp.where(finite, value, 0) - xp.where(finite, mirror, 0))
    size = xp.where(finite, size, 0)
    return gap > math.sqrt(eps) * size + 64 * eps * xp.max(size, initial=0.0)


def check_both_triangles(t: Triplets) -> bool:
    """Whether A has entries on both sides of its diagonal; these must then be alike."""
    both = bool((t.rows < t.cols).any() and (t.rows > t.cols).any())
    if both:
        _check_symmetric(t)
    return both


def positions(pattern: Pattern, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Canonical position of each entry (i, j), either triangle; `ValueError` where absent."""
    keys = pattern.keys
    wanted = np.minimum(rows, cols) * pattern.n + np.maximum(rows, cols)
    at = np.searchsorted(keys, wanted)
    absent = (at >= keys.size) | (keys[np.minimum(at, max(keys.size - 1, 0))] != wanted)
    if absent.any():
        k = int(np.argmax(absent))
        raise ValueError(
            f"expected a matrix whose pattern is contained in the plan's; got an entry at "
            f"({int(rows[k])}, {int(cols[k])}), which the plan does not have"
        )
    return at


def values(pattern: Pattern, A: Any) -> np.ndarray:
    """Canonical values of A: duplicates summed, zero where A has no entry.

    A may be full symmetric (checked) or hold one triangle only. Integers become float64.
    """
    t = triplets(A)
    if t.data is None:
        raise TypeError("expected a matrix with values; got index arrays only")
    if t.n != pattern.n:
        raise ValueError(f"expected a matrix of order {pattern.n}; got order {t.n}")
    if np.iscomplexobj(t.data):
        raise TypeError(f"expected real values; got dtype {t.data.dtype} (complex: not supported)")
    dtype = t.data.dtype if t.data.dtype in (np.float32, np.float64) else np.float64
    data = t.data.astype(dtype)
    both = check_both_triangles(t)
    keep = (t.rows >= t.cols) | (not both)
    out = _summed(pattern, t.rows[keep], t.cols[keep], data[keep])
    if both:  # a NaN or infinity above the diagonal must not be lost with that triangle
        above = _summed(pattern, t.rows[~keep], t.cols[~keep], data[~keep])
        out = np.where(np.isfinite(above), out, above)
    return out


def _summed(pattern: Pattern, rows: np.ndarray, cols: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Entries added up at their canonical positions."""
    out = np.zeros(pattern.rows.size, data.dtype)
    np.add.at(out, positions(pattern, rows, cols), data)
    return out

"""The canonical pattern: the lower triangle of A, diagonal present, sorted by column then row.

Notation used throughout the symbolic phase
    n       order of the matrix
    nnz     entries of the canonical pattern (one per symmetric pair, n on the diagonal)
    key     column * n + row: the canonical order is the order of the keys

Everything users hand in (scipy matrices and arrays, JAX BCOO and BCSR, index tuples) becomes a
`Triplets` first; nothing of theirs is written to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp


class Triplets(NamedTuple):
    """Raw entries as given: rows, cols (int64), data or None, and the order n."""

    rows: np.ndarray
    cols: np.ndarray
    data: np.ndarray | None
    n: int


class Pattern(NamedTuple):
    """Canonical pattern: rows >= cols, sorted by column, then row, every diagonal entry present."""

    n: int
    rows: np.ndarray
    cols: np.ndarray

    @property
    def keys(self) -> np.ndarray:
        return self.cols * self.n + self.rows


def triplets(A: Any) -> Triplets:
    """Entries of A, whatever sparse container it is. Duplicates and order are kept."""
    if isinstance(A, tuple):
        return _from_tuple(A)
    if sp.issparse(A):
        _check_square(A.shape)
        coo = A.tocoo()
        return Triplets(coo.row.astype(np.int64), coo.col.astype(np.int64), coo.data, A.shape[0])
    if hasattr(A, "indices") and hasattr(A, "data") and hasattr(A, "shape"):
        return _from_jax_sparse(A)
    raise TypeError(
        "expected a scipy.sparse matrix, a jax.experimental.sparse BCOO or BCSR, "
        f"or a tuple (rows, cols, n); got {type(A).__name__}"
    )


def _from_tuple(A: tuple) -> Triplets:
    if len(A) != 3:
        raise ValueError(f"expected a tuple (rows, cols, n); got {len(A)} items")
    rows, cols, n = np.asarray(A[0]), np.asarray(A[1]), int(A[2])
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
    return Triplets(rows, cols, None, n)


def _from_jax_sparse(A: Any) -> Triplets:
    """BCOO (indices (m, 2)) or BCSR (indices and indptr); recognised by shape, jax not imported."""
    _check_square(A.shape)
    n = int(A.shape[0])
    indices = np.asarray(A.indices).astype(np.int64)
    data = np.asarray(A.data)
    if data.ndim != 1:
        raise ValueError(f"expected an unbatched sparse array with data (nse,); got {data.shape}")
    if hasattr(A, "indptr"):
        rows = np.repeat(np.arange(n), np.diff(np.asarray(A.indptr, np.int64)))
        cols, data = indices[: rows.size], data[: rows.size]
    else:
        rows, cols = indices[:, 0], indices[:, 1]
    inside = (rows < n) & (cols < n)  # BCOO pads with indices equal to the shape
    return Triplets(rows[inside], cols[inside], data[inside], n)


def _check_square(shape: tuple) -> None:
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"expected a square matrix; got shape {tuple(shape)}")


def canonical(A: Any, lower: bool = False) -> Pattern:
    """Canonical pattern of A.

    `lower=False`: A must be symmetric in pattern, and in value where it has values. `lower=True`:
    only one triangle is stored, the lower or the upper one. Raises `ValueError` naming one
    offending entry (i, j) otherwise.
    """
    t = triplets(A)
    if lower:
        _check_one_triangle(t)
    else:
        _check_symmetric(t)
    high, low = np.maximum(t.rows, t.cols), np.minimum(t.rows, t.cols)
    keys = np.unique(np.concatenate([low * t.n + high, np.arange(t.n) * (t.n + 1)]))
    return Pattern(t.n, keys % max(t.n, 1), keys // max(t.n, 1))


def _check_one_triangle(t: Triplets) -> None:
    below, above = t.rows > t.cols, t.rows < t.cols
    if below.any() and above.any():
        k, m = int(np.argmax(below)), int(np.argmax(above))
        raise ValueError(
            "lower=True expects one stored triangle; got entries on both sides: "
            f"({t.rows[k]}, {t.cols[k]}) and ({t.rows[m]}, {t.cols[m]})"
        )


def _check_symmetric(t: Triplets) -> None:
    keys, position = np.unique(t.cols * t.n + t.rows, return_inverse=True)
    mirrored = (keys % max(t.n, 1)) * t.n + keys // max(t.n, 1)
    at = np.searchsorted(keys, mirrored)
    missing = (at >= keys.size) | (keys[np.minimum(at, keys.size - 1)] != mirrored)
    if missing.any():
        k = int(np.argmax(missing))
        i, j = int(keys[k] % t.n), int(keys[k] // t.n)
        raise ValueError(
            f"expected a symmetric pattern; got an entry at ({i}, {j}) and none at ({j}, {i}). "
            "If only one triangle is stored, say lower=True"
        )
    if t.data is None:
        return
    data = t.data if np.issubdtype(t.data.dtype, np.inexact) else t.data.astype(np.float64)
    summed = np.zeros(keys.size, data.dtype)
    np.add.at(summed, position, data)
    _check_symmetric_values(summed, summed[at], keys, t.n)


def _check_symmetric_values(value: np.ndarray, mirror: np.ndarray, keys: np.ndarray, n: int):
    """Equal up to the rounding of an assembly: sqrt(eps) relative to the larger of the pair."""
    size = np.maximum(np.abs(value), np.abs(mirror))
    finite = np.isfinite(size)  # NaN and infinity are the factorisation's to report
    gap = np.abs(np.where(finite, value, 0) - np.where(finite, mirror, 0))
    size = np.where(finite, size, 0)
    eps = np.finfo(value.dtype).eps
    off = gap > np.sqrt(eps) * size + 64 * eps * size.max(initial=0.0)
    if off.any():
        k = int(np.argmax(off))
        i, j = int(keys[k] % n), int(keys[k] // n)
        raise ValueError(
            f"expected a symmetric matrix; got A[{i}, {j}] = {value[k]!r} and "
            f"A[{j}, {i}] = {mirror[k]!r}"
        )


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
    both = (t.rows < t.cols).any() and (t.rows > t.cols).any()
    if both:
        _check_symmetric(t)
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

"""The canonical pattern: the lower triangle of A, diagonal present, sorted by column then row.

Notation used throughout the symbolic phase
    n       order of the matrix
    nnz     entries of the canonical pattern (one per symmetric pair, n on the diagonal)
    key     column * n + row: the canonical order is the order of the keys

What users hand in is read by `triplets`; nothing of theirs is written to.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from padchol.symbolic.pieces import pieces
from padchol.symbolic.triplets import Triplets, triplets


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
        high, low = np.maximum(t.rows, t.cols), np.minimum(t.rows, t.cols)
        by_columns = _by_columns(high, low, None, t.n)
    else:
        by_columns = _symmetric(t)
    rows, cols = by_columns.indices, _columns(by_columns)
    below = rows > cols
    return _with_diagonal(t.n, rows[below], cols[below])


def _with_diagonal(n: int, rows: np.ndarray, cols: np.ndarray) -> Pattern:
    """The pattern of these sorted entries below the diagonal: a column begins with its diagonal."""
    every = np.arange(n)
    counts = np.bincount(cols, minlength=n) + 1
    found = np.empty(rows.size + n, np.int64)
    for piece in pieces(rows.size):
        found[np.arange(piece.start + 1, piece.stop + 1) + cols[piece]] = rows[piece]
    found[np.cumsum(counts) - counts] = every
    return Pattern(n, found, np.repeat(every, counts))


def _by_columns(rows, cols, data, n: int) -> sp.csc_array:
    """Entries sorted by column, then row, duplicates summed; zeros are kept. Cost: O(nnz).

    By rows first, and transposed, which sorts them in half the time of a sort (experiment 39).
    """
    data = np.ones(rows.size, np.int8) if data is None else data
    unsorted = sp.coo_array((data, (rows, cols)), shape=(n, n))
    unsorted.has_canonical_format = True  # or else scipy sorts the rows
    found = unsorted.tocsr().tocsc()
    found.has_canonical_format = False  # there may be duplicates
    found.has_sorted_indices = True
    found.sum_duplicates()
    return found


def _columns(by_columns: sp.csc_array) -> np.ndarray:
    """Column of each entry."""
    every = np.arange(by_columns.indptr.size - 1, dtype=by_columns.indices.dtype)
    return np.repeat(every, np.diff(by_columns.indptr))


def _check_one_triangle(t: Triplets) -> None:
    below, above = t.rows > t.cols, t.rows < t.cols
    if below.any() and above.any():
        k, m = int(np.argmax(below)), int(np.argmax(above))
        raise ValueError(
            "lower=True expects one stored triangle; got entries on both sides: "
            f"({t.rows[k]}, {t.cols[k]}) and ({t.rows[m]}, {t.cols[m]})"
        )


def _symmetric(t: Triplets) -> sp.csc_array:
    """The entries by columns, proved to be the same by rows."""
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
        rows, cols = (x.astype(np.int64) for x in (by_columns.indices, _columns(by_columns)))
        k = int(np.argmin(np.isin(rows * t.n + cols, cols * t.n + rows)))
        i, j = int(rows[k]), int(cols[k])
        raise ValueError(
            f"expected a symmetric pattern; got an entry at ({i}, {j}) and none at ({j}, {i}). "
            "If only one triangle is stored, say lower=True"
        )
    if data is not None and not np.array_equal(by_columns.data, by_rows.data):
        _check_symmetric_values(by_columns, by_rows.data, eps)
    return by_columns


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


def lower(
    pattern: Pattern, place: np.ndarray, strict: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """(i, k), i >= k, of each canonical entry, where unknown u becomes column place[u]; without the
    diagonal if strict."""
    i, k = (np.empty(pattern.rows.size - strict * pattern.n, np.int64) for _ in range(2))
    done = 0
    for piece in pieces(pattern.rows.size):
        rows, cols = pattern.rows[piece], pattern.cols[piece]
        if strict:
            below = rows != cols
            rows, cols = rows[below], cols[below]
        a, b = place[rows], place[cols]
        here = slice(done, done := done + a.size)
        np.maximum(a, b, out=i[here])
        np.minimum(a, b, out=k[here])
    return i, k


def check_both_triangles(t: Triplets) -> bool:
    """Whether A has entries on both sides of its diagonal; these must then be alike."""
    both = bool((t.rows < t.cols).any() and (t.rows > t.cols).any())
    if both:
        _symmetric(t)
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

"""What dense numpy says of a batch of symmetric matrices, and how far from it padchol may be.

A (B, n, n) in the plan's order. With d_i = sqrt(A_ii), H = A / (d d^T) is what rounding sees: the
Cholesky factorisation of A in floating point is exact for A + E, |E_ij| <= c n eps d_i d_j (Demmel
1989, LAPACK Working Note 14), whatever the units of the unknowns are. So

    it succeeds up to pivot k where the smallest eigenvalue of H[:k+1, :k+1] is above c n eps, and
    it has failed by pivot k where it is below -c n eps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

C = 10.0  # of c n eps: of 20,000 matrices the worst takes a quarter of it, at n = 1


class Verdict(NamedTuple):
    """Of each matrix: which pivots may be the first to fail, n for none; and what success gives."""

    first: np.ndarray  # (B,)
    last: np.ndarray
    d: np.ndarray  # (B, n)
    H: np.ndarray  # (B, n, n)
    smallest: np.ndarray  # (B,): eigenvalue of H


def verdict(A: np.ndarray, eps: float, tiny: float) -> Verdict:
    """tiny: diagonal entries below it may count as zero, as processors flush them."""
    B, n = A.shape[:2]
    diagonal = np.diagonal(A, axis1=1, axis2=2)
    place = np.maximum.outer(np.arange(n), np.arange(n))
    hopeless = _first(np.where(np.isfinite(A), n, place).reshape(B, -1), n)
    hopeless = np.minimum(hopeless, _first(np.where(diagonal > 0, n, np.arange(n)), n))
    doubtful = _first(np.where(diagonal >= tiny, n, np.arange(n)), n)
    inside = place[None] < hopeless[:, None, None]
    clean = np.where(inside, A, np.eye(n))
    d = np.sqrt(np.diagonal(clean, axis1=1, axis2=2))
    with np.errstate(over="ignore"):
        H = np.clip(clean / d[:, :, None] / d[:, None, :], -1e3, 1e3)
    smallest = np.linalg.eigvalsh(H)[:, 0] if n else np.ones(B)
    margin = C * max(n, 1) * eps
    first = np.minimum(_below(H, smallest, margin), np.minimum(hopeless, doubtful))
    # What is no number may spread through its supernode, to pivots that come before it.
    first = np.where(np.isfinite(A).all((1, 2)), first, 0)
    last = np.minimum(_below(H, smallest, -margin), hopeless)
    return Verdict(first, last, d, H, smallest)


def _first(candidates: np.ndarray, n: int) -> np.ndarray:
    return candidates.min(1, initial=n)


def _below(H: np.ndarray, smallest: np.ndarray, margin: float) -> np.ndarray:
    """The first k at which H[:k+1, :k+1] has an eigenvalue below the margin, n for none. It only
    falls as k grows (Cauchy), so bisection finds it."""
    B, n = H.shape[:2]
    low, high = np.zeros(B, int), np.full(B, n)
    low[smallest >= margin] = n
    while (open_ := low < high).any():
        at = np.flatnonzero(open_)
        middle = (low[at] + high[at]) // 2
        minor = np.maximum.outer(np.arange(n), np.arange(n))[None] <= middle[:, None, None]
        # Beyond the minor a large diagonal, whose eigenvalues are not the smallest.
        found = np.linalg.eigvalsh(np.where(minor, H[at], 2 * n * np.eye(n)))[:, 0] < margin
        high[at] = np.where(found, middle, high[at])
        low[at] = np.where(found, low[at], middle + 1)
    return high


def backward_error(A: np.ndarray, d: np.ndarray, x: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(B,): largest |b - A x|_i / (d_i sum_j d_j |x_j|), in extended precision."""
    A, d, x, b = (np.asarray(part, np.longdouble) for part in (A, d, x, b))
    residual = np.abs(np.einsum("bij,bjk->bik", A, x) - b)
    size = d[:, :, None] * (d[:, None, :] @ np.abs(x))
    tiny = np.finfo(np.longdouble).tiny
    return (residual / np.maximum(size, tiny)).max((1, 2), initial=0.0).astype(float)

"""Values for a batch of matrices of one pattern: well and badly scaled, nearly singular,
indefinite, and numbers that are none."""

from __future__ import annotations

from typing import Any

import numpy as np

import padchol
from padchol.testing._patterns import Rng

SPOILERS = (np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, 1e-310, -1e-310, 5e-324)


def values(rng: Rng, plan: padchol.Plan, count: int, dtype: Any) -> np.ndarray:
    """(count, nnz) in canonical order."""
    n, on = plan.n, plan.rows == plan.cols
    a = rng.normal(size=(count, plan.nnz))
    a[:, ~on] *= rng.choice([1.0, 1.0, 1e-3, 0.0], size=(count, 1))
    small = rng.random((count, 1)) < 0.1  # integers, where pivots are exactly zero
    a = np.where(small, np.round(a), a)
    degree = np.zeros((count, n))
    for index in (plan.rows, plan.cols):
        degree += np.abs(a[:, ~on]) @ (index[~on][:, None] == np.arange(n))
    a[:, on] = degree + _margin(rng, count, n, np.finfo(dtype).eps)
    a[rng.random(count) < 0.1] *= rng.choice([-1.0, 1.0], size=plan.nnz)
    a = _scaled(rng, plan, a, 150 if dtype == np.float64 else 15)
    with np.errstate(over="ignore", under="ignore"):
        a = a.astype(dtype)
        _spoil(rng, a)
    return a


def _margin(rng: Rng, count: int, n: int, eps: float) -> np.ndarray:
    """What the diagonal has beyond dominance: much, next to nothing, nothing, or less."""
    kind = rng.choice(5, size=(count, 1), p=[0.4, 0.2, 0.1, 0.1, 0.2])
    least = 10.0 ** rng.uniform(np.log10(eps) - 1, -2, size=(count, 1))
    uniform = rng.uniform(size=(count, n))
    less = -least - uniform * (uniform < 0.1)
    kinds: Any = [uniform + 0.1, least * uniform, 0 * uniform, 0 * uniform + 1, less]
    return np.choose(kind, kinds)


def _scaled(rng: Rng, plan: padchol.Plan, a: np.ndarray, decades: int) -> np.ndarray:
    """D A D, of any D for which entries stay within 10^-decades and 10^decades."""
    count = len(a)
    spread = rng.choice([0.0, 0.0, 0.05, 0.5, 1.0], size=(count, 1))
    shift = np.where(rng.random((count, 1)) < 0.3, rng.uniform(-0.9, 0.9, size=(count, 1)), 0)
    exponent = np.clip(spread * rng.uniform(-1, 1, size=(count, plan.n)) + shift, -0.97, 0.97)
    scale = 10.0 ** (decades / 2 * exponent)
    return a * scale[:, plan.rows] * scale[:, plan.cols]


def _spoil(rng: Rng, a: np.ndarray) -> None:
    """In a tenth of the matrices some entry becomes no number, zero, negative or subnormal."""
    count, nnz = a.shape
    if not nnz:
        return
    for at in np.flatnonzero(rng.random(count) < 0.1):
        where = rng.integers(nnz, size=rng.integers(1, 3))
        a[at, where] = rng.choice(SPOILERS, size=where.size)


def dense(plan: padchol.Plan, a: np.ndarray) -> np.ndarray:
    """(count, n, n), in the plan's order."""
    place = np.argsort(plan.perm)
    i, j = place[plan.rows], place[plan.cols]
    A = np.zeros((len(a), plan.n, plan.n))
    A[:, i, j] = A[:, j, i] = a
    return A


def right_hand_sides(rng: Rng, A: np.ndarray, dtype: Any) -> np.ndarray:
    """(count, n, 2): numbers near 1, and numbers in the units of the matrix."""
    b = rng.normal(size=(*A.shape[:2], 2))
    diagonal = np.abs(np.diagonal(A, axis1=1, axis2=2))
    b[:, :, 1] *= np.sqrt(np.where(np.isfinite(diagonal) & (diagonal > 0), diagonal, 1))
    return b.astype(dtype)


def spoiled_columns(rng: Rng, b: np.ndarray) -> np.ndarray:
    """(count,): the row at which the second column of b has become no number, -1 for most."""
    count, n = b.shape[:2]
    at = np.where(rng.random(count) < 0.05, rng.integers(max(n, 1), size=count), -1)
    at = at if n else at * 0 - 1
    which = np.flatnonzero(at >= 0)
    b[which, at[which], 1] = rng.choice([np.nan, np.inf, -np.inf], size=which.size)
    return at

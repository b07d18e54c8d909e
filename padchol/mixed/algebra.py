"""What the linear model is made of: blocks of Z^T Z, an orthonormal X, and R^T A^-1 R."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float

from padchol.factor import Factor
from padchol.mixed.fixed import require_full_rank
from padchol.mixed.terms import Effects
from padchol.numeric.values import multiply

EXACT = 30.0  # units of rounding of y below which nothing is left of it


@jax.custom_jvp
def quadratic(factor: Factor, R: Float[Array, "q k"]) -> tuple[Array, Array]:
    """(R^T W, W) with W = A^-1 R, (k, k) and (q, k)."""
    W = factor.solve(R)
    return R.T @ W, W


@quadratic.defjvp
def _quadratic_jvp(primals, tangents):
    """d(R^T W) = dR^T W + W^T dR - W^T dA W: no further solve, in either mode.

    That of W is a solve, which is left out of programs that do not differentiate W.
    """
    d_factor, dR = tangents
    W, dW = jax.jvp(lambda factor, R: factor.solve(R), primals, tangents)
    factor, R = primals
    half = dR.T @ W
    moved = half + half.T - W.T @ multiply(factor.plan, d_factor.values, W)
    return (R.T @ W, W), (moved, dW)


def gram_blocks(
    effects: Effects, G: sp.csr_array
) -> tuple[list[np.ndarray], tuple[np.ndarray, ...]]:
    """Rows and columns of the blocks of Z^T Z, and the blocks, by pairs (i, j) of terms, j <= i.

    Blocks of a level with itself are kept whole; those of two terms only below the diagonal.
    """
    rows, cols, blocks = [np.zeros(0, int)], [np.zeros(0, int)], []
    for i, a in enumerate(effects.terms):
        for b in effects.terms[: i + 1]:
            part = G[a.where, b.where].tobsr((a.p, b.p))
            level = np.repeat(np.arange(part.indptr.size - 1), np.diff(part.indptr))
            r = a.start + a.p * level[:, None, None] + np.arange(a.p)[:, None]
            c = b.start + b.p * part.indices.astype(int)[:, None, None] + np.arange(b.p)
            for found, index in ((rows, r), (cols, c)):
                found.append(np.broadcast_to(index, part.data.shape).ravel())
            blocks.append(np.asarray(part.data))
    return [np.concatenate(rows), np.concatenate(cols)], tuple(blocks)


def orthonormal(X: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Q, U of X = Q U. Raises `ValueError` naming columns of X that depend on those before them."""
    require_full_rank(X, names)
    Q, U = np.linalg.qr(X)
    return Q, U


def residual(
    Q: Float[np.ndarray, "n p"], y: Float[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray]:
    """`regressed`, where Q leaves more of y than rounding."""
    part, left = regressed(Q, y)
    rounding = EXACT * np.finfo(float).eps * np.sqrt(Q.shape[1] + 1.0)
    if np.max(np.abs(left), initial=0.0) <= rounding * np.max(np.abs(y), initial=0.0):
        what = "is constant" if np.ptp(y) == 0 else "is a linear function of the columns of X"
        raise ValueError(
            f"expected a response with something left to explain by random effects; y {what}, up "
            "to rounding, and its variances are zero"
        )
    return part, left


def regressed(Q: Any, y: Any) -> tuple[Any, Any]:
    """Q^T y, and what Q leaves of y; twice, for what cancels. Of NumPy's arrays or JAX's."""
    part = Q.T @ y
    left = y - Q @ part
    again = Q.T @ left
    return part + again, left - Q @ again

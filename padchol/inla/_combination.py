"""Linear combinations A x at one theta: their means and standard deviations, A known or given."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax import lax
from jaxtyping import Array

from padchol.inla._correction import covariances
from padchol.inla._evaluation import Approximation, fitted
from padchol.inla._skewness import BLOCK


class Combination(eqx.Module):
    """(theta, mean of x) to the means and standard deviations of A x (m,).

    rows (blocks, BLOCK, entries), columns likewise, values: the entries of A, row by row, padded
    with zeros. Cost: one solve a row.
    """

    approximation: Approximation
    columns: Any
    values: Any

    def __call__(self, point: tuple[Array, Array]) -> tuple[Array, Array]:
        theta, mean = point
        fit = fitted(self.approximation, theta)
        columns, values = jnp.asarray(self.columns), jnp.asarray(self.values, mean.dtype)
        row = jnp.arange(BLOCK)[:, None]

        def one(block):
            at, a = block
            A_t = jnp.zeros((mean.size, BLOCK), mean.dtype).at[at, row].add(a)
            V = covariances(fit, A_t)
            return jnp.sum(a * mean[at], 1), jnp.sum(A_t * V, 0)

        means, variances = lax.map(one, (columns, values))
        return means.reshape(-1), jnp.sqrt(jnp.maximum(variances, 0)).reshape(-1)


def combination(approximation: Approximation, A: Any, n: int) -> tuple[Combination, int]:
    """The map for A (m, n) or (n,), scipy sparse or dense, and m."""
    A = sp.csr_array(A) if sp.issparse(A) else np.asarray(A, float)
    if isinstance(A, np.ndarray) and A.ndim == 1:
        A = A[None]
    if A.ndim != 2 or A.shape[1] != n:
        raise ValueError(f"expected combinations of shape (m, {n}) or ({n},); got {A.shape}")
    A = sp.csr_array(A)
    if not np.isfinite(A.data).all():
        raise ValueError("expected finite coefficients of combinations; got NaN or infinity")
    m = A.shape[0]
    count = np.diff(A.indptr)
    blocks = max(-(-m // BLOCK), 1)
    width = max(int(count.max(initial=0)), 1)
    columns = np.zeros((blocks * BLOCK, width), np.int32)
    values = np.zeros((blocks * BLOCK, width))
    row = np.repeat(np.arange(m), count)
    at = np.arange(A.nnz) - np.repeat(A.indptr[:-1], count)
    columns[row, at], values[row, at] = A.indices, A.data
    shape = (blocks, BLOCK, width)
    return Combination(approximation, columns.reshape(shape), values.reshape(shape)), m

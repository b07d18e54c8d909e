"""Dense factorisations and triangular solves of a batch, as a CPU does them by columns."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support

from padchol.numeric.verbs import batches as dense

WIDTHS = (1, 8, 24, 64, 96)
factor, solve, solve_t, inverse = map(
    jax.jit, (dense.cholesky, dense.solve, dense.solve_t, dense.inverse)
)


def positive(
    batch: int, width: int, condition: float = 100.0, dtype: Any = np.float64
) -> np.ndarray:
    """Random SPD matrices with eigenvalues 1 .. 1 / condition."""
    rng = np.random.default_rng(width)
    out = np.empty((batch, width, width))
    for k in range(batch):
        Q = np.linalg.qr(rng.normal(size=(width, width)))[0]
        A = (Q * np.geomspace(1, 1 / condition, width)) @ Q.T
        out[k] = (A + A.T) / 2
    return out.astype(dtype)


@support.both_precisions
@pytest.mark.parametrize("width", WIDTHS)
def test_factor(width, precision):
    """Row 4: triangular; |L L^T - A| stays at rounding level up to a condition number of 1e12."""
    eps = np.finfo(precision).eps
    for condition in (1e2, 1e12) if precision == "float64" else (1e2,):
        A = positive(3, width, condition, precision)
        L = np.asarray(factor(A))
        assert L.dtype == precision
        for k in range(3):
            assert not np.triu(L[k], 1).any()
            assert np.abs(L[k] @ L[k].T - A[k]).max() <= 10 * width * eps


@support.both_precisions
@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("width", WIDTHS)
def test_solves(width, k, precision):
    """Row 4: backward stable: |L x - b| is small beside |L| |x|, whatever the condition."""
    eps = np.finfo(precision).eps
    A = positive(3, width, 1e12 if precision == "float64" else 1e3)
    L = np.linalg.cholesky(A).astype(precision)
    b = np.random.default_rng(k).normal(size=(3, width, k)).astype(precision)
    for f, matrix in ((solve, L), (solve_t, np.swapaxes(L, 1, 2))):
        x = np.asarray(f(L, b))
        assert x.dtype == precision
        scale = np.abs(matrix) @ np.abs(x)
        assert (np.abs(matrix @ x - b) <= 10 * width * eps * scale + eps).all()
    assert solve(L, b[:, :, :0]).shape == (3, width, 0)


def test_what_stands_above_the_diagonal_is_not_read():
    A = positive(2, 16)
    spoiled = A.copy()
    spoiled[:, *np.triu_indices(16, 1)] = np.nan
    np.testing.assert_array_equal(factor(A), factor(spoiled))
    L = np.asarray(factor(A))
    noisy = L + np.triu(np.full((16, 16), np.nan), 1)
    b = np.ones((2, 16, 3))
    for f in (solve, solve_t):
        np.testing.assert_array_equal(f(noisy, b), f(L, b))


@pytest.mark.parametrize("bad", ["negative", "zero", "nan", "inf"])
def test_a_failing_pivot_and_the_others_of_the_batch(bad):
    """Rows 1, 3, 5: from the pivot that fails on nothing is plausible; other matrices are exact."""
    A = positive(2, 24)
    clean = np.asarray(factor(A))
    for at in (0, 11, 23):
        B = A.copy()
        B[0, at, at] = {"negative": -0.5, "zero": 0.0, "nan": np.nan, "inf": np.inf}[bad]
        if bad == "zero":
            B[0, at, :] = B[0, :, at] = 0.0
        L = np.asarray(factor(B))
        pivots = np.diagonal(L[0])
        assert np.argmax(~((pivots > 0) & np.isfinite(pivots))) == at
        np.testing.assert_array_equal(L[1], clean[1])


@pytest.mark.parametrize("width", [8, pytest.param(24, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_derivatives(width):
    """Forward and reverse, of the factor and of both solves, against those of LAPACK."""
    A = jnp.asarray(positive(1, width))
    b = jnp.asarray(np.random.default_rng(0).normal(size=(1, width, 2)))

    def ours(A, b):
        L = dense.cholesky(A)
        return jnp.sum(jnp.sin(dense.solve(L, b))) + jnp.sum(dense.solve_t(L, b) ** 2)

    def theirs(A, b):
        low = jnp.tril(A[0])
        L = jnp.linalg.cholesky(low + jnp.tril(low, -1).T)
        half = jax.scipy.linalg.solve_triangular
        y, x = half(L, b[0], lower=True), half(L, b[0], lower=True, trans=1)
        return jnp.sum(jnp.sin(y)) + jnp.sum(x**2)

    for mode in (jax.grad, jax.jacfwd):
        found, expected = (mode(f, (0, 1))(A, b) for f in (ours, theirs))
        for x, y in zip(found, expected, strict=True):
            assert support.relative(x, y) < 1e-10


def test_small_helpers():
    """symmetric and lower of matrices of which only the lower triangle counts; products; L^-1."""
    a = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5)))
    low = np.tril(a)
    np.testing.assert_array_equal(dense.lower(a), low)
    np.testing.assert_array_equal(dense.symmetric(a), low + np.swapaxes(np.tril(a, -1), 1, 2))
    np.testing.assert_allclose(dense.times(a, a), a @ a)
    np.testing.assert_allclose(dense.times_t(a, a), a @ np.swapaxes(a, 1, 2))
    np.testing.assert_allclose(dense.t_times(a, a), np.swapaxes(a, 1, 2) @ a)
    L = np.linalg.cholesky(positive(2, 8))
    np.testing.assert_allclose(inverse(L), np.linalg.inv(L), atol=1e-12)

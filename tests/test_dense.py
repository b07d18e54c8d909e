"""The pivot kernel: batches of small dense factorisations at every padded width."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from padchol.numeric import dense

WIDTHS = (8, 16, 24, 32, 48, 64, 96, 128, 192)
factor = jax.jit(dense.cholesky_and_inverse)


def positive(batch: int, width: int, condition: float = 100.0, dtype=np.float64) -> np.ndarray:
    """Random SPD matrices with eigenvalues 1 .. 1 / condition."""
    rng = np.random.default_rng(width)
    out = np.empty((batch, width, width))
    for k in range(batch):
        Q = np.linalg.qr(rng.normal(size=(width, width)))[0]
        A = (Q * np.geomspace(1, 1 / condition, width)) @ Q.T
        out[k] = (A + A.T) / 2
    return out.astype(dtype)


@pytest.mark.parametrize("width", WIDTHS)
def test_factor_and_inverse(width):
    """Row 4: both triangular; |L L^T - A| stays at rounding level up to a condition number of
    1e12, and |L L^-1 - I|, which the rows below a pivot block inherit, at that times cond(L)."""
    eps = np.finfo(float).eps
    for condition in (1e2, 1e6, 1e12):
        A = positive(3, width, condition)
        L, inverse = (np.asarray(x) for x in factor(A))
        for k in range(3):
            assert not np.triu(L[k], 1).any()
            assert not np.triu(inverse[k], 1).any()
            assert np.abs(L[k] @ L[k].T - A[k]).max() <= 10 * width * eps
            deviation = np.abs(L[k] @ inverse[k] - np.eye(width)).max()
            assert deviation <= 10 * width * eps * np.sqrt(condition)


@pytest.mark.parametrize("precision", ["float32"], indirect=True)
@pytest.mark.parametrize("width", [8, 32, 64, 96])
def test_single_precision(width, precision):
    """Row 21: the same in float32 with x64 off, without an upcast."""
    A = positive(3, width, dtype=precision)
    L, inverse = (np.asarray(x) for x in factor(A))
    assert L.dtype == inverse.dtype == precision
    eps = np.finfo(precision).eps
    for k in range(3):
        assert np.abs(L[k] @ L[k].T - A[k]).max() <= 10 * width * eps
        assert np.abs(L[k] @ inverse[k] - np.eye(width)).max() <= 100 * width * eps


@pytest.mark.parametrize("batch", [1, dense.UNROLL_FROM - 1, dense.UNROLL_FROM, 70])
def test_batch_sizes(batch):
    """The unrolled and the looped elimination give the factor of every matrix in the batch."""
    A = positive(batch, 8)
    L, inverse = (np.asarray(x) for x in factor(A))
    for k in range(batch):
        np.testing.assert_allclose(L[k], np.linalg.cholesky(A[k]), atol=1e-13)
        np.testing.assert_allclose(inverse[k] @ L[k], np.eye(8), atol=1e-12)


@pytest.mark.parametrize("width", [8, 24, 64, 96])
def test_only_the_lower_triangle_is_read(width):
    """NaN above the diagonal changes no bit."""
    A = positive(2, width)
    poisoned = A.copy()
    poisoned[:, *np.triu_indices(width, 1)] = np.nan
    for clean, found in zip(factor(A), factor(poisoned), strict=True):
        np.testing.assert_array_equal(clean, found)


@pytest.mark.parametrize("width", [8, 24, 32, 64, 96])
@pytest.mark.parametrize("bad", ["negative", "zero", "nan", "inf"])
def test_first_failing_pivot(width, bad):
    """Rows 1, 3, 5: the first diagonal entry of L that is not positive and finite is the culprit's;
    columns before it, and other matrices of the batch, keep their values."""
    A = positive(2, width)
    clean = np.asarray(factor(A)[0])
    for at in sorted({0, 3, width // 2, width - 1}):
        B = A.copy()
        row = np.linalg.cholesky(A[0])[at, :at]
        exact = float(row @ row)
        B[0, at, at] = {"negative": exact - 0.5, "zero": 0.0, "nan": np.nan, "inf": np.inf}[bad]
        if bad == "zero":
            B[0, at, :] = B[0, :, at] = 0.0
        L = np.asarray(factor(B)[0])
        pivots = np.diagonal(L[0])
        failed = ~((pivots > 0) & np.isfinite(pivots))
        assert np.argmax(failed) == at
        assert failed.any()
        if bad != "zero":
            np.testing.assert_allclose(L[0][:, :at], clean[0][:, :at], atol=1e-13)
        np.testing.assert_array_equal(L[1], clean[1])


def test_small_helpers():
    """symmetric, lower and Phi of a matrix of which only the lower triangle counts."""
    a = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5)))
    low = np.tril(a)
    np.testing.assert_array_equal(dense.lower(a), low)
    np.testing.assert_array_equal(dense.symmetric(a), low + np.swapaxes(np.tril(a, -1), 1, 2))

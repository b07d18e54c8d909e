"""Iterative refinement: the backward error of solves, in one precision and across two.

Normwise backward error of x (Rigal & Gaches 1967; Higham 2002, Accuracy and Stability, theorem
7.1): max |b - A x| / (|A| max |x| + max |b|), |A|: the largest sum of a row's moduli.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support
from test_reference_data import matrix

import padchol

slow = pytest.mark.slow
ILL_CONDITIONED = ["bcsstk01", "494_bus"]
ILL_CONDITIONED += [pytest.param(m, marks=slow) for m in ("lund_a", "well1033_AtA", "1138_bus")]


def backward_error(A, x, b) -> float:
    A, x, b = A.astype(float), np.asarray(x, float), np.asarray(b, float)
    scale = abs(A).sum(1).max() * np.abs(x).max() + np.abs(b).max()
    return float(np.abs(b - A @ x).max() / scale)


@functools.cache
def membrane() -> tuple[sp.csc_array, padchol.Plan, Any]:
    """(A, plan, float32 values): a free membrane on a grid, held by weak springs.

    Entries are multiples of 2^-14, so that A is the same in float32 and float64.
    """
    grid = support.graph_laplacian(support.grid(3, 4))
    A = sp.csc_array(grid + 2.0**-14 * sp.eye_array(12))
    plan = support.unmerged(A)
    return A, plan, plan.values(A).astype(np.float32)


def right_hand_sides(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 2))


def test_the_membrane_is_ill_conditioned():
    A, plan, a = membrane()
    assert 1e5 < np.linalg.cond(A.toarray()) < 2e5
    np.testing.assert_array_equal(a, plan.values(A))


def test_a_narrow_factor_and_a_wide_right_hand_side():
    """The float32 factor alone solves to float32 accuracy; each step of refinement multiplies the
    error by about cond(A) eps, and a few reach what a float64 factor does."""
    A, plan, a = membrane()
    b = right_hand_sides(plan.n)
    F = padchol.cholesky(plan, a)
    x = [np.asarray(F.solve(b, refine=k)) for k in range(4)]
    assert all(step.dtype == np.float64 for step in x)
    errors = [backward_error(A, step, b) for step in x]
    assert 1e-10 < errors[0] < 1e-6
    assert errors[1] < errors[0] / 100
    assert errors[3] < 1e-15, errors
    exact = np.linalg.solve(A.toarray(), b)
    assert support.relative(x[0], exact) > 1e-6
    assert support.relative(x[3], exact) < 1e-10  # cond(A) eps of float64


@pytest.mark.parametrize("precision", ["float32"], indirect=True)
def test_float32_throughout(precision):
    """Row 21: with x64 off nothing is widened: refinement keeps the backward error at eps."""
    A, plan, a = membrane()
    b = right_hand_sides(plan.n).astype(precision)
    F = padchol.cholesky(plan, a)
    for k in (0, 1, 3):
        x = F.solve(b, refine=k)
        assert x.dtype == precision
        assert backward_error(A, x, b) < 1e-6


@pytest.mark.parametrize("k", [0, 1, 3])
def test_a_float64_factor(k):
    """Row 4: nothing to gain and nothing lost."""
    A, plan, _ = membrane()
    b = right_hand_sides(plan.n)
    x = padchol.cholesky(plan, plan.values(A)).solve(b, refine=k)
    assert backward_error(A, x, b) < 1e-15


def test_transformations():
    """Row 24: refined solves under jit and vmap, over right-hand sides and over values."""
    A, plan, a = membrane()
    b = right_hand_sides(plan.n).T
    solve = lambda a, b: padchol.cholesky(plan, a).solve(b, refine=3)
    many = jax.jit(jax.vmap(solve, (None, 0)))(a, b)
    assert backward_error(A, many.T, b.T) < 1e-15
    scales = np.array([1.0, 4.0], np.float32)
    many = jax.jit(jax.vmap(solve))(scales[:, None] * a, b)
    for scale, x, y in zip(scales, many, b, strict=True):
        assert backward_error(scale * A, x, y) < 1e-15


@pytest.mark.slow
def test_derivatives():
    """Row 23: a refined solve of a float64 right-hand side has the tangent and the gradient of
    A^-1 b; those to the values are in the type of the values, float32."""
    A, plan, a = membrane()
    b = right_hand_sides(plan.n)[:, 0]
    da, db = support.random_like(a, 1), support.random_like(b, 2)
    w = support.random_like(b, 3)
    solve = lambda a, b: padchol.cholesky(plan, a).solve(b, refine=3)
    x, moved = jax.jit(lambda at, along: jax.jvp(solve, at, along))((a, b), (da, db))
    energy = lambda a, b: jnp.vdot(w, solve(a, b))
    to_a, to_b = jax.jit(jax.grad(energy, (0, 1)))(a, b)
    dense = A.toarray()
    exact, adjoint = (np.linalg.solve(dense, y) for y in (b, w))
    dA = np.asarray(support.symmetric(plan, da), float)
    i, j = plan.rows, plan.cols
    outer = -(adjoint[i] * exact[j] + adjoint[j] * exact[i])
    assert support.relative(x, exact) < 1e-10
    assert moved.dtype == to_b.dtype == np.float64
    assert support.relative(moved, np.linalg.solve(dense, db - dA @ exact)) < 1e-9
    assert support.relative(to_b, adjoint) < 1e-9
    assert to_a.dtype == np.float32
    assert support.relative(to_a, np.where(i == j, 0.5, 1) * outer) < 1e-6


def test_a_failed_factor_is_not_refined_into_numbers():
    """Row 1: NaN, whatever the number of steps."""
    _, plan, a = membrane()
    F = padchol.cholesky(plan, -a)
    assert F.info != 0
    assert np.isnan(F.solve(right_hand_sides(plan.n), refine=2)).all()


@pytest.mark.parametrize("name", ILL_CONDITIONED)
def test_real_matrices(name):
    """Row 4: on ill-conditioned real matrices a float64 factor has a backward error below 1e-13;
    a float32 factor of the values rounded to float32, refined, comes to the same."""
    A = matrix(name)
    plan = padchol.analyze(A)
    b = right_hand_sides(plan.n)
    a = plan.values(A)
    assert backward_error(A, padchol.cholesky(plan, a).solve(b), b) < 1e-13
    F = padchol.cholesky(plan, a.astype(np.float32))
    assert F.info == 0
    A32 = A.astype(np.float32)
    errors = [backward_error(A32, F.solve(b, refine=k), b) for k in (0, 5)]
    assert errors[0] < 1e-6
    assert errors[1] < 1e-13, errors

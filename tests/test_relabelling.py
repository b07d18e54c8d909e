"""Row 28: answers depend neither on the order of the unknowns nor on the ordering of a plan."""

import jax
import numpy as np
import pytest
import support
from hypothesis import given, settings
from hypothesis import strategies as st

import padchol

NAMES = ("grid2", "scattered", "disconnected")
ORDERS = ("natural", "rcm", "mmd", "nd")


@jax.jit
def answers(plan, a, b):
    F = padchol.cholesky(plan, a)
    return F.solve(b), F.logdet()


@settings(deadline=None, max_examples=8)
@given(st.sampled_from(NAMES), *[st.sampled_from(ORDERS)] * 2, st.integers(0, 2**16))
@pytest.mark.slow
def test_solve_and_logdet_under_relabelling(name, order, other, seed):
    """x[p] solves A[p][:, p] x[p] = b[p], and the determinants are the same."""
    A, rng = support.MATRICES[name][0](), np.random.default_rng(seed)
    p, b = rng.permutation(A.shape[0]), rng.normal(size=A.shape[0])
    moved = A[p][:, p]
    plan = padchol.analyze(A, order=order)
    x, logdet = answers(plan, plan.values(A), b)
    plan = padchol.analyze(moved, order=rng.permutation(A.shape[0]) if seed % 3 == 0 else other)
    y, again = answers(plan, plan.values(moved), b[p])
    np.testing.assert_allclose(y, x[p], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(again, logdet, rtol=1e-12)

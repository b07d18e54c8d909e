"""The one-liners for scipy matrices."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import support

import padchol
from padchol import direct

pytestmark = pytest.mark.core


@pytest.mark.parametrize("container", [sp.csc_array, sp.csr_matrix, sp.coo_array])
def test_solve_and_logdet(container):
    """Analyse, factor, answer: as dense."""
    A = container(support.case("scattered")[0])
    b = np.arange(A.shape[0], dtype=float)
    dense = A.toarray()
    assert support.relative(padchol.solve(A, b), np.linalg.solve(dense, b)) < 1e-12
    np.testing.assert_allclose(padchol.logdet(A), np.linalg.slogdet(dense)[1], rtol=1e-12)


def test_the_analysis_is_remembered(monkeypatch):
    """One analysis for any number of matrices of one pattern; the oldest is dropped beyond 32."""
    monkeypatch.setattr(direct, "_plans", type(direct._plans)())
    seen = []
    analyze = direct.analyze
    monkeypatch.setattr(direct, "analyze", lambda A: seen.append(A.shape) or analyze(A))
    A = support.case("scattered")[0]
    for scale in (1.0, 2.0, 3.0):
        expected = np.linalg.slogdet(scale * A.toarray())[1]
        np.testing.assert_allclose(padchol.logdet(scale * A), expected, rtol=1e-12)
    assert len(seen) == 1
    monkeypatch.setattr(direct, "REMEMBERED", 1)
    padchol.logdet(sp.csc_array([[2.0]]))
    assert len(direct._plans) == 1
    padchol.logdet(A)
    assert len(seen) == 3


def test_failure_raises():
    """Row 1: no plausible number from an indefinite or a singular matrix."""
    for A, row in ((sp.diags_array([1.0, 4.0, -3.0]), 2), (sp.csc_array([[0.0]]), 0)):
        with pytest.raises(padchol.NotPositiveDefiniteError) as caught:
            padchol.logdet(sp.csc_array(A))
        assert caught.value.index == row
        with pytest.raises(padchol.NotPositiveDefiniteError):
            padchol.solve(sp.csc_array(A), np.ones(A.shape[0]))


def test_unsymmetric_values():
    """Row 8: values that are not symmetric are refused, naming the entry."""
    A = sp.csc_array([[2.0, 0.5], [0.25, 2.0]])
    with pytest.raises(ValueError, match=r"A\[1, 0\].*A\[0, 1\]|A\[0, 1\].*A\[1, 0\]"):
        padchol.logdet(A)


def test_empty():
    """Row 13: solve of a 0 x 0 system is (0,), log |A| is 0."""
    A = sp.csc_array((0, 0))
    assert padchol.solve(A, np.zeros(0)).shape == (0,)
    assert padchol.logdet(A) == 0

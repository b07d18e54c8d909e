"""Rows far denser than the rest: set apart before an ordering sees them, and ordered last."""

import numpy as np
import pytest
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st

from padchol.symbolic.ordering import dense
from padchol.symbolic.ordering import named as ordering

N = 400
DENSE = oracle.path(N) | oracle.arrow(N, 7) | oracle.arrow(N, 123)


@pytest.mark.parametrize("name", ["nd", "rcm"])
def test_dense_rows_are_last(name):
    perm = ordering.NAMED[name](oracle.as_pattern(DENSE))
    np.testing.assert_array_equal(perm[-2:], [7, 123])


@oracle.quick
@given(oracle.patterns(), st.integers(0, 2**16))
def test_an_ordering_sees_the_rest(S, seed):
    apart = np.random.default_rng(seed).random(len(S)) < 0.3
    seen = []
    ordered = dense.dense_last(lambda p: seen.append(p) or np.arange(p.n)[::-1], lambda _: apart)
    perm = ordered(oracle.as_pattern(S))
    sparse = np.flatnonzero(~apart)
    expected = oracle.as_pattern(S[np.ix_(sparse, sparse)])
    for found, wanted in zip(seen[0], expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(perm, np.append(sparse[::-1], np.flatnonzero(apart)))


def test_minimum_degree_sees_the_dense_rows_that_it_can_bear(monkeypatch):
    pattern = oracle.as_pattern(DENSE)
    assert not dense.unbearable_rows(pattern).any()
    monkeypatch.setattr(dense, "SQUARES", (N - 1) ** 2)
    np.testing.assert_array_equal(np.flatnonzero(dense.unbearable_rows(pattern)), [123])
    assert ordering.NAMED["mmd"](pattern)[-1] == 123
    monkeypatch.setattr(dense, "SQUARES", 0)
    np.testing.assert_array_equal(np.flatnonzero(dense.unbearable_rows(pattern)), [7, 123])


def test_rows_that_are_all_dense_are_not_denser_than_the_rest(monkeypatch):
    """Two factors of 200 levels, crossed: columns of one can be eliminated without fill."""
    monkeypatch.setattr(dense, "SQUARES", 0)
    S = np.kron([[0, 1], [1, 0]], oracle.full(200)) | oracle.diagonal(N)
    pattern = oracle.as_pattern(oracle.shuffled(S.astype(bool), 0))
    assert dense.dense_rows(pattern).sum() == 0
    monkeypatch.setattr(dense, "ROOTS", 5.0)
    assert dense.dense_rows(pattern).all()
    assert not dense.unbearable_rows(pattern).any()

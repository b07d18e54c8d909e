"""Supernodes: maximal runs and their rows against the dense oracle; relaxation by its contract."""

import numpy as np
import pytest
import symbolic_oracle as oracle
from hypothesis import given

from padchol.symbolic import supernodes
from padchol.symbolic.costs import CostModel
from padchol.symbolic.exact import exact_supernodes

PATTERNS = [pytest.param(S, id=name) for name, S in oracle.EXAMPLES.items()]


def exact_of(S):
    """Exact supernodes of S in a postorder, and L in that postorder."""
    exact, post = exact_supernodes(oracle.as_pattern(S), np.arange(len(S)))
    return exact, oracle.eliminate(S[np.ix_(post, post)])


def check_exact(S):
    exact, L = exact_of(S)
    n = len(S)
    np.testing.assert_array_equal(exact.first, [*oracle.supernode_starts(L), n])
    parent = oracle.tree(L)
    for s in range(exact.parent.size):
        last = exact.first[s + 1] - 1
        rows = exact.rows[exact.row_ptr[s] : exact.row_ptr[s + 1]]
        np.testing.assert_array_equal(rows, np.flatnonzero(L[:, last])[1:])
        above = parent[last]
        assert exact.parent[s] == (exact.of_column[above] if above >= 0 else -1)


@pytest.mark.parametrize("S", PATTERNS)
def test_maximal_supernodes_of_examples(S):
    check_exact(S)


@oracle.quick
@given(oracle.patterns())
def test_maximal_supernodes_and_their_rows(S):
    check_exact(S)


@oracle.quick
@given(oracle.patterns())
def test_derived_sizes(S):
    exact, L = exact_of(S)
    w, m = exact.width, exact.below
    assert (w > 0).all()
    assert w.sum() == exact.of_column.size == len(S)
    assert int(np.sum(w * (w + 1) // 2 + w * m)) == L.sum()


@oracle.quick
@given(oracle.patterns())
def test_place_is_the_row_in_the_front(S):
    exact, _ = exact_of(S)
    for s in range(exact.parent.size):
        pivots = np.arange(exact.first[s], exact.first[s + 1])
        front = np.append(pivots, exact.rows[exact.row_ptr[s] : exact.row_ptr[s + 1]])
        places = exact.place(np.full(front.size, s), front)
        np.testing.assert_array_equal(places, np.arange(front.size))


def check_ordered(S):
    """Columns sorted within their supernodes by where their rows of A begin."""
    exact, post = exact_supernodes(oracle.as_pattern(S), np.arange(len(S)))
    moved = S[np.ix_(post, post)]
    i, k = np.nonzero(np.tril(moved, -1))
    ordered, order = supernodes.order_columns(exact, i, k)
    n = len(S)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    for name in ("first", "parent", "row_ptr"):  # the tree and its sizes stay
        np.testing.assert_array_equal(getattr(ordered, name), getattr(exact, name))
    np.testing.assert_array_equal(exact.of_column[order], exact.of_column)
    begin = np.array([moved[j, : j + 1].argmax() if j else 0 for j in range(n)], np.int64)
    held = np.zeros((n, n), bool)  # what the fronts have room for
    for s in range(exact.parent.size):
        columns = order[exact.first[s] : exact.first[s + 1]]
        keys = list(zip(begin[columns], columns, strict=True))
        assert keys == sorted(keys)  # those that begin alike stay as they were
        before = exact.rows[exact.row_ptr[s] : exact.row_ptr[s + 1]]
        after = ordered.rows[ordered.row_ptr[s] : ordered.row_ptr[s + 1]]
        assert (np.diff(after) > 0).all()
        assert set(order[after]) == set(before)
        pivots = np.arange(exact.first[s], exact.first[s + 1])
        held[np.ix_(np.append(pivots, after), pivots)] = True
    L = oracle.eliminate(moved[np.ix_(order, order)])
    assert not (L & ~held).any()
    return order


@pytest.mark.parametrize("S", PATTERNS)
def test_ordered_columns_of_examples(S):
    check_ordered(S)


@oracle.quick
@given(oracle.patterns())
def test_columns_are_ordered_within_their_supernodes(S):
    check_ordered(S)


def test_columns_that_begin_in_one_subtree_come_to_lie_side_by_side():
    """Two leaves under one dense supernode, each joined to every other column of it."""
    S = oracle.edges(8, [(0, 2), (0, 4), (0, 6), (1, 3), (1, 5), (1, 7)])
    S[2:, 2:] = True
    order = check_ordered(S)
    assert {tuple(order[2:5]), tuple(order[5:])} == {(2, 4, 6), (3, 5, 7)}


def check_relaxed(S, model):
    exact, L = exact_of(S)
    relaxed, order = supernodes.relax(exact, model)
    n = len(S)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    assert relaxed.first[0] == 0
    assert relaxed.first[-1] == n
    held = np.zeros((n, n), bool)  # what the fronts have room for
    for s in range(relaxed.parent.size):
        start, end = relaxed.first[s], relaxed.first[s + 1]
        rows = relaxed.rows[relaxed.row_ptr[s] : relaxed.row_ptr[s + 1]]
        assert end > start
        assert (np.diff(rows) > 0).all()
        assert (rows >= end).all()
        held[start:end, start:end] = held[rows, start:end] = True
        p = relaxed.parent[s]
        assert (p > s) == (rows.size > 0)
        if p >= 0:
            pivots = np.arange(relaxed.first[p], relaxed.first[p + 1])
            above = relaxed.rows[relaxed.row_ptr[p] : relaxed.row_ptr[p + 1]]
            assert rows[0] in pivots  # else the parent would be another front
            assert set(rows) <= set(pivots) | set(above)
        else:
            assert p == -1
    moved = L | L.T
    moved = np.tril(moved[np.ix_(order, order)])
    assert not (moved & ~held).any()
    assert moved.sum() == oracle.eliminate(moved).sum()  # the new order makes no new fill
    return exact, relaxed


@pytest.mark.parametrize("S", PATTERNS)
def test_relaxation_of_examples(S):
    check_relaxed(S, CostModel())


@oracle.quick
@given(oracle.patterns())
def test_relaxation_keeps_every_entry_in_a_front(S):
    check_relaxed(S, CostModel())


def test_relaxation_merges_where_it_pays():
    exact, relaxed = check_relaxed(oracle.path(40), CostModel())
    assert exact.parent.size == 39  # the last two columns are one supernode already
    assert relaxed.parent.size < 20


def test_nothing_is_merged_across_roots():
    blocks = oracle.side_by_side(*[oracle.full(3)] * 4)
    exact, relaxed = check_relaxed(blocks, CostModel())
    assert exact.parent.size == relaxed.parent.size == 4


def test_a_long_path_needs_no_recursion():
    n = 200_000
    i, k = np.arange(1, n), np.arange(n - 1)
    counts = np.append(np.full(n - 1, 2), 1)
    nodes = supernodes.with_rows(*supernodes.maximal(np.append(i, -1), counts), i, k)
    assert nodes.parent.size == n - 1
    np.testing.assert_array_equal(nodes.rows, np.arange(1, n - 1))

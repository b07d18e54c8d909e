"""Row 32: maximal runs and their rows against the dense oracle; relaxation by its contract."""

from unittest import mock

import numpy as np
import pytest
import symbolic_oracle as oracle
from hypothesis import given

import padchol
from padchol.symbolic import amalgamation, supernodes
from padchol.symbolic.column_counts import RowSubtrees
from padchol.symbolic.costs import CostModel
from padchol.symbolic.exact import exact_supernodes
from padchol.symbolic.pattern import Pattern
from padchol.symbolic.unfold import front_records

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
    """Columns sorted within their supernodes by where their rows of A begin, L as it was."""
    before, post = exact_supernodes(oracle.as_pattern(S), np.arange(len(S)))
    after, moved_post = exact_supernodes(oracle.as_pattern(S), np.arange(len(S)), reorder=True)
    n = len(S)
    order = np.argsort(post)[moved_post]  # new position t is column order[t] before
    for name in ("first", "parent", "row_ptr"):  # the tree and its sizes stay
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    np.testing.assert_array_equal(before.of_column[order], before.of_column)
    moved = S[np.ix_(post, post)]
    begin = np.array([moved[j, : j + 1].argmax() if j else 0 for j in range(n)], np.int64)
    held = np.zeros((n, n), bool)
    for s in range(before.parent.size):
        start, end = after.first[s : s + 2]
        columns = order[start:end]
        assert columns[0] == start
        keys = list(zip((begin[columns] - begin[start]) % n, columns, strict=True))
        assert keys == sorted(keys)  # those that begin alike stay as they were
        rows = after.rows[after.row_ptr[s] : after.row_ptr[s + 1]]
        assert (np.diff(rows) > 0).all()
        pivots = np.arange(start, end)
        held[np.ix_(np.append(pivots, rows), pivots)] = True
    np.testing.assert_array_equal(
        np.tril(held), oracle.eliminate(S[np.ix_(moved_post, moved_post)])
    )
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
    relaxed, order = amalgamation.relax(exact, model)
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
            pivots = np.arange(int(relaxed.first[p]), int(relaxed.first[p + 1]))
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


@oracle.quick
@given(oracle.patterns())
def test_groups_are_the_same_together_and_one_by_one(S):
    exact, _ = exact_of(S)
    with mock.patch.object(amalgamation, "TOGETHER", 1):
        together = amalgamation.groups(exact, CostModel())
    with mock.patch.object(amalgamation, "TOGETHER", exact.parent.size + 1):
        one_by_one = amalgamation.groups(exact, CostModel())
    np.testing.assert_array_equal(together, one_by_one)
    np.testing.assert_array_equal(together, groups_by_hand(exact, CostModel()))


def groups_by_hand(exact, model):
    """The rule itself: each supernode in turn, its children by rows, then by number."""
    S, width, below = exact.parent.size, exact.width, exact.below
    price, top = model.front_price(), np.arange(S)
    for s in range(S):
        for c in sorted(np.flatnonzero(exact.parent == s), key=lambda c: (-below[c], c)):
            apart = price(width[s], below[s]) + price(width[c], below[c])
            if price(width[s] + width[c], below[s]) <= apart:
                width[s] += width[c]
                top[top == c] = s
    return top


def test_nothing_is_merged_across_roots():
    blocks = oracle.side_by_side(*[oracle.full(3)] * 4)
    exact, relaxed = check_relaxed(blocks, CostModel())
    assert exact.parent.size == relaxed.parent.size == 4


def test_a_long_path_needs_no_recursion():
    n = 200_000
    i, k = np.arange(1, n), np.arange(n - 1)
    counts = np.append(np.full(n - 1, 2), 1)
    counted = supernodes.maximal(np.append(i, -1), counts)
    nodes = supernodes.with_rows(counted, RowSubtrees(i, k, i))
    assert nodes.parent.size == n - 1
    np.testing.assert_array_equal(nodes.rows, np.arange(1, n - 1))


def test_a_long_way_beside_larger_siblings_takes_few_passes():
    """A cycle through the spine of a comb: every node of the spine has a later sibling, a tooth."""
    n = 100_000
    spine, teeth = np.arange(0, n, 2), np.arange(1, n - 2, 2)
    i = np.concatenate([spine[1:], teeth + 1, [n - 1, n - 1]])  # n - 1 closes the cycle
    k = np.concatenate([spine[:-1], teeth, [0, n - 2]])
    rows, cols = np.concatenate([i, np.arange(n)]), np.concatenate([k, np.arange(n)])
    order = np.lexsort((rows, cols))
    exact, _ = exact_supernodes(Pattern(n, rows[order], cols[order]), np.arange(n))
    of_spine = exact.rows.size - teeth.size  # one row below each tooth
    assert of_spine == 2 * (spine.size - 1)


@pytest.mark.parametrize("n", [257, 600])
def test_a_dense_matrix_wider_than_a_front(n):
    """The pieces of its one supernode have rows, though the supernode itself has none."""
    i, j = np.tril_indices(n)
    plan = padchol.analyze((i, j, n), lower=True)
    assert plan.nnz_L == n * (n + 1) // 2
    records = front_records(plan.layout, plan.table)
    np.testing.assert_array_equal(records[:, 3], [*range(n - 256, 0, -256), 0])

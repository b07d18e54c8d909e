"""Row 32: elimination tree, postorder and column counts, against elimination on a dense pattern."""

import numpy as np
import pytest
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st

from padchol.symbolic import column_counts as columns
from padchol.symbolic import etree, postorder

PATTERNS = [pytest.param(S, id=name) for name, S in oracle.EXAMPLES.items()]


def strict_lower(S):
    """(i, k) of the entries below the diagonal, shuffled."""
    i, k = np.nonzero(np.tril(S, -1))
    mixed = np.random.default_rng(0).permutation(i.size)
    return i[mixed].astype(np.int64), k[mixed].astype(np.int64)


def tree_of(S):
    return etree.elimination_tree(len(S), *strict_lower(S))


def postorder_of(parent):
    return postorder.postorder(parent, postorder.subtree_sizes(parent))


def postordered(S):
    """S relabelled by a postorder of its elimination tree, that tree, and first descendants."""
    post = postorder_of(tree_of(S))
    S = S[np.ix_(post, post)]
    parent = tree_of(S)
    return S, parent, np.arange(1, len(S) + 1) - postorder.subtree_sizes(parent)


def below(parent, j):
    """j and its descendants."""
    return [d for d in range(len(parent)) if d == j or j in oracle.ancestors(parent, d)]


@oracle.quick
@given(oracle.patterns(), st.integers(0, 2**16))
def test_permuted_lower_lists_the_strict_lower_triangle_once(S, seed):
    perm = np.random.default_rng(seed).permutation(len(S))
    i, k = etree.permuted_lower(oracle.as_pattern(S), perm)
    expected = np.tril(S[np.ix_(perm, perm)], -1)
    assert i.size == expected.sum()
    found = np.zeros_like(expected)
    found[i, k] = True
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("S", PATTERNS)
def test_tree_of_examples(S):
    np.testing.assert_array_equal(tree_of(S), oracle.tree(oracle.eliminate(S)))


@oracle.quick
@given(oracle.patterns())
def test_tree(S):
    np.testing.assert_array_equal(tree_of(S), oracle.tree(oracle.eliminate(S)))


@oracle.quick
@given(oracle.patterns())
def test_postorder_ends_every_contiguous_subtree_with_its_root(S):
    parent = tree_of(S)
    n = len(S)
    post = postorder_of(parent)
    np.testing.assert_array_equal(np.sort(post), np.arange(n))
    place = np.empty(n, np.int64)
    place[post] = np.arange(n)
    for j in range(n):
        places = np.sort(place[below(parent, j)])
        np.testing.assert_array_equal(places, np.arange(places[0], places[-1] + 1))
        assert place[j] == places[-1]


@oracle.quick
@given(oracle.patterns(), st.booleans())
def test_siblings_keep_their_order_or_are_sorted_by_size(S, by_size):
    parent = tree_of(S)
    size = postorder.subtree_sizes(parent)
    place = np.argsort(postorder.postorder(parent, size, by_size))
    for p in range(-1, len(S)):
        siblings = np.flatnonzero(parent == p)
        siblings = siblings[np.argsort(place[siblings])]
        keys = list(zip(size[siblings] * by_size, siblings, strict=True))
        assert keys == sorted(keys)


@oracle.quick
@given(oracle.patterns(), st.integers(0, 2**16))
def test_relabelled_trees(S, seed):
    parent = tree_of(S)
    order = np.random.default_rng(seed).permutation(len(S))
    moved, place = postorder.relabelled(parent, order)
    np.testing.assert_array_equal(order[place], np.arange(len(S)))
    for t, p in enumerate(moved):
        assert parent[order[t]] == (order[p] if p >= 0 else -1)


@oracle.quick
@given(oracle.patterns(), st.integers(0, 2**16))
def test_sums_over_subtrees_and_paths(S, seed):
    parent = tree_of(S)
    value = np.random.default_rng(seed).integers(-9, 9, len(S))
    size, total = postorder.subtree_sizes(parent), postorder.path_sums(parent, value)
    for j in range(len(S)):
        assert size[j] == len(below(parent, j))
        assert total[j] == value[[j, *oracle.ancestors(parent, j)]].sum()


@oracle.quick
@given(oracle.patterns())
def test_heights(S):
    parent = tree_of(S)
    np.testing.assert_array_equal(postorder.heights(parent), oracle.heights(parent))


@oracle.quick
@given(st.lists(st.integers(-5, 5), min_size=1), st.data())
def test_range_maxima(values, data):
    bound = st.integers(0, len(values))
    drawn = data.draw(st.lists(st.tuples(bound, bound).filter(lambda r: r[0] < r[1])))
    start, end = np.array(drawn, np.int64).reshape(-1, 2).T
    found = columns.range_maxima(np.array(values), start, end)
    assert found.tolist() == [max(values[a:b]) for a, b in drawn]


@oracle.quick
@given(oracle.patterns())
def test_paths_of_the_row_subtrees_are_the_rows_of_the_factor(S):
    S, parent, first = postordered(S)
    L = oracle.eliminate(S)
    found = [[i] for i in range(len(S))]
    for i, j, stop in zip(*columns.row_subtrees(parent, first, *strict_lower(S)), strict=True):
        assert S[i, j]
        path = [j, *oracle.ancestors(parent, j)]
        found[i] += path[: path.index(stop)]
    for i, each in enumerate(found):
        assert sorted(each) == np.flatnonzero(L[i]).tolist()  # and each of them once


@oracle.quick
@given(oracle.patterns())
def test_a_postorder_keeps_the_fill(S):
    before = oracle.eliminate(S)
    post = postorder_of(tree_of(S))
    after = oracle.eliminate(S[np.ix_(post, post)])
    np.testing.assert_array_equal(after, np.tril((before | before.T)[np.ix_(post, post)]))


@pytest.mark.parametrize("S", PATTERNS)
def test_column_counts_of_examples(S):
    S, parent, first = postordered(S)
    counts = columns.column_counts(first, columns.row_subtrees(parent, first, *strict_lower(S)))
    np.testing.assert_array_equal(counts, oracle.column_counts(oracle.eliminate(S)))


@oracle.quick
@given(oracle.patterns())
def test_column_counts(S):
    S, parent, first = postordered(S)
    counts = columns.column_counts(first, columns.row_subtrees(parent, first, *strict_lower(S)))
    np.testing.assert_array_equal(counts, oracle.column_counts(oracle.eliminate(S)))


@pytest.mark.parametrize("ends", ["open", "joined"])
def test_a_path_and_a_cycle_of_many_nodes_need_few_passes(ends):
    n = 200_000
    i, k, joined = np.arange(1, n), np.arange(n - 1), ends == "joined"
    if joined:
        i, k = np.append(i, n - 1), np.append(k, 0)
    parent = etree.elimination_tree(n, i, k)
    np.testing.assert_array_equal(parent, np.append(np.arange(1, n), -1))
    np.testing.assert_array_equal(postorder_of(parent), np.arange(n))
    first = np.zeros(n, np.int64)
    counts = columns.column_counts(first, columns.row_subtrees(parent, first, i, k))
    np.testing.assert_array_equal(counts, np.append(np.full(n - 2, 2 + joined), [2, 1]))

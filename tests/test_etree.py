"""Elimination tree, postorder and column counts, against elimination on a dense pattern."""

import numpy as np
import pytest
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st

from padchol.symbolic import etree

PATTERNS = [pytest.param(S, id=name) for name, S in oracle.EXAMPLES.items()]


def strict_lower(S):
    """(i, k) of the entries below the diagonal, shuffled."""
    i, k = np.nonzero(np.tril(S, -1))
    mixed = np.random.default_rng(0).permutation(i.size)
    return i[mixed].astype(np.int64), k[mixed].astype(np.int64)


def tree_of(S):
    i, k = strict_lower(S)
    return etree.elimination_tree(len(S), *etree.compress(len(S), i, k))


def postordered(S):
    """S relabelled by a postorder of its elimination tree, and that tree."""
    post = etree.postorder(tree_of(S))
    S = S[np.ix_(post, post)]
    return S, tree_of(S)


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


@oracle.quick
@given(oracle.patterns())
def test_compress_groups_and_sorts(S):
    n = len(S)
    i, k = strict_lower(S)
    ptr, cols = etree.compress(n, i, k)
    assert ptr.size == n + 1
    assert ptr[0] == 0
    for g in range(n):
        np.testing.assert_array_equal(cols[ptr[g] : ptr[g + 1]], np.flatnonzero(S[g, :g]))


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
    post = etree.postorder(parent)
    np.testing.assert_array_equal(np.sort(post), np.arange(n))
    place = np.empty(n, np.int64)
    place[post] = np.arange(n)
    inside = [[j] for j in range(n)]
    for j in range(n):
        for above in oracle.ancestors(parent, j):
            inside[above].append(j)
    for j in range(n):
        places = np.sort(place[inside[j]])
        np.testing.assert_array_equal(places, np.arange(places[0], places[0] + len(inside[j])))
        assert place[j] == places[-1]


@oracle.quick
@given(oracle.patterns())
def test_siblings_keep_their_order(S):
    parent = tree_of(S)
    place = np.argsort(etree.postorder(parent))
    for p in range(-1, len(S)):
        assert np.all(np.diff(place[np.flatnonzero(parent == p)]) > 0)


@oracle.quick
@given(oracle.patterns())
def test_a_postorder_keeps_the_fill(S):
    before = oracle.eliminate(S)
    post = etree.postorder(tree_of(S))
    after = oracle.eliminate(S[np.ix_(post, post)])
    np.testing.assert_array_equal(after, np.tril((before | before.T)[np.ix_(post, post)]))


@pytest.mark.parametrize("S", PATTERNS)
def test_column_counts_of_examples(S):
    S, parent = postordered(S)
    i, k = strict_lower(S)
    counts = etree.column_counts(parent, *etree.compress(len(S), k, i))
    np.testing.assert_array_equal(counts, oracle.column_counts(oracle.eliminate(S)))


@oracle.quick
@given(oracle.patterns())
def test_column_counts(S):
    S, parent = postordered(S)
    i, k = strict_lower(S)
    counts = etree.column_counts(parent, *etree.compress(len(S), k, i))
    np.testing.assert_array_equal(counts, oracle.column_counts(oracle.eliminate(S)))


def test_a_path_of_many_nodes_needs_no_recursion():
    n = 200_000
    i, k = np.arange(1, n), np.arange(n - 1)
    parent = etree.elimination_tree(n, *etree.compress(n, i, k))
    np.testing.assert_array_equal(parent, np.append(i, -1))
    np.testing.assert_array_equal(etree.postorder(parent), np.arange(n))
    counts = etree.column_counts(parent, *etree.compress(n, k, i))
    np.testing.assert_array_equal(counts, np.append(np.full(n - 1, 2), 1))

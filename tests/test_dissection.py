"""Nested dissection: permutations, separators that separate, coarsening that keeps what it should.

Sizes are small: LEAF and COARSEST are lowered, so that small patterns pass through every step.
"""

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.csgraph as csgraph
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st

from padchol.symbolic.ordering import bisection, dissection, leaves, multilevel, separators
from padchol.symbolic.ordering import named as ordering
from padchol.symbolic.pattern import Pattern, canonical

pytestmark = pytest.mark.oldest


@pytest.fixture(autouse=True, scope="module")
def small():
    """Leaves of 4, first separators on graphs of 8 nodes, coarsening wherever it is possible."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dissection, "LEAF", 4)
        patch.setattr(bisection, "COARSEST", 8)
        patch.setattr(bisection, "TOGETHER", 8)
        yield


def as_graph(S):
    """The graph of a dense pattern with its connected parts as subdomains."""
    graph = dissection.whole(oracle.as_pattern(S))
    parts, domain = csgraph.connected_components(graph.matrix, directed=False)
    return graph._replace(domain=domain.astype(np.int32), domains=parts)


def nonempty():
    return oracle.patterns(40).filter(len)


def check_separated(graph, side):
    assert np.isin(side, [0, 1, 2]).all()
    assert not np.any((side[graph.src] == 0) & (side[graph.dst] == 1))


def is_permutation(perm, n):
    np.testing.assert_array_equal(np.sort(perm), np.arange(n))


@oracle.quick
@given(oracle.patterns(60))
def test_a_permutation_and_the_same_each_time(S):
    pattern = oracle.as_pattern(S)
    perm = ordering.dissection(pattern)
    is_permutation(perm, len(S))
    np.testing.assert_array_equal(perm, ordering.dissection(pattern))


@pytest.mark.parametrize("S", [pytest.param(S, id=name) for name, S in oracle.EXAMPLES.items()])
def test_examples(S):
    is_permutation(ordering.dissection(oracle.as_pattern(S)), len(S))


@oracle.quick
@given(nonempty(), st.integers(0, 9))
def test_separators_separate(S, seed):
    graph = as_graph(S)
    former = multilevel.Former([], np.arange(graph.n))
    side, _ = bisection.bisect(graph, np.random.default_rng(seed), former)
    check_separated(graph, side)
    a, b, s = separators.weights(graph, side).T
    split = s > 0
    assert np.all((a > 0) & (b > 0) | ~split)
    assert np.all((b == 0) | split)


@oracle.quick
@given(nonempty())
def test_separators_of_each_depth_leave_more_parts(S):
    graph = dissection.whole(oracle.as_pattern(S))
    depth = dissection.separator_depths(graph, np.random.default_rng(0))
    for d in range(int(depth.max()) + 1):
        before, after = (depth < 0) | (depth >= d), (depth < 0) | (depth > d)
        parts = [
            csgraph.connected_components(sp.csr_array(S[np.ix_(kept, kept)]))[0]
            for kept in (before, after)
        ]
        assert parts[1] > parts[0]


@oracle.quick
@given(nonempty(), st.integers(0, 9))
def test_inherited_clusters_are_cut_by_subdomains(S, seed):
    """Clusters of the whole graph, of which a random half of the nodes is another subdomain."""
    whole = as_graph(S)
    rng = np.random.default_rng(seed)
    parent = multilevel.pairs(multilevel.matching(whole, np.full(whole.n, 2), rng))
    domain = rng.integers(0, 3, whole.n).astype(np.int32)
    graph = whole._replace(domain=domain, domains=3)
    shrink = domain > 0
    cluster, above = multilevel.inherited(graph, parent, shrink)
    together = cluster[:, None] == cluster
    both = (parent[:, None] == parent) & (domain[:, None] == domain) & shrink
    np.testing.assert_array_equal(together, both | np.eye(whole.n, dtype=bool))
    np.testing.assert_array_equal(np.unique(cluster), np.arange(above.size))
    np.testing.assert_array_equal(above[cluster][shrink], parent[shrink])


@oracle.quick
@given(nonempty(), st.integers(0, 9))
def test_matchings_are_pairs_within_a_subdomain_and_the_limit(S, seed):
    graph = as_graph(S)
    limit = np.full(graph.n, 2)
    mate = multilevel.matching(graph, limit, np.random.default_rng(seed))
    np.testing.assert_array_equal(mate[mate], np.arange(graph.n))
    np.testing.assert_array_equal(graph.domain[mate], graph.domain)
    np.testing.assert_array_equal(
        multilevel.matching(graph, limit - 1, np.random.default_rng(seed)), np.arange(graph.n)
    )


@oracle.quick
@given(nonempty(), st.integers(0, 9))
def test_contraction_keeps_weights_and_sums_edges(S, seed):
    graph = as_graph(S)
    mate = multilevel.matching(graph, np.full(graph.n, 2), np.random.default_rng(seed))
    cluster = multilevel.pairs(mate)
    coarse = multilevel.contract(graph, cluster)
    P = np.eye(coarse.n)[cluster]
    expected = P.T @ graph.matrix.toarray() @ P
    np.fill_diagonal(expected, 0)
    np.testing.assert_array_equal(coarse.matrix.toarray(), expected)
    np.testing.assert_array_equal(coarse.size, P.T @ graph.size)
    np.testing.assert_array_equal(coarse.domain[cluster], graph.domain)


@oracle.quick
@given(nonempty())
def test_distances_are_those_of_a_search_from_each_start(S):
    graph = as_graph(S)
    start = np.array([np.flatnonzero(graph.domain == d)[0] for d in range(graph.domains)])
    distance, last = bisection.distances(graph, start)
    every = csgraph.shortest_path(graph.matrix, unweighted=True)[start]
    np.testing.assert_array_equal(distance, every.min(0))
    for d in range(graph.domains):
        assert distance[last[d]] == distance[graph.domain == d].max()


def test_the_lightest_separator_of_a_band_is_found():
    """Two cliques joined by three paths through nodes of weight 5, but for one of weight 1 each."""
    weight = np.array([9, 9, 9, 5, 1, 5, 1, 5, 5, 5, 5, 1, 9, 9, 9])
    chains = [(k, 3 + 3 * k) for k in range(3)] + [(5 + 3 * k, 12 + k) for k in range(3)]
    inner = [(3 + 3 * k + i, 4 + 3 * k + i) for k in range(3) for i in range(2)]
    cliques = [(0, 1), (1, 2), (0, 2), (12, 13), (13, 14), (12, 14)]
    graph = as_graph(oracle.edges(15, chains + inner + cliques))
    graph = graph._replace(size=weight.astype(np.int32))
    side = np.repeat([0, 1, 1], [3, 9, 3]).astype(np.int8)
    free = np.repeat([False, True, False], [3, 9, 3])
    found, _ = separators.minimum_separator(graph, side, free)
    check_separated(graph, found)
    np.testing.assert_array_equal(np.flatnonzero(found == 2), [4, 6, 11])


def test_indistinguishable_nodes_are_one():
    S = np.kron(oracle.path(6), oracle.full(3)).astype(bool)
    member, small = dissection.compressed(dissection.whole(oracle.as_pattern(S)))
    assert small.n == 6
    np.testing.assert_array_equal(np.sort(small.size), np.full(6, 3))
    np.testing.assert_array_equal(member.reshape(6, 3), member[::3, None].repeat(3, 1))


def test_halos_spare_fill():
    """A path whose ends touch six separator nodes each: alone, its ends are the cheapest nodes."""
    ends = [(0, 9 + k) for k in range(6)] + [(8, 15 + k) for k in range(6)]
    S = oracle.edges(21, [(k, k + 1) for k in range(8)] + ends)
    inner = np.arange(21) < 9
    halo = leaves.order_leaves(
        dissection.whole(oracle.as_pattern(S)), inner, ordering.minimum_degree
    )
    is_permutation(halo, 9)
    assert set(halo[-2:]) == {0, 8}
    alone = ordering.minimum_degree(oracle.as_pattern(S[:9, :9]))
    fills = [
        oracle.eliminate(S[np.ix_(perm, perm)]).sum()
        for perm in (np.concatenate([first, np.arange(9, 21)]) for first in (halo, alone))
    ]
    assert fills[0] < fills[1]


@oracle.quick
@given(nonempty(), st.integers(1, 12))
def test_leaves_in_parts(S, at_once):
    """However many leaves are ordered together, each is ordered as it is alone with its halo."""
    graph = dissection.whole(oracle.as_pattern(S))
    inner = np.arange(graph.n) % 4 > 0
    parts = []

    def counted(pattern):
        parts.append(pattern.n)
        return ordering.minimum_degree(pattern)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaves, "AT_ONCE", at_once)
        perm = leaves.order_leaves(graph, inner, counted)
    np.testing.assert_array_equal(np.sort(perm), np.flatnonzero(inner))
    leaf = csgraph.connected_components(S[np.ix_(inner, inner)], directed=False)[1]
    assert len(parts) <= leaf.max(initial=-1) + 1
    of = leaf[np.cumsum(inner)[perm] - 1]
    for alone in range(leaf.max(initial=-1) + 1):
        one = np.zeros(graph.n, bool)
        one[np.flatnonzero(inner)[leaf == alone]] = True
        # Separators are what is not in a leaf: other leaves are out of reach.
        kept = np.flatnonzero(one | ~inner)
        part = dissection.whole(oracle.as_pattern(S[np.ix_(kept, kept)]))
        found = leaves.order_leaves(part, one[kept], ordering.minimum_degree)
        if at_once == 1:
            np.testing.assert_array_equal(perm[of == alone], kept[found])
        assert set(perm[of == alone]) == set(kept[found])


def test_a_long_path_has_the_depth_of_a_balanced_tree():
    n = 20_000
    every = np.arange(n)
    matrix = sp.coo_array((np.ones(n - 1), (every[1:], every[:-1])), shape=(n, n))
    perm = ordering.dissection(canonical(matrix, lower=True))
    is_permutation(perm, n)
    graph = dissection.whole(canonical(matrix, lower=True))
    depth = dissection.separator_depths(graph, np.random.default_rng(0))
    assert depth.max() < 2 * np.log2(n)


def test_many_parts():
    S = sp.block_diag([sp.coo_array(oracle.grid(5, 5))] * 300 + [sp.eye_array(50)])
    pattern = canonical(S)
    is_permutation(ordering.dissection(pattern), pattern.n)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny(n):
    every = np.arange(n)
    is_permutation(ordering.dissection(Pattern(n, every, every)), n)

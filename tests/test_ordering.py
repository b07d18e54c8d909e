"""Orderings: permutations always, and good ones where the best is known."""

import itertools
import sys

import numpy as np
import pytest
import scipy.sparse as sp
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st

import padchol
from padchol.symbolic.ordering import choice, forest
from padchol.symbolic.ordering import named as ordering

PATTERNS = [pytest.param(S, id=name) for name, S in oracle.EXAMPLES.items()]


def runnable():
    """Named orderings whose dependency is installed."""
    missing = [] if choice.importlib.util.find_spec("pymetis") else ["metis"]
    return sorted(set(ordering.NAMED) - set(missing))


def fill(S, perm):
    return int(oracle.eliminate(S[np.ix_(perm, perm)]).sum())


@pytest.mark.parametrize("name", runnable())
@pytest.mark.parametrize("S", PATTERNS)
def test_named_orderings_are_permutations(S, name):
    perm = ordering.NAMED[name](oracle.as_pattern(S))
    np.testing.assert_array_equal(np.sort(perm), np.arange(len(S)))


@oracle.quick
@given(oracle.patterns(), st.sampled_from(runnable()))
def test_named_orderings_are_permutations_of_any_pattern(S, name):
    perm = ordering.NAMED[name](oracle.as_pattern(S))
    np.testing.assert_array_equal(np.sort(perm), np.arange(len(S)))


@oracle.quick
@given(oracle.patterns())
def test_adjacency_is_the_symmetric_pattern(S):
    off = ordering.adjacency(oracle.as_pattern(S)).toarray()
    np.testing.assert_array_equal(off, S & ~np.eye(len(S), dtype=bool))
    both = ordering.adjacency(oracle.as_pattern(S), off_diagonal=-1.0, diagonal=4.0).toarray()
    np.testing.assert_array_equal(both, 4 * np.eye(len(S)) - off)


def test_natural_is_the_identity():
    np.testing.assert_array_equal(
        ordering.natural(oracle.as_pattern(oracle.grid(3, 3))), np.arange(9)
    )


def test_reverse_cuthill_mckee_finds_the_band_of_a_shuffled_path():
    S = oracle.shuffled(oracle.path(40), 0)
    perm = ordering.reverse_cuthill_mckee(oracle.as_pattern(S))
    np.testing.assert_array_equal(S[np.ix_(perm, perm)], oracle.path(40))


@pytest.mark.parametrize("S", [oracle.EXAMPLES["forest"], oracle.path(30), oracle.arrow(25, 0)])
def test_minimum_degree_fills_nothing_in_on_a_forest(S):
    S = oracle.shuffled(S, 1)
    assert fill(S, ordering.minimum_degree(oracle.as_pattern(S))) == np.tril(S).sum()


@oracle.quick
@given(st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_leaves_of_a_forest_come_first(n, share, seed):
    """Each node has one neighbour at most behind it; and a path is cut at its middle."""
    rng = np.random.default_rng(seed)
    name = rng.permutation(n)
    edges = [(name[i], name[rng.integers(i)]) for i in range(1, n) if rng.random() < share]
    i, k = np.array(edges, int).reshape(-1, 2).T
    graph = sp.csr_array((np.ones(i.size), (i, k)), shape=(n, n))
    perm = forest.from_leaves(sp.csr_array(graph + graph.T))
    assert perm is not None
    np.testing.assert_array_equal(np.sort(perm), np.arange(n))
    place = np.argsort(perm)
    assert np.bincount(np.minimum(place[i], place[k])).max(initial=0) <= 1


def test_a_path_hangs_from_its_middle():
    ends = sp.diags_array([1.0, 1.0], offsets=[-1, 1], shape=(101, 101), format="csr")
    assert forest.from_leaves(ends)[-1] == 50


@pytest.mark.parametrize("more", [0, 1])
def test_a_cycle_is_no_forest(more):
    """Also where another tree makes up for its edge."""
    cycle = sp.csr_array(np.ones((3, 3)) - np.eye(3))
    graph = sp.block_diag([cycle, *[np.zeros((1, 1))] * more], format="csr")
    assert forest.from_leaves(sp.csr_array(graph)) is None


def test_minimum_degree_is_not_its_inverse():
    """SuperLU hands out the inverse permutation: taken as it is, it fills in without restraint."""
    S = oracle.shuffled(oracle.grid(12, 12), 2)
    perm = ordering.minimum_degree(oracle.as_pattern(S))
    assert fill(S, perm) < 0.6 * fill(S, np.argsort(perm))
    assert fill(S, perm) < 0.6 * fill(S, np.arange(144))


def test_nested_dissection_fills_in_less_than_minimum_degree_on_a_cube():
    n = 14
    steps = sp.diags_array([np.ones(n - 1)] * 2, offsets=[-1, 1], shape=(n, n))
    line = sp.eye_array(n) * 2.1 - steps
    eye = sp.eye_array(n)
    cube = sum(
        sp.kron(sp.kron(*two), three)
        for two, three in [((line, eye), eye), ((eye, line), eye), ((eye, eye), line)]
    )
    fills = {name: padchol.analyze(cube, order=name).nnz_L for name in ("mmd", "nd")}
    assert fills["nd"] < 0.9 * fills["mmd"]


def test_metis_reduces_fill(monkeypatch):
    oracle.metis(monkeypatch)
    S = oracle.shuffled(oracle.grid(12, 12), 2)
    assert fill(S, ordering.metis(oracle.as_pattern(S))) < 0.6 * fill(S, np.arange(144))


@pytest.mark.parametrize("S", PATTERNS)
def test_metis_is_asked_about_the_graph_alone(S, monkeypatch):
    """Both directions of every edge, no loops, and its answer kept; nothing where there is none."""
    oracle.metis(monkeypatch)
    pymetis, asked = sys.modules.get("pymetis") or pytest.importorskip("pymetis"), []

    def backwards(graph):
        asked.append((graph.adj_starts, graph.adjacent))
        return np.arange(len(S))[::-1].tolist(), None

    monkeypatch.setattr(pymetis, "nested_dissection", backwards)
    perm = ordering.metis(oracle.as_pattern(S))
    off = S & ~np.eye(len(S), dtype=bool)
    if not off.any():
        np.testing.assert_array_equal(perm, np.arange(len(S)))
        assert not asked
        return
    np.testing.assert_array_equal(perm, np.arange(len(S))[::-1])
    ((starts, adjacent),) = asked
    found = [sorted(adjacent[a:b]) for a, b in itertools.pairwise(starts)]
    assert found == [np.flatnonzero(row).tolist() for row in off]


def test_metis_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymetis", None)
    with pytest.raises(ImportError, match=r"pip install 'padchol\[metis\]'"):
        padchol.analyze(oracle.spd(oracle.grid(3, 3)), order="metis")


def test_auto_works_without_metis(monkeypatch):
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None)
    plan = padchol.analyze(oracle.spd(oracle.grid(5, 5)))
    assert plan.stats["ordering"] != "metis"


def test_a_given_permutation_is_checked_and_copied():
    mine = np.array([2, 0, 1], np.uint8)
    found = ordering.given(mine, 3)
    np.testing.assert_array_equal(found, mine)
    assert found.dtype == np.int64
    assert not np.shares_memory(found, mine)
    np.testing.assert_array_equal(ordering.given([1, 0], 2), [1, 0])
    assert ordering.given([], 0).size == 0


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([0, 1, 1], "index 2 is missing"),
        ([0, 1, 3], "index 2 is missing"),
        ([0, 1, -1], "index 2 is missing"),
        ([0, 1], r"shape \(2,\)"),
        ([[0, 1, 2]], r"shape \(1, 3\)"),
        ([0.0, 1.0, 2.0], "dtype float64"),
        ([True, False, True], "dtype bool"),
        (None, r"shape \(\)"),
        (2, r"shape \(\)"),
        ("amd", "got 'amd'"),
    ],
)
def test_an_invalid_order_is_an_error(order, message):
    """Row 29: it says which index is missing, or what was wrong with the array."""
    with pytest.raises(ValueError, match=message):
        padchol.analyze(sp.eye_array(3).tocsc(), order=order)

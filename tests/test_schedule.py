"""Bins, rounds and chunks: every supernode in exactly one place, children before parents."""

import numpy as np
import pytest
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st

from padchol.symbolic.costs import SIZES, CostModel, padded, padded_shape
from padchol.symbolic.etree import heights
from padchol.symbolic.exact import exact_supernodes
from padchol.symbolic.layout import BLOCK
from padchol.symbolic.schedule import MAX_BINS, rounds, schedule
from padchol.symbolic.supernodes import Supernodes, relax

PATTERNS = [pytest.param(S, id=name) for name, S in oracle.EXAMPLES.items()]


def nodes_of(S, relaxed):
    exact, _ = exact_supernodes(oracle.as_pattern(S), np.arange(len(S)))
    return relax(exact, CostModel())[0] if relaxed else exact


def stand_alone(widths):
    """Roots of the given widths, side by side."""
    first = np.concatenate([[0], np.cumsum(widths)])
    S = len(widths)
    return Supernodes(first, np.full(S, -1), np.zeros(S + 1, np.int64), np.zeros(0, np.int64))


def chain(S):
    """S supernodes of one column, each with one row below: the parent."""
    parent = np.append(np.arange(1, S), -1)
    row_ptr = np.minimum(np.arange(S + 1), S - 1)
    return Supernodes(np.arange(S + 1), parent, row_ptr, np.arange(1, S))


def steps(made, fronts):
    """When each front is done: the number of its chunk in the order of a sweep."""
    at, step = np.full(fronts, -1), 0
    for r in range(made.rounds):
        for bin in made.bins:
            for chunk in range(*bin.chunk_ptr[r : r + 2]):
                done = bin.fronts[chunk * bin.C : (chunk + 1) * bin.C]
                assert (done >= 0).any()  # no chunk of padding alone
                at[done[done >= 0]] = step
                step += 1
    return at


def check(nodes):
    made = schedule(nodes, CostModel())
    assert made.levels == oracle.heights(nodes.parent).max(initial=-1) + 1
    assert made.rounds <= made.levels
    assert len(made.bins) <= MAX_BINS
    assert np.isfinite(made.cost)
    at = np.concatenate([bin.fronts for bin in made.bins] or [np.zeros(0, np.int64)])
    np.testing.assert_array_equal(np.sort(at[at >= 0]), np.arange(nodes.parent.size))
    for bin in made.bins:
        assert bin.chunk_ptr.shape == (made.rounds + 1,)
        assert bin.chunk_ptr[0] == 0
        assert (np.diff(bin.chunk_ptr) >= 0).all()
        assert bin.chunks * bin.C == bin.fronts.size
        assert [int(x) for x in padded_shape(bin.W, bin.M)] == [bin.W, bin.M]
        real = bin.fronts[bin.fronts >= 0]
        assert (nodes.width[real] <= bin.W).all()
        assert (nodes.below[real] <= bin.M).all()
    done, child = steps(made, nodes.parent.size), np.flatnonzero(nodes.parent >= 0)
    assert (done[child] < done[nodes.parent[child]]).all()
    return made


@oracle.quick
@given(oracle.patterns(), st.integers(1, 5), st.randoms(use_true_random=False))
def test_rounds_and_turns_are_the_earliest_possible(S, bins, random):
    parent = nodes_of(S, relaxed=False).parent
    bin_of = np.array([random.randrange(bins) for _ in parent], np.int64)
    found = list(zip(*rounds(parent, bin_of), strict=True))
    for s, mine in enumerate(found):
        needed = [(0, 0)]
        for child in np.flatnonzero(parent == s):
            at, turn = found[child]
            same, later = bin_of[child] == bin_of[s], bin_of[child] > bin_of[s]
            needed.append((at + later, turn + 1 if same else 0))
        assert mine == max(needed)


def test_heights_of_a_deep_tree_need_no_recursion():
    n = 200_000
    np.testing.assert_array_equal(heights(np.append(np.arange(1, n), -1)), np.arange(n))


@pytest.mark.parametrize("relaxed", [False, True])
@pytest.mark.parametrize("S", PATTERNS)
def test_examples(S, relaxed):
    check(nodes_of(S, relaxed))


@oracle.quick
@given(oracle.patterns(), st.booleans())
def test_every_supernode_sits_in_one_place_after_its_children(S, relaxed):
    check(nodes_of(S, relaxed))


def test_no_supernodes():
    made = schedule(nodes_of(oracle.diagonal(0), relaxed=False), CostModel())
    assert made.levels == made.rounds == 0
    assert made.bins == []
    assert made.cost == 0


def test_one_level_in_one_bin():
    made = check(stand_alone([4] * 1000))
    assert made.levels == made.rounds == 1
    assert len(made.bins) == 1
    assert made.bins[0].C > 1


def test_as_many_levels_as_supernodes():
    made = check(chain(50))
    assert made.levels == 50
    assert made.rounds < 4
    assert sum(bin.chunks for bin in made.bins) == 50


def test_bins_are_limited_however_many_shapes_there_are():
    widths = np.repeat(SIZES[1:25], 3)
    made = check(stand_alone(widths))
    assert 1 < len(made.bins) <= MAX_BINS


def test_a_front_wider_than_the_list_of_sizes():
    made = check(stand_alone([5000, 3]))
    assert max(bin.W for bin in made.bins) >= 5000


def size_step(size: int) -> int:
    """How far padded sizes are apart here: an eighth of the next power of two, 4 to 512."""
    return min(max(2 ** (max(size - 1, 0).bit_length() - 3), 4), 512)


@given(st.integers(0, 20_000))
def test_padded_sizes(size):
    found = int(padded(size))
    step = size_step(size)
    assert found == -(-size // step) * step
    assert padded(found) == found
    assert found <= max(size + 3, 1.25 * size)


def test_listed_sizes_are_padded_sizes():
    assert (np.diff(SIZES) > 0).all()
    np.testing.assert_array_equal(padded(SIZES), SIZES)


shapes = st.tuples(st.integers(1, 5000), st.one_of(st.integers(0, 20), st.integers(0, 5000)))


@given(st.lists(shapes, min_size=1, max_size=5))
def test_padded_shapes(drawn):
    """None below stays none; else there is room for a block below, and no more than that needs."""
    w, m = np.array(drawn).T
    W, M = padded_shape(w, m)
    np.testing.assert_array_equal(W, padded(w))
    np.testing.assert_array_equal(M == 0, m == 0)
    some = m > 0
    assert (M[some] >= BLOCK).all()
    np.testing.assert_array_equal(M[m > BLOCK], padded(m[m > BLOCK]))
    assert (M[m <= BLOCK] <= BLOCK).all()
    for again, once in zip(padded_shape(W, M), (W, M), strict=True):
        np.testing.assert_array_equal(again, once)
    for k, (one_w, one_m) in enumerate(drawn):
        assert [int(x) for x in padded_shape(one_w, one_m)] == [W[k], M[k]]

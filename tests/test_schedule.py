"""Row 32: stages and trips, every supernode in exactly one place, children before parents."""

import numpy as np
import pytest
import support
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st

import padchol
from padchol.symbolic.amalgamation import relax
from padchol.symbolic.costs import SIZES, CostModel, padded, padded_shape
from padchol.symbolic.exact import exact_supernodes
from padchol.symbolic.postorder import heights
from padchol.symbolic.schedule import depths, schedule, stages, trips
from padchol.symbolic.supernodes import Supernodes

pytestmark = pytest.mark.core

GPU = CostModel.gpu()
PATTERNS = [pytest.param(S, id=name) for name, S in oracle.EXAMPLES.items()]


def nodes_of(S, relaxed):
    exact, _ = exact_supernodes(oracle.as_pattern(S), np.arange(len(S)))
    return relax(exact, GPU)[0] if relaxed else exact


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


def check(nodes, model=GPU):
    """Every supernode in one place of a stage that holds it, in a trip after those of its children;
    no trip without any."""
    made = schedule([(nodes, nodes.parent.size)], model)
    assert len(made.stages) == made.top  # one shard has no top
    assert len(made.stages) <= model.stages
    assert np.isfinite(made.cost)
    at = np.concatenate([stage.nodes[0] for stage in made.stages] or [np.zeros(0, np.int64)])
    np.testing.assert_array_equal(np.sort(at[at >= 0]), np.arange(nodes.parent.size))
    done, trip = np.full(nodes.parent.size, -1), 0
    for stage in made.stages:
        assert stage.nodes.shape == (1, stage.trips * stage.C)
        assert model.places >= stage.C
        assert [int(x) for x in padded_shape(stage.W, stage.M)] == [stage.W, stage.M]
        real = stage.nodes[stage.nodes >= 0]
        assert (nodes.width[real] <= stage.W).all()
        assert (nodes.below[real] <= stage.M).all()
        for mine in stage.nodes.reshape(stage.trips, stage.C):
            assert (mine >= 0).any()
            done[mine[mine >= 0]] = trip
            trip += 1
    child = np.flatnonzero(nodes.parent >= 0)
    assert (done[child] < done[nodes.parent[child]]).all()
    return made


def count(made):
    return sum(stage.trips for stage in made.stages)


@oracle.quick
@given(oracle.patterns(), st.integers(1, 4), st.randoms())
def test_stages_are_the_earliest_possible(S, most, random):
    parent = nodes_of(S, relaxed=False).parent
    first = np.array([random.randrange(most) for _ in parent], np.int64)
    found = stages(parent, first)
    depth = depths(parent, found)
    for s, stage in enumerate(found):
        assert stage == max([first[s], *found[parent == s]])
        above = [p for p in oracle.ancestors(parent, s) if found[p] == stage]
        assert depth[s] == len(above)


@oracle.quick
@given(oracle.patterns(), st.integers(1, 5))
def test_trips_are_as_few_as_can_be(S, C):
    """Hu's bound: those deeper than d take ceil(count / C) trips, and d + 1 levels come after."""
    parent = nodes_of(S, relaxed=False).parent
    depth = depths(parent, np.zeros(parent.size, np.int64))
    made = trips(parent, depth, np.arange(parent.size), C)
    if not parent.size:
        assert made.size == 0
        return
    when = np.full(parent.size, -1)
    for t, mine in enumerate(made):
        when[mine[mine >= 0]] = t
    assert (when >= 0).all()
    child = np.flatnonzero(parent >= 0)
    assert (when[child] < when[parent[child]]).all()
    least = max(d + -(-int((depth >= d).sum()) // C) for d in range(int(depth.max()) + 1))
    assert len(made) == least


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
    made = schedule([(nodes_of(oracle.diagonal(0), relaxed=False), 0)], GPU)
    assert made.stages == []
    assert made.cost == 0


def test_one_level_in_one_trip():
    made = check(stand_alone([4] * 1000))
    assert [(stage.C, stage.trips) for stage in made.stages] == [(1000, 1)]


def test_a_tpu_takes_few_at_a_time():
    made = check(stand_alone([4] * 1000), CostModel.tpu())
    assert [stage.C for stage in made.stages] == [CostModel.tpu().places]


def test_as_many_levels_as_supernodes():
    made = check(chain(50))
    assert heights(chain(50).parent).max() + 1 == count(made) == 50


def test_stages_are_limited_however_many_shapes_there_are():
    widths = np.repeat(SIZES[1:25], 3)
    made = check(stand_alone(widths))
    assert 1 < len(made.stages) <= GPU.stages


def test_more_shapes_than_are_told_apart():
    widths = np.arange(1, 400) * 8
    check(stand_alone(widths))


def test_trips_grow_like_the_height_of_the_tree():
    """Four times the unknowns add a few trips, where supernodes are four times as many."""
    made = [padchol.analyze(support.grid(k, k), order="nd", device="gpu") for k in (40, 80, 160)]
    assert all(plan.stats["trips"] < 0.1 * plan.stats["fronts"] for plan in made[1:])
    assert made[2].stats["trips"] < 40


def test_a_supernode_wider_than_the_list_of_sizes():
    made = check(stand_alone([5000, 3]))
    assert max(stage.W for stage in made.stages) >= 5000


def size_step(size: int) -> int:
    """How far padded sizes are apart here: an eighth of the next power of two, 8 to 512."""
    return min(max(2 ** (max(size - 1, 0).bit_length() - 3), 8), 512)


@given(st.integers(0, 20_000))
def test_padded_sizes(size):
    found = int(padded(size))
    step = size_step(size)
    assert found == -(-size // step) * step
    assert padded(found) == found
    assert found <= max(size + 7, 1.25 * size)


def test_listed_sizes_are_padded_sizes():
    assert (np.diff(SIZES) > 0).all()
    np.testing.assert_array_equal(padded(SIZES), SIZES)


shapes = st.tuples(st.integers(1, 5000), st.one_of(st.integers(0, 20), st.integers(0, 5000)))


@given(st.lists(shapes, min_size=1, max_size=5))
def test_padded_shapes(drawn):
    w, m = np.array(drawn).T
    W, M = padded_shape(w, m)
    np.testing.assert_array_equal(W, padded(w))
    np.testing.assert_array_equal(M, padded(m))
    for k, (one_w, one_m) in enumerate(drawn):
        assert [int(x) for x in padded_shape(one_w, one_m)] == [W[k], M[k]]

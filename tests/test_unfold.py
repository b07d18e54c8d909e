"""Fronts read back from a plan's tables, against the dense oracle."""

from typing import Any

import numpy as np
import pytest
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st

import padchol
from padchol.symbolic.layout import Section
from padchol.symbolic.unfold import fronts, read, shard_of, stage_rows

PATTERNS = [pytest.param(S, id=name) for name, S in oracle.EXAMPLES.items()]


def check(S, order, device: Any = "cpu"):
    plan = padchol.analyze(oracle.spd(S), order=order, device=device)
    L = oracle.eliminate(S[np.ix_(plan.perm, plan.perm)])
    n = plan.n
    found = fronts(plan.layout, plan.table)
    assert found.level.max(initial=-1) + 1 == plan.stats["levels"]
    assert len(found.pivots) == len(found.below) == plan.stats["fronts"]
    held, seen = np.zeros((n, n), bool), []
    for mine, below, parent, level in zip(*found, strict=True):
        front = np.append(mine, below)
        assert np.unique(front).size == front.size
        seen += mine.tolist()
        held[np.ix_(front, mine)] = True
        if below.size:
            assert set(below) <= {*found.pivots[parent], *found.below[parent]}
            assert below[0] in found.pivots[parent]
            assert found.level[parent] > level
        else:
            assert parent == -1
    assert sorted(seen) == list(range(n))
    assert not (L & ~held).any()  # relaxation adds room, it never takes any away


def check_in_stages(plan):
    """The same fronts, stage by stage, padded, and children before parents."""
    found = fronts(plan.layout, plan.table)
    expected = {tuple(p): tuple(b) for p, b in zip(found.pivots, found.below, strict=True)}
    rows = stage_rows(plan.layout, plan.table)
    for stage, padded in zip(plan.layout.levels.stages, rows, strict=True):
        for row in padded:
            mine, below = (np.sort(x[x < plan.n]) for x in (row[: stage.W], row[stage.W :]))
            assert not mine.size or expected.pop(tuple(mine)) == tuple(below)
    assert not expected


@pytest.mark.parametrize("device", ["gpu", "tpu"])
@pytest.mark.parametrize("S", PATTERNS)
def test_stages_hold_the_same_fronts(S, device):
    check_in_stages(padchol.analyze(oracle.spd(S), device=device))


@pytest.mark.parametrize("order", ["natural", "mmd", "auto"])
@pytest.mark.parametrize("S", PATTERNS)
def test_fronts_of_examples_hold_every_entry_of_the_factor(S, order):
    check(S, order)


@oracle.quick
@given(
    oracle.patterns(),
    st.sampled_from(["natural", "rcm", "mmd"]),
    st.sampled_from(["cpu", "gpu"]),
)
def test_fronts_hold_every_entry_of_the_factor(S, order, device):
    check(S, order, device)


def test_read_takes_one_section_as_int64():
    table = np.arange(10, dtype=np.int32)
    found = read(table, Section(3, 4))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, [3, 4, 5, 6])


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_levels_of_a_plan_without_fronts(device):
    plan = padchol.analyze(oracle.spd(oracle.diagonal(0)), device=device)
    assert fronts(plan.layout, plan.table).parent.size == 0


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("shards", [1, 2, 3])
def test_shards_meet_in_the_top_alone(device, shards):
    """Unknowns of two shards, neither of them in the top, have no entry of L in common."""
    S = oracle.grid(20, 20)
    plan = padchol.analyze(oracle.spd(S), order="nd", device=device, shards=shards)
    found = shard_of(plan.layout, plan.table)
    if shards == 1:
        assert found.tolist() == [0] * plan.n
        return
    assert {*range(shards)} <= {*found.tolist()} <= {*range(shards + 1)}
    i, j = plan.perm[np.array(np.nonzero(oracle.eliminate(S[np.ix_(plan.perm, plan.perm)])))]
    in_top = found == shards
    assert ((found[i] == found[j]) | in_top[i] | in_top[j]).all()


def test_layouts_are_equal_by_their_contents():
    one, same = (padchol.analyze(oracle.spd(oracle.grid(4, 4))).layout for _ in range(2))
    assert one is not same
    assert one == one
    assert one == same
    assert hash(one) == hash(same)
    others = [
        padchol.analyze(oracle.spd(oracle.grid(4, 5))).layout,
        padchol.analyze(oracle.spd(oracle.grid(4, 4)), device="gpu").layout,
        one.contents,
    ]
    assert all(one != other for other in others)

"""Fronts read back from a plan's tables, against the dense oracle."""

import numpy as np
import pytest
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st

import padchol
from padchol.symbolic.layout import Section
from padchol.symbolic.unfold import front_rows, fronts, read

PATTERNS = [pytest.param(S, id=name) for name, S in oracle.EXAMPLES.items()]


def check(S, order):
    plan = padchol.analyze(oracle.spd(S), order=order)
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


def check_in_chunks(plan):
    """The same fronts, bin by bin, padded."""
    found = fronts(plan.layout, plan.table)
    expected = {tuple(p): tuple(b) for p, b in zip(found.pivots, found.below, strict=True)}
    rows = front_rows(plan.layout, plan.table)
    for bin, padded in zip(plan.layout.bins, rows, strict=True):
        for row in padded:
            mine, below = (np.sort(x[x < plan.n]) for x in (row[: bin.W], row[bin.W :]))
            assert not mine.size or expected.pop(tuple(mine)) == tuple(below)
    assert not expected


@pytest.mark.parametrize("S", PATTERNS)
def test_chunks_hold_the_same_fronts(S):
    check_in_chunks(padchol.analyze(oracle.spd(S), device="tpu"))


@pytest.mark.parametrize("order", ["natural", "mmd", "auto"])
@pytest.mark.parametrize("S", PATTERNS)
def test_fronts_of_examples_hold_every_entry_of_the_factor(S, order):
    check(S, order)


@oracle.quick
@given(oracle.patterns(), st.sampled_from(["natural", "rcm", "mmd"]))
def test_fronts_hold_every_entry_of_the_factor(S, order):
    check(S, order)


def test_read_takes_one_section_as_int64():
    table = np.arange(10, dtype=np.int32)
    found = read(table, Section(3, 4))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, [3, 4, 5, 6])


def test_levels_of_a_plan_without_fronts():
    plan = padchol.analyze(oracle.spd(oracle.diagonal(0)))
    assert fronts(plan.layout, plan.table).parent.size == 0
    assert front_rows(plan.layout, plan.table) == []

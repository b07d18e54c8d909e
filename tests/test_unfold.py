"""Fronts read back from a plan's tables, against the dense oracle."""

import numpy as np
import pytest
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st

import padchol
from padchol.symbolic.layout import Section
from padchol.symbolic.unfold import front_levels, front_parents, front_rows, read

PATTERNS = [pytest.param(S, id=name) for name, S in oracle.EXAMPLES.items()]


def check(S, order):
    plan = padchol.analyze(oracle.spd(S), order=order)
    L = oracle.eliminate(S[np.ix_(plan.perm, plan.perm)])
    n = plan.n
    parents = front_parents(plan.layout, plan.table)
    levels = front_levels(parents)
    assert levels.max(initial=-1) + 1 == plan.stats["levels"]
    rows = [row for bin in front_rows(plan.layout, plan.table) for row in bin]
    pivots = [row[: bin.W] for bin in plan.layout.bins for row in np.zeros((bin.fronts, bin.D))]
    assert len(rows) == len(pivots) == parents.size == levels.size
    held, seen = np.zeros((n, n), bool), []
    for row, width, parent, level in zip(rows, map(len, pivots), parents, levels, strict=True):
        mine, below = row[:width][row[:width] < n], row[width:][row[width:] < n]
        front = np.append(mine, below)
        assert np.unique(front).size == front.size
        seen += mine.tolist()
        held[np.ix_(front, mine)] = True
        if below.size:
            assert set(below) <= set(rows[parent])
            assert below.min() in rows[parent]
            assert levels[parent] > level
        else:
            assert parent == len(rows)
    assert sorted(seen) == list(range(n))
    assert not (L & ~held).any()  # relaxation adds room, it never takes any away


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
    parents = front_parents(plan.layout, plan.table)
    assert parents.size == front_levels(parents).size == 0
    assert front_rows(plan.layout, plan.table) == []

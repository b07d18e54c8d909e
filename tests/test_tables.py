"""Row 32: index tables of plans, everything in one right place, in range, and within int32.

An *entry* of L or of an update is named by one number, row * n + column, both in the order in which
supernodes count (row >= column); -1 stands for padding.
"""

import itertools
from typing import Any

import numpy as np
import pytest
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st

import padchol
from padchol.symbolic import tables
from padchol.symbolic.amalgamation import relax
from padchol.symbolic.costs import CostModel
from padchol.symbolic.etree import permuted_lower
from padchol.symbolic.exact import exact_supernodes
from padchol.symbolic.layout import INT32_MAX, Section, Writer, fits_int32
from padchol.symbolic.schedule import schedule
from padchol.symbolic.shards import parts
from padchol.symbolic.storages import Order
from padchol.symbolic.supernodes import Supernodes
from padchol.symbolic.unfold import fronts, read

pytestmark = pytest.mark.core

MODELS = (CostModel.gpu(), CostModel.tpu())
LARGER = st.one_of(oracle.patterns(60), oracle.grids(100), oracle.forest(80))


class Machine:
    """The tables of one pattern in levels, and the storages they point into, in plain numpy.

    held    entry of L at each place of the panel storage; above the diagonal of a pivot block the
            mirror image of what lies below, as a row < column
    pivot   column at each row of the pivot storage
    front   entry of L at each place of the storage of fronts
    unit    diagonals of padded pivots
    """

    def __init__(self, S, relaxed, model):
        n = self.n = len(S)
        pattern = oracle.as_pattern(S)
        nodes, post = exact_supernodes(pattern, np.arange(n))
        if relaxed:
            nodes, order = relax(nodes, model)
            post = post[order]
        i, k = permuted_lower(pattern, post)
        self.entries = np.concatenate([i, np.arange(n)]), np.concatenate([k, np.arange(n)])
        made = schedule([(nodes, nodes.parent.size)], model)
        self.layout, self.table = built(nodes, made, np.arange(n), post, *self.entries)
        self.post, self.nodes = post, nodes
        self.rows = [padded_rows(nodes, stage) for stage in made.stages]
        none: list[Any] = [[]]
        held, pivot, front, unit, at = [*none], [*none], [*none], [], 0
        for stage, rows in zip(made.stages, self.rows, strict=True):
            for mine in rows:
                both = (mine[:, None] >= 0) & (mine >= 0)
                entry = np.where(both, mine[:, None] * n + mine, -1)
                held.append(entry[:, : stage.W].ravel())
                pivot.append(mine[: stage.W])
                front.append(entry.ravel())
                unit += [at + c * (stage.W + 1) for c in range(stage.W) if mine[c] < 0]
                at += mine.size * stage.W
        self.held, self.pivot, self.front = map(np.concatenate, (held, pivot, front))
        self.unit = np.array(unit, np.int64)
        storage = self.layout.storage
        assert (storage.panels, storage.pivots) == (self.held.size, self.pivot.size)
        assert self.layout.levels.fronts == self.front.size

    def read(self, section):
        return read(self.table, section)


def built(nodes, made, perm, position, i, k):
    """Layout and table of one shard."""
    whole = parts(nodes, np.zeros(nodes.parent.size, int), 1, i, k)
    return tables.build(whole, made, Order(perm, position, i, k))


def padded_rows(nodes, stage):
    """(places, D): rows of each supernode, -1 at padding: pivots first, then the rows below."""
    rows = np.full((stage.places, stage.W + stage.M), -1)
    for at, s in enumerate(stage.nodes[0]):
        if s >= 0:
            below = nodes.rows[nodes.row_ptr[s] : nodes.row_ptr[s + 1]]
            rows[at, : nodes.width[s]] = np.arange(nodes.first[s], nodes.first[s + 1])
            rows[at, stage.W : stage.W + below.size] = below
    return rows


machines = given(LARGER, st.booleans(), st.sampled_from(MODELS))


@oracle.quick
@machines
def test_ancestors_sit_higher_and_every_pivot_in_one_place(S, relaxed, model):
    machine = Machine(S, relaxed, model)
    layout, n = machine.layout, machine.n
    found = fronts(layout, machine.table)
    child = np.flatnonzero(found.parent >= 0)
    assert (found.level[found.parent[child]] > found.level[child]).all()
    level_of = np.full(n, -1)
    for pivots, level in zip(found.pivots, found.level, strict=True):
        assert (level_of[pivots] == -1).all()
        level_of[pivots] = level
    assert (level_of >= 0).all()
    for below, level in zip(found.below, found.level, strict=True):
        assert (level_of[below] > level).all()  # every one of them receives a part of the update
    np.testing.assert_array_equal(
        machine.pivot[machine.read(layout.storage.location)[machine.post]], np.arange(n)
    )


@oracle.quick
@machines
def test_values_diagonals_and_rows_below_are_found_where_they_lie(S, relaxed, model):
    machine = Machine(S, relaxed, model)
    storage, n = machine.layout.storage, machine.n
    high, low = machine.entries
    value, diagonal = machine.read(storage.value), machine.read(storage.diagonal)
    np.testing.assert_array_equal(machine.held[value], high * n + low)
    np.testing.assert_array_equal(
        machine.held[diagonal[machine.post]], np.arange(n) * n + np.arange(n)
    )
    np.testing.assert_array_equal(machine.read(storage.unit), machine.unit)
    assert np.unique(value).size == value.size
    for stage, rows in zip(machine.layout.levels.stages, machine.rows, strict=True):
        below, expected = machine.read(stage.rows), rows[:, stage.W :].ravel()
        np.testing.assert_array_equal(np.append(machine.pivot, -1)[below], expected)
        assert (below[expected < 0] == machine.pivot.size).all()


@oracle.quick
@machines
def test_every_entry_of_every_update_has_its_place_in_the_front_of_the_parent(S, relaxed, model):
    """Rows r and c of an update meet in the parent's front at r and c, in the same order; what is
    padding is nowhere."""
    machine = Machine(S, relaxed, model)
    for stage, rows in zip(machine.layout.levels.stages, machine.rows, strict=True):
        local = machine.read(stage.local).reshape(stage.places, stage.M)
        parent = machine.read(stage.parent).reshape(stage.places, 2)
        for mine, within, (start, order) in zip(rows, local, parent, strict=True):
            below = mine[stage.W :]
            np.testing.assert_array_equal(within < 0, below < 0)
            below, within = below[below >= 0], within[within >= 0]
            assert (np.diff(within) > 0).all()
            at = start + order * within[:, None] + within
            entry = below[:, None] * machine.n + below
            np.testing.assert_array_equal(machine.front[at], entry)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("order", ["natural", "auto"])
def test_plan_tables_lie_within_the_flat_array_and_are_int32(order, device):
    A = oracle.spd(oracle.shuffled(oracle.grid(9, 9), 0))
    plan = padchol.analyze(A, order=order, device=device)
    layout = plan.layout
    stages = layout.levels.stages if device == "gpu" else ()
    owners = [layout.storage, layout.tables, *stages]
    fields = [x for owner in owners for x in vars(owner).values()]
    sections = sorted(x for x in fields if isinstance(x, Section))
    assert plan.table.dtype == np.int32
    assert len(sections) >= 5 + 3 * max(len(stages), 1)
    assert (sections[0].start, sum(sections[-1])) == (0, plan.table.size)
    assert all(a.start + a.size == b.start for a, b in itertools.pairwise(sections))


# int32: proved on exact integers, nothing of that size is allocated


def test_writer_packs_what_it_proved():
    writer = Writer()
    first = writer.add([np.array([[3, 1], [4, 1]])], 1, 4, "digits")
    second = writer.add([np.zeros(0)], 0, 0, "nothing")
    third = writer.add([np.array([INT32_MAX])], 0, INT32_MAX, "largest")
    assert (first, second, third) == ((0, 4), (4, 0), (4, 1))
    packed = writer.pack()
    assert packed.dtype == np.int32
    np.testing.assert_array_equal(packed, [3, 1, 4, 1, INT32_MAX])


@pytest.mark.parametrize("entries", [[-1], [0, 5], [2**33]])
def test_an_entry_out_of_range_never_reaches_a_table(entries):
    """Row 19: proved when the plan is built."""
    with pytest.raises(AssertionError, match=r"table rows: expected entries in \[0, 4\]"):
        Writer().add([entries], 0, 4, "rows")


def test_the_largest_index_and_the_first_beyond_it():
    """Row 18: proved on exact integers, before the cast."""
    fits_int32(INT32_MAX, "an index")
    with pytest.raises(OverflowError, match="an index needs indices up to 2,147,483,648"):
        fits_int32(INT32_MAX + 1, "an index")
    with pytest.raises(OverflowError, match="beyond int32"):
        Writer().add([np.array([INT32_MAX + 1])], 0, INT32_MAX + 1, "rows")


def test_tables_that_are_too_long_together():
    writer = Writer()
    writer.end = INT32_MAX - 2  # as if two billion entries stood there
    writer.add([np.zeros(2)], 0, 0, "the last two")
    with pytest.raises(OverflowError, match="table length"):
        writer.add([np.zeros(1)], 0, 0, "one more")


def test_fronts_beyond_int32_are_refused_before_they_are_allocated():
    n = 50_000  # pivots of one supernode: a front of 2.5e9 entries
    nodes = Supernodes(np.array([0, n]), np.array([-1]), np.zeros(2, np.int64), np.zeros(0, int))
    every = np.arange(n)
    with pytest.raises(OverflowError, match="storage of fronts"):
        built(nodes, schedule([(nodes, 1)], CostModel.gpu()), every, every, every, every)

"""Index tables of plans: everything in one right place, in range, and within int32.

An *entry* of L or of an update is named by one number, row * n + column, both in the order in which
supernodes count (row >= column); -1 stands for padding.
"""

import itertools

import numpy as np
import pytest
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st

import padchol
from padchol.symbolic import blocks, tables
from padchol.symbolic.costs import CostModel
from padchol.symbolic.etree import permuted_lower
from padchol.symbolic.exact import exact_supernodes
from padchol.symbolic.layout import BLOCK, INT32_MAX, Section, Writer, fits_int32
from padchol.symbolic.placement import Placement
from padchol.symbolic.schedule import Bin, schedule
from padchol.symbolic.supernodes import Supernodes, relax
from padchol.symbolic.unfold import fronts, read

LARGER = st.one_of(oracle.patterns(60), oracle.grids(100), oracle.forest(80))


class Machine:
    """The tables of one pattern, and the storages they point into, in plain numpy.

    held    entry of L at each place of the panel storage; above the diagonal of a pivot block the
            mirror image of what lies below, as a row < column
    pivot   column at each row of the pivot storage
    unit    diagonals of padded pivots
    """

    def __init__(self, S, relaxed, entries_up_to=CostModel.entries_up_to):
        n = self.n = len(S)
        pattern = oracle.as_pattern(S)
        nodes, post = exact_supernodes(pattern, np.arange(n))
        if relaxed:
            nodes, order = relax(nodes, CostModel())
            post = post[order]
        i, k = permuted_lower(pattern, post)
        self.entries = np.concatenate([i, np.arange(n)]), np.concatenate([k, np.arange(n)])
        plan = schedule(nodes, CostModel())
        self.layout, self.table = tables.build(
            nodes, plan, np.arange(n), post, *self.entries, entries_up_to
        )
        self.post, self.nodes = post, nodes
        self.rows = [padded_rows(nodes, bin) for bin in plan.bins]
        self.held = np.full(self.layout.length("panel"), -1)
        self.pivot = np.full(self.layout.length("pivots"), -1)
        at, row, unit = BLOCK, 1, []
        for bin, rows in zip(plan.bins, self.rows, strict=True):
            for front in rows:
                columns = front[: bin.W]
                both = (front[:, None] >= 0) & (columns >= 0)
                self.held[at : at + front.size * bin.W] = np.where(
                    both, front[:, None] * n + columns, -1
                ).ravel()
                self.pivot[row : row + bin.W] = columns
                unit += [at + c * bin.W + c for c in range(bin.W) if columns[c] < 0]
                at += front.size * bin.W
                row += bin.W
        self.unit = np.array(unit, np.int64)
        assert (at + BLOCK, row) == (self.held.size, self.pivot.size)

    def read(self, section):
        return read(self.table, section)


def padded_rows(nodes, bin):
    """(F, D): rows of each front, -1 at padding: pivots first, then the rows below."""
    rows = np.full((bin.fronts.size, bin.W + bin.M), -1)
    for at, s in enumerate(bin.fronts):
        if s >= 0:
            below = nodes.rows[nodes.row_ptr[s] : nodes.row_ptr[s + 1]]
            rows[at, : nodes.width[s]] = np.arange(nodes.first[s], nodes.first[s + 1])
            rows[at, bin.W : bin.W + below.size] = below
    return rows


@oracle.quick
@given(LARGER, st.booleans())
def test_ancestors_sit_higher_and_every_pivot_in_one_place(S, relaxed):
    machine = Machine(S, relaxed)
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
        machine.pivot[machine.read(layout.location)[machine.post]], np.arange(n)
    )


@oracle.quick
@given(LARGER, st.booleans())
def test_values_diagonals_and_rows_below_are_found_where_they_lie(S, relaxed):
    machine = Machine(S, relaxed)
    layout, n = machine.layout, machine.n
    high, low = machine.entries
    value, diagonal = machine.read(layout.value), machine.read(layout.diagonal)
    np.testing.assert_array_equal(machine.held[value], high * n + low)
    np.testing.assert_array_equal(
        machine.held[diagonal[machine.post]], np.arange(n) * n + np.arange(n)
    )
    np.testing.assert_array_equal(np.sort(machine.read(layout.unit)), machine.unit)
    assert np.unique(value).size == value.size
    for bin, rows in zip(layout.bins, machine.rows, strict=True):
        below, expected = machine.read(bin.rows), rows[:, bin.W :].ravel()
        np.testing.assert_array_equal(machine.pivot[below], expected)
        assert (below[expected < 0] == 0).all()


def single_moves(machine, bin):
    """`moves` of a bin whose updates move in entries: nothing but the lower triangle."""
    target = machine.read(bin.entries).reshape(bin.fronts, bin.triangle)
    assert target.min() >= 0
    assert target.max() < machine.held.size
    i, j = np.tril_indices(bin.M)
    front, t = np.nonzero(target)
    return front, i[t], j[t], target[front, t]


def moves(machine, bin):
    """Every move of one bin: front, row and column of the update, place in the panel storage.

    All addresses are followed as a sweep follows them, those masked out as well: in range.
    """
    table = bin.blocks
    ptr = machine.read(table.ptr)
    assert (ptr.size, ptr[0]) == (bin.chunks + 1, 0)
    assert (np.diff(ptr) >= 0).all()
    count = int(ptr[-1]) * table.T
    assert (table.source.size, table.columns.size) == (count, count)
    assert table.target.size == count * BLOCK
    chunk = np.repeat(np.arange(bin.chunks), np.diff(ptr) * table.T)
    lane = np.arange(BLOCK)
    source = machine.read(table.source)[:, None, None] + bin.M * lane[:, None] + lane
    target = machine.read(table.target).reshape(-1, BLOCK)
    bits = machine.read(table.columns)[:, None] >> lane & 1
    counts = (bits == 1)[:, None, :] & (target != 0)[:, :, None]
    place = target[:, :, None] + lane
    assert source.size == 0 or (source.min() >= 0 and source.max() < bin.C * bin.M**2)
    assert place.size == 0 or (place.min() >= 0 and place.max() < machine.held.size)
    assert (target[target != 0] >= 1).all()
    front = (chunk * bin.C)[:, None, None] + source // bin.M**2
    within = source % bin.M**2
    found = [x[counts] for x in (front, within // bin.M, within % bin.M, place)]
    idle = ~counts.any((1, 2))  # fills up the last tile of a chunk
    assert (np.bincount(chunk[idle], minlength=1) < table.T).all()
    assert not machine.read(table.source)[idle].any()
    assert not target[idle].any()
    return found


@oracle.quick
@given(LARGER, st.booleans(), st.sampled_from([0, 8, 12]))
def test_every_entry_of_every_update_moves_once_into_its_place(S, relaxed, entries_up_to):
    machine = Machine(S, relaxed, entries_up_to)
    n = machine.n
    for bin, rows in zip(machine.layout.bins, machine.rows, strict=True):
        below = rows[:, bin.W :]
        sizes = (below >= 0).sum(1)
        small = 0 < bin.M <= entries_up_to
        assert (bin.blocks is None) == (small or bin.M == 0)
        assert (bin.entries.size > 0) == small
        if bin.M == 0:
            assert not sizes.any()
            continue
        front, i, j, place = (moves if bin.blocks else single_moves)(machine, bin)
        row, column = below[front, i], below[front, j]
        assert min(row.min(), column.min()) >= 0
        # also above the diagonal: only ever mirror images within the pivot block of one front
        np.testing.assert_array_equal(machine.held[place], row * n + column)
        lower = i >= j
        moved = list(zip(front[lower], i[lower], j[lower], strict=True))
        wanted = [(f, i, j) for f, m in enumerate(sizes) for i in range(m) for j in range(i + 1)]
        assert sorted(moved) == wanted
        of_column = machine.nodes.of_column
        assert (of_column[row[~lower]] == of_column[column[~lower]]).all()


@pytest.mark.parametrize("order", ["natural", "auto"])
def test_plan_tables_lie_within_the_flat_array_and_are_int32(order):
    plan = padchol.analyze(oracle.spd(oracle.shuffled(oracle.grid(9, 9), 0)), order=order)
    bins = plan.layout.bins
    owners = [plan.layout, plan.layout.tiles, *bins, *(bin.blocks for bin in bins)]
    fields = [x for owner in owners if owner is not None for x in vars(owner).values()]
    sections = sorted(x for x in fields if isinstance(x, Section))
    assert plan.table.dtype == np.int32
    assert len(sections) >= 12 + 3 * len(bins)
    assert (sections[0].start, sum(sections[-1])) == (0, plan.table.size)
    assert all(a.start + a.size == b.start for a, b in itertools.pairwise(sections))


# int32: proved on exact integers, nothing of that size is allocated


def test_writer_packs_what_it_proved():
    writer = Writer()
    first = writer.add([[3, 1], [4, 1]], 1, 4, "digits")
    second = writer.add(np.zeros(0), 0, 0, "nothing")
    third = writer.add([INT32_MAX], 0, INT32_MAX, "largest")
    assert (first, second, third) == ((0, 4), (4, 0), (4, 1))
    packed = writer.pack()
    assert packed.dtype == np.int32
    np.testing.assert_array_equal(packed, [3, 1, 4, 1, INT32_MAX])


@pytest.mark.parametrize("entries", [[-1], [0, 5], [2**33]])
def test_an_entry_out_of_range_never_reaches_a_table(entries):
    with pytest.raises(AssertionError, match=r"table rows: expected entries in \[0, 4\]"):
        Writer().add(entries, 0, 4, "rows")


def test_the_largest_index_and_the_first_beyond_it():
    fits_int32(INT32_MAX, "an index")
    with pytest.raises(OverflowError, match="an index needs indices up to 2,147,483,648"):
        fits_int32(INT32_MAX + 1, "an index")
    with pytest.raises(OverflowError, match="beyond int32"):
        Writer().add([INT32_MAX + 1], 0, INT32_MAX + 1, "rows")


def test_tables_that_are_too_long_together():
    writer = Writer()
    writer.end = INT32_MAX - 2  # as if two billion entries stood there
    writer.add([0, 0], 0, 0, "the last two")
    with pytest.raises(OverflowError, match="table length"):
        writer.add([0], 0, 0, "one more")


def test_a_panel_storage_beyond_int32_is_refused_before_it_is_allocated():
    n = 50_000  # pivots of one front: a panel of 2.5e9 entries
    nodes = Supernodes(np.array([0, n]), np.array([-1]), np.zeros(2, np.int64), np.zeros(0, int))
    every = np.arange(n)
    with pytest.raises(OverflowError, match="panel storage"):
        tables.build(nodes, schedule(nodes, CostModel()), every, every, every, every, 0)


def test_updates_of_a_chunk_beyond_int32_are_refused_before_they_are_allocated():
    m = 50_000  # rows below one narrow front: an update of 2.5e9 entries
    one, zero = np.ones(1, np.int64), np.zeros(1, np.int64)
    where = Placement(zero, zero, 4 * one, m * one, one, BLOCK * one, one, 4 * m, 5)
    block = blocks.AllBlocks(np.arange(2), zero, one, one, np.zeros(BLOCK), zero, zero)
    with pytest.raises(OverflowError, match="block source"):
        blocks.block_list(Writer(), block, Bin(4, m, 1, zero, np.arange(2)), where)

"""Index tables of plans: everything in one right place, in range, and within int32."""

import itertools

import numpy as np
import pytest
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st

import padchol
from padchol.plan import exact_supernodes
from padchol.symbolic import tables
from padchol.symbolic.costs import CostModel
from padchol.symbolic.etree import permuted_lower
from padchol.symbolic.layout import INT32_MAX, Section, Writer, fits_int32
from padchol.symbolic.schedule import schedule
from padchol.symbolic.supernodes import Supernodes, relax
from padchol.symbolic.unfold import front_levels, front_parents, read

LARGER = st.one_of(oracle.patterns(60), oracle.grids(100), oracle.forest(80))


class Machine:
    """The tables of one pattern, and what a sweep needs of them, in plain numpy."""

    def __init__(self, S, relaxed):
        n = len(S)
        pattern = oracle.as_pattern(S)
        nodes, post = exact_supernodes(pattern, np.arange(n))
        if relaxed:
            nodes, order = relax(nodes, CostModel())
            post = post[order]
        i, k = permuted_lower(pattern, post)
        self.entries = np.concatenate([i, np.arange(n)]), np.concatenate([k, np.arange(n)])
        plan = schedule(nodes, CostModel())
        self.layout, self.table = tables.build(nodes, plan, post, *self.entries)
        self.n, self.post = n, post
        self.parent = front_parents(self.layout, self.table)
        self.level = front_levels(self.layout, self.table)
        self.rows = [padded_rows(nodes, bin, post) for bin in plan.bins]
        counts = [bin.fronts for bin in self.layout.bins]
        self.offset = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.bin_of = np.repeat(np.arange(len(counts)), counts)

    def take(self, section, index, size):
        return self.table[section.start + index * size :][:size].astype(np.int64)

    def one(self, section, index):
        return int(self.take(section, index, 1)[0])

    def bin(self, front):
        """Its bin, and its number in there."""
        b = int(self.bin_of[front])
        return self.layout.bins[b], front - int(self.offset[b])

    def below(self, front):
        """Rows below that are not padding."""
        bin, at = self.bin(front)
        return self.one(bin.at["below"], at)

    def chunks(self, up):
        """(bin, chunk), in the order in which a sweep runs them."""
        layout = self.layout
        ptr = read(self.table, layout.chunk_ptr).reshape(layout.levels + 1, -1)
        found = [
            (bin, chunk)
            for level in range(layout.levels)
            for b, bin in enumerate(layout.bins)
            for chunk in range(int(ptr[level, b]), int(ptr[level + 1, b]))
        ]
        return found if up else found[::-1]


def padded_rows(nodes, bin, post):
    """(F, D): rows of each front in plan order, n at padding: pivots first, then the rows below."""
    rows = np.full((bin.fronts.size, bin.W + bin.M), post.size)
    for at, s in enumerate(bin.fronts):
        if s >= 0:
            below = nodes.rows[nodes.row_ptr[s] : nodes.row_ptr[s + 1]]
            rows[at, : nodes.width[s]] = post[nodes.first[s] : nodes.first[s + 1]]
            rows[at, bin.W : bin.W + below.size] = post[below]
    return rows


@oracle.quick
@given(LARGER, st.booleans())
def test_parents_sit_higher_and_every_pivot_in_one_place(S, relaxed):
    machine = Machine(S, relaxed)
    layout, table = machine.layout, machine.table
    child = np.flatnonzero(machine.parent < machine.parent.size)
    assert (machine.level[machine.parent[child]] > machine.level[child]).all()
    pivots = [read(table, bin.at["pivot"]) for bin in layout.bins]
    stacked = np.concatenate([np.zeros(0, np.int64), *pivots])
    np.testing.assert_array_equal(np.sort(stacked[stacked < machine.n]), np.arange(machine.n))
    np.testing.assert_array_equal(stacked[read(table, layout.location)], np.arange(machine.n))
    for bin, mine, rows in zip(layout.bins, pivots, machine.rows, strict=True):
        np.testing.assert_array_equal(mine.reshape(-1, bin.W), rows[:, : bin.W])


@oracle.quick
@given(LARGER, st.booleans())
def test_every_value_enters_one_front_at_its_row_and_column(S, relaxed):
    machine = Machine(S, relaxed)
    high, low = machine.post[machine.entries[0]], machine.post[machine.entries[1]]
    seen = []
    for bin, rows in zip(machine.layout.bins, machine.rows, strict=True):
        value, entry, slot, member = (
            read(machine.table, bin.at[name]) for name in ("value", "entry", "slot", "member")
        )
        real = np.flatnonzero(value < high.size)
        front = real // (value.size // bin.fronts)
        np.testing.assert_array_equal(rows[front, entry[real] // bin.W], high[value[real]])
        np.testing.assert_array_equal(rows[front, entry[real] % bin.W], low[value[real]])
        np.testing.assert_array_equal(np.sort(slot), real)
        np.testing.assert_array_equal(value[slot], member)
        seen += member.tolist()
    assert sorted(seen) == list(range(high.size))


@pytest.mark.parametrize("order", ["natural", "auto"])
def test_plan_tables_lie_within_the_flat_array_and_are_int32(order):
    plan = padchol.analyze(oracle.spd(oracle.shuffled(oracle.grid(9, 9), 0)), order=order)
    sections = [plan.layout.chunk_ptr, plan.layout.location]
    for bin in plan.layout.bins:
        sections += [section for _, section in bin.sections]
        for blocks in (*bin.matrix_blocks, *bin.vector_blocks):
            sections += [x for x in vars(blocks).values() if isinstance(x, Section)]
    assert plan.table.dtype == np.int32
    assert all(0 <= s.start <= s.start + s.size <= plan.table.size for s in sections)
    sections.sort()
    assert all(a.start + a.size <= b.start for a, b in itertools.pairwise(sections))


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
    with pytest.raises(OverflowError, match="an index needs indices up to 2147483648"):
        fits_int32(INT32_MAX + 1, "an index")
    with pytest.raises(OverflowError, match="beyond int32"):
        Writer().add([INT32_MAX + 1], 0, INT32_MAX + 1, "rows")


def test_tables_that_are_too_long_together():
    writer = Writer()
    writer.end = INT32_MAX - 2  # as if two billion entries stood there
    writer.add([0, 0], 0, 0, "the last two")
    with pytest.raises(OverflowError, match="table length"):
        writer.add([0], 0, 0, "one more")


def test_a_message_buffer_beyond_int32_is_refused_before_it_is_allocated():
    m = 50_000  # rows below one pivot: an update of 2.5e9 entries
    nodes = Supernodes(
        np.array([0, 1, m + 1]), np.array([1, -1]), np.array([0, m, m]), np.arange(1, m + 1)
    )
    every = np.arange(m + 1)
    with pytest.raises(OverflowError, match="message buffer up2"):
        tables.build(nodes, schedule(nodes, CostModel()), every, every, every)

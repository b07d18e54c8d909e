"""Slots: messages alive at the same time never overlap, and space is used again.

First the allocation by itself. Then the tables of whole plans, by running the reads and writes of
the sweeps on tagged messages: every element of a buffer is tagged with the front that wrote it and
its place in that front's message, and whatever is read must carry the tag of the right child or
parent. So no slot is overwritten while it is needed, no index is off, and padding reads only what
nothing writes.
"""

import itertools

import numpy as np
import pytest
import symbolic_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st

from padchol.plan import exact_supernodes
from padchol.symbolic import tables
from padchol.symbolic.costs import CostModel
from padchol.symbolic.etree import permuted_lower
from padchol.symbolic.schedule import schedule
from padchol.symbolic.slots import allocate
from padchol.symbolic.supernodes import relax
from padchol.symbolic.tables import ZEROS
from padchol.symbolic.unfold import front_levels, front_parents, read


@st.composite
def messages(draw):
    """Sizes written at steps 0, 1, ..., each with its last read, never before the writing."""
    lives = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), max_size=40))
    size = np.array([length for length, _ in lives], np.int64)
    last = np.array([t + stay for t, (_, stay) in enumerate(lives)], np.int64)
    return size, last


def widest_moment(size, last):
    """Elements alive at the worst step: no allocation can do with less."""
    return max((int(size[: t + 1][last[: t + 1] >= t].sum()) for t in range(size.size)), default=0)


@oracle.quick
@given(messages(), st.sampled_from([0, 32]))
def test_living_messages_never_overlap(made, start):
    size, last = made
    address, end = allocate(size, last, start)
    assert (address >= start).all()
    assert (address + size)[size > 0].max(initial=start) == end
    for t in range(size.size):
        for earlier in range(t):
            if last[earlier] >= t and size[t] and size[earlier]:
                before = address[earlier] + size[earlier] <= address[t]
                after = address[t] + size[t] <= address[earlier]
                assert before or after


@oracle.quick
@given(messages())
def test_the_end_lies_between_the_widest_moment_and_the_sum(made):
    size, last = made
    _, end = allocate(size, last, 0)
    assert widest_moment(size, last) <= end <= size.sum()


def test_a_stream_of_short_lives_takes_two_slots():
    last = np.arange(1000) + 1  # each is read while the next is written
    address, end = allocate(np.full(1000, 7), last, 32)
    assert set(address) == {32, 39}
    assert end == 46


@pytest.mark.parametrize("given_back", [*itertools.permutations([3, 4, 5])])
def test_free_neighbours_join(given_back):
    """Three slots given back, in whatever order, make room for one of their total size."""
    size = np.array([3, 3, 3, 1, 0, 0, 9])  # the fourth lives on, so the end cannot move down
    address, end = allocate(size, np.array([*given_back, 6, 4, 5, 6]), 0)
    np.testing.assert_array_equal(address[[0, 1, 2, 3, 6]], [0, 3, 6, 9, 0])
    assert end == 10


def test_a_hole_is_filled_before_the_end_is_moved():
    address, end = allocate(np.array([3, 3, 3, 6]), np.array([2, 2, 3, 3]), 0)
    np.testing.assert_array_equal(address, [0, 3, 6, 0])
    assert end == 9


def test_a_slot_at_the_end_grows_in_place():
    address, end = allocate(np.array([4, 6]), np.array([0, 1]), 32)
    assert address[1] == 32
    assert end == 38


def test_nothing_written_takes_no_space():
    address, end = allocate(np.zeros(5, np.int64), np.arange(5), 32)
    assert end == 32
    assert (address == 32).all()
    assert allocate(np.zeros(0, np.int64), np.zeros(0, np.int64), 32)[1] == 32


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

    def bin(self, front):
        """Its bin, and its number in there."""
        b = int(self.bin_of[front])
        return self.layout.bins[b], front - int(self.offset[b])

    def below(self, front):
        """Rows below that are not padding."""
        bin, at = self.bin(front)
        return int(self.take(bin.at["below"], at, 1)[0])

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


class Buffer:
    """A message buffer of tags: (front, row, column), front -1 where nothing was written."""

    def __init__(self, length):
        self.tags = np.full((length, 3), -1)

    def write(self, machine, bin, chunk, at, side, rank):
        """The messages of one chunk: C arrays of side^rank."""
        assert at >= ZEROS
        assert at + bin.C * side**rank <= len(self.tags)
        shape = (bin.C, side, side) if rank == 2 else (bin.C, side, 1)
        lane, row, col = (x.reshape(-1) for x in np.indices(shape))
        front = machine.offset[bin.index] + chunk * bin.C + lane
        self.tags[at : at + front.size] = np.stack([front, row, col], 1)

    def read(self, source):
        assert (source >= 0).all()
        assert (source < len(self.tags)).all()
        return np.moveaxis(self.tags[source], -1, 0)


def run_up(machine, rank):
    """What each front hands to its parent: {front: [(row, col), ...]} as received."""
    buffer = Buffer(machine.layout.buffer(f"up{rank}"))
    received = {}
    for bin, chunk in machine.chunks(up=True):
        for blocks in bin.matrix_blocks if rank == 2 else bin.vector_blocks:
            first, last = read(machine.table, blocks.ptr)[chunk : chunk + 2] * blocks.T
            for block in range(first, last):
                take_block(machine, bin, chunk, blocks, block, buffer, rank, received)
        if bin.M:
            at = machine.take(bin.at[f"up{rank}"], chunk, 1)[0]
            buffer.write(machine, bin, chunk, int(at), bin.M, rank)
    return received


def take_block(machine, bin, chunk, blocks, block, buffer, rank, received):
    """One block of the extend-add: check where it comes from and where it goes."""
    at, stride, row, col, lane = (
        int(machine.take(section, block, 1)[0])
        for section in (blocks.address, blocks.stride, blocks.row, blocks.col, blocks.lane)
    )
    q = np.arange(blocks.q)
    source = at + stride * q[:, None] + q if rank == 2 else (at + q)[:, None]
    assert lane < bin.C
    target_row = machine.table[row + q]
    target_col = machine.table[col + q] if rank == 2 else np.zeros(1, np.int64)
    assert ((target_row >= 0) & (target_row < bin.D)).all()
    assert ((target_col >= 0) & (target_col < bin.D)).all()
    front, i, j = buffer.read(source)
    if at < ZEROS:
        assert (source < ZEROS).all()
        assert (front == -1).all()  # zeros, which nothing writes
        return
    child, me = int(front.flat[0]), int(machine.offset[bin.index]) + chunk * bin.C + lane
    assert (front == child).all()
    assert machine.parent[child] == me
    child_bin, in_bin = machine.bin(child)
    mine = machine.rows[bin.index][me - machine.offset[bin.index]]
    theirs, m = machine.rows[child_bin.index], machine.below(child)
    for a, b in np.argwhere((i < m) & (j < m)):
        row_a, row_b = theirs[in_bin, child_bin.W + i[a, b]], theirs[in_bin, child_bin.W + j[a, b]]
        assert mine[target_row[a]] == row_a
        assert rank == 1 or mine[target_col[b]] == row_b
        received.setdefault(child, []).append((int(i[a, b]), int(j[a, b])))


def run_down(machine, rank):
    """Check every read of a parent's message; returns the number of fronts that read one."""
    buffer = Buffer(machine.layout.buffer(f"down{rank}"))
    readers = 0
    for bin, chunk in machine.chunks(up=False):
        for front in range(bin.C) if bin.M else ():
            me = int(machine.offset[bin.index]) + chunk * bin.C + front
            m, in_bin = machine.below(me), chunk * bin.C + front
            base = int(machine.take(bin.at[f"parent{rank}"], in_bin, 1)[0])
            rel = machine.take(bin.at["rel"], in_bin, bin.M)[:m]
            stride = int(machine.take(bin.at["stride"], in_bin, 1)[0])
            i, j = np.tril_indices(m) if rank == 2 else (np.arange(m), np.zeros(m, np.int64))
            source = base + (rel[i] * stride + rel[j] if rank == 2 else rel[i])
            owner, row, col = buffer.read(source)
            assert (owner == machine.parent[me]).all()
            np.testing.assert_array_equal(row, rel[i])
            np.testing.assert_array_equal(col, rel[j] if rank == 2 else 0)
            readers += m > 0
        if bin.has_children:
            at = machine.take(bin.at[f"down{rank}"], chunk, 1)[0]
            buffer.write(machine, bin, chunk, int(at), bin.D, rank)
    return readers


def check_sweeps(machine):
    """Every entry of every message arrives exactly once, upwards and downwards."""
    real = [f for f in range(machine.parent.size) if machine.below(f)]
    matrices, vectors = run_up(machine, 2), run_up(machine, 1)
    assert sorted(matrices) == sorted(vectors) == real
    for front in real:
        m = machine.below(front)
        lower = [pair for pair in matrices[front] if pair[0] >= pair[1]]
        assert sorted(lower) == sorted(zip(*map(list, np.tril_indices(m)), strict=True))
        assert sorted(vectors[front]) == [(i, 0) for i in range(m)]
    assert run_down(machine, 2) == run_down(machine, 1) == len(real)


PATTERNS = [pytest.param(S, id=name) for name, S in oracle.EXAMPLES.items()]
LARGER = st.one_of(oracle.patterns(60), oracle.grids(100), oracle.forest(80))


@pytest.mark.parametrize("relaxed", [False, True])
@pytest.mark.parametrize("S", PATTERNS)
def test_sweeps_over_examples(S, relaxed):
    check_sweeps(Machine(S, relaxed))


@oracle.quick
@given(LARGER, st.booleans())
def test_messages_arrive_once_and_are_never_overwritten(S, relaxed):
    check_sweeps(Machine(S, relaxed))

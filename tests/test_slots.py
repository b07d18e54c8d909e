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
from test_tables import LARGER, Machine

from padchol.symbolic.layout import ZEROS
from padchol.symbolic.slots import allocate
from padchol.symbolic.unfold import read


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


class Buffer:
    """A message buffer of tags: (front, row, column), front -1 where nothing was written."""

    def __init__(self, length):
        self.tags = np.full((length, 3), -1)

    def write(self, machine, bin, chunk, at, parts):
        """The messages of one chunk: parts of C x rows x columns, and the place of each."""
        assert at >= ZEROS
        for rows, cols, corner in parts:
            lane, row, col = (x.reshape(-1) for x in np.indices((bin.C, rows, cols)))
            front = machine.offset[bin.index] + chunk * bin.C + lane
            assert at + front.size <= len(self.tags)
            self.tags[at : at + front.size] = np.stack([front, row + corner, col + corner], 1)
            at += front.size

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
            at = machine.one(bin.at[f"up{rank}"], chunk)
            buffer.write(machine, bin, chunk, at, [(bin.M, bin.M if rank == 2 else 1, 0)])
    return received


def take_block(machine, bin, chunk, blocks, block, buffer, rank, received):
    """One block of the extend-add: check where it comes from and where it goes."""
    at, lane = machine.one(blocks.address, block), machine.one(blocks.lane, block)
    stride = machine.one(blocks.stride, block) if rank == 2 else 0
    q = np.arange(blocks.q)
    source = at + stride * q[:, None] + q if rank == 2 else (at + q)[:, None]
    assert lane < bin.C
    target_row = read(machine.table, blocks.rows).reshape(-1, blocks.q)[block]
    target_col = np.zeros(1, np.int64)
    if rank == 2:
        target_col = read(machine.table, blocks.cols).reshape(-1, blocks.q)[block]
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
        assert rank == 1 or (i[a, b] >= j[a, b]) == (target_row[a] >= target_col[b])
        assert rank == 1 or mine[target_col[b]] == row_b
        received.setdefault(child, []).append((int(i[a, b]), int(j[a, b])))


def parent_address(machine, bin, in_bin, rel, i, j, rank):
    """Where a down sweep looks for entries (rel[i], rel[j]) of the parent's message."""
    if rank == 1:
        return machine.one(bin.at["parent1"], in_bin) + rel[i]
    left, rest, W, M = (
        machine.one(bin.at[name], in_bin)
        for name in ("parent2", "parent2_rest", "parent_W", "parent_M")
    )
    row, col = rel[i], rel[j]
    return np.where(col < W, left + row * W + col, rest + (row - W) * M + col - W)


def run_down(machine, rank):
    """Check every read of a parent's message; returns the number of fronts that read one."""
    buffer = Buffer(machine.layout.buffer(f"down{rank}"))
    readers = 0
    for bin, chunk in machine.chunks(up=False):
        for front in range(bin.C) if bin.M else ():
            me = int(machine.offset[bin.index]) + chunk * bin.C + front
            m, in_bin = machine.below(me), chunk * bin.C + front
            rel = machine.take(bin.at["rel"], in_bin, bin.M)[:m]
            i, j = np.tril_indices(m) if rank == 2 else (np.arange(m), np.zeros(m, np.int64))
            source = parent_address(machine, bin, in_bin, rel, i, j, rank)
            owner, row, col = buffer.read(source)
            assert (owner == machine.parent[me]).all()
            np.testing.assert_array_equal(row, rel[i])
            np.testing.assert_array_equal(col, rel[j] if rank == 2 else 0)
            readers += m > 0
        if bin.has_children:
            pair = [(bin.D, bin.W, 0), (bin.M, bin.M, bin.W)]  # pivot columns, and the rest
            at = machine.one(bin.at[f"down{rank}"], chunk)
            buffer.write(machine, bin, chunk, at, pair if rank == 2 else [(bin.D, 1, 0)])
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


@pytest.mark.parametrize("relaxed", [False, True])
@pytest.mark.parametrize("S", PATTERNS)
def test_sweeps_over_examples(S, relaxed):
    check_sweeps(Machine(S, relaxed))


@oracle.quick
@given(LARGER, st.booleans())
def test_messages_arrive_once_and_are_never_overwritten(S, relaxed):
    check_sweeps(Machine(S, relaxed))

"""Static index tables: one flat int32 array, and the layout that says where each table lies.

The numeric phase sees a pattern only through these. All tables hold integers per front row, per
front, per chunk or per hand-over block, never per entry of an update.

Notation (for bin b with F = chunks * C places)
    D = W + M      order of the padded front: pivots at 0 .. W - 1, rows below at W ..
    message        what a front hands to its parent (up: its M x M update, or M x k rows) or to its
                   children (down: pivot columns (D, W) and the rest (M, M), or D x k rows); both
                   live in slots, one a chunk
    block          q x q piece of an update (or q rows of a vector message), the unit of the
                   extend-add; only blocks on and below the diagonal are listed
    tile           T blocks moved together

Address 0 onwards of every message buffer is a region of zeros that nothing writes; padding blocks
read it and add its zeros somewhere harmless.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from padchol.symbolic.schedule import Bin, Schedule
from padchol.symbolic.slots import allocate
from padchol.symbolic.supernodes import Supernodes

INT32_MAX = np.iinfo(np.int32).max
SMALL_BLOCK, LARGE_BLOCK = 8, 32  # q; 32 where M >= 64 (M is a multiple of 32 there)
ZEROS = LARGE_BLOCK  # addresses 0 .. ZEROS - 1 hold zeros
TILE_ENTRIES = 32_768  # at most so many entries a tile (tests/bench/NOTES.md)
TILE_OVERHEAD = 2_000  # entries that could be moved while one tile starts


class Section(NamedTuple):
    """Where a table lies in the flat array."""

    start: int
    size: int


@dataclass(frozen=True)
class BlockList:
    """Hand-over blocks into the fronts of one bin. ptr (chunks + 1) counts tiles; per block:

    address, stride   where the block lies in the message buffer
    rows, cols (q)    relative rows of its rows and columns in the receiving front
    lane              which front of the chunk receives it
    A block of a vector message has neither stride nor cols.
    """

    q: int
    T: int
    ptr: Section
    address: Section
    rows: Section
    lane: Section
    stride: Section | None = None
    cols: Section | None = None


@dataclass(frozen=True)
class BinLayout:
    """Static shape facts of one bin and the sections of its tables."""

    index: int
    W: int
    M: int
    C: int
    chunks: int
    has_children: bool
    sections: tuple[tuple[str, Section], ...]
    matrix_blocks: tuple[BlockList, ...]
    vector_blocks: tuple[BlockList, ...]

    @functools.cached_property
    def at(self) -> dict[str, Section]:
        """Sections by name."""
        return dict(self.sections)

    @property
    def D(self) -> int:
        return self.W + self.M

    @property
    def front_entries(self) -> int:
        """Entries of one front: its pivot columns (D, W) and the rest (M, M)."""
        return self.D * self.W + self.M * self.M

    @property
    def fronts(self) -> int:
        return self.chunks * self.C


@dataclass(frozen=True, eq=False)
class Layout:
    """All static facts of a plan's numeric phase. Equality and (remembered) hash by contents."""

    n: int
    bins: tuple[BinLayout, ...]
    chunk_ptr: Section  # (levels + 1, bins): first chunk of each bin at each level
    location: Section  # (n,): row of pivot t (plan order) in the stacked (F * W) pivot rows
    buffers: tuple[tuple[str, int], ...]  # up2, up1, down2, down1: elements or rows

    @functools.cached_property
    def contents(self) -> tuple:
        return (self.n, self.bins, self.chunk_ptr, self.location, self.buffers)

    @functools.cached_property
    def hashed(self) -> int:
        return hash(self.contents)

    def __hash__(self) -> int:
        return self.hashed

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        same = isinstance(other, Layout) and self.hashed == other.hashed
        return same and self.contents == other.contents

    @property
    def levels(self) -> int:
        return self.chunk_ptr.size // len(self.bins) - 1 if self.bins else 0

    def buffer(self, name: str) -> int:
        """Length of a message buffer."""
        return dict(self.buffers)[name]


class Writer:
    """Collects tables, proves them in range (in int64), and packs them."""

    def __init__(self):
        self.parts: list[np.ndarray] = []
        self.end = 0

    def add(self, table: np.ndarray, low: int, high: int, what: str) -> Section:
        """Append a table whose entries must lie in [low, high]."""
        flat = np.asarray(table, np.int64).reshape(-1)
        fits_int32(high, what)
        if flat.size and (flat.min() < low or flat.max() > high):
            raise AssertionError(
                f"table {what}: expected entries in [{low}, {high}]; "
                f"got [{flat.min()}, {flat.max()}]"
            )
        section = Section(self.end, flat.size)
        self.parts.append(flat)
        self.end += flat.size
        fits_int32(self.end, "table length")
        return section

    def pack(self) -> np.ndarray:
        return np.concatenate(self.parts).astype(np.int32)


def fits_int32(value: int, what: str) -> None:
    """Raise `OverflowError` where an index would not fit; called with exact integers."""
    if value > INT32_MAX:
        raise OverflowError(
            f"{what} needs indices up to {value}, beyond int32 ({INT32_MAX}): the problem is too "
            "large for 32-bit index tables"
        )


class Geometry(NamedTuple):
    """Where each supernode sits: its bin and its place there; and each step of the sweeps."""

    bin_of: np.ndarray  # (S,)
    place: np.ndarray  # (S,)
    W: np.ndarray  # (bins,)
    M: np.ndarray
    C: np.ndarray
    step: list[np.ndarray]  # per bin (chunks,): position in the order of execution

    def chunk(self, s: np.ndarray) -> np.ndarray:
        return self.place[s] // self.C[self.bin_of[s]]

    def lane(self, s: np.ndarray) -> np.ndarray:
        return self.place[s] % self.C[self.bin_of[s]]

    def padded_place(self, nodes: Supernodes, s: np.ndarray, i: np.ndarray) -> np.ndarray:
        """Place of row i in the padded front of s."""
        exact = nodes.place(s, i)
        width = nodes.width[s]
        return np.where(exact < width, exact, exact - width + self.W[self.bin_of[s]])


def geometry(nodes: Supernodes, plan: Schedule) -> Geometry:
    S = nodes.parent.size
    bin_of, place = np.full(S, -1), np.full(S, -1)
    for b, bin in enumerate(plan.bins):
        real = bin.fronts >= 0
        bin_of[bin.fronts[real]] = b
        place[bin.fronts[real]] = np.flatnonzero(real)
    steps, now = [np.empty(bin.chunks, np.int64) for bin in plan.bins], 0
    for level in range(plan.levels):
        for b, bin in enumerate(plan.bins):
            start, stop = bin.chunk_ptr[level : level + 2]
            steps[b][start:stop] = now + np.arange(stop - start)
            now += int(stop - start)
    W, M, C = (np.array([getattr(bin, f) for bin in plan.bins], np.int64) for f in "WMC")
    return Geometry(bin_of, place, W, M, C, steps)


def build(
    nodes: Supernodes, plan: Schedule, relaxed: np.ndarray, i: np.ndarray, k: np.ndarray
) -> tuple[Layout, np.ndarray]:
    """Layout and flat table.

    relaxed (n,): plan position of each column of the relaxed order. i, k (nnz,): canonical entry
    v of A is (i[v], k[v]) with i >= k in the relaxed order.
    """
    n = relaxed.size
    where = geometry(nodes, plan)
    writer = Writer()
    pointers = np.stack([bin.chunk_ptr for bin in plan.bins], 1) if plan.bins else np.zeros((1, 0))
    chunk_ptr = writer.add(pointers, 0, INT32_MAX, "chunk_ptr")
    slots, ends = _slots(nodes, plan, where)
    rel = _relative_rows(nodes, plan, where)
    place = relaxed_places(nodes, plan, where)
    total = sum(bin.fronts.size * bin.W for bin in plan.bins)
    located = np.empty(n, np.int64)
    located[relaxed] = place
    location = writer.add(located, 0, max(total - 1, 0), "location")
    rel_sections = [
        writer.add(r, 0, int((where.W + where.M).max()) - 1, "relative rows") for r in rel
    ]
    blocks = _all_blocks(nodes, where, slots, rel)
    bins = []
    for b, bin in enumerate(plan.bins):
        sections = _bin_sections(writer, nodes, bin, b, where, slots, ends, relaxed)
        sections.append(("rel", rel_sections[b]))
        sections += _value_sections(writer, nodes, bin, b, where, i, k)
        lists = [
            tuple(
                made
                for q in (SMALL_BLOCK, LARGE_BLOCK)
                if (made := _block_list(writer, kind, q, b, bin, where, ends))
            )
            for kind in blocks
        ]
        bins.append(
            BinLayout(
                b,
                bin.W,
                bin.M,
                bin.C,
                bin.chunks,
                bool(np.isin(bin.fronts[bin.fronts >= 0], nodes.parent).any()),
                tuple(sections),
                *lists,
            )
        )
    layout = Layout(n, tuple(bins), chunk_ptr, location, tuple(ends.items()))
    return layout, writer.pack()


def relaxed_places(nodes: Supernodes, plan: Schedule, where: Geometry) -> np.ndarray:
    """(n,): row of each column (relaxed order) in the pivot rows of all bins stacked."""
    base = np.concatenate([[0], np.cumsum([bin.fronts.size * bin.W for bin in plan.bins])])
    s = nodes.of_column
    offset = np.arange(s.size) - nodes.first[s]
    b = where.bin_of[s]
    return base[b] + where.place[s] * where.W[b] + offset


def _slots(nodes: Supernodes, plan: Schedule, where: Geometry):
    """Chunk addresses of the four kinds of message, per bin, and the length of each buffer.

    "up2" and "up1": matrix and vector messages to the parent; "down2" and "down1": to children.
    """
    steps = sum(bin.chunks for bin in plan.bins)
    child = np.flatnonzero(nodes.parent >= 0)
    step_of = np.zeros(nodes.parent.size, np.int64)
    for b in range(len(plan.bins)):
        mine = where.bin_of == b
        step_of[mine] = where.step[b][where.chunk(np.flatnonzero(mine))]
    last_up, last_down = np.arange(steps), np.arange(steps)
    np.maximum.at(last_up, step_of[child], step_of[nodes.parent[child]])
    np.maximum.at(  # the down sweep runs the same steps backwards
        last_down, steps - 1 - step_of[nodes.parent[child]], steps - 1 - step_of[child]
    )
    reads = {"up": np.zeros(steps, bool), "down": np.zeros(steps, bool)}
    reads["up"][step_of[child]] = True
    reads["down"][step_of[nodes.parent[child]]] = True
    slots: dict[str, list[np.ndarray]] = {}
    ends: dict[str, int] = {}
    for direction, last in (("up", last_up), ("down", last_down)):
        for rank in (2, 1):
            size = np.zeros(steps, np.int64)
            for b, bin in enumerate(plan.bins):
                size[where.step[b]] = bin.C * _message_size(bin, direction, rank)
            if direction == "down":
                has_children = np.isin(where.bin_of[nodes.parent[child]], np.arange(len(plan.bins)))
                parents = np.unique(where.bin_of[nodes.parent[child]][has_children])
                for b in range(len(plan.bins)):
                    if b not in parents:
                        size[where.step[b]] = 0
                address, end = allocate(size[::-1], last, ZEROS)
                address = address[::-1]
            else:
                address, end = allocate(size, last, ZEROS)
            name = f"{direction}{rank}"
            fits_int32(end, f"message buffer {name}")
            slots[name] = [address[where.step[b]] for b in range(len(plan.bins))]
            ends[name] = end
    return slots, ends


def _message_size(bin: Bin, direction: str, rank: int) -> int:
    """Elements (or rows) of one front's message."""
    if direction == "up":
        return bin.M**rank
    D = bin.W + bin.M
    return D if rank == 1 else D * bin.W + bin.M**2


def _relative_rows(nodes: Supernodes, plan: Schedule, where: Geometry):
    """Per bin (F, M): place of each row below in the parent's padded front (0 at padding)."""
    s = np.repeat(np.arange(nodes.parent.size), nodes.below)
    if s.size and (nodes.parent[s] < 0).any():
        raise AssertionError("a supernode with rows below must have a parent")
    target = where.padded_place(nodes, nodes.parent[s], nodes.rows)
    rank = np.arange(s.size) - nodes.row_ptr[s]
    tables = []
    for b, bin in enumerate(plan.bins):
        table = np.zeros((bin.fronts.size, bin.M), np.int64)
        mine = where.bin_of[s] == b
        table[where.place[s[mine]], rank[mine]] = target[mine]
        tables.append(table)
    return tables


def _bin_sections(writer, nodes, bin: Bin, b: int, where: Geometry, slots, ends, relaxed):
    """The per-front and per-chunk tables of one bin."""
    real = bin.fronts >= 0
    s = np.where(real, bin.fronts, 0)
    width = np.where(real, nodes.width[s], 0)
    below = np.where(real, nodes.below[s], 0)
    n = relaxed.size
    lane = np.arange(bin.W)
    column = np.minimum(nodes.first[s][:, None] + lane, n - 1)
    pivot = np.where(lane < width[:, None], relaxed[column], n)
    up = np.where(real & (nodes.parent[s] >= 0), nodes.parent[s], -1)
    p = np.maximum(up, 0)
    made = [
        ("width", writer.add(width, 0, bin.W, "width")),
        ("below", writer.add(below, 0, bin.M, "below")),
        ("pivot", writer.add(pivot, 0, n, "pivot")),
    ]
    stacked = np.concatenate([[0], np.cumsum([step.size for step in where.step] * where.C)])
    above = np.where(up >= 0, stacked[where.bin_of[p]] + where.place[p], stacked[-1])
    made.append(("parent", writer.add(above, 0, int(stacked[-1]), "parent")))
    made += _parent_slots(writer, where, slots, ends, up)
    for name in ("up2", "up1", "down2", "down1"):
        made.append((name, writer.add(slots[name][b], 0, ends[name], name)))
    return made


def _parent_slots(writer, where: Geometry, slots, ends, up: np.ndarray):
    """Where each front finds its parent's message in a down sweep; 0 where it has no parent."""
    has, p = up >= 0, np.maximum(up, 0)
    home, chunk, lane = where.bin_of[p], where.chunk(p), where.lane(p)
    W, M, C = where.W[home], where.M[home], where.C[home]
    D = W + M
    at = {
        rank: np.array([slots[f"down{rank}"][b][c] for b, c in zip(home, chunk, strict=True)])
        for rank in (2, 1)
    }
    rest = at[2] + C * D * W + lane * M * M
    end2, end1 = ends["down2"] - 1, ends["down1"] - 1
    columns = {
        "parent1": (at[1] + lane * D, at[1] + lane * D + D - 1, end1),
        "parent2": (at[2] + lane * D * W, at[2] + (lane + 1) * D * W - 1, end2),
        "parent2_rest": (rest, rest + M * M - 1, end2),
        "parent_W": (W, W, INT32_MAX),
        "parent_M": (M, M, INT32_MAX),
    }
    made = []
    for name, (first, last, end) in columns.items():
        if has.any() and int(last[has].max()) > end:
            raise AssertionError(f"{name}: a parent's message reaches beyond its buffer")
        made.append(
            (name, writer.add(np.where(has, first, 0), 0, min(max(end, 0) + 1, INT32_MAX), name))
        )
    return made


def _value_sections(writer, nodes, bin: Bin, b: int, where: Geometry, i, k):
    """Per front, E values of A and where they go in its pivot columns.

    "value" (F, E): canonical position, nnz at padding. "entry" (F, E): row * W + column.
    Also "slot" (values of this bin,): where each of them lies in (F * E), and which they are.
    """
    s = nodes.of_column[k]
    mine = np.flatnonzero(where.bin_of[s] == b)
    s = s[mine]
    row = where.padded_place(nodes, s, i[mine])
    entry = row * bin.W + k[mine] - nodes.first[s]
    order = np.argsort(where.place[s], kind="stable")
    counts = np.bincount(where.place[s], minlength=bin.fronts.size)
    E = int(counts.max(initial=0))
    rank = np.arange(mine.size) - np.repeat(np.cumsum(counts) - counts, counts)
    slot = np.repeat(np.arange(bin.fronts.size) * E, counts) + rank
    value = np.full(bin.fronts.size * E, i.size)
    entries = np.zeros(value.size, np.int64)
    value[slot], entries[slot] = mine[order], entry[order]
    size = (bin.W + bin.M) * bin.W
    return [
        ("value", writer.add(value, 0, i.size, "value")),
        ("entry", writer.add(entries, 0, size - 1, "entry")),
        ("slot", writer.add(slot, 0, max(value.size - 1, 0), "slot")),
        ("member", writer.add(mine[order], 0, max(i.size - 1, 0), "member")),
    ]


class Blocks(NamedTuple):
    """Hand-over blocks of one kind, one row each."""

    rank: int
    q: np.ndarray
    parent: np.ndarray  # supernode receiving the block
    address: np.ndarray
    stride: np.ndarray
    row: np.ndarray  # where the block's rows and columns start in the stacked relative rows
    col: np.ndarray
    rel: np.ndarray


def _all_blocks(nodes: Supernodes, where: Geometry, slots, rel: list[np.ndarray]):
    """Blocks of all matrix messages, and of all vector messages."""
    child = np.flatnonzero(nodes.below > 0)
    b = where.bin_of[child]
    M, chunk, lane = where.M[b], where.chunk(child), where.lane(child)
    stacked = np.concatenate([[0], np.cumsum([table.size for table in rel])])
    start = stacked[b] + where.place[child] * M
    flat = np.concatenate([np.zeros(0, np.int64), *(table.reshape(-1) for table in rel)])
    out = []
    for rank in (2, 1):
        q = np.where((M >= 2 * LARGE_BLOCK) & (rank == 2), LARGE_BLOCK, SMALL_BLOCK)
        strips = -(-nodes.below[child] // q)
        count = strips * (strips + 1) // 2 if rank == 2 else strips
        owner = np.repeat(np.arange(child.size), count)
        k = np.arange(owner.size) - np.repeat(np.cumsum(count) - count, count)
        i, j = _triangle(k) if rank == 2 else (k, np.zeros_like(k))
        base = np.zeros(child.size, np.int64)
        for c, addresses in enumerate(slots[f"up{rank}"]):
            base[b == c] = addresses[chunk[b == c]]
        base += lane * M**rank
        stride = M[owner] if rank == 2 else np.ones(owner.size, np.int64)
        i, j = i * q[owner], j * q[owner]
        address = base[owner] + i * stride + j
        to = nodes.parent[child][owner]
        row, col = start[owner] + i, start[owner] + j
        out.append(Blocks(rank, q[owner], to, address, stride, row, col, flat))
    return out


def _triangle(k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(i, j) with i >= j of entry k of a lower triangle counted by rows: k = i (i + 1) / 2 + j."""
    i = ((np.sqrt(8.0 * k + 1) - 1) / 2).astype(np.int64)
    i -= i * (i + 1) // 2 > k
    i += (i + 1) * (i + 2) // 2 <= k
    return i, k - i * (i + 1) // 2


def _block_list(writer, blocks: Blocks, q, b, bin: Bin, where: Geometry, ends):
    """The blocks of size q that go into bin b, by chunk, filled up to whole tiles."""
    mine = np.flatnonzero((blocks.q == q) & (where.bin_of[blocks.parent] == b))
    if not mine.size:
        return None
    chunk = where.chunk(blocks.parent[mine])
    order = np.argsort(chunk, kind="stable")
    mine, chunk = mine[order], chunk[order]
    counts = np.bincount(chunk, minlength=bin.chunks)
    T = _tile(counts, q**blocks.rank)
    tiles = -(-counts // T)
    ptr = np.concatenate([[0], np.cumsum(tiles)])
    before = np.cumsum(counts) - counts
    slot = np.repeat(ptr[:-1] * T - before, counts) + np.arange(mine.size)
    total = int(ptr[-1]) * T

    def table(values, high, what):
        filled = np.zeros((total, *values.shape[1:]), np.int64)
        filled[slot] = values
        return writer.add(filled, 0, high, what)

    matrix = blocks.rank == 2
    end, side = ends[f"up{blocks.rank}"], bin.W + bin.M
    reach = (q - 1) * (blocks.stride[mine] + matrix)
    if (blocks.address[mine] + reach).max() >= end:
        raise AssertionError("a hand-over block reaches beyond its buffer")
    lanes = np.arange(q)
    return BlockList(
        q,
        T,
        writer.add(ptr, 0, INT32_MAX, "tile pointers"),
        table(blocks.address[mine], end - 1, "block address"),
        table(blocks.rel[blocks.row[mine][:, None] + lanes], side - 1, "block rows"),
        table(where.lane(blocks.parent[mine]), bin.C - 1, "block lane"),
        table(blocks.stride[mine], INT32_MAX, "block stride") if matrix else None,
        table(blocks.rel[blocks.col[mine][:, None] + lanes], side - 1, "block columns")
        if matrix
        else None,
    )


def _tile(counts: np.ndarray, entries: int) -> int:
    """Blocks per tile: the power of two that moves the fewest padded entries."""
    best, best_cost, T = 1, np.inf, 1
    while T == 1 or T * entries <= TILE_ENTRIES:
        cost = (-(-counts // T)).sum() * (T * entries + TILE_OVERHEAD)
        if cost < best_cost:
            best, best_cost = T, cost
        T *= 2
    return best

"""The layout: where each index table lies in the one flat int32 array, and static shape facts.

The numeric phase sees a pattern only through these. Tables hold integers per front row, per chunk
or per row of a hand-over block, never per entry of an update.

Notation (for bin b with F = chunks * C places)
    D = W + M      order of the padded front: pivots at 0 .. W - 1, rows below at W ..
    panel          the D x W pivot columns of one front. The panels of all fronts, one behind the
                   other, are the *panel storage*, in which the factorisation works in place
    pivot rows     the W rows of a vector (of k columns) that belong to one front; those of all
                   fronts are the *pivot storage*, in which the solves work in place
    block          BLOCK x BLOCK piece of an update: rows of it anywhere, columns next to each other
                   in the panel that receives them. The unit of the extend-add
    tile           T blocks moved together
    entries        the unit of the extend-add of small updates: see CostModel.entries_up_to

The first BLOCK entries of the panel storage and the first row of the pivot storage are trash:
padding is added there and nothing that counts is read from it.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

INT32_MAX = np.iinfo(np.int32).max
BLOCK = 8  # columns of a block: 8 doubles are a cache line (tests/bench/NOTES.md, experiment 8)
QUAD = 4  # columns of a tile: half a cache line of doubles (experiment 19)
LANES = 16  # of the longer side of a tile (19)
RECORD = 8  # integers of a tiled front: see `numeric.tiled.fronts`
SQUARE_RECORD, MOVE, STRIP, PIECE = 3, 3, 2, 3  # integers of tables: see `symbolic.extend_add`
BAND = 32  # rows of an update that are made, and moved, at a time (19)
# What is stored per front, and how many entries (of k columns in the last two) of it:
#     panel  (D, W)    update  (M, M)    pivots  (W, k)    rows  (M, k)
Kind = Literal["panel", "update", "pivots", "rows"]


class Section(NamedTuple):
    """Where a table lies in the flat array."""

    start: int
    size: int


@dataclass(frozen=True)
class Blocks:
    """Hand-over blocks out of the updates of one bin. ptr (chunks + 1) counts tiles; per block:

    source            where the block starts in the (C, M, M) updates of its chunk
    columns           which of its BLOCK columns count, as bits
    target (BLOCK)    where each of its rows starts in the panel storage
    """

    T: int
    ptr: Section
    source: Section
    columns: Section
    target: Section


@dataclass(frozen=True)
class Tiles:
    """The fronts in exact sizes, as a CPU runs them one by one: see `symbolic.tiles`.

    Everything here is a `capacity`, which patterns of one size class share: compiled programs serve
    them all. What a pattern leaves of it are fronts without pivots, and padding.

    W, M      pivots and rows below of the largest front, in whole quads
    fronts    how many there may be
    panels    length of their panel storage, and of the pivot storage, with k columns
    location, diagonal, value, unit: as in `Layout`, in these storages
    user      location in the user's order: row of unknown i
    records   (fronts + 1, RECORD): what a front is, see `numeric.tiled.fronts`
    rows      where each row below lies in the pivot storage; 0 at padding
    squares (squares, SQUARE_RECORD), moves (moves, MOVE), strips (strips, STRIP), and pieces
              (pieces, PIECE): see `symbolic.extend_add`; the last three may be empty
    """

    W: int
    M: int
    fronts: int
    panels: int
    pivots: int
    location: Section
    user: Section
    diagonal: Section
    value: Section
    unit: Section
    records: Section
    rows: Section
    squares: Section
    moves: Section
    strips: Section
    pieces: Section


@dataclass(frozen=True)
class BinLayout:
    """Static shape facts of one bin and the sections of its tables.

    front (F,): which record of `Tiles` each front is; the last, which is empty, at padding.
    rows (F, M): where each row below lies in the pivot storage; 0 at padding.
    Updates move in blocks, or else in entries (F, triangle): where each entry of the lower triangle
    of an update, row by row, lies in the panel storage; 0 at padding.
    """

    index: int
    W: int
    M: int
    C: int
    chunks: int
    front: Section
    rows: Section
    blocks: Blocks | None
    entries: Section

    @property
    def triangle(self) -> int:
        return self.M * (self.M + 1) // 2

    @property
    def D(self) -> int:
        return self.W + self.M

    @property
    def fronts(self) -> int:
        return self.chunks * self.C

    def shape(self, kind: Kind, k: int) -> tuple[int, ...]:
        """Shape of what is stored per front."""
        return {
            "panel": (self.D, self.W),
            "update": (self.M, self.M),
            "pivots": (self.W, k),
            "rows": (self.M, k),
        }[kind]

    def length(self, kind: Kind) -> int:
        """Entries stored per front, rows of k columns counted as one."""
        return {"panel": self.D * self.W, "update": self.M**2, "pivots": self.W, "rows": self.M}[
            kind
        ]


@dataclass(frozen=True, eq=False)
class Layout:
    """All static facts of a plan's numeric phase. Equality and (remembered) hash by contents.

    bins: none in a plan for CPUs.
    """

    n: int
    tiles: Tiles
    bins: tuple[BinLayout, ...]
    chunk_ptr: Section  # (rounds + 1, bins): chunks of each bin done before each round
    location: Section  # (n,): row of pivot t (plan order) in the pivot storage
    diagonal: Section  # (n,): place of pivot t in the panel storage
    value: Section  # (nnz,): place of each canonical value in the panel storage
    unit: Section  # places in the panel storage of padded pivots, which are 1

    @functools.cached_property
    def contents(self) -> tuple:
        sections = (self.chunk_ptr, self.location, self.diagonal, self.value, self.unit)
        return (self.n, self.bins, sections, self.tiles)

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
    def rounds(self) -> int:
        return self.chunk_ptr.size // len(self.bins) - 1 if self.bins else 0

    def start(self, kind: Kind, index: int) -> int:
        """Where a bin starts in the storage of a kind."""
        return _head(kind) + sum(bin.fronts * bin.length(kind) for bin in self.bins[:index])

    def length(self, kind: Kind) -> int:
        """Length of the storage of a kind: its trash, its fronts, and room for one block."""
        return self.start(kind, len(self.bins)) + (BLOCK if kind == "panel" else 0)


def _head(kind: Kind) -> int:
    """Trash before the first front."""
    return {"panel": BLOCK, "pivots": 1}.get(kind, 0)


class Writer:
    """Collects tables, proves them in range, and packs them."""

    def __init__(self):
        self.parts: list[np.ndarray] = []
        self.end = 0

    def add(self, table: np.ndarray, low: int, high: int, what: str) -> Section:
        """Append a table whose entries must lie in [low, high]."""
        flat = np.asarray(table).reshape(-1)
        fits_int32(high, what)
        if flat.size and (flat.min() < low or flat.max() > high):
            raise AssertionError(
                f"table {what}: expected entries in [{low}, {high}]; "
                f"got [{flat.min()}, {flat.max()}]"
            )
        section = Section(self.end, flat.size)
        self.parts.append(flat.astype(np.int32, copy=False))
        self.end += flat.size
        fits_int32(self.end, "table length")
        return section

    def pack(self) -> np.ndarray:
        return np.concatenate(self.parts)


def rounded(size: np.ndarray) -> np.ndarray:
    """Rounded up to whole quads."""
    return -(-size // QUAD) * QUAD


def capacity(size: int, steps: int) -> int:
    """The least of `steps` sizes for every doubling that holds `size`, in whole quads."""
    size = -(-size // QUAD)
    unit = 1 << max(max(size - 1, 0).bit_length() - 1 - (steps.bit_length() - 1), 0)
    return QUAD * unit * -(-size // unit)


def fits_memory(size: int, what: str) -> None:
    """Raise `MemoryError` where so many bytes are more than the machine has; called before they are
    asked for, because a system that overcommits kills the process instead of refusing."""
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # no such facts on this system: numpy will tell
        return
    if size > there > 0:
        raise MemoryError(
            f"{what} needs {size:,} bytes at least; this machine has {there:,}: the problem is "
            "too large for it"
        )


def fits_int32(value: int, what: str) -> None:
    """Raise `OverflowError` where an index would not fit; called with exact integers."""
    if value > INT32_MAX:
        raise OverflowError(
            f"{what} needs indices up to {value:,}, beyond int32 ({INT32_MAX:,}): the problem is "
            "too large for 32-bit index tables"
        )

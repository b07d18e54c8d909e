"""The layout: where each index table lies in the one flat int32 array, and static shape facts.

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

INT32_MAX = np.iinfo(np.int32).max
SMALL_BLOCK, LARGE_BLOCK = 8, 32  # q; 32 where M >= 64 (M is a multiple of 32 there)
ZEROS = LARGE_BLOCK  # addresses 0 .. ZEROS - 1 of every message buffer hold zeros


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

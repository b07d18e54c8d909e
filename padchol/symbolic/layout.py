"""The layout: where each index table lies in the one flat int32 array, and static shape facts.

The numeric phase sees a pattern only through these. Two kinds of storage are common to all engines:

    panel storage    the panels of all supernodes: w pivot columns, and rows below, in which the
                     factorisation works in place
    pivot storage    a row for each pivot of vectors of k columns, in which solves work in place

What lies where in them is the engine's: `Tiles`, supernodes in exact sizes, or `Levels`, batches of
padded ones.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

INT32_MAX = np.iinfo(np.int32).max
QUAD = 4  # columns of a tile: half a cache line of doubles (experiment 19)
LANES = 16  # of the longer side of a tile (19)
RECORD = 8  # integers of a tiled front: see `numeric.verbs.supernode`
SQUARE_RECORD, MOVE, STRIP, PIECE = 3, 3, 2, 3  # integers of tables: see `symbolic.extend_add`
BAND = 32  # rows of an update that are made, and moved, at a time (19)
# What a routine takes of each supernode: its panel, its rows of a vector, or those below.
Kind = Literal["panel", "pivots", "rows"]
Numbers = np.ndarray | Any  # numpy makes a scalar of what has no axes


class Section(NamedTuple):
    """Where a table lies in the flat array."""

    start: int
    size: int


@dataclass(frozen=True)
class Storage:
    """The two storages, and where the user's numbers are in them.

    Of a plan in shards every table is there once for each of them, and holds the places of what the
    shard has: its own columns, those of the top, and entries in them; `which` says what these are.
    They are filled up with places beyond every storage, and numbers beyond n and nnz.

    panels    length of the panel storage
    pivots    rows of the pivot storage
    top       where the top begins in both, which all shards have; their ends where there is none
    location  (n,): row of pivot t (plan's order)
    user      (n,): row of unknown i (user's order)
    diagonal  (n,): place of pivot t in the panel storage
    value     (nnz,): place of each canonical value in the panel storage
    unit      places of padded pivots, which are 1
    which     of several shards: the plan's pivots, the user's unknowns, canonical values
    """

    panels: int
    pivots: int
    top: tuple[int, int]
    location: Section
    user: Section
    diagonal: Section
    value: Section
    unit: Section
    which: tuple[Section, ...] = ()


@dataclass(frozen=True)
class Tiles:
    """Supernodes in exact sizes, as a CPU runs them one by one: see `symbolic.tiles`.

    Everything here, and the sizes of the storages, is a `capacity`, which patterns of one size
    class share: compiled programs serve them all. What a pattern leaves of it are supernodes
    without pivots, and padding.

    W, M      pivots and rows below of the largest supernode, in whole quads
    fronts    how many there may be
    top       the first of the top; their number where there is none
    records   (fronts + 1, RECORD): what a supernode is, see `numeric.verbs.supernode`
    rows      where each row below lies in the pivot storage; 0 at padding
    squares (squares, SQUARE_RECORD), moves (moves, MOVE), strips (strips, STRIP), and pieces
              (pieces, PIECE): see `symbolic.extend_add`; the last three may be empty
    """

    W: int
    M: int
    fronts: int
    top: int
    records: Section
    rows: Section
    squares: Section
    moves: Section
    strips: Section
    pieces: Section


@dataclass(frozen=True)
class Stage:
    """Batches of padded supernodes of one shape: see `symbolic.levels`.

    W, M, C   pivots, rows below, and places a trip; D = W + M
    panel, pivot, front: where the stage starts in the panel storage, the pivot storage, and that of
              fronts
    rows      (places, M): where each row below lies in the pivot storage; its end at padding
    parent    (places, 2): where the front of the parent starts, and its order
    local     (places, M): which row of the parent's front each row below is; -1 at padding
    """

    W: int
    M: int
    C: int
    trips: int
    panel: int
    pivot: int
    front: int
    rows: Section
    parent: Section
    local: Section

    @property
    def D(self) -> int:
        return self.W + self.M

    @property
    def places(self) -> int:
        return self.trips * self.C


@dataclass(frozen=True)
class Levels:
    """Stages, in the order from the leaves to the root.

    top       the first stage of the top; their number where there is none
    fronts    length of the storage of fronts (D, D), which lives as long as a sweep of panels
    span      pivots from the first to the last of a supernode, in the plan's order, at most
    """

    stages: tuple[Stage, ...]
    top: int
    fronts: int
    span: int


@dataclass(frozen=True, eq=False)
class Layout:
    """All static facts of a plan's numeric phase. Equality and (remembered) hash by contents.

    tables: those of the engine that the plan is made for. shards: how many devices a sweep is for.
    """

    n: int
    shards: int
    storage: Storage
    tables: Tiles | Levels

    @functools.cached_property
    def contents(self) -> tuple:
        return (self.n, self.shards, self.storage, self.tables)

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
    def panels(self) -> tuple[int, ...]:
        """The shape of a panel storage: of several shards a row for each."""
        own = (self.storage.panels,)
        return own if self.shards == 1 else (self.shards, *own)

    @property
    def in_levels(self) -> bool:
        """Whether it is for accelerators."""
        return isinstance(self.tables, Levels)

    @property
    def tiles(self) -> Tiles:
        assert isinstance(self.tables, Tiles)
        return self.tables

    @property
    def levels(self) -> Levels:
        assert isinstance(self.tables, Levels)
        return self.tables


class Writer:
    """Collects tables, proves them in range, and packs them, one row for each shard."""

    def __init__(self):
        self.parts: list[np.ndarray] = []
        self.end = 0

    def add(self, tables: Sequence[np.ndarray], low: int, high: int, what: str) -> Section:
        """Append a table, given that of each shard, whose entries must lie in [low, high]."""
        flat = np.stack([np.asarray(table).reshape(-1) for table in tables])
        fits_int32(high, what)
        if flat.size and (flat.min() < low or flat.max() > high):
            raise AssertionError(
                f"table {what}: expected entries in [{low}, {high}]; "
                f"got [{flat.min()}, {flat.max()}]"
            )
        section = Section(self.end, flat.shape[1])
        self.parts.append(flat.astype(np.int32, copy=False))
        self.end += flat.shape[1]
        fits_int32(self.end, "table length")
        return section

    def pack(self) -> np.ndarray:
        """The flat table; of several shards a row for each."""
        packed = np.concatenate(self.parts, 1)
        return packed if len(packed) > 1 else packed[0]


def rounded(size: Numbers) -> Numbers:
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

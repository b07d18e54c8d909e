"""One front among its tables, and the moves between its update and its ancestors.

A kernel works on one front in place: kernel(front, (storage, scratch), leaves).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from padchol.numeric.tiled.loops import below_diagonal, get, loop, put, whole
from padchol.symbolic.layout import (
    BAND,
    LANES,
    MOVE,
    PIECE,
    QUAD,
    RECORD,
    STRIP,
    Section,
    Tiles,
)

SQUARE = (QUAD, QUAD)
TILE = (QUAD, LANES)


class Front(NamedTuple):
    """What a kernel knows of one front: int32 scalars, besides the plan's table."""

    table: jax.Array
    tiles: Tiles
    column: jax.Array  # the first of the columns of vectors that are at work
    panel: jax.Array  # where its panel starts in the panel storage
    D: jax.Array  # rows of its panel
    quads: jax.Array  # pivot columns, by fours
    m: jax.Array  # rows below
    pivot: jax.Array  # where its rows start in the pivot storage
    rows: jax.Array  # where its rows below start in the table of rows
    moves: jax.Array  # its first move, and one behind its last
    end: jax.Array

    @property
    def w(self):
        return QUAD * self.quads

    @property
    def below(self):
        """Rows below, by fours."""
        return whole(self.m, QUAD)

    def square(self, c, t):
        """Where the t-th four rows of the c-th four columns start in the panel storage."""
        return self.panel + QUAD * (c * self.D + QUAD * t)


def front_at(tiles: Tiles, table, f, column) -> Front:
    """The f-th front."""
    record = get(table, (tiles.records.start + f * RECORD,), (2 * RECORD,))
    fields = (*(record[i] for i in range(RECORD)), record[2 * RECORD - 1])
    return Front._make((table, tiles, column, *fields))


def square(front: Front, panels, c, t):
    """Four rows of four columns of the panel."""
    return get(panels, (front.square(c, t),), (QUAD * QUAD,)).reshape(SQUARE)


def load_inverse(front: Front, c, panels, R):
    """The c-th four rows of R = L11^-1, whose transpose the panel holds above its diagonal."""

    def one(t, R):
        here = square(front, panels, c, t)

        def diagonal(_, here):
            above = below_diagonal(jnp.zeros_like(here), here)
            return lax.select(jnp.eye(QUAD, dtype=bool), 1 / here, above)

        here = loop(c, t + 1, diagonal, here)
        return put(R, here.T, (QUAD * c, QUAD * t))

    return loop(0, c + 1, one, R)


def load_transposed(front: Front, panels, Y, c, start, column):
    """Rows start, start + 4, ... of the c-th four columns of the panel, from `column` on in the
    c-th four rows of Y, with a tile of zeros behind them."""
    rows = front.D - start
    at = front.square(c, 0) + QUAD * start

    def tile(t, Y):
        found = get(panels, (at + QUAD * LANES * t,), (QUAD * LANES,))
        return put(Y, found.reshape(LANES, QUAD).T, (QUAD * c, column + LANES * t))

    Y = loop(0, whole(rows, LANES), tile, Y)
    return put(Y, jnp.zeros(TILE, Y.dtype), (QUAD * c, column + rows))


def store_transposed(front: Front, panels, source, c, t, column):
    """The inverse for one square: `source` from (4 c, column) on, into square (c, t)."""
    here = get(source, (QUAD * c, column), SQUARE)
    return put(panels, here.T.reshape(-1), (front.square(c, t),))


def empty_update(tiles: Tiles, rows: int, dtype) -> jax.Array:
    """Room for so many rows of the largest update: a margin of QUAD columns on its left, and of a
    tile beyond."""
    return jnp.zeros((rows + QUAD, QUAD + tiles.M + LANES), dtype)


def mirrored(tiles: Tiles, dtype) -> jax.Array:
    """Room for all rows of the largest update, see `read_below`."""
    return empty_update(tiles, tiles.M + LANES, dtype)


def _record(front: Front, section: Section, at, size: int):
    """The integers of one record of a table."""
    found = get(front.table, (section.start + at * size,), (size,))
    return [found[i] for i in range(size)]


def _squares(front: Front, b, square: Callable, state):
    """square(column, lanes, quad, row, more, place, state) -> state for all squares of move b.

    From (row, column) of the update on, `more` + 1 rows and those of the QUAD columns whose bits
    `lanes` has; row `place` of the quad of columns that starts at `quad` in the panel storage.
    Strip by strip, pieces downwards: later squares are below or on the right. One loop over both,
    because entering a second one costs as much as three squares. See `symbolic.extend_add`.
    """
    tiles = front.tiles
    first, last, begin, end = _record(front, tiles.moves, b, MOVE)

    def more_strips(carry):
        return carry[0] < last

    def one(carry):
        s, p, state = carry
        column, lanes, quad, top = _record(front, tiles.strips, s, STRIP)
        p = lax.max(p, top)
        rows, place = _record(front, tiles.pieces, p, PIECE)
        state = square(column, lanes, quad, rows >> 2, rows & (QUAD - 1), place, state)
        done = p + 1 == end
        return s + done.astype(np.int32), lax.select(done, begin, p + 1), state

    return lax.while_loop(more_strips, one, (first, begin, state))[2]


def hand_up(front: Front, b, band, update, panels):
    """Extend-add the moves of one band of the update, from move b on; the first of the next."""
    number = np.arange(QUAD * QUAD, dtype=np.int32)
    lane, line = number % QUAD, number // QUAD
    top = BAND * band

    def more(carry):
        b, _ = carry
        begin = _record(front, front.tiles.moves, b, MOVE)[2]
        rows, _ = _record(front, front.tiles.pieces, begin, PIECE)
        return (b < front.end) & (rows < QUAD * (top + BAND))

    def add(column, lanes, quad, row, more, place, panels):
        moved = get(update, (row - top, column), SQUARE).reshape(-1)
        counts = (((lanes >> lane) & 1) == 1) & (line <= more)
        moved = lax.select(counts, moved, jnp.zeros_like(moved))
        at = (quad + place,)
        return put(panels, get(panels, at, moved.shape) + moved, at)

    def move(carry):
        b, panels = carry
        return b + 1, _squares(front, b, add, panels)

    return lax.while_loop(more, move, (b, panels))


def read_below(front: Front, panels, update):
    """The adjoint: the lower triangle of `update` from the ancestors, then its mirror image.

    Read from the first column that counts: what comes too much is then on the right or below, where
    later squares overwrite it, or above the diagonal, or beyond the update.
    """

    def read(column, lanes, quad, row, more, place, update):
        del more
        first = sum(((lanes & (2**k - 1)) == 0).astype(np.int32) for k in range(1, QUAD))
        found = get(panels, (quad + place + first,), (QUAD * QUAD,))
        return put(update, found.reshape(SQUARE), (row, column + first))

    def move(b, update):
        return _squares(front, b, read, update)

    def mirror(t, update):
        def square(s, update):
            here = get(update, (QUAD * t, QUAD + QUAD * s), SQUARE)
            return put(update, here.T, (QUAD * s, QUAD + QUAD * t))

        def diagonal(_, here):
            return below_diagonal(here, here.T)

        update = loop(0, t, square, update)
        at = (QUAD * t, QUAD + QUAD * t)
        return put(update, loop(t, t + 1, diagonal, get(update, at, SQUARE)), at)

    return loop(0, front.below, mirror, loop(front.moves, front.end, move, update))


def own(front: Front, t):
    """Where the t-th four of its own rows are in the pivot storage."""
    return front.pivot + QUAD * t, front.column


def rows(front: Front, t):
    """Where the t-th four rows below lie in the pivot storage."""
    at = front.tiles.rows.start + front.rows + QUAD * t
    found = get(front.table, (at,), (QUAD,))
    return [found[q] for q in range(QUAD)]


def read_rows(front: Front, t, storage, below):
    """The t-th four rows below of a pivot storage, into `below`; zero at padding."""
    size = (1, below.shape[1])
    for q, row in enumerate(rows(front, t)):
        found = get(storage, (row, front.column), size)
        found = lax.select(lax.broadcast(row == 0, size), jnp.zeros_like(found), found)
        below = put(below, found, (QUAD * t + q, 0))
    return below

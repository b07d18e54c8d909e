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
    SQUARE_RECORD,
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
    squares: jax.Array  # its first square, and its first move, of the extend-add
    moves: jax.Array
    squares_end: jax.Array  # one behind its last
    moves_end: jax.Array

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
    fields = (record[i] for i in (*range(RECORD), 2 * RECORD - 2, 2 * RECORD - 1))
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


def _row(piece):
    """The first row of the update that is in a piece."""
    return piece >> 2


def _run_listed(front: Front, begin, goes_on: Callable, square: Callable, state):
    """square(strip, piece, place, state) -> state for the listed squares from `begin` on, while
    goes_on(piece); one behind the last of them, and the state."""

    def record(b):
        return _record(front, front.tiles.squares, b, SQUARE_RECORD)

    def more(carry):
        b, _ = carry
        return (b < front.squares_end) & goes_on(record(b)[1])

    def one(carry):
        b, state = carry
        return b + 1, square(*record(b), state)

    return lax.while_loop(more, one, (begin, state))


def _run_moves(front: Front, begin, goes_on: Callable, square: Callable, state):
    """The same for moves: each has a loop over its pieces, and each of these one over the strips
    that it meets."""
    tiles = front.tiles
    if tiles.moves.size == 0:
        return begin, state

    def more(carry):
        b, _ = carry
        _, first, _ = _record(front, tiles.moves, b, MOVE)
        return (b < front.moves_end) & goes_on(_record(front, tiles.pieces, first, PIECE)[0])

    def move(carry):
        b, state = carry
        begin, first, end = _record(front, tiles.moves, b, MOVE)

        def row(p, state):
            piece, place, last = _record(front, tiles.pieces, p, PIECE)

            def one(s, state):
                strip, quad = _record(front, tiles.strips, s, STRIP)
                return square(strip, piece, quad + place, state)

            return loop(begin, last, one, state)

        return b + 1, loop(first, end, row, state)

    return lax.while_loop(more, move, (begin, state))


def hand_up(front: Front, at, band, update, panels):
    """Extend-add one band of the update: its squares and moves from `at` on, a pair; those of the
    next band."""
    number = np.arange(QUAD * QUAD, dtype=np.int32)
    lane, line = number % QUAD, number // QUAD
    top = BAND * band

    def goes_on(piece):
        return _row(piece) < top + BAND

    def add(strip, piece, place, panels):
        moved = get(update, (_row(piece) - top, strip >> QUAD), SQUARE).reshape(-1)
        # A product of integers: with booleans a factorisation takes a tenth longer (experiment 31).
        counts = ((strip >> lane) & 1) * (line <= (piece & (QUAD - 1))).astype(np.int32)
        moved = lax.select(counts == 1, moved, jnp.zeros_like(moved))
        return put(panels, get(panels, (place,), moved.shape) + moved, (place,))

    squares, moves = at
    squares, panels = _run_listed(front, squares, goes_on, add, panels)
    moves, panels = _run_moves(front, moves, goes_on, add, panels)
    return (squares, moves), panels


def read_below(front: Front, panels, update):
    """The adjoint: the lower triangle of `update` from the ancestors, then its mirror image.

    Read from the first column that counts: what comes too much is then on the right or below, where
    later squares overwrite it, or above the diagonal, or beyond the update.
    """

    def read(strip, piece, place, update):
        first = sum(((strip & (2**k - 1)) == 0).astype(np.int32) for k in range(1, QUAD))
        found = get(panels, (place + first,), (QUAD * QUAD,))
        return put(update, found.reshape(SQUARE), (_row(piece), (strip >> QUAD) + first))

    def always(_):
        return True

    def mirror(t, update):
        def square(s, update):
            here = get(update, (QUAD * t, QUAD + QUAD * s), SQUARE)
            return put(update, here.T, (QUAD * s, QUAD + QUAD * t))

        def diagonal(_, here):
            return below_diagonal(here, here.T)

        update = loop(0, t, square, update)
        at = (QUAD * t, QUAD + QUAD * t)
        return put(update, loop(t, t + 1, diagonal, get(update, at, SQUARE)), at)

    _, update = _run_listed(front, front.squares, always, read, update)
    _, update = _run_moves(front, front.moves, always, read, update)
    return loop(0, front.below, mirror, update)


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

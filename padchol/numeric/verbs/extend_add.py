"""Extend-add on tiles: between the update of one supernode and the panels of its ancestors.

Duff & Reid (1983), ACM TOMS 9(3), 302-325; what the tables mean is said in `symbolic.extend_add`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from padchol.numeric.verbs.loops import below_diagonal, get, loop, put
from padchol.numeric.verbs.supernode import SQUARE, Front
from padchol.symbolic.layout import (
    BAND,
    LANES,
    MOVE,
    PIECE,
    QUAD,
    SQUARE_RECORD,
    STRIP,
    Section,
    Tiles,
)


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

    def last_strip(p):
        return _record(front, tiles.pieces, p, PIECE)[2]

    def move(carry):
        b, state = carry
        begin, first, end = _record(front, tiles.moves, b, MOVE)

        def column(s, carry):
            p, state = carry
            strip, quad = _record(front, tiles.strips, s, STRIP)
            p = lax.while_loop(lambda p: last_strip(p) <= s, lambda p: p + 1, p)

            def one(p, state):
                piece, place, _ = _record(front, tiles.pieces, p, PIECE)
                return square(strip, piece, quad + place, state)

            return p, loop(p, end, one, state)

        return b + 1, loop(begin, last_strip(end - 1), column, (first, state))[1]

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

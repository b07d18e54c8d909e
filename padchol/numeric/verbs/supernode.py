"""One supernode on tiles among its tables: its panel, its rows of vectors, and those below."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from padchol.numeric.verbs.loops import below_diagonal, get, loop, put, whole
from padchol.symbolic.layout import LANES, QUAD, RECORD, Tiles

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
    def shift(self):
        """Columns that are left out before the first in a transposed panel, see `load_panel`."""
        return -self.w & (LANES - 1)

    def block(self, column):
        """Block and lane of a column of a transposed panel."""
        at = column + self.shift
        return at >> 4, at & (LANES - 1)

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


def load_panel(front: Front, panels, Y, c):
    """The c-th four columns of the panel, from the diagonal on, as the c-th four rows of the
    transposed panel Y. That comes in blocks of LANES columns, (blocks, W, LANES), each of which
    stays in the cache while it is read row by row; rows below begin a block."""
    first, _ = front.block(QUAD * c)

    def tile(t, Y):
        at = front.square(c, 0) + QUAD * (LANES * t - front.shift)
        found = get(panels, (at,), (QUAD * LANES,)).reshape(LANES, QUAD)
        return put(Y, found.T[None], (t, QUAD * c, 0))

    return loop(first, whole(front.shift + front.D, LANES), tile, Y)


def block_rows(Y, t, k):
    """The k-th four rows of the t-th block of a transposed panel."""
    return get(Y, (t, QUAD * k, 0), (1, *TILE)).reshape(TILE)


def columns(front: Front, Y, k, column, count=QUAD):
    """So many columns, which lie in one block, of its k-th four rows."""
    t, lane = front.block(column)
    return get(Y, (t, QUAD * k, lane), (1, QUAD, count)).reshape(QUAD, count)


def store_transposed(front: Front, panels, source, c, t, column):
    """The inverse for one square: `source` from (4 c, column) on, into square (c, t)."""
    here = get(source, (QUAD * c, column), SQUARE)
    return put(panels, here.T.reshape(-1), (front.square(c, t),))


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

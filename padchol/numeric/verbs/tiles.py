"""The verbs on one supernode in its exact size, in tiles: see `padchol.numeric.verbs`.

Matrices are worked on transposed, so that rows are long: a panel is (w, w + m), what belongs to
rows below (w, m). Each is in a *room*, an array that all supernodes share; it is named by its
place among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from padchol.numeric.verbs import squares
from padchol.numeric.verbs.extend_add import empty_update, hand_up, mirrored, read_below
from padchol.numeric.verbs.loops import get, loop, put, t_product, whole
from padchol.numeric.verbs.supernode import (
    SQUARE,
    Front,
    load_inverse,
    load_panel,
    load_transposed,
    own,
    read_rows,
    rows,
    square,
)
from padchol.symbolic.layout import BAND, LANES, QUAD, Tiles

PACKED = 4  # pivots, by fours, from which on packing pays (36)


class Matrix(NamedTuple):
    """A room, and how many of its columns are at work."""

    room: int
    columns: Any


def rooms(names: Sequence[str], tiles: Tiles, k: int, dtype: Any) -> tuple[jax.Array, ...]:
    """Empty rooms, in the order in which the verbs of a routine take them."""
    W, M = tiles.W, tiles.M
    shapes = {
        "panel": ((W + M) // LANES + 3, W, LANES),
        "below": (W, M + 2 * LANES),
        "inverse": (W, W),
        "pivots": (W, W + LANES),
        "column": (M + QUAD, LANES),
        "rows below": (M + QUAD, k),
    }
    updates = {"band": (empty_update, BAND), "update": (mirrored,)}
    return tuple(
        updates[name][0](tiles, *updates[name][1:], dtype)
        if name in updates
        else jnp.zeros(shapes[name], dtype)
        for name in names
    )


class OnTiles:
    """What a routine does with one supernode; `storage` and `rooms` are what it leaves behind."""

    def __init__(self, front: Front, storage, leaves: Sequence, rooms: Sequence, width: int):
        self.front, self.storage, self.leaves, self.width = front, storage, leaves, width
        self.rooms, self.taken = list(rooms), 0

    def _take(self) -> int:
        self.taken += 1
        return self.taken - 1

    def _fill(self, room: int, count: Any, step: Callable) -> int:
        """room = step(i, room) for i < count"""
        self.rooms[room] = loop(0, count, step, self.rooms[room])
        return room

    def panel(self, i: int):
        return self.leaves[i - 1] if i else self.storage

    factor = panel

    def eliminate(self, F) -> tuple[int, int]:
        front, y, r = self.front, self._take(), self._take()

        def load(c, Y):
            return load_panel(front, F, Y, c)

        Y = loop(0, front.quads, load, self.rooms[y])
        step = lambda b, found: squares.eliminate(front, b, *found)
        self.rooms[y], self.rooms[r] = loop(0, front.quads, step, (Y, self.rooms[r]))
        return y, r

    def store_factor(self, L: tuple[int, int]) -> None:
        Y, R = (self.rooms[i] for i in L)
        step = lambda c, panels: squares.store_factor(self.front, c, Y, R, panels)
        self.storage = loop(0, self.front.quads, step, self.storage)

    def hand_up_square(self, L: tuple[int, int]) -> None:
        front, Y, room = self.front, self.rooms[L[0]], self._take()

        def hand(band, carry):
            update, at, panels = carry
            update = squares.minus_square(front, band, Y, update)
            return update, *hand_up(front, at, band, update, panels)

        start = (self.rooms[room], (front.squares, front.moves), self.storage)
        self.rooms[room], _, self.storage = loop(0, whole(front.m, BAND), hand, start)

    # ---- rows of vectors

    def solve(self, L) -> None:
        front, size = self.front, (QUAD, self.width)

        def step(t, storage):
            def less(c, acc):
                return acc - t_product(square(front, L, c, t).T, get(storage, own(front, c), size))

            rest = loop(0, t, less, get(storage, own(front, t), size))
            return put(storage, squares.substitute(square(front, L, t, t), rest), own(front, t))

        self.storage = loop(0, front.quads, step, self.storage)

    def read_below_rows(self) -> int:
        front, storage = self.front, self.storage
        return self._fill(self._take(), front.below, lambda t, x: read_rows(front, t, storage, x))

    def solve_t(self, L, below: int) -> None:
        front, size, x2 = self.front, (QUAD, self.width), self.rooms[below]

        def step(left, storage):
            t = front.quads - 1 - left

            def less_below(s, acc):
                here = square(front, L, t, front.quads + s)
                return acc - t_product(here, get(x2, (QUAD * s, 0), size))

            def less(s, acc):
                return acc - t_product(square(front, L, t, s), get(storage, own(front, s), size))

            rest = loop(0, front.below, less_below, get(storage, own(front, t), size))
            rest = loop(t + 1, front.quads, less, rest)
            return put(storage, squares.substitute_t(square(front, L, t, t), rest), own(front, t))

        self.storage = loop(0, front.quads, step, self.storage)

    def hand_up_product(self, L) -> None:
        front, size = self.front, (QUAD, self.width)

        def hand(t, storage):
            def product(c, acc):
                here = square(front, L, c, front.quads + t)
                return acc - t_product(here.T, get(storage, own(front, c), size))

            moved = loop(0, front.quads, product, jnp.zeros(size, storage.dtype))
            for q, row in enumerate(rows(front, t)):
                at = (row, front.column)
                storage = put(storage, get(storage, at, (1, self.width)) + moved[q : q + 1], at)
            return storage

        self.storage = loop(0, front.below, hand, self.storage)

    # ---- panels

    def below(self, panels) -> Matrix:
        front = self.front
        step = lambda c, B: load_transposed(front, panels, B, c, front.w, 0)
        return Matrix(self._fill(self._take(), front.quads, step), front.m)

    def inverse(self, L) -> Matrix:
        front = self.front
        step = lambda c, R: load_inverse(front, c, L, R)
        return Matrix(self._fill(self._take(), front.quads, step), front.w)

    def read_below(self) -> int:
        room = self._take()
        self.rooms[room] = read_below(self.front, self.storage, self.rooms[room])
        return room

    def doubled(self, V: int) -> int:
        """The diagonal of a symmetric matrix twice."""

        def step(t, V):
            at = (QUAD * t, QUAD + QUAD * t)
            return put(V, get(V, at, SQUARE) * (1 + jnp.eye(QUAD, dtype=V.dtype)), at)

        return self._fill(V, self.front.below, step)

    def t_times(self, R: Matrix, B: Matrix) -> Matrix:
        front, inverse = self.front, self.rooms[R.room]
        step = lambda b, B_: squares.times_inverse(front, b, B.columns, inverse, B_)
        return Matrix(self._fill(B.room, front.quads, step), B.columns)

    def minus_times(self, G: Matrix, V: int) -> Matrix:
        return self._less(Matrix(self._take(), G.columns), G, V, False)

    def less_times(self, B: Matrix, G: Matrix, V: int) -> Matrix:
        return self._less(B, G, V, True)

    def _less(self, B: Matrix, G: Matrix, V: int, keep: bool) -> Matrix:
        """Of few pivots block row by block row; of more by columns of V, which are packed first."""
        front, room = self.front, self._take()
        left, right, tiles = self.rooms[G.room], self.rooms[V], whole(self.front.m, LANES)
        few = (front.quads < PACKED).astype(np.int32)

        def row(b, B_):
            def tile(t, B_):
                first = QUAD + LANES * t
                return squares.times_symmetric(front, b, t, left, right, first, B_, keep)

            return loop(0, tiles, tile, B_)

        def columns(t, carry):
            B_, column = carry
            column = squares.pack(front, right, t, column)

            def tile(b, B_):
                return squares.times_symmetric(front, b, t, left, column, 0, B_, keep)

            return loop(0, front.quads, tile, B_), column

        self._fill(B.room, few * front.quads, row)
        start = (self.rooms[B.room], self.rooms[room])
        found = loop(0, (1 - few) * tiles, columns, start)
        self.rooms[B.room], self.rooms[room] = found
        return B

    def gram_less_product(self, R: Matrix, G: Matrix, Z: Matrix) -> Callable:
        front = self.front
        return lambda b, c: squares.gram_less_product(
            front, b, c, *(self.rooms[x.room] for x in (R, G, Z))
        )

    def symmetric_product_less(self, L, L_bar, B: Matrix, L21: Matrix) -> Matrix:
        front, below = self.front, (self.rooms[B.room], self.rooms[L21.room])

        def step(b, Psi):
            def one(c, Psi):
                return squares.symmetric_product_less(front, b, c, L, L_bar, *below, Psi)

            return loop(0, b + 1, one, Psi)

        return Matrix(self._fill(self._take(), front.quads, step), front.w)

    def times_halved(self, Psi: Matrix, R: Matrix) -> Callable:
        front = self.front
        return lambda b, c: squares.times_halved(
            front, b, c, self.rooms[Psi.room], self.rooms[R.room]
        )

    def store_panel(self, pivots: Callable, below: Matrix) -> None:
        self.storage = squares.store_panel(self.front, self.storage, self.rooms[below.room], pivots)

    def less_outer(self) -> None:
        front, (y, z, other), room = self.front, self.leaves, self._take()
        size = (QUAD, self.rooms[room].shape[1])
        step = lambda t, below: read_rows(front, t, other, below)
        below = self.rooms[self._fill(room, front.below, step)]

        def columns(c, panels):
            y_c = get(y, own(front, c), size)

            def add(z_t, t, panels):
                at = (front.square(c, t),)
                moved = jnp.sum(z_t[:, None, :] * y_c[None, :, :], 2).reshape(-1)
                return put(panels, get(panels, at, moved.shape) - moved, at)

            def pivots(t, panels):
                return add(get(z, own(front, t), size), t, panels)

            def rest(t, panels):
                return add(get(below, (QUAD * t, 0), size), front.quads + t, panels)

            return loop(0, front.below, rest, loop(c, front.quads, pivots, panels))

        self.storage = loop(0, front.quads, columns, self.storage)

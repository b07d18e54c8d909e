"""Dense mathematics on one supernode, in tiles of QUAD rows or columns.

Matrices in the making are transposed, so that rows are long: Y (w, w + m) is the transposed panel,
in blocks of columns (see `load_panel`), R (w, w) is L11^-1, and what belongs to the rows below is
(w, m).
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

from padchol.numeric.verbs.loops import below_diagonal, get, loop, put, t_product, whole
from padchol.numeric.verbs.supernode import (
    SQUARE,
    TILE,
    Front,
    block_rows,
    columns,
    square,
    store_transposed,
)
from padchol.symbolic.layout import BAND, LANES, QUAD

UPDATE_ROWS = 8  # of the tiles of an update


def eliminate(front: Front, b, Y, R):
    """Block row b of four pivots of Y and of R, left-looking, with X_b = L_bb^-1:

    Y_b = X_b (F_b - sum over k < b of L_bk Y_k)        R_bj = -X_b sum over k < b of L_bk R_kj
    """
    p = QUAD * b

    def pivots(k, acc):
        L_t = columns(front, Y, k, p)
        return acc - t_product(L_t, L_t)

    L_t, X_t = pivot_block(loop(0, b, pivots, columns(front, Y, b, p)))

    def tile(t, Y):
        def rest(k, acc):
            return acc - t_product(columns(front, Y, k, p), block_rows(Y, t, k))

        found = t_product(X_t, loop(0, b, rest, block_rows(Y, t, b)))
        return put(Y, found[None], (t, p, 0))

    # What lies left of the pivots in their block is of no use, and may become anything.
    Y = loop(front.block(p + QUAD)[0], whole(front.shift + front.D, LANES), tile, Y)
    t, lane = front.block(p)
    Y = put(Y, L_t[None], (t, p, lane))

    def inverse(j, R):
        def rest(k, acc):
            return acc - t_product(columns(front, Y, k, p), get(R, (QUAD * k, QUAD * j), SQUARE))

        return put(R, t_product(X_t, loop(j, b, rest, jnp.zeros(SQUARE, R.dtype))), (p, QUAD * j))

    return Y, loop(0, b, inverse, put(R, X_t.T, (p, p)))


def pivot_block(a):
    """L^T and L^-T of one symmetric QUAD x QUAD block, of which the upper triangle is read.

    A pivot that is not positive becomes NaN on the diagonal of L, and zero in what follows from it:
    other fronts meet finite numbers only, so that what is masked by a product stays masked.
    """
    size, zero = range(QUAD), jnp.zeros((), a.dtype)
    L, X = ([[zero] * QUAD for _ in size] for _ in range(2))
    for j in size:
        rest = [a[j, i] - sum(L[i][k] * L[j][k] for k in range(j)) for i in range(j, QUAD)]
        root, sound = jnp.sqrt(rest[0]), rest[0] > 0
        L[j][j] = lax.select(sound, root, jnp.full_like(root, jnp.nan))
        X[j][j] = lax.select(sound, 1 / root, zero)
        for i in range(j + 1, QUAD):
            L[i][j] = rest[i - j] * X[j][j]
    for j in size:
        for i in range(j + 1, QUAD):
            X[i][j] = -X[i][i] * sum(L[i][k] * X[k][j] for k in range(j, i))
    upper = [(j, i) for j in size for i in range(j, QUAD)]
    return tuple(_block({(j, i): m[i][j] for j, i in upper}) for m in (L, X))


def _block(found):
    """A QUAD x QUAD block of scalars, zero elsewhere: selects, because every part of a
    concatenation is compiled with all that it is made of (experiment 32)."""
    number = np.arange(QUAD * QUAD, dtype=np.int32).reshape(SQUARE)
    block = jnp.zeros(SQUARE, next(iter(found.values())).dtype)
    for (i, j), x in found.items():
        block = lax.select(number == QUAD * i + j, jnp.broadcast_to(x, SQUARE), block)
    return block


def store_factor(front: Front, c, Y, R, panels):
    """The c-th four columns: above the diagonal those of L11^-T, then those of L11 and L21."""

    def above(t, panels):
        inverse_t = get(R, (QUAD * c, QUAD * t), SQUARE).T
        return put(panels, inverse_t.reshape(-1), (front.square(c, t),))

    def below(t, panels):
        here = columns(front, Y, c, QUAD * t)
        return put(panels, here.T.reshape(-1), (front.square(c, t),))

    panels = loop(0, c, above, panels)
    L_t, inverse = columns(front, Y, c, QUAD * c), get(R, (QUAD * c, QUAD * c), SQUARE)
    here = below_diagonal(L_t.T, inverse.T)
    panels = put(panels, here.reshape(-1), (front.square(c, c),))
    return loop(c + 1, whole(front.D, QUAD), below, panels)


def minus_square(front: Front, band, Y, update):
    """One band of -L21 L21^T, in tiles that touch its lower triangle."""
    first = BAND * band
    below, _ = front.block(front.w)

    def rows(i, update):
        top = UPDATE_ROWS * i

        def tile(j, update):
            def block(k, acc):
                L21_t = columns(front, Y, k, front.w + first + top, UPDATE_ROWS)
                return acc - t_product(L21_t, block_rows(Y, below + j, k))

            empty = jnp.zeros((UPDATE_ROWS, LANES), Y.dtype)
            return put(update, loop(0, front.quads, block, empty), (top, QUAD + LANES * j))

        return loop(0, whole(first + top + UPDATE_ROWS, LANES), tile, update)

    return loop(0, whole(lax.min(front.m - first, np.int32(BAND)), UPDATE_ROWS), rows, update)


def store_panel(front: Front, panels, below_t, pivots: Callable):
    """A panel of squares pivots(b, c), b >= c, and what is below them, transposed."""

    def column(c, panels):
        def pivot(b, panels):
            return put(panels, pivots(b, c).reshape(-1), (front.square(c, b),))

        def below(t, panels):
            return store_transposed(front, panels, below_t, c, front.quads + t, QUAD * t)

        return loop(0, front.below, below, loop(c, front.quads, pivot, panels))

    return loop(0, front.quads, column, panels)


def times_inverse(front: Front, b, columns, R, G):
    """Block row b of R^T G, in place: it needs what G holds from block row b on."""

    def tile(t, G):
        def block(c, acc):
            inverse = get(R, (QUAD * c, QUAD * b), SQUARE)
            return acc + t_product(inverse, get(G, (QUAD * c, LANES * t), TILE))

        acc = loop(b, front.quads, block, jnp.zeros(TILE, G.dtype))
        return put(G, acc, (QUAD * b, LANES * t))

    return loop(0, whole(columns, LANES), tile, G)


def pack(front: Front, Z22, t, column):
    """The t-th LANES columns of a symmetric matrix, one row behind the other in memory: they are
    read once for every four pivots."""

    def rows(k, column):
        return put(column, get(Z22, (QUAD * k, QUAD + LANES * t), TILE), (QUAD * k, 0))

    return loop(0, front.below, rows, column)


def times_symmetric(front: Front, b, t, G, Z22, first, Z, keep: bool):
    """Tile (b, t) of Z - G Z22, or of -G Z22; first: where the columns of that tile are in Z22."""

    def block(k, acc):
        G_k = get(G, (QUAD * b, QUAD * k), SQUARE).T
        return acc - t_product(G_k, get(Z22, (QUAD * k, first), TILE))

    at = (QUAD * b, LANES * t)
    start = get(Z, at, TILE) if keep else jnp.zeros(TILE, Z.dtype)
    return put(Z, loop(0, front.below, block, start), at)


def substitute(L, b):
    """L^-1 b for one square."""
    scale, found = [1 / L[i, i] for i in range(QUAD)], []
    for i in range(QUAD):
        found.append((b[i] - sum(L[i, j] * found[j] for j in range(i))) * scale[i])
    return _rows(found)


def substitute_t(L, b):
    """L^-T b for one square."""
    scale, found = [1 / L[i, i] for i in range(QUAD)], [b[0]] * QUAD
    for i in reversed(range(QUAD)):
        found[i] = (b[i] - sum(L[j, i] * found[j] for j in range(i + 1, QUAD))) * scale[i]
    return _rows(found)


def _rows(found):
    """QUAD rows as one block; see `_block`."""
    shape = (QUAD, found[0].size)
    row = lax.broadcasted_iota(np.int32, shape, 0)
    block = jnp.broadcast_to(found[0], shape)
    for i in range(1, QUAD):
        block = lax.select(row == i, jnp.broadcast_to(found[i], shape), block)
    return block


def gram_less_product(front: Front, b, c, R, G, Z):
    """Square (b, c) of R^T R - G Z^T, b >= c."""

    def inverse(k, acc):
        left, right = (get(R, (QUAD * k, QUAD * i), SQUARE) for i in (b, c))
        return acc + t_product(left, right)

    def below(k, acc):
        left, right = (get(x, (QUAD * i, QUAD * k), SQUARE).T for x, i in ((G, b), (Z, c)))
        return acc - t_product(left, right)

    acc = loop(b, front.quads, inverse, jnp.zeros(SQUARE, R.dtype))
    return loop(0, front.below, below, acc)


def symmetric_product_less(front: Front, b, c, L, L_bar, B, L21_t, Psi):
    """Squares (b, c) and (c, b), b >= c, of L11^T lower(L11_bar) - B L21, mirrored."""

    def pivots(k, acc):
        left, right = (
            loop(k, i + 1, _lower, square(front, panels, i, k))
            for panels, i in ((L, b), (L_bar, c))
        )
        return acc + t_product(left, right)

    def below(k, acc):
        left, right = (get(x, (QUAD * i, QUAD * k), SQUARE).T for x, i in ((B, b), (L21_t, c)))
        return acc - t_product(left, right)

    here = loop(b, front.quads, pivots, jnp.zeros(SQUARE, B.dtype))
    here = loop(0, front.below, below, here)
    here = loop(b, c + 1, lambda _, x: below_diagonal(x, x.T), here)
    return put(put(Psi, here, (QUAD * b, QUAD * c)), here.T, (QUAD * c, QUAD * b))


def _lower(_, here):
    """Of a square on the diagonal."""
    return below_diagonal(here, jnp.zeros_like(here))


def times_halved(front: Front, b, c, Psi, R):
    """Square (b, c) of Psi R, b >= c, its diagonal halved."""

    def block(k, acc):
        left, right = get(Psi, (QUAD * b, QUAD * k), SQUARE), get(R, (QUAD * k, QUAD * c), SQUARE)
        return acc + t_product(left.T, right)

    here = loop(c, front.quads, block, jnp.zeros(SQUARE, R.dtype))
    return loop(b, c + 1, lambda _, x: x * (1 - jnp.eye(QUAD, dtype=x.dtype) / 2), here)

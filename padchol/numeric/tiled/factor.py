"""The tiled Cholesky front: see `numeric.factorise` for what it computes.

The panel is worked on transposed, Y (w, w + m), where rows are long: block row b of four pivots is

    Y_b = X_b (F_b - sum over earlier k of  L_bk Y_k)        X_b = L_bb^-1

left-looking by blocks; R (w, w) becomes L11^-1 by blocks as well,  R_bj = -X_b sum_k L_bk R_kj.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from padchol.numeric.tiled.fronts import (
    SQUARE,
    TILE,
    Front,
    empty_update,
    hand_up,
    load_transposed,
    store_transposed,
)
from padchol.numeric.tiled.loops import below_diagonal, get, loop, put, t_product, whole
from padchol.symbolic.layout import BAND, LANES, QUAD, Tiles

UPDATE_ROWS = 8  # of the tiles of an update


def scratch(tiles: Tiles, k: int, dtype):
    del k
    transposed = jnp.zeros((tiles.W, tiles.W + tiles.M + 2 * LANES), dtype)
    return transposed, jnp.zeros((tiles.W, tiles.W), dtype), empty_update(tiles, BAND, dtype)


def cholesky(front: Front, carry, leaves):
    """Factor one front in place and hand its update up."""
    del leaves
    panels, (Y, R, update) = carry

    def load(c, Y):
        return load_transposed(front, panels, Y, c, QUAD * c, QUAD * c)

    Y = loop(0, front.quads, load, Y)
    Y, R = loop(0, front.quads, lambda b, found: _eliminate(front, b, *found), (Y, R))
    panels = loop(0, front.quads, lambda c, x: _store(front, c, Y, R, x), panels)

    def hand(band, carry):
        update, b, panels = carry
        update = _update(front, band, Y, update)
        return update, *hand_up(front, b, band, update, panels)

    bands = whole(front.m, BAND)
    update, _, panels = loop(0, bands, hand, (update, (front.squares, front.moves), panels))
    return panels, (Y, R, update)


def _eliminate(front: Front, b, Y, R):
    """Block row b of Y and of R."""
    p = QUAD * b

    def less(width, at, Y, other):
        """acc - L_bk other_k, for a tile of block row k."""

        def block(k, acc):
            L_t = get(Y, (QUAD * k, p), SQUARE)
            return acc - t_product(L_t, get(other, (QUAD * k, at), (QUAD, width)))

        return block

    L_t, X_t = pivot_block(loop(0, b, less(QUAD, p, Y, Y), get(Y, (p, p), SQUARE)))
    Y = put(Y, L_t, (p, p))

    def tile(t, Y):
        at = p + QUAD + LANES * t
        acc = loop(0, b, less(LANES, at, Y, Y), get(Y, (p, at), TILE))
        return put(Y, t_product(X_t, acc), (p, at))

    Y = loop(0, whole(front.D - p - QUAD, LANES), tile, Y)

    def inverse(j, R):
        acc = loop(j, b, less(QUAD, QUAD * j, Y, R), jnp.zeros(SQUARE, R.dtype))
        return put(R, t_product(X_t, acc), (p, QUAD * j))

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
    return tuple(entries({(j, i): m[i][j] for j, i in upper}) for m in (L, X))


def entries(found):
    """A QUAD x QUAD block of scalars, zero elsewhere: selects, because every part of a
    concatenation is compiled with all that it is made of (experiment 32)."""
    number = np.arange(QUAD * QUAD, dtype=np.int32).reshape(SQUARE)
    block = jnp.zeros(SQUARE, next(iter(found.values())).dtype)
    for (i, j), x in found.items():
        block = lax.select(number == QUAD * i + j, jnp.broadcast_to(x, SQUARE), block)
    return block


def _store(front: Front, c, Y, R, panels):
    """The c-th four columns: above the diagonal those of L11^-T, then those of L11 and L21."""

    def above(t, panels):
        inverse_t = get(R, (QUAD * c, QUAD * t), SQUARE).T
        return put(panels, inverse_t.reshape(-1), (front.square(c, t),))

    def below(t, panels):
        return store_transposed(front, panels, Y, c, t, QUAD * t)

    panels = loop(0, c, above, panels)
    L_t, inverse = (get(x, (QUAD * c, QUAD * c), SQUARE) for x in (Y, R))
    here = below_diagonal(L_t.T, inverse.T)
    panels = put(panels, here.reshape(-1), (front.square(c, c),))
    return loop(c + 1, whole(front.D, QUAD), below, panels)


def _update(front: Front, band, Y, update):
    """One band of -L21 L21^T, in tiles that touch its lower triangle."""
    first = BAND * band

    def rows(i, update):
        top = UPDATE_ROWS * i

        def tile(j, update):
            left = LANES * j

            def block(k, acc):
                L21_t = get(Y, (QUAD * k, front.w + first + top), (QUAD, UPDATE_ROWS))
                return acc - t_product(L21_t, get(Y, (QUAD * k, front.w + left), TILE))

            empty = jnp.zeros((UPDATE_ROWS, LANES), Y.dtype)
            return put(update, loop(0, front.quads, block, empty), (top, QUAD + left))

        return loop(0, whole(first + top + UPDATE_ROWS, LANES), tile, update)

    return loop(0, whole(lax.min(front.m - first, np.int32(BAND)), UPDATE_ROWS), rows, update)

"""The tiled front of the selected inverse: see `numeric.selinv` for what it computes.

With R = L11^-1 (w, w) and everything below the pivots transposed, (w, m):

    G_t = R^T L21^T        Z21_t = -G_t Z22        Z11 = R^T R - G_t Z21
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from padchol.numeric.tiled.fronts import (
    SQUARE,
    TILE,
    Front,
    load_inverse,
    load_transposed,
    mirrored,
    read_below,
    store_transposed,
)
from padchol.numeric.tiled.loops import get, loop, put, t_product, whole
from padchol.symbolic.layout import LANES, QUAD, Tiles


def scratch(tiles: Tiles, k: int, dtype):
    del k
    below = jnp.zeros((tiles.W, tiles.M + 2 * LANES), dtype)
    return (
        below,
        below,
        jnp.zeros((tiles.W, tiles.W), dtype),
        mirrored(tiles, dtype),
    )


def inverse(front: Front, carry, leaves):
    """The panel of L becomes that of Z: its lower triangle counts."""
    del leaves
    panels, (G, Z, R, Z22) = carry

    def load(c, found):
        G, R = found
        G = load_transposed(front, panels, G, c, front.w, 0)
        return G, load_inverse(front, c, panels, R)

    G, R = loop(0, front.quads, load, (G, R))
    G = loop(0, front.quads, lambda b, G: times_inverse(front, b, front.m, R, G), G)
    Z22 = read_below(front, panels, Z22)
    Z = loop(0, front.quads, lambda b, Z: times_symmetric(front, b, G, Z22, Z, keep=False), Z)

    panels = store_panel(front, panels, Z, lambda b, c: _pivots(front, b, c, G, Z, R))
    return panels, (G, Z, R, Z22)


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


def times_symmetric(front: Front, b, G, Z22, Z, keep: bool):
    """Block row b of Z - G Z22, or of -G Z22."""

    def tile(t, Z):
        def block(k, acc):
            G_k = get(G, (QUAD * b, QUAD * k), SQUARE).T
            return acc - t_product(G_k, get(Z22, (QUAD * k, QUAD + LANES * t), TILE))

        at = (QUAD * b, LANES * t)
        start = get(Z, at, TILE) if keep else jnp.zeros(TILE, Z.dtype)
        return put(Z, loop(0, front.below, block, start), at)

    return loop(0, whole(front.m, LANES), tile, Z)


def _pivots(front: Front, b, c, G, Z, R):
    """Square (b, c) of Z11, b >= c."""

    def inverse(k, acc):
        left, right = (get(R, (QUAD * k, QUAD * i), SQUARE) for i in (b, c))
        return acc + t_product(left, right)

    def below(k, acc):
        left, right = (get(x, (QUAD * i, QUAD * k), SQUARE).T for x, i in ((G, b), (Z, c)))
        return acc - t_product(left, right)

    acc = loop(b, front.quads, inverse, jnp.zeros(SQUARE, R.dtype))
    return loop(0, front.below, below, acc)

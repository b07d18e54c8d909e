"""The tiled front of the selected inverse: see `numeric.selinv` for what it computes.

With R = L11^-1 (w, w) and everything below the pivots transposed, (w, m):

    G_t = R^T L21^T        Z21_t = -G_t Z22        Z11 = R^T R - G_t Z21
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from padchol.numeric.tiled.fronts import (
    SQUARE,
    TILE,
    Front,
    empty_update,
    load_transposed,
    read_below,
    store_transposed,
)
from padchol.numeric.tiled.loops import below_diagonal, get, loop, put, t_product, whole
from padchol.symbolic.layout import LANES, QUAD, Tiles


def scratch(tiles: Tiles, k: int, dtype):
    del k
    below = jnp.zeros((tiles.W, tiles.M + 2 * LANES), dtype)
    return (
        below,
        below,
        jnp.zeros((tiles.W, tiles.W), dtype),
        empty_update(tiles, tiles.M + LANES, dtype),
    )


def inverse(front: Front, carry, offset, leaves):
    """The panel of L becomes that of Z: its lower triangle counts."""
    del leaves
    panels, (G, Z, R, Z22) = carry

    def load(c, found):
        G, R = found
        G = load_transposed(front, panels, offset, G, c, front.w, 0)
        return G, loop(0, c + 1, lambda t, R: _load_inverse(front, c, t, panels, offset, R), R)

    G, R = loop(0, front.quads, load, (G, R))
    G = loop(0, front.quads, lambda b, G: _times_inverse(front, b, R, G), G)
    Z22 = read_below(front, panels, offset, Z22)
    Z = loop(0, front.quads, lambda b, Z: _below(front, b, G, Z22, Z), Z)

    def store(c, panels):
        def below(t, panels):
            return store_transposed(front, panels, offset, Z, c, front.quads + t, QUAD * t)

        def pivots(t, panels):
            here = _pivots(front, t, c, G, Z, R)
            return put(panels, here.reshape(-1), (offset + front.square(c, t),))

        return loop(0, front.below, below, loop(c, front.quads, pivots, panels))

    return loop(0, front.quads, store, panels), (G, Z, R, Z22)


def _load_inverse(front: Front, c, t, panels, offset, R):
    """Square (c, t) of R: the transpose of what the panel holds above its diagonal."""
    here = get(panels, (offset + front.square(c, t),), (QUAD * QUAD,)).reshape(SQUARE)

    def diagonal(_, here):
        above = below_diagonal(jnp.zeros_like(here), here)
        return lax.select(jnp.eye(QUAD, dtype=bool), 1 / here, above)

    here = loop(c, t + 1, diagonal, here)
    return put(R, here.T, (QUAD * c, QUAD * t))


def _times_inverse(front: Front, b, R, G):
    """Block row b of R^T G, in place: it needs what G holds from block row b on."""

    def tile(t, G):
        def block(c, acc):
            inverse = get(R, (QUAD * c, QUAD * b), SQUARE)
            return acc + t_product(inverse, get(G, (QUAD * c, LANES * t), TILE))

        acc = loop(b, front.quads, block, jnp.zeros(TILE, G.dtype))
        return put(G, acc, (QUAD * b, LANES * t))

    return loop(0, whole(front.m, LANES), tile, G)


def _below(front: Front, b, G, Z22, Z):
    """Block row b of -G_t Z22."""

    def tile(t, Z):
        def block(k, acc):
            G_k = get(G, (QUAD * b, QUAD * k), SQUARE).T
            return acc - t_product(G_k, get(Z22, (QUAD * k, QUAD + LANES * t), TILE))

        acc = loop(0, front.below, block, jnp.zeros(TILE, Z.dtype))
        return put(Z, acc, (QUAD * b, LANES * t))

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

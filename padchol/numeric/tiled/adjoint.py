"""The tiled fronts of derivatives with respect to A: see `numeric.adjoint` for what they compute.

With B = L21_bar^T (w, m), L21^T as well, and V read below, mirrored, its diagonal twice:

    B -= L21^T V        Psi = L11^T L11_bar - B L21 (below its diagonal, and mirrored)
    A11_bar = L11^-T Psi L11^-1 (its diagonal halved)        A21_bar^T = L11^-T B
"""

from __future__ import annotations

import jax.numpy as jnp

from padchol.numeric.tiled.fronts import (
    SQUARE,
    Front,
    load_inverse,
    load_transposed,
    mirrored,
    own,
    read_below,
    read_rows,
    square,
)
from padchol.numeric.tiled.inverse import store_panel, times_inverse, times_symmetric
from padchol.numeric.tiled.loops import below_diagonal, get, loop, put, t_product
from padchol.symbolic.layout import LANES, QUAD, Tiles


def scratch(tiles: Tiles, k: int, dtype):
    del k
    below = jnp.zeros((tiles.W, tiles.M + 2 * LANES), dtype)
    pivots = jnp.zeros((tiles.W, tiles.W + LANES), dtype)
    return below, below, jnp.zeros((tiles.W, tiles.W), dtype), pivots, mirrored(tiles, dtype)


def adjoint(front: Front, carry, leaves):
    """The panel of a cotangent of L becomes that of A's: its lower triangle counts."""
    panels, (B, L21_t, R, Psi, V) = carry
    (factor,) = leaves

    def load(c, found):
        B, L21_t, R = found
        B = load_transposed(front, panels, B, c, front.w, 0)
        L21_t = load_transposed(front, factor, L21_t, c, front.w, 0)
        return B, L21_t, load_inverse(front, c, factor, R)

    B, L21_t, R = loop(0, front.quads, load, (B, L21_t, R))
    V = loop(0, front.below, _double, read_below(front, panels, V))
    B = loop(0, front.quads, lambda b, B: times_symmetric(front, b, L21_t, V, B, keep=True), B)

    def symmetric(b, Psi):
        def one(c, Psi):
            return _psi(front, b, c, panels, factor, B, L21_t, Psi)

        return loop(0, b + 1, one, Psi)

    Psi = loop(0, front.quads, symmetric, Psi)
    B = loop(0, front.quads, lambda b, B: times_inverse(front, b, front.m, R, B), B)
    Psi = loop(0, front.quads, lambda b, Psi: times_inverse(front, b, front.w, R, Psi), Psi)

    panels = store_panel(front, panels, B, lambda b, c: _pivots(front, b, c, Psi, R))
    return panels, (B, L21_t, R, Psi, V)


def _double(t, V):
    """The diagonal of the t-th square twice."""
    at = (QUAD * t, QUAD + QUAD * t)
    return put(V, get(V, at, SQUARE) * (1 + jnp.eye(QUAD, dtype=V.dtype)), at)


def _psi(front: Front, b, c, L_bar, L, B, L21_t, Psi):
    """Squares (b, c) and (c, b) of Psi, b >= c."""

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


def _pivots(front: Front, b, c, Psi, R):
    """Square (b, c) of L11^-T Psi L11^-1, b >= c, its diagonal halved."""

    def block(k, acc):
        left, right = get(Psi, (QUAD * b, QUAD * k), SQUARE), get(R, (QUAD * k, QUAD * c), SQUARE)
        return acc + t_product(left.T, right)

    here = loop(c, front.quads, block, jnp.zeros(SQUARE, R.dtype))
    return loop(b, c + 1, lambda _, x: x * (1 - jnp.eye(QUAD, dtype=x.dtype) / 2), here)


def outer_scratch(tiles: Tiles, k: int, dtype):
    return (jnp.zeros((tiles.M + QUAD, k), dtype),)


def outer(front: Front, carry, leaves):
    """-z y^T on the panel, added to what it holds."""
    panels, (below,) = carry
    y, z, other = leaves
    size = (QUAD, below.shape[1])
    below = loop(0, front.below, lambda t, below: read_rows(front, t, other, below), below)

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

    return loop(0, front.quads, columns, panels), (below,)

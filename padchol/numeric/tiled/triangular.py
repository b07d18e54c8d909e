"""The tiled fronts of the triangular solves: see `numeric.solve` for what they compute.

Pivots are solved by substitution, with squares of the panel as they stand.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from padchol.numeric.tiled.fronts import Front, own, read_rows, rows, square
from padchol.numeric.tiled.loops import get, loop, put, t_product
from padchol.symbolic.layout import QUAD, Tiles


def scratch(tiles: Tiles, k: int, dtype):
    return jnp.zeros((tiles.W, k), dtype), jnp.zeros((tiles.M + QUAD, k), dtype)


def forward(front: Front, carry, leaves):
    """b becomes y = L11^-1 b, and -L21 y is handed up."""
    b, (y, below) = carry
    (panels,) = leaves
    k = y.shape[1]

    def solve(t, y):
        def less(c, acc):
            L = square(front, panels, c, t)
            return acc - t_product(L.T, get(y, (QUAD * c, 0), (QUAD, k)))

        rest = loop(0, t, less, get(b, own(front, t), (QUAD, k)))
        return put(y, substitute(square(front, panels, t, t), rest), (QUAD * t, 0))

    def hand(t, b):
        def product(c, acc):
            L = square(front, panels, c, front.quads + t)
            return acc - t_product(L.T, get(y, (QUAD * c, 0), (QUAD, k)))

        moved = loop(0, front.quads, product, jnp.zeros((QUAD, k), b.dtype))
        for q, row in enumerate(rows(front, t)):
            at = (row, front.column)
            b = put(b, get(b, at, (1, k)) + moved[q : q + 1], at)
        return b

    y = loop(0, front.quads, solve, y)
    b = store(front, y, b)
    return loop(0, front.below, hand, b), (y, below)


def backward(front: Front, carry, leaves):
    """y becomes x = L11^-T (y - L21^T x2), x2 read below."""
    y, (x, below) = carry
    (panels,) = leaves
    k = x.shape[1]

    def solve(left, x):
        t = front.quads - 1 - left

        def less(source, skipped):
            def block(s, acc):
                L = square(front, panels, t, skipped + s)
                return acc - t_product(L, get(source, (QUAD * s, 0), (QUAD, k)))

            return block

        rest = get(y, own(front, t), (QUAD, k))
        rest = loop(0, front.below, less(below, front.quads), rest)
        rest = loop(t + 1, front.quads, less(x, 0), rest)
        found = substitute_t(square(front, panels, t, t), rest)
        return put(x, found, (QUAD * t, 0))

    below = loop(0, front.below, lambda t, x: read_rows(front, t, y, x), below)
    x = loop(0, front.quads, solve, x)
    return store(front, x, y), (x, below)


def store(front: Front, found, storage):
    """What was found for the pivots, into the pivot storage."""
    size = (QUAD, found.shape[1])

    def quad(t, storage):
        return put(storage, get(found, (QUAD * t, 0), size), own(front, t))

    return loop(0, front.quads, quad, storage)


def substitute(L, b):
    """L^-1 b for one square."""
    scale, found = [1 / L[i, i] for i in range(QUAD)], []
    for i in range(QUAD):
        found.append((b[i] - sum(L[i, j] * found[j] for j in range(i))) * scale[i])
    return from_rows(found)


def substitute_t(L, b):
    """L^-T b for one square."""
    scale, found = [1 / L[i, i] for i in range(QUAD)], [b[0]] * QUAD
    for i in reversed(range(QUAD)):
        found[i] = (b[i] - sum(L[j, i] * found[j] for j in range(i + 1, QUAD))) * scale[i]
    return from_rows(found)


def from_rows(found):
    """QUAD rows as one block: selects, see `factor.entries`."""
    shape = (QUAD, found[0].size)
    row = lax.broadcasted_iota(np.int32, shape, 0)
    block = jnp.broadcast_to(found[0], shape)
    for i in range(1, QUAD):
        block = lax.select(row == i, jnp.broadcast_to(found[i], shape), block)
    return block

"""The adjoint of the factorisation, by one down sweep that keeps nothing but L.

From L_bar, the gradient of a number with respect to L, that with respect to A (one parameter per
symmetric pair). Smith (1995), J. Comp. Graph. Stat. 4(2), 134-147; by blocks Murray (2016), arXiv
1602.07527, section 4; by fronts, with V read from the ancestors, its diagonal twice:

    L21_bar -= V L21                       Phi = L11^T L11_bar - L21_bar^T L21
    A21_bar = L21_bar L11^-1               A11_bar = L11^-T symmetric(Phi) L11^-1, diagonal halved

On tiles, with B = L21_bar^T:

    B -= L21^T V        Psi = L11^T L11_bar - B L21 (below its diagonal, and mirrored)
    A11_bar = L11^-T Psi L11^-1 (its diagonal halved)        A21_bar^T = L11^-T B
"""

from __future__ import annotations

import jax.numpy as jnp

from padchol.numeric.factorise import Panels, unpack
from padchol.numeric.sweep import Routine, apply
from padchol.numeric.verbs.batches import inverse, lower, symmetric, t_times, times, times_t
from padchol.numeric.verbs.extend_add import mirrored, read_below
from padchol.numeric.verbs.loops import below_diagonal, get, loop, put, t_product
from padchol.numeric.verbs.supernode import (
    SQUARE,
    Front,
    load_inverse,
    load_transposed,
    own,
    read_rows,
    square,
)
from padchol.numeric.verbs.tiles import store_panel, times_inverse, times_symmetric
from padchol.plan import Plan
from padchol.symbolic.layout import LANES, QUAD, Stage, Tiles


def adjoint_on_batch(stage: Stage, args: tuple, below):
    """Panels of L_bar become panels of A_bar."""
    panel, finished = args
    L11, L21 = unpack(finished)
    inverse_L = inverse(L11)
    V = below * (1 + jnp.eye(stage.M, dtype=below.dtype))
    L21_bar = panel[:, stage.W :] - times(V, L21)
    phi = t_times(L11, lower(panel[:, : stage.W])) - t_times(L21_bar, L21)
    A11_bar = t_times(inverse_L, times(symmetric(phi), inverse_L))
    halved = 1 - jnp.eye(stage.W, dtype=panel.dtype) / 2
    return jnp.concatenate([A11_bar * halved, times(L21_bar, inverse_L)], 1)


def outer_on_batch(stage: Stage, args: tuple, below):
    """The panel, less z y^T."""
    del stage, below
    panel, y, z, z_below = args
    return panel - times_t(jnp.concatenate([z, z_below], 1), y)


def _scratch(tiles: Tiles, k: int, dtype):
    del k
    below = jnp.zeros((tiles.W, tiles.M + 2 * LANES), dtype)
    pivots = jnp.zeros((tiles.W, tiles.W + LANES), dtype)
    return below, below, jnp.zeros((tiles.W, tiles.W), dtype), pivots, mirrored(tiles, dtype)


def adjoint_on_tiles(front: Front, carry, leaves):
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


def _outer_scratch(tiles: Tiles, k: int, dtype):
    return (jnp.zeros((tiles.M + QUAD, k), dtype),)


def outer_on_tiles(front: Front, carry, leaves):
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


ADJOINT = Routine(adjoint_on_batch, adjoint_on_tiles, _scratch, False, "panel", ("panel",))
OUTER = Routine(
    outer_on_batch,
    outer_on_tiles,
    _outer_scratch,
    False,
    "panel",
    ("pivots", "pivots", "rows"),
    alone=True,
)


def outer(plan: Plan, y, z) -> Panels:
    """-z y^T on the pattern of L, from two pivot storages: the gradient of -z^T L y."""
    empty = jnp.zeros(plan.layout.storage.panels, y.dtype)
    return apply(OUTER, plan, empty, y, z, z)


def pulled_back(plan: Plan, panels: Panels, L_bar: Panels) -> Panels:
    """A_bar at every place of the panel storage. Cost: about three factorisations."""
    return apply(ADJOINT, plan, L_bar, panels)

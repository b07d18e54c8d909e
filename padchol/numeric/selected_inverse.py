"""The selected inverse: the entries of Z = A^-1 on the pattern of L, by one down sweep.

Takahashi, Fagan & Chen (1973); Erisman & Tinney (1975), CACM 18(3), 177-179; by fronts as in
Campbell & Davis (1995), Univ. Florida TR-95-021. With Z22 read from the ancestors, G = L21 L11^-1:

    Z21 = -Z22 G        Z11 = L11^-T L11^-1 - G^T Z21
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from padchol.numeric.factorise import Panels, factored, unpack
from padchol.numeric.forms import Form, partial
from padchol.numeric.sweep import Routine, apply
from padchol.numeric.values import from_panels, pair_weights
from padchol.numeric.verbs.batches import inverse, t_times, times, times_t, transposed
from padchol.numeric.verbs.extend_add import mirrored, read_below
from padchol.numeric.verbs.loops import get, loop, t_product
from padchol.numeric.verbs.supernode import SQUARE, Front, load_inverse, load_transposed
from padchol.numeric.verbs.tiles import store_panel, times_inverse, times_symmetric
from padchol.plan import Plan
from padchol.symbolic.layout import LANES, QUAD, Stage, Tiles


def inverse_on_batch(stage: Stage, args: tuple, below):
    """Panels of L become panels of Z."""
    del stage
    L11, L21 = unpack(args[0])
    inverse_L = inverse(L11)
    G_t = t_times(inverse_L, transposed(L21))
    Z21_t = -times(G_t, below)
    Z11 = t_times(inverse_L, inverse_L) - times_t(G_t, Z21_t)
    return jnp.concatenate([Z11, transposed(Z21_t)], 1)


def _scratch(tiles: Tiles, k: int, dtype):
    del k
    below = jnp.zeros((tiles.W, tiles.M + 2 * LANES), dtype)
    return (
        below,
        below,
        jnp.zeros((tiles.W, tiles.W), dtype),
        mirrored(tiles, dtype),
    )


def inverse_on_tiles(front: Front, carry, leaves):
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


INVERSE = Routine(inverse_on_batch, inverse_on_tiles, _scratch, False, "panel")


def _gradient(plan: Plan, a: Array, panels: Panels | None, vectors: Sequence, out: int) -> Array:
    """Of log |A|: both entries of a symmetric pair."""
    del vectors, out
    panels = factored(plan, a) if panels is None else panels
    return pair_weights(plan, a.dtype) * from_panels(plan, apply(INVERSE, plan, panels))


LOG_DETERMINANT = Form("log |A|", _gradient)


@jax.jit
def gradient(plan: Plan, a: Array, panels: Panels) -> Float[Array, " nnz"]:
    """Of log |A|: sum over the pattern of (A^-1)_ij dA_ij."""
    return partial(LOG_DETERMINANT, plan, a, panels)


def selected_inverse(plan: Plan, a: Array, panels: Panels) -> Float[Array, " nnz"]:
    """(A^-1) at the canonical positions. Cost: about one factorisation.

    Differentiable in `a` to any order: each order costs twice what the one before does.
    """
    return gradient(plan, a, panels) / pair_weights(plan, a.dtype)

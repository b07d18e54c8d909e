"""L L^T = A: the right-looking supernodal factorisation, and its failure index.

Notation, for one front (Liu 1992, SIAM Review 34(1), 82-109)
    F11, F21 (D, W)          its panel: values of A plus what its descendants have handed up
    L11, L21                 the pivot columns of L:  F11 = L11 L11^T,  L21 = F21 L11^-T
    U (M, M)                 the update handed to its ancestors:  -L21 L21^T
A finished panel holds L11 and L21; on tiles, above the diagonal of L11 the transpose of L11^-1 as
well, whose diagonal is that of L11 inverted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jaxtyping import Array, Bool, Float, Int

from padchol.numeric.call import Computation, constant
from padchol.numeric.sweep import Routine, apply
from padchol.numeric.values import section, to_panels
from padchol.numeric.verbs.batches import cholesky, lower, solve, times_t, transposed
from padchol.numeric.verbs.extend_add import empty_update, hand_up
from padchol.numeric.verbs.loops import loop, whole
from padchol.numeric.verbs.supernode import Front, load_transposed
from padchol.numeric.verbs.tiles import eliminate, minus_square, store_factor
from padchol.plan import Plan
from padchol.symbolic.layout import BAND, LANES, QUAD, Stage, Tiles

Panels = Float[Array, " panels"]  # L in the plan's panel storage


def unpack(panel: Float[Array, "C D W"]):
    """L11 and L21 of finished panels."""
    W = panel.shape[2]
    return lower(panel[:, :W]), panel[:, W:]


def cholesky_on_batch(stage: Stage, args: tuple):
    """Factor one batch of supernodes."""
    (panel,) = args
    L11 = cholesky(panel[:, : stage.W])
    L21 = transposed(solve(L11, transposed(panel[:, stage.W :])))
    return jnp.concatenate([L11, L21], 1), -times_t(L21, L21)


def _scratch(tiles: Tiles, k: int, dtype):
    del k
    transposed = jnp.zeros((tiles.W, tiles.W + tiles.M + 2 * LANES), dtype)
    return transposed, jnp.zeros((tiles.W, tiles.W), dtype), empty_update(tiles, BAND, dtype)


def cholesky_on_tiles(front: Front, carry, leaves):
    """Factor one front in place and hand its update up."""
    del leaves
    panels, (Y, R, update) = carry

    def load(c, Y):
        return load_transposed(front, panels, Y, c, QUAD * c, QUAD * c)

    Y = loop(0, front.quads, load, Y)
    Y, R = loop(0, front.quads, lambda b, found: eliminate(front, b, *found), (Y, R))
    panels = loop(0, front.quads, lambda c, x: store_factor(front, c, Y, R, x), panels)

    def hand(band, carry):
        update, b, panels = carry
        update = minus_square(front, band, Y, update)
        return update, *hand_up(front, b, band, update, panels)

    bands = whole(front.m, BAND)
    update, _, panels = loop(0, bands, hand, (update, (front.squares, front.moves), panels))
    return panels, (Y, R, update)


CHOLESKY = Routine(cholesky_on_batch, cholesky_on_tiles, _scratch, True, "panel")


class Factorisation(Computation):
    """L and its diagonal."""

    def compute(self, plan: Plan, a: Array) -> Sequence[Array]:
        if plan.layout.in_levels and plan.n:
            return _located(plan, a)
        panels = factored(plan, a)
        return panels, diagonal(plan, panels)

    def shapes(self, plan: Plan, a: Any) -> Sequence[ShapedArray]:
        return [ShapedArray((size,), a.dtype) for size in (plan.layout.storage.panels, plan.n)]


FACTOR = Factorisation()


def _located(plan: Plan, a: Array) -> tuple[Panels, Array]:
    """L and its diagonal, which is NaN at the first pivot that fails, and 1 where L is then NaN.

    Accelerators tell only which supernode fails. Which pivot, a bisection on the leading minors
    tells, to which every pivot before the first that fails belongs: log2(W) factorisations more,
    and one that goes up to it; none where nothing fails.
    """
    n = plan.n
    place = jnp.zeros(n, np.int32).at[plan.perm].set(np.arange(n, dtype=np.int32))
    last = jnp.maximum(place[plan.rows], place[plan.cols])
    diagonal_value = plan.rows == plan.cols

    def attempt(state):
        low, high, _, _ = state
        first, found = high == n, low == high
        end = jnp.where(first | found, high, (low + high) // 2)  # pivots behind it are left out
        large = jnp.where(jnp.isfinite(a), jnp.abs(a), 1).max() / jnp.finfo(a.dtype).eps
        kept = jnp.where(last <= end, a, diagonal_value.astype(a.dtype))
        kept = jnp.where(found & diagonal_value & (last == end), large, kept)
        panels = factored(plan, kept)
        pivots = diagonal(plan, panels)
        broken = jnp.min(jnp.where(_fails(pivots), np.arange(n, dtype=np.int32), n))
        wrong = broken < n
        after_first = (broken, jnp.minimum(broken + plan.layout.levels.span, n) - 1)
        low, high = (
            jnp.where(first, one, jnp.where(found, -1, other))
            for one, other in zip(
                after_first,
                (jnp.where(wrong, low, end + 1), jnp.where(wrong, end, high)),
                strict=True,
            )
        )
        low, high = (jnp.where(first & ~wrong, -1, x) for x in (low, high))
        named = jnp.where(found, jnp.where(np.arange(n) == end, jnp.nan, 1), pivots)
        return low, high, panels, named.astype(a.dtype)

    empty = jnp.zeros(plan.layout.storage.panels, a.dtype)
    start = (np.int32(0), np.int32(n), empty, jnp.zeros(n, a.dtype))
    with jax.named_scope("1_trips"):
        return lax.while_loop(lambda state: state[0] >= 0, attempt, start)[2:]


@jax.jit
def factorise(plan: Plan, a: Array) -> tuple[Panels, Float[Array, " n"], Int[Array, ""]]:
    """L, its diagonal (plan's order) and `first_failure` for canonical values `a`, as constants:
    derivatives are `forms`'.

    Cost: the padded flops of the plan, plus one move of every update.
    """
    panels, pivots = constant(FACTOR, plan, a)
    return panels, pivots, first_failure(plan, pivots)


def factored(plan: Plan, a: Array) -> Panels:
    """L as a function of `a`, differentiable forwards."""
    return apply(CHOLESKY, plan, to_panels(plan, a, pivots=1))


def first_failure(plan: Plan, pivots: Float[Array, " n"]) -> Int[Array, ""]:
    """0, or 1 + the index (user's numbering) of the first pivot that is not positive and finite.

    First in the order of elimination: what comes later may only have inherited the failure.
    """
    if plan.n == 0:
        return jnp.zeros((), jnp.int32)
    return first_of(plan, _fails(pivots))


def _fails(pivots):
    return ~((pivots > 0) & jnp.isfinite(pivots))


def first_of(plan: Plan, failed: Bool[Array, " n"]) -> Int[Array, ""]:
    """0, or 1 + the index (user's numbering) of the first pivot (plan's order) in a mask."""
    place = np.arange(plan.n, dtype=np.int32)
    first = jnp.min(jnp.where(failed, place, plan.n))
    # A sum and no gather: where a batch is cut explicitly over devices, JAX refuses the latter.
    return jnp.sum(jnp.where(place == first, jnp.asarray(plan.perm) + 1, 0), dtype=jnp.int32)


def diagonal(plan: Plan, panels: Panels) -> Float[Array, " n"]:
    """diag(L), in the plan's order."""
    return panels.at[section(plan.table, plan.layout.storage.diagonal)].get(
        mode="promise_in_bounds"
    )

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
from padchol.numeric.verbs import Verbs
from padchol.plan import Plan

Panels = Float[Array, " panels"]  # L in the plan's panel storage


def cholesky(v: Verbs) -> None:
    """Factor a panel in place, and hand up its update."""
    L = v.eliminate(v.panel(0))
    v.store_factor(L)
    v.hand_up_square(L)


CHOLESKY = Routine(cholesky, True, "panel", rooms=("panel", "inverse", "band"))


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

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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jaxtyping import Array, Bool, Float, Int

from padchol.numeric.call import Computation, constant
from padchol.numeric.sweep import Routine, apply
from padchol.numeric.values import from_diagonal, to_panels
from padchol.numeric.verbs import Verbs
from padchol.plan import Plan

Panels = Float[Array, "*shards panels"]  # L in the plan's panel storage


def cholesky(v: Verbs) -> None:
    """Factor a panel in place, and hand up its update."""
    L = v.eliminate(v.panel(0))
    v.store_factor(L)
    v.hand_up_square(L)


CHOLESKY = Routine(cholesky, True, "panel", rooms=("panel", "inverse", "band"))


class Factorisation(Computation):
    """L and its diagonal."""

    gives = (0,)

    def compute(self, plan: Plan, a: Array) -> Sequence[Array]:
        if plan.layout.in_levels and plan.n:
            return _located(plan, a)
        panels = factored(plan, a)
        return panels, from_diagonal(plan, panels)

    def shapes(self, plan: Plan, a: Any) -> Sequence[ShapedArray]:
        return [ShapedArray(shape, a.dtype) for shape in (plan.layout.panels, (plan.n,))]


FACTOR = Factorisation()


class _Search(NamedTuple):
    """For the first pivot that fails: one of low .. high, high = n while nothing is known."""

    low: Any
    high: Any
    done: Any
    panels: Array
    pivots: Array


def _located(plan: Plan, a: Array) -> tuple[Panels, Array]:
    """L and its diagonal. Where a pivot fails, the diagonal is NaN there and 1 elsewhere, and L is
    right up to there.

    An accelerator only tells which supernode fails. Which pivot, a bisection tells: it is the last
    of the first leading minor that is not positive definite. That takes log2(W) more
    factorisations, and one that goes just so far; none where nothing fails.
    """
    n = plan.n
    number = np.arange(n, dtype=np.int32)
    place = jnp.zeros(n, np.int32).at[plan.perm].set(number)
    last = jnp.maximum(place[plan.rows], place[plan.cols])  # the leading minors an entry is in
    on_diagonal = plan.rows == plan.cols
    large = jnp.where(jnp.isfinite(a), jnp.abs(a), 1).max() / jnp.finfo(a.dtype).eps

    def attempt(known: _Search) -> _Search:
        whole, found = known.high == n, known.low == known.high
        end = jnp.where(whole | found, known.high, (known.low + known.high) // 2)
        minor = jnp.where(last <= end, a, on_diagonal.astype(a.dtype))
        minor = jnp.where(found & on_diagonal & (last == end), large, minor)  # to get past it
        panels = factored(plan, minor)
        pivots = from_diagonal(plan, panels)
        broken = jnp.min(jnp.where(_fails(pivots), number, n))
        fails = broken < n
        low, high = jnp.where(fails, known.low, end + 1), jnp.where(fails, end, known.high)
        low = jnp.where(whole, broken, low)
        high = jnp.where(whole, jnp.minimum(broken + plan.layout.levels.span, n) - 1, high)
        named = jnp.where(number == end, jnp.nan, 1).astype(a.dtype)
        return _Search(low, high, found | (whole & ~fails), panels, jnp.where(found, named, pivots))

    panels, pivots = jnp.zeros(plan.layout.storage.panels, a.dtype), jnp.zeros(n, a.dtype)
    start = _Search(np.int32(0), np.int32(n), np.bool_(False), panels, pivots)
    with jax.named_scope("1_trips"):  # its length in a good case, for `padchol.cli._launches`
        found = lax.while_loop(lambda known: ~known.done, attempt, start)
    return found.panels, found.pivots


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

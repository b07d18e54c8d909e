"""L L^T = A: the right-looking supernodal factorisation, and its failure index.

Notation, for one front (Liu 1992, SIAM Review 34(1), 82-109)
    F11, F21 (D, W)          its panel: values of A plus what its descendants have handed up
    L11, L21                 the pivot columns of L:  F11 = L11 L11^T,  L21 = F21 L11^-T
    U (M, M)                 the update handed to its ancestors:  -L21 L21^T
A finished panel holds L11 and L21, and above the diagonal of L11 the transpose of L11^-1, whose
diagonal is that of L11 inverted: nothing else is kept.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jaxtyping import Array, Bool, Float, Int

from padchol.numeric.dense import (
    cholesky_and_inverse,
    diagonals,
    lower,
    lower_times_t,
    strictly_upper,
    times_t,
)
from padchol.numeric.fronts import Routine, apply
from padchol.numeric.members import Computation, call
from padchol.numeric.tiled import factor
from padchol.numeric.values import section, to_panels
from padchol.plan import Plan
from padchol.symbolic.layout import BinLayout

Panels = Float[Array, " panels"]  # L in the plan's panel storage


def pack(L11, inverse, L21):
    """A finished panel (C, D, W)."""
    pivots = lower(L11) + strictly_upper(jnp.swapaxes(inverse, 1, 2))
    return jnp.concatenate([pivots, L21], 1)


def unpack(panel: Float[Array, "C D W"]):
    """L11, L11^-1, L11^-T and L21 of a finished panel.

    Both inverses, because a product with a transposed first factor is slow under XLA on CPU.
    """
    W = panel.shape[2]
    pivots = panel[:, :W]
    scale = jnp.where(np.eye(W, dtype=bool), 1 / diagonals(pivots), 0)
    above = strictly_upper(pivots)
    return lower(pivots), jnp.swapaxes(above, 1, 2) + scale, above + scale, panel[:, W:]


def cholesky_front(bin: BinLayout, args: tuple):
    """Factor one chunk of fronts."""
    (panel,) = args
    L11, inverse = cholesky_and_inverse(panel[:, : bin.W])
    L21 = times_t(panel[:, bin.W :], inverse)
    # The sign goes to the smaller matrix: a pass over the update is a sixth of a front's time.
    return pack(L11, inverse, L21), lower_times_t(-L21, L21)


CHOLESKY = Routine(cholesky_front, factor.cholesky, factor.scratch, True, "panel")


def _factor(plan: Plan, a: Array) -> tuple[Panels, Array]:
    panels = factored(plan, a)
    return panels, diagonal(plan, panels)


def _shapes(plan: Plan, a: Any) -> list[ShapedArray]:
    return [ShapedArray((size,), a.dtype) for size in (plan.layout.tiles.panels, plan.n)]


FACTOR = Computation(_factor, _shapes)


@jax.jit
def factorise(plan: Plan, a: Array) -> tuple[Panels, Float[Array, " n"], Int[Array, ""]]:
    """L, its diagonal (plan's order) and `first_failure` for canonical values `a`, as constants:
    derivatives are `forms`'.

    Cost: the padded flops of the plan, plus one move of every update.
    """
    panels, pivots = call(FACTOR, plan, a)
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
    return first_of(plan, ~((pivots > 0) & jnp.isfinite(pivots)))


def first_of(plan: Plan, failed: Bool[Array, " n"]) -> Int[Array, ""]:
    """0, or 1 + the index (user's numbering) of the first pivot (plan's order) in a mask."""
    place = np.arange(plan.n, dtype=np.int32)
    first = jnp.min(jnp.where(failed, place, plan.n))
    # A sum and no gather: where a batch is cut explicitly over devices, JAX refuses the latter.
    return jnp.sum(jnp.where(place == first, jnp.asarray(plan.perm) + 1, 0), dtype=jnp.int32)


def diagonal(plan: Plan, panels: Panels) -> Float[Array, " n"]:
    """diag(L), in the plan's order."""
    return panels.at[section(plan.table, plan.layout.tiles.diagonal)].get(mode="promise_in_bounds")

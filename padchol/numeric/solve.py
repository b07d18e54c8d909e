"""Triangular solves and solves with A.

    L y = b      up sweep:    y1 = L11^-1 (b1 + received),  hand on  received2 - L21 y1
    L^T x = y    down sweep:  x1 = L11^-T (y1 - L21^T x2),  hand on  [x1, x2]

L11^-1 is applied as the stored inverse and corrected once with L11: alone it would cost backward
error in proportion to the condition of L11 (Higham 2002, Accuracy and Stability, sec. 14.2).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from padchol.numeric.binding import sweep
from padchol.numeric.dense import t_times, times
from padchol.numeric.factorise import Panels
from padchol.numeric.sweep import Kernel, Sweep
from padchol.numeric.values import multiply, vector_from_fronts, vector_to_fronts
from padchol.plan import Plan
from padchol.symbolic.layout import BinLayout


def forward_front(bin: BinLayout, xs: tuple, message):
    L11, inverse, L21, b = xs
    (received,) = message
    b = b + received[:, : bin.W]
    y = times(inverse, b)
    y = y + times(inverse, b - times(L11, y))
    return (y,), (received[:, bin.W :] - times(L21, y),)


def backward_front(bin: BinLayout, xs: tuple, message):
    L11, inverse, L21, y = xs
    (below,) = message
    y = y - t_times(L21, below)
    x = t_times(inverse, y)
    x = x + t_times(inverse, y - t_times(L11, x))
    return (x,), (jnp.concatenate([x, below], 1),)


def solve_fronts(plan: Plan, kernel: Kernel, panels: Panels, b: list[Array]) -> list[Array]:
    """One half solve on stacked vectors (F, W, k)."""
    if not b:
        return b
    up = kernel is forward_front
    spec = Sweep(plan.layout, kernel, up, 1, b[0].shape[-1], (False,) * 3 + (True,))
    return sweep(spec, plan.table, [*panels, b])[0]


@jax.jit
def solve_lower(plan: Plan, panels: Panels, b: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """y with L y = b, both in plan order."""
    return _half(plan, forward_front, panels, b)


@jax.jit
def solve_lower_t(plan: Plan, panels: Panels, y: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """x with L^T x = y, both in plan order."""
    return _half(plan, backward_front, panels, y)


def _half(plan: Plan, kernel: Kernel, panels: Panels, b: Array) -> Array:
    if plan.n == 0:
        return b
    fronts = solve_fronts(plan, kernel, panels, vector_to_fronts(plan, b))
    return vector_from_fronts(plan, fronts, b.shape[1])


@jax.jit
def solve_system(plan: Plan, a: Array, panels: Panels, b: Float[Array, "n k"]):
    """x = A^-1 b, user's order, in the type of b.

    The tangent is another solve, dx = A^-1 (db - dA x), and so is the adjoint: b_bar = A^-1 x_bar,
    a_bar from -b_bar x^T. JAX's `custom_linear_solve` makes that rule, to every order, from the
    product with A; the sweeps below are only its way of solving.
    """
    panels = lax.stop_gradient(panels)
    if plan.n == 0:
        return b

    def solve(_, b):
        perm = jnp.asarray(plan.perm)
        permuted = b.at[perm].get(mode="promise_in_bounds", unique_indices=True).astype(a.dtype)
        fronts = solve_fronts(plan, forward_front, panels, vector_to_fronts(plan, permuted))
        fronts = solve_fronts(plan, backward_front, panels, fronts)
        x = vector_from_fronts(plan, fronts, b.shape[1]).astype(b.dtype)
        return jnp.zeros_like(x).at[perm].set(x, mode="promise_in_bounds", unique_indices=True)

    def product(x):
        return multiply(plan, a, x).astype(b.dtype)

    return lax.custom_linear_solve(product, b, solve, symmetric=True)

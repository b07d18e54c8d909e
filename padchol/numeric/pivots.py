"""L itself as a function of A: diag(L) with all its derivatives, and the panels without any.

diag(L) as a form (see `numeric.forms`): psi(A; b, c) = sum over i of b_i L_ii c_i. Its gradient in
A is the adjoint of the factorisation, applied to a cotangent of L on the diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from padchol.numeric.adjoint import pulled_back
from padchol.numeric.factorise import Panels, factored
from padchol.numeric.forms import VALUES, Form, partial
from padchol.numeric.values import from_diagonal, from_panels, to_diagonal
from padchol.plan import Plan


def _weighted(plan: Plan, a: Array, panels: Panels | None, vectors: Sequence, out: int) -> Array:
    """Of sum b_i L_ii c_i, vectors (b, c) in the plan's order, summed over columns."""
    panels = factored(plan, a) if panels is None else panels
    if out != VALUES:
        return from_diagonal(plan, panels)[:, None] * vectors[1 - out]
    b, c = vectors
    L_bar = to_diagonal(plan, jnp.sum(b * c, 1).astype(a.dtype))
    return from_panels(plan, pulled_back(plan, panels, L_bar))


WEIGHTED = Form("sum b_i L_ii c_i", _weighted, 2)


@jax.custom_jvp
def with_derivatives(plan: Plan, a: Array, panels: Panels, pivots: Float[Array, " n"]) -> Array:
    """The pivots, diag(L), as a function of `a`: in both modes, to every order.

    Costs nothing until somebody asks; a gradient then about three factorisations.
    """
    del plan, a, panels
    return pivots


@with_derivatives.defjvp
def _with_derivatives_jvp(primals, tangents):
    plan, a, panels, pivots = primals

    def as_form(a):
        ones = jnp.ones((plan.n, 1), a.dtype)
        return partial(WEIGHTED, plan, a, panels, (ones, None), 1)[:, 0]

    moved = jax.jvp(as_form, (a,), (tangents[1],))[1]
    return with_derivatives(plan, a, panels, lax.stop_gradient(pivots)), moved


@jax.custom_jvp
def without_derivatives(a: Array, panels: Panels) -> Panels:
    """The panels, whose tangents along `a` nobody computes: NaN, and never a silent zero."""
    del a
    return panels


@without_derivatives.defjvp
def _without_derivatives_jvp(primals, tangents):
    a, panels = primals
    moved = jnp.full_like(panels, jnp.nan) * jnp.sum(tangents[0])
    return without_derivatives(a, lax.stop_gradient(panels)), moved

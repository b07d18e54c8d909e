"""log |A| = 2 sum log diag(L), with the selected inverse as its gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from padchol.numeric.factorise import Panels, diagonal
from padchol.numeric.selinv import gradient
from padchol.plan import Plan


@jax.custom_jvp
@jax.jit
def log_determinant(plan: Plan, a: Array, panels: Panels) -> Float[Array, ""]:
    """log |A|. Tangent: sum over the pattern of (A^-1)_ij dA_ij, both entries of a pair."""
    del a
    return 2 * jnp.sum(jnp.log(diagonal(plan, panels)))


@log_determinant.defjvp
def _log_determinant_jvp(primals, tangents):
    plan, a, panels = primals
    a_dot = tangents[1]
    moved = jnp.sum(gradient(plan, a, panels) * a_dot)
    return log_determinant(plan, a, panels), moved

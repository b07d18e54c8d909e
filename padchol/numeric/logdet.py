"""log |A| = 2 sum log diag(L), with the selected inverse as its gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from padchol.numeric.factorise import Panels
from padchol.numeric.selected_inverse import gradient
from padchol.plan import Plan


@jax.custom_jvp
@jax.jit
def log_determinant(
    plan: Plan, a: Array, panels: Panels, pivots: Float[Array, " n"]
) -> Float[Array, ""]:
    """log |A|. Tangent: sum over the pattern of (A^-1)_ij dA_ij, both entries of a pair."""
    del plan, a, panels
    return 2 * jnp.sum(jnp.log(pivots))


@log_determinant.defjvp
def _log_determinant_jvp(primals, tangents):
    plan, a, panels, _ = primals
    moved = jnp.sum(gradient(plan, a, panels) * tangents[1])
    return log_determinant(*primals), moved

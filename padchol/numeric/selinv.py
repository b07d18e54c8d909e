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

from padchol.numeric import dense
from padchol.numeric.dense import t_times, times, times_t, transposed
from padchol.numeric.factorise import Panels, factored, unpack
from padchol.numeric.forms import Form, partial
from padchol.numeric.sweep import Routine, apply
from padchol.numeric.tiled import inverse
from padchol.numeric.values import from_panels, pair_weights
from padchol.plan import Plan
from padchol.symbolic.layout import Stage


def inverse_front(stage: Stage, args: tuple, below):
    """Panels of L become panels of Z."""
    del stage
    L11, L21 = unpack(args[0])
    inverse_L = dense.inverse(L11)
    G_t = t_times(inverse_L, transposed(L21))
    Z21_t = -times(G_t, below)
    Z11 = t_times(inverse_L, inverse_L) - times_t(G_t, Z21_t)
    return jnp.concatenate([Z11, transposed(Z21_t)], 1)


INVERSE = Routine(inverse_front, inverse.inverse, inverse.scratch, False, "panel")


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

"""The selected inverse: the entries of Z = A^-1 on the pattern of L, by one down sweep.

Takahashi, Fagan & Chen (1973); Erisman & Tinney (1975), CACM 18(3), 177-179; by fronts as in
Campbell & Davis (1995), Univ. Florida TR-95-021. With Z22 read from the ancestors, G = L21 L11^-1:

    Z21 = -Z22 G        Z11 = L11^-T L11^-1 - G^T Z21
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
from jaxtyping import Array, Float

from padchol.numeric.factorise import Panels, factored
from padchol.numeric.forms import Form, partial
from padchol.numeric.sweep import Routine, apply
from padchol.numeric.values import from_panels, pair_weights
from padchol.numeric.verbs import Verbs
from padchol.plan import Plan


def inverse(v: Verbs) -> None:
    """The panel of L becomes that of Z."""
    L = v.factor(0)
    R, G_t = v.inverse(L), v.below(L)
    G_t = v.t_times(R, G_t)
    Z21_t = v.minus_times(G_t, v.read_below())
    v.store_panel(v.gram_less_product(R, G_t, Z21_t), Z21_t)


INVERSE = Routine(inverse, False, "panel", rooms=("inverse", "below", "update", "below", "column"))


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

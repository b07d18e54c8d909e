"""The adjoint of the factorisation, by one down sweep that keeps nothing but L.

From L_bar, the gradient of a number with respect to L, that with respect to A (one parameter per
symmetric pair). Smith (1995), J. Comp. Graph. Stat. 4(2), 134-147; by blocks Murray (2016), arXiv
1602.07527, section 4; by fronts, with V the A_bar of the rows below, read from the ancestors,
symmetric, its diagonal twice, and symmetric(Phi) mirrored from the lower triangle of Phi:

    L21_bar -= V L21                       Phi = L11^T lower(L11_bar) - L21_bar^T L21
    A21_bar = L21_bar L11^-1               A11_bar = L11^-T symmetric(Phi) L11^-1, diagonal halved
"""

from __future__ import annotations

import jax.numpy as jnp

from padchol.numeric.factorise import Panels
from padchol.numeric.sweep import Routine, apply
from padchol.numeric.verbs import Verbs
from padchol.plan import Plan


def adjoint(v: Verbs) -> None:
    """The panel of L_bar becomes that of A_bar."""
    L_bar, L = v.panel(0), v.factor(1)
    R, L21_t, B = v.inverse(L), v.below(L), v.below(L_bar)
    B = v.less_times(B, L21_t, v.doubled(v.read_below()))
    Phi = v.symmetric_product_less(L, L_bar, B, L21_t)
    B, Phi = v.t_times(R, B), v.t_times(R, Phi)
    v.store_panel(v.times_halved(Phi, R), B)


def less_outer(v: Verbs) -> None:
    """The panel, less z y^T, z below the pivots as well."""
    v.less_outer()


ADJOINT = Routine(
    adjoint,
    False,
    "panel",
    ("panel",),
    rooms=("inverse", "below", "below", "update", "column", "pivots"),
)
OUTER = Routine(
    less_outer, False, "panel", ("pivots", "pivots", "rows"), rooms=("rows below",), alone=True
)


def outer(plan: Plan, y, z) -> Panels:
    """-z y^T on the pattern of L, from two pivot storages: the gradient of -z^T L y."""
    empty = jnp.zeros(plan.layout.storage.panels, y.dtype)
    return apply(OUTER, plan, empty, y, z, z)


def pulled_back(plan: Plan, panels: Panels, L_bar: Panels) -> Panels:
    """A_bar at every place of the panel storage, whose `from_panels` is the gradient with respect
    to the values: both entries of a pair are in it. Cost: about three factorisations."""
    return apply(ADJOINT, plan, L_bar, panels)

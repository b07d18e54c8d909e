"""The adjoint of the factorisation, by one down sweep that keeps nothing but L.

From L_bar, the gradient of a number with respect to L, that with respect to A (one parameter per
symmetric pair). Smith (1995), J. Comp. Graph. Stat. 4(2), 134-147; by blocks Murray (2016), arXiv
1602.07527, section 4; by fronts, with V read from the ancestors, its diagonal twice:

    L21_bar -= V L21                       Phi = L11^T L11_bar - L21_bar^T L21
    A21_bar = L21_bar L11^-1               A11_bar = L11^-T symmetric(Phi) L11^-1, diagonal halved
"""

from __future__ import annotations

import jax.numpy as jnp

from padchol.numeric.dense import inverse, lower, symmetric, t_times, times, times_t
from padchol.numeric.factorise import Panels, unpack
from padchol.numeric.sweep import Routine, apply
from padchol.numeric.tiled import adjoint
from padchol.plan import Plan
from padchol.symbolic.layout import Stage


def adjoint_front(stage: Stage, args: tuple, below):
    """Panels of L_bar become panels of A_bar."""
    panel, finished = args
    L11, L21 = unpack(finished)
    inverse_L = inverse(L11)
    V = below * (1 + jnp.eye(stage.M, dtype=below.dtype))
    L21_bar = panel[:, stage.W :] - times(V, L21)
    phi = t_times(L11, lower(panel[:, : stage.W])) - t_times(L21_bar, L21)
    A11_bar = t_times(inverse_L, times(symmetric(phi), inverse_L))
    halved = 1 - jnp.eye(stage.W, dtype=panel.dtype) / 2
    return jnp.concatenate([A11_bar * halved, times(L21_bar, inverse_L)], 1)


def outer_front(stage: Stage, args: tuple, below):
    """The panel, less z y^T."""
    del stage, below
    panel, y, z, z_below = args
    return panel - times_t(jnp.concatenate([z, z_below], 1), y)


ADJOINT = Routine(adjoint_front, adjoint.adjoint, adjoint.scratch, False, "panel", ("panel",))
OUTER = Routine(
    outer_front,
    adjoint.outer,
    adjoint.outer_scratch,
    False,
    "panel",
    ("pivots", "pivots", "rows"),
    alone=True,
)


def outer(plan: Plan, y, z) -> Panels:
    """-z y^T on the pattern of L, from two pivot storages: the gradient of -z^T L y."""
    empty = jnp.zeros(plan.layout.storage.panels, y.dtype)
    return apply(OUTER, plan, empty, y, z, z)


def pulled_back(plan: Plan, panels: Panels, L_bar: Panels) -> Panels:
    """A_bar at every place of the panel storage. Cost: about three factorisations."""
    return apply(ADJOINT, plan, L_bar, panels)

"""The adjoint of the factorisation, on tiles and in chunks, against a dense factorisation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support
from storages import TILED, both_forms, tiled_case, tiled_panels

from padchol.numeric import adjoint, factorise
from padchol.numeric.values import from_panels, to_pivots
from padchol.symbolic.unfold import panel_places


def dense_factor(plan, a):
    """L as a dense matrix, in the plan's order."""
    return jnp.linalg.cholesky(support.symmetric(plan, a)[plan.perm][:, plan.perm])


def in_panels(plan, L):
    """Entries of a dense lower triangle in the tiled panel storage."""
    out = np.zeros(plan.layout.tiles.panels)
    row, column = panel_places(plan.layout, plan.table)
    start = int(np.flatnonzero(tiled_panels(plan)[0] >= 0)[0])
    real = (row < plan.n) & (column < plan.n) & (row >= column)
    out[start + np.flatnonzero(real)] = np.asarray(L)[row[real], column[real]]
    return jnp.asarray(out)


@pytest.mark.parametrize("name", TILED)
def test_adjoint_of_the_factorisation(name):
    """Row 23: a cotangent of L pulled back to the values, one parameter per symmetric pair."""
    plan, a = tiled_case(name)
    a = jnp.asarray(a)
    rng = np.random.default_rng(0)
    indices, indptr = plan.factor_pattern()
    columns = np.repeat(np.arange(plan.n), np.diff(indptr))
    L_bar = np.zeros((plan.n, plan.n))
    L_bar[indices, columns] = rng.normal(size=indices.size)
    expected = jax.vjp(lambda a: dense_factor(plan, a), a)[1](jnp.asarray(L_bar))[0]
    panels = factorise.factorise(plan, a)[0]
    for form in both_forms(adjoint.ADJOINT, plan, in_panels(plan, L_bar), panels):
        assert support.relative(from_panels(plan, form), expected) < 1e-11


@pytest.mark.parametrize("k", [1, 37])
@pytest.mark.parametrize("name", ["grid2", "band", "disconnected"])
def test_outer_product_on_the_pattern(name, k):
    """-z y^T where L has room, summed over columns."""
    plan, _ = tiled_case(name)
    y, z = np.random.default_rng(1).normal(size=(2, plan.n, k))
    stored = [to_pivots(plan, jnp.asarray(v)) for v in (y, z, z)]
    empty = jnp.zeros(plan.layout.tiles.panels)
    wanted = in_panels(plan, -z @ y.T)
    counts = np.asarray(in_panels(plan, np.ones((plan.n, plan.n)))) > 0
    for form in both_forms(adjoint.OUTER, plan, empty, *stored):
        assert support.relative(np.where(counts, form, 0), wanted) < 1e-13

"""The adjoint of the factorisation, by both engines, against a dense factorisation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support
from storages import NAMES, case_of, in_panels

from padchol.numeric import adjoint, factorise
from padchol.numeric.sweep import apply
from padchol.numeric.values import from_panels, to_pivots


def dense_factor(plan, a):
    """L as a dense matrix, in the plan's order."""
    return jnp.linalg.cholesky(support.symmetric(plan, a)[plan.perm][:, plan.perm])


@support.both_engines
@pytest.mark.parametrize("name", NAMES)
def test_adjoint_of_the_factorisation(name, device):
    """Row 23: a cotangent of L pulled back to the values, one parameter per symmetric pair."""
    plan, a = case_of(name, device)
    a = jnp.asarray(a)
    rng = np.random.default_rng(0)
    indices, indptr = plan.factor_pattern()
    columns = np.repeat(np.arange(plan.n), np.diff(indptr))
    L_bar = np.zeros((plan.n, plan.n))
    L_bar[indices, columns] = rng.normal(size=indices.size)
    expected = jax.vjp(lambda a: dense_factor(plan, a), a)[1](jnp.asarray(L_bar))[0]
    panels = factorise.factorise(plan, a)[0]
    pulled = apply(adjoint.ADJOINT, plan, in_panels(plan, L_bar), panels)
    assert support.relative(from_panels(plan, pulled), expected) < 1e-11


@support.both_engines
@pytest.mark.parametrize("k", [1, 37])
@pytest.mark.parametrize("name", ["grid2", "band", "disconnected"])
def test_outer_product_on_the_pattern(name, k, device):
    """-z y^T where L has room, summed over columns."""
    plan, _ = case_of(name, device)
    y, z = np.random.default_rng(1).normal(size=(2, plan.n, k))
    stored = [to_pivots(plan, jnp.asarray(v)) for v in (y, z, z)]
    empty = jnp.zeros(plan.layout.storage.panels)
    wanted = in_panels(plan, -z @ y.T)
    counts = np.asarray(in_panels(plan, np.ones((plan.n, plan.n)))) > 0
    found = apply(adjoint.OUTER, plan, empty, *stored)
    assert support.relative(np.where(counts, found, 0), wanted) < 1e-13

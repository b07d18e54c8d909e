"""Tables of plans on the device: put there once, for as long as the plan lives."""

import gc

import jax
import numpy as np
import support

import padchol
from padchol.numeric import resident

A = support.grid(4, 3)


def test_factors_of_one_plan_share_its_tables():
    plan = padchol.analyze(A, device="cpu")
    a = plan.values(A)
    first, second = (padchol.cholesky(plan, scale * a) for scale in (1, 2))
    assert isinstance(first.plan.table, jax.Array)
    assert isinstance(plan.table, np.ndarray)
    leaves = (jax.tree.leaves(F.plan) for F in (first, second))
    assert all(x is y for x, y in zip(*leaves, strict=True))
    assert first.plan == plan
    assert first.plan.fingerprint == plan.fingerprint


def test_they_go_with_the_plan():
    plan = padchol.analyze(A, device="cpu", order="natural")
    padchol.cholesky(plan, plan.values(A))
    key = resident.key(plan)
    assert key in resident._there
    del plan
    gc.collect()
    assert key not in resident._there


def test_a_traced_factor_has_the_tables_of_its_program():
    """Where values are traced, a closed-over plan is the program's constant, put nowhere else."""
    plan = padchol.analyze(A, device="cpu", order="natural")
    logdet = jax.jit(lambda a: padchol.cholesky(plan, a).logdet())(plan.values(A))
    np.testing.assert_allclose(logdet, np.linalg.slogdet(A.toarray())[1], rtol=1e-12)
    assert resident.key(plan) not in resident._there


def test_a_plan_is_placed_by_itself():
    plan = padchol.analyze(A, device="cpu", order="natural")
    placed = plan.placed()
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(placed))
    assert placed == plan
    assert placed.placed() is placed
    assert placed.table is padchol.cholesky(plan, plan.values(A)).plan.table

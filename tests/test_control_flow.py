"""Factor and Plan in scan, cond, switch, while_loop and remat: the plan goes along, traced."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support
from dense_oracle import Dense

import padchol

pytestmark = pytest.mark.core


@pytest.fixture(scope="module")
def case():
    """(plan, values, a vector)"""
    A = support.scattered(12, 20)
    plan = support.unmerged(A)
    return plan, plan.values(A), support.right_hand_side(plan, columns=1)[:, 0]


def test_a_plan_in_the_carry_of_a_scan(case):
    """Row 24: a Plan and a Factor are carried side by side, and the plan carried is used."""
    plan, a, b = case

    @jax.jit
    def logdets(plan, a):
        def step(carry, scale):
            plan, F = carry
            return (plan, padchol.cholesky(plan, scale * F.values)), F.logdet()

        (plan, F), found = jax.lax.scan(step, (plan, padchol.cholesky(plan, a)), 2.0 * jnp.ones(3))
        return plan, F.solve(b), found

    again, x, found = logdets(plan, a)
    np.testing.assert_array_equal(again.table, plan.table)
    assert again.fingerprint == plan.fingerprint
    expected = Dense(plan, "logdet", a, b).value + plan.n * np.log(2.0) * np.arange(3)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert support.relative(x, Dense(plan, "solve", 8 * a, b).value) < 1e-12


def test_factors_chosen_by_cond_and_switch(case):
    """Row 24: branches return Factors or take one; a vmap of the choice makes it a select."""
    plan, a, b = case

    @jax.jit
    @jax.vmap
    def f(k):
        F = jax.lax.cond(
            k > 0, lambda: padchol.cholesky(plan, 2 * a), lambda: padchol.cholesky(plan, a)
        )
        take = (lambda F: F.solve(b), lambda F: F.marginal_variances())
        return jax.lax.switch(k, take, F)

    expected = [Dense(plan, "solve", a, b), Dense(plan, "marginal_variances", 2 * a, b)]
    for found, dense in zip(f(jnp.arange(2)), expected, strict=True):
        assert support.relative(found, dense.value) < 1e-12


def test_a_while_loop_of_factors(case):
    """Row 24: Newton's method for the shift s with log |A + s I| = c, a Factor in the carry."""
    plan, a, b = case
    shift = jnp.asarray(plan.rows == plan.cols, float)

    @jax.jit
    def find(c):
        def body(carry):
            s, F, k = carry
            s = s + (c - F.logdet()) / jnp.sum(F.marginal_variances())
            return s, padchol.cholesky(plan, a + s * shift), k + 1

        going = lambda carry: (jnp.abs(carry[1].logdet() - c) > 1e-10) & (carry[2] < 20)
        return jax.lax.while_loop(going, body, (0.0, padchol.cholesky(plan, a), 0))

    target = Dense(plan, "logdet", a + 0.7 * np.asarray(shift), b).value
    s, F, steps = find(target)
    np.testing.assert_allclose(s, 0.7, rtol=1e-9)
    assert 1 < steps < 20
    assert F.info == 0


def test_remat_of_a_function_of_a_factor(case):
    """Row 24: what is rematerialised takes a Factor made outside, and a plan as an argument."""
    plan, a, b = case
    w = support.random_like(b, 1)

    def energy(a, b, wrap):
        return jnp.vdot(w, wrap(lambda F, b: F.solve(b))(padchol.cholesky(plan, a), b))

    plain, remat = (
        jax.jit(jax.grad(lambda a, b, wrap=wrap: energy(a, b, wrap), (0, 1)))(a, b)
        for wrap in (lambda f: f, jax.checkpoint)
    )
    for x, y, z in zip(plain, remat, Dense(plan, "solve", a, b).gradient(w), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14)
        assert support.relative(x, z) < 1e-11

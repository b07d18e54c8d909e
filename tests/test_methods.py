"""Rows 37 and 43: methods as functions, in every setting of JAX, and the Factor of a batch."""

from __future__ import annotations

from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support
from jax.experimental import sparse

import padchol

pytestmark = pytest.mark.oldest

# ---- bound methods as functions ---------------------------------------------------------------


@pytest.fixture(scope="module")
def factor():
    with jax.enable_x64(True):
        _, plan, a = support.case("band")
        return padchol.cholesky(plan, a)


def methods(F):
    """Each public method of a Factor with arguments for it."""
    b = support.right_hand_side(F.plan)
    yield from ((method, (b,)) for method in (F.solve, F.solve_L, F.solve_Lt))
    yield from ((method, (b,)) for method in (F.apply_P, F.apply_Pt))
    yield from ((method, ()) for method in (F.logdet, F.selected_inverse, F.marginal_variances))
    yield lambda: F.sample(jax.random.key(2), 3), ()


def test_methods_under_jit(factor):
    """`jax.jit(F.solve)`, as with any function; a second Factor gives its own numbers."""
    for method, arguments in methods(factor):
        expected = method(*arguments)
        np.testing.assert_allclose(jax.jit(method)(*arguments), expected, rtol=1e-12)
    twice = padchol.cholesky(factor.plan, 2 * factor.values)
    b = support.right_hand_side(factor.plan)
    np.testing.assert_allclose(jax.jit(twice.solve)(b), factor.solve(b) / 2, rtol=1e-12)
    assert factor.solve == factor.solve
    assert factor.solve != twice.solve
    assert factor.solve.__name__ == "solve"
    assert "refinement" in factor.solve.__doc__


def test_values_under_jit():
    """`jax.jit(plan.values)` on a sparse matrix of JAX's."""
    A, plan, a = support.case("band")
    found = jax.jit(plan.values)(sparse.BCOO.from_scipy_sparse(A))
    np.testing.assert_array_equal(found, a)


def test_methods_made_inside_jit(factor):
    """A Factor made in a trace has methods that an inner jit takes."""
    b = support.right_hand_side(factor.plan)

    @jax.jit
    def f(a):
        return jax.jit(padchol.cholesky(factor.plan, a).solve)(b)

    np.testing.assert_allclose(f(factor.values), factor.solve(b), rtol=1e-12)


# ---- JAX's settings ---------------------------------------------------------------------------


@pytest.mark.slow
def test_rank_promotion_forbidden():
    """Every output and every derivative under `jax_numpy_rank_promotion="raise"`."""
    _, plan, a = support.case("band")
    b = np.ones(plan.n)

    def total(a):
        F = padchol.cholesky(plan, a)
        out = support.outputs(plan, a, b), F.solve(b[:, None], refine=1), F.pivots
        return sum(jnp.sum(x) for x in jax.tree.leaves(out))

    expected = jax.jit(total)(jnp.asarray(a))
    with jax.numpy_rank_promotion("raise"):
        value, gradient = jax.jit(jax.value_and_grad(total))(jnp.asarray(a))
        draws = padchol.cholesky(plan, a).sample(jax.random.key(0), (2, 3))
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    assert np.isfinite(gradient).all()
    assert draws.shape == (2, 3, plan.n)


@pytest.mark.slow
def test_jit_disabled():
    """`jax.disable_jit()`: the same numbers, derivatives too."""
    A = support.path(5)
    plan = support.unmerged(A, order="natural")
    a, b = plan.values(A), np.ones(plan.n)

    def total(a):
        F = padchol.cholesky(plan, a)
        return F.logdet() + jnp.sum(F.solve(b)) + jnp.sum(F.marginal_variances())

    expected = jax.value_and_grad(total)(jnp.asarray(a))
    with jax.disable_jit():
        found = jax.value_and_grad(total)(jnp.asarray(a))
        mapped = jax.vmap(lambda a: padchol.cholesky(plan, a).logdet())(jnp.stack([a, a]))
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)
    np.testing.assert_allclose(mapped, padchol.cholesky(plan, a).logdet(), rtol=1e-12)


def test_nans_debugged():
    """`jax.debug_nans`: silence for what is positive definite, FloatingPointError for a failure,
    eagerly and under jit."""
    _, plan, a = support.case("path")
    logdet = lambda a: padchol.cholesky(plan, a).logdet()
    expected = logdet(a)
    with jax.debug_nans(True):
        np.testing.assert_allclose(logdet(a), expected, rtol=1e-14)
        np.testing.assert_allclose(jax.jit(logdet)(a), expected, rtol=1e-14)
        for f in (logdet, jax.jit(logdet)):
            with pytest.raises(FloatingPointError):
                f(-np.asarray(a))


# ---- a batch outside its vmap -----------------------------------------------------------------


def test_a_batch_outside_vmap_is_refused(factor):
    """A batched Factor's methods say that they are those of one matrix, and how to call them."""
    plan = factor.plan
    batch = jax.vmap(lambda s: padchol.cholesky(plan, s * factor.values))(jnp.ones(3))
    for wrap in (lambda f: f, eqx.filter_jit):
        for method, arguments in methods(batch):
            with pytest.raises(ValueError, match=rf"values of shape \({plan.nnz},\); got a batch"):
                wrap(cast(Any, method))(*arguments)
    with pytest.raises(ValueError, match="inside a vmap"):
        batch.to_csc()
    found = jax.vmap(lambda F: F.logdet())(batch)
    np.testing.assert_allclose(found, jnp.full(3, factor.logdet()), rtol=1e-13)


def test_no_columns_and_no_members(factor):
    """Right-hand sides without columns, batches without members: empty results."""
    plan, n = factor.plan, factor.plan.n
    assert factor.solve(np.ones((n, 0))).shape == (n, 0)
    none = jax.vmap(factor.solve, 1, 1)(jnp.ones((n, 0)))
    assert none.shape == (n, 0)
    logdets = jax.vmap(lambda a: padchol.cholesky(plan, a).logdet())(jnp.ones((0, plan.nnz)))
    assert logdets.shape == (0,)


def test_sizes_of_samples(factor):
    """`sample(key, 3)` is `sample(key, (3,))`, as in NumPy; what is no size is refused."""
    key = jax.random.key(1)
    np.testing.assert_array_equal(factor.sample(key, 3), factor.sample(key, (3,)))
    for shape in (-1, (2, -1), 1.5, "a"):
        with pytest.raises(ValueError, match="expected a shape"):
            factor.sample(key, shape)

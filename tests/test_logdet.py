"""log |A|: its gradient is the selected inverse, and every derivative after that is exact."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support

import padchol
from padchol.factor import log_determinants

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    "matrix", ["grid2", *(pytest.param(m, marks=pytest.mark.slow) for m in ("band", "arrow_first"))]
)
def test_derivatives(matrix):
    """Row 23: gradient and Hessian in all mode combinations."""
    _, plan, a = support.case(matrix)
    b = support.right_hand_side(plan)
    support.check_derivatives(
        lambda a: padchol.cholesky(plan, a).logdet(),
        lambda a: support.dense_outputs(plan, a, b)["logdet"],
        a,
    )


@pytest.mark.slow
def test_derivatives_merged():
    """Row 23: the same through relaxed supernodes, where pivot blocks are wider than 8."""
    _, plan, a = support.case("grid2", merged=True)
    b = support.right_hand_side(plan)
    support.check_derivatives(
        lambda a: padchol.cholesky(plan, a).logdet(),
        lambda a: support.dense_outputs(plan, a, b)["logdet"],
        a,
    )


@support.both_precisions
def test_gradient_is_the_selected_inverse(precision):
    """Rows 21, 23: d log|A| / d a[k] = (A^-1)_ij, twice that off the diagonal; no upcast."""
    _, plan, a = support.case("forest")
    a = jnp.asarray(a, precision)
    gradient = jax.jit(jax.grad(lambda a: padchol.cholesky(plan, a).logdet()))(a)
    inverse = np.linalg.inv(np.asarray(support.symmetric(plan, a), float))
    weight = np.where(plan.rows == plan.cols, 1, 2)
    expected = weight * inverse[plan.rows, plan.cols]
    assert gradient.dtype == precision
    assert support.relative(gradient, expected) < support.VALUE_TOLERANCE[precision.name]


@pytest.mark.slow
def test_finite_differences_and_adjoint():
    """Row 23: finite differences to second order, both modes."""
    _, plan, a = support.case("path")
    support.check_gradients(lambda a: padchol.cholesky(plan, a).logdet(), jnp.asarray(a))


def test_third_order():
    """The system is closed under differentiation: a third derivative along one line."""
    _, plan, a = support.case("arrow_last")
    direction = jnp.asarray(np.random.default_rng(0).normal(size=a.shape) * 0.1)

    def third(f):
        g = lambda t: f(a + t * direction)
        return jax.jit(jax.grad(jax.grad(jax.grad(g))))(0.0)

    found = third(lambda a: padchol.cholesky(plan, a).logdet())
    expected = third(lambda a: jnp.linalg.slogdet(support.symmetric(plan, a))[1])
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_empty_matrix():
    """Row 13: log |A| of a 0 x 0 matrix is 0, also under jit, grad and vmap."""
    _, plan, a = support.case("empty")
    f = lambda a: padchol.cholesky(plan, a).logdet()
    assert f(a) == 0
    assert jax.jit(f)(a) == 0
    assert jax.grad(f)(jnp.asarray(a)).shape == (0,)
    np.testing.assert_array_equal(jax.vmap(f)(jnp.zeros((3, 0))), np.zeros(3))


def together(plan):
    """(two log-determinants together, the same one by one)"""
    factors = lambda a, b: (padchol.cholesky(plan, a), padchol.cholesky(plan, b))
    both = lambda a, b: log_determinants(*factors(a, b))
    return both, lambda a, b: tuple(F.logdet() for F in factors(a, b))


def product(f):
    return lambda a, b: math.prod(f(a, b))


def test_together_on_one_plan():
    """What `log_determinants` gives is each one's own, and so are gradients; a failure is alone."""
    _, plan, a = support.case("grid2")
    other = plan.add_diagonal(a, 0.5)
    both, each = together(plan)
    for found, expected in (
        (both(a, other), each(a, other)),
        (jax.grad(product(both), (0, 1))(a, other), jax.grad(product(each), (0, 1))(a, other)),
    ):
        for x, y in zip(found, expected, strict=True):
            assert support.relative(x, y) < 1e-13
    failed, sound = both(-a, other)
    assert jnp.isnan(failed)
    assert sound == both(a, other)[1]


@pytest.mark.slow
def test_second_derivatives_together():
    _, plan, a = support.case("grid2")
    direction = support.random_like(a, 1)
    found, expected = (
        jax.jvp(lambda a, f=f: jax.grad(product(f))(a, a * 2), (a,), (direction,))[1]
        for f in together(plan)
    )
    assert support.relative(found, expected) < 1e-12


def test_plans_that_differ_are_taken_one_by_one():
    A, plan, a = support.case("grid2")
    natural = padchol.analyze(A, order="natural")
    found = log_determinants(padchol.cholesky(plan, a), padchol.cholesky(natural, a))
    assert support.relative(found[0], found[1]) < 1e-13

"""The selected inverse and the marginal variances: exact in every mode, to second order."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support

import padchol

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    ("matrix", "name"),
    [
        pytest.param("band", "selected_inverse", marks=pytest.mark.slow),
        pytest.param("scattered", "marginal_variances", marks=pytest.mark.slow),
        pytest.param("grid2", "selected_inverse", marks=pytest.mark.slow),
        pytest.param("grid2", "marginal_variances", marks=pytest.mark.slow),
    ],
)
def test_derivatives(matrix, name):
    """Row 23: gradient and Hessian in all mode combinations, on trees with fill-in."""
    _, plan, a = support.case(matrix)
    b = support.right_hand_side(plan)
    size = plan.nnz if name == "selected_inverse" else plan.n
    w = jnp.asarray(np.random.default_rng(4).normal(size=size))
    support.check_derivatives(
        lambda a: jnp.vdot(w, getattr(padchol.cholesky(plan, a), name)()),
        lambda a: jnp.vdot(w, support.dense_outputs(plan, a, b)[name]),
        a,
    )


@pytest.mark.parametrize("order", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_finite_differences_and_adjoint(order):
    """Row 23: finite differences in both modes; <J v, w> = <v, J^T w>."""
    _, plan, a = support.case("band")
    f = lambda a: padchol.cholesky(plan, a).selected_inverse()
    support.check_gradients(f, jnp.asarray(a), order)


@pytest.mark.slow
def test_batches():
    """Row 24: vmap over values, vectors, both and nested, of variances and their gradient."""
    _, plan, a = support.case("forest")
    values = jnp.asarray(a * np.linspace(1.0, 1.5, 3)[:, None])
    vectors = jnp.asarray(np.random.default_rng(0).normal(size=(3, plan.n)))

    def f(a, w):
        return jnp.vdot(w, padchol.cholesky(plan, a).marginal_variances())

    support.check_batching(jax.value_and_grad(f), values, vectors, 1e-12)


def test_empty_matrix():
    """Row 13: nothing selected from a 0 x 0 inverse, also under jit and vmap."""
    _, plan, a = support.case("empty")
    f = lambda a: padchol.cholesky(plan, a).selected_inverse()
    assert jax.jit(f)(a).shape == (0,)
    assert jax.vmap(f)(jnp.zeros((3, 0))).shape == (3, 0)
    assert padchol.cholesky(plan, a).marginal_variances().shape == (0,)

"""Row 38: diag(L) and the panels under differentiation: exact, or NaN, never silently zero."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support

import padchol

pytestmark = [pytest.mark.core, pytest.mark.oldest, pytest.mark.shapes]


@pytest.mark.parametrize(
    "name",
    ["disconnected", *(pytest.param(n, marks=pytest.mark.slow) for n in ("band", "grid3"))],
)
def test_derivatives_of_pivots(name):
    """Gradient and Hessian of a sum of w_i f(L_ii) in every mode, against dense LAPACK."""
    _, plan, a = support.case(name)
    w = support.random_like(np.ones(plan.n), 3)

    def ours(a):
        return jnp.vdot(w, padchol.cholesky(plan, a).pivots ** 3)

    def dense(a):
        A = support.symmetric(plan, a)[plan.perm][:, plan.perm]
        return jnp.vdot(w, jnp.diagonal(jnp.linalg.cholesky(A)) ** 3)

    np.testing.assert_allclose(ours(a), dense(jnp.asarray(a)), rtol=1e-12)
    support.check_derivatives(ours, dense, a)


def test_pivots_of_a_batch():
    """Gradients under vmap are those of a loop."""
    _, plan, a = support.case("grid2")
    gradient = jax.grad(lambda a: jnp.sum(jnp.log(padchol.cholesky(plan, a).pivots)))
    batch = np.asarray(a) * np.array([1.0, 1.3, 2.0])[:, None]
    found = jax.jit(jax.vmap(gradient))(batch)
    expected = np.stack([gradient(a) for a in batch])
    assert support.relative(found, expected) < 1e-13
    logdet = jax.grad(lambda a: padchol.cholesky(plan, a).logdet() / 2)
    assert support.relative(found[1], logdet(batch[1])) < 1e-12


def test_derivatives_of_panels_are_not_numbers():
    """The stored L has no derivatives: NaN forward and in reverse, values untouched."""
    _, plan, a = support.case("band")
    total = lambda a: jnp.sum(padchol.cholesky(plan, a).panels)
    value, gradient = jax.value_and_grad(total)(jnp.asarray(a))
    assert np.isfinite(value)
    assert np.isnan(gradient).all()
    assert np.isnan(jax.jvp(total, (jnp.asarray(a),), (jnp.ones(plan.nnz),))[1])

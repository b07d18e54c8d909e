"""A + U U^T and A - U U^T against dense: values, derivatives, batches, failures, rounding."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support

import padchol

pytestmark = pytest.mark.shapes

both_signs = pytest.mark.parametrize("sign", [1, -1])


def columns(plan, dtype=np.float64, k=2):
    """U (n, k), small enough for A - U U^T to be positive definite."""
    U = np.random.default_rng(7).normal(size=(plan.n, k))
    return (0.3 * U / np.sqrt(plan.n)).astype(dtype)


def outputs(plan, a, U, b, sign):
    M = padchol.cholesky(plan, a).update(U, sign)
    return {
        "solve": M.solve(b),
        "logdet": M.logdet(),
        "quadratic": M.quadratic(b),
        "marginal_variances": M.marginal_variances(),
    }


def dense_outputs(plan, a, U, b, sign):
    inverse = jnp.linalg.inv(support.symmetric(plan, a) + sign * U @ U.T)
    return {
        "solve": inverse @ b,
        "logdet": -jnp.linalg.slogdet(inverse)[1],
        "quadratic": jnp.sum(b * (inverse @ b), 0),
        "marginal_variances": jnp.diagonal(inverse),
    }


computed = jax.jit(outputs, static_argnums=4)


@both_signs
@support.both_engines
@support.both_precisions
def test_against_dense(sign, device, precision):
    """Row 21: every output, in the type of the values, on both engines."""
    _, plan, a = support.case("band", device=device)
    a, U = a.astype(precision), columns(plan, precision)
    b = support.right_hand_side(plan, precision)
    found = computed(plan, a, U, b, sign)
    expected = dense_outputs(plan, a, U, b, sign)
    for name, x in found.items():
        assert x.dtype == precision, name
        assert support.relative(x, expected[name]) < support.VALUE_TOLERANCE[precision.name], name


@pytest.mark.parametrize("name", ["one", "empty", "diagonal"])
def test_small_ones(name):
    """Rows 13 and 14: n = 0, n = 1, a diagonal matrix; one column as (n,), and none at all."""
    A, plan, a = support.case(name)
    b, u = np.ones(plan.n), np.full(plan.n, 0.5)
    F = padchol.cholesky(plan, a)
    for U in (u, np.zeros((plan.n, 0))):
        M = F.update(U)
        changed = A.toarray() + (np.outer(U, U) if U.ndim == 1 else 0)
        np.testing.assert_allclose(M.solve(b), np.linalg.solve(changed, b), rtol=1e-13)
        np.testing.assert_allclose(M.logdet(), np.linalg.slogdet(changed)[1], rtol=1e-13)
        assert M.positive


@pytest.mark.parametrize(
    ("sign", "names"),
    [
        (1, ("logdet",)),
        pytest.param(1, (), marks=pytest.mark.slow),
        pytest.param(-1, (), marks=[pytest.mark.slow, pytest.mark.release]),
    ],
)
@pytest.mark.slow
def test_derivatives(sign, names):
    """Row 23: gradient and Hessian in the values and U together, all mode combinations."""
    A = support.grid(2, 3)
    plan = support.unmerged(A)
    a, U, b = plan.values(A), columns(plan, k=2), support.right_hand_side(plan)

    def of(outputs):
        def f(x):
            found = outputs(plan, x[: plan.nnz], x[plan.nnz :].reshape(U.shape), b, sign)
            return sum(jnp.sum(jnp.sin(3 * found[name])) for name in names or found)

        return f

    x = np.concatenate([a, U.ravel()])
    support.check_derivatives(of(outputs), of(dense_outputs), x)


@both_signs
@pytest.mark.slow
def test_batches(sign):
    """Rows 2 and 24: vmap over values, over U, over both, and nested."""
    _, plan, a = support.case("grid2")
    b = support.right_hand_side(plan)
    values = jnp.asarray(a * np.linspace(1.0, 1.5, 3)[:, None])
    U = jnp.asarray(columns(plan) * np.array([0.5, 1.0, 1.1])[:, None, None])

    def f(a, U):
        found = outputs(plan, a, U, b, sign)
        return found["solve"], found["logdet"]

    support.check_batching(f, values, U, 1e-12)


def test_a_batch_outside_vmap_is_refused():
    """Row 37: its methods are those of one matrix."""
    _, plan, a = support.case("grid2")
    F, b = padchol.cholesky(plan, a), np.ones(plan.n)
    M = jax.vmap(lambda s: F.update(s * columns(plan)))(jnp.ones(2))
    for call in (M.logdet, M.marginal_variances, lambda: M.solve(b), lambda: M.positive):
        with pytest.raises(ValueError, match="inside a vmap"):
            call()
    assert jax.vmap(lambda M: M.logdet())(M).shape == (2,)


@both_signs
def test_draws(sign):
    """The covariance of draws is the inverse: of the one map from normal numbers to a draw."""
    _, plan, a = support.case("diagonal")
    U = columns(plan) * (1 if sign < 0 else 5)
    M = padchol.cholesky(plan, a).update(U, sign)
    x = np.asarray(jax.jit(lambda key: M.sample(key, (100, 500)))(jax.random.key(0)))
    assert x.shape == (100, 500, plan.n)
    x = x.reshape(-1, plan.n)
    exact = np.linalg.inv(np.diag(a) + sign * U @ U.T)
    deviation = np.sqrt(np.diag(exact))
    error = (x.T @ x / len(x) - exact) / deviation[:, None] / deviation
    assert np.abs(error).max() < 0.03  # six standard errors
    np.testing.assert_array_equal(M.sample(jax.random.key(1)).shape, (plan.n,))


@pytest.mark.parametrize("excess", [0.0, 1e-6, 10.0])
def test_a_downdate_that_is_not_positive_definite(excess):
    """Rows 1 and 26: singular to rounding, or indefinite: NaN, derivatives too."""
    _, plan, a = support.case("band")
    u = columns(plan)[:, 0]
    reach = np.sqrt(u @ np.asarray(padchol.cholesky(plan, a).solve(u)))

    def all_of(a, u):
        return padchol.cholesky(plan, a).update(u, -1)

    u = u / reach * (1 + excess)
    M = all_of(a, u)
    assert not M.positive
    draw = M.sample(jax.random.key(0))
    for x in (M.logdet(), M.solve(np.ones(plan.n)), M.marginal_variances(), draw):
        assert np.isnan(x).all()
    gradients = jax.grad(lambda *at: all_of(*at).logdet(), (0, 1))(jnp.asarray(a), jnp.asarray(u))
    assert all(np.isnan(x).all() for x in gradients)


def test_a_factor_that_failed():
    """Row 1: NaN, whatever is added."""
    _, plan, a = support.case("band")
    M = padchol.cholesky(plan, -a).update(np.eye(plan.n))
    assert not M.positive
    assert np.isnan(M.logdet())
    assert np.isnan(M.solve(np.ones(plan.n))).all()


def test_large_changes():
    """Row 4: a change 1e12 times A, of columns that nearly depend on each other, as observations of
    great precision make them. Neither the log-determinant nor a solution loses digits."""
    A, plan, a = support.case("grid2")
    U = np.random.default_rng(0).normal(size=(plan.n, 2))
    U[:, 1] = U[:, 0] + 1e-3 * U[:, 1]
    U = np.round(1e6 * U)
    M = padchol.cholesky(plan, a).update(U)
    V = np.linalg.solve(np.linalg.cholesky(A.toarray()), U)
    Q, R = np.linalg.qr(np.concatenate([np.eye(2), V]))
    exact = np.linalg.slogdet(A.toarray())[1] + 2 * np.log(np.abs(np.diag(R))).sum()
    assert abs(M.logdet() - exact) < 1e-10
    b = np.random.default_rng(1).normal(size=plan.n)
    L = np.linalg.cholesky(A.toarray())
    y = np.concatenate([np.zeros(2), np.linalg.solve(L, b)])
    x = np.linalg.solve(L.T, (y - Q @ (Q.T @ y))[2:])  # least squares, without K
    assert support.relative(M.solve(b), x) < 1e-12


def test_mixed_precision():
    """Rows 21 and 22: a float32 factor and a float64 U: float64; integers are promoted."""
    _, plan, a = support.case("band")
    F = padchol.cholesky(plan, a.astype(np.float32))
    M = F.update(columns(plan))
    b = np.ones(plan.n)
    assert M.solve(b).dtype == np.float64
    exact = dense_outputs(plan, a.astype(np.float32).astype(float), columns(plan), b, 1)["solve"]
    assert support.relative(M.solve(b), exact) < 1e-5
    assert F.update(np.eye(plan.n, 1, dtype=int)).U.shape == (plan.n, 1)


def test_what_is_refused():
    """Row 16: wrong shapes, types and signs, with what was expected and what came."""
    _, plan, a = support.case("band")
    F = padchol.cholesky(plan, a)
    with pytest.raises(ValueError, match=r"columns of a change of shape \(26,\) or \(26, k\)"):
        F.update(np.ones((3, 26)))
    with pytest.raises(TypeError, match="real columns of a change"):
        F.update(np.ones(26) + 1j)
    for sign in (0, 2, -0.5):
        with pytest.raises(ValueError, match="expected sign 1"):
            F.update(np.ones(26), cast(Any, sign))
    with pytest.raises(ValueError, match="expected sign 1"):
        jax.jit(lambda s: F.update(np.ones(26), s).logdet())(1)
    with pytest.raises(ValueError, match="right-hand side of shape"):
        F.update(np.ones(26)).solve(np.ones(3))


def test_the_same_as_a_refactorisation():
    """Where the plan holds the pattern of U U^T: values by `padchol.assembly.gram`."""
    A, _, _ = support.case("grid2")
    rows = sp.csr_array(([1.0, -1.0, 2.0], ([0, 0, 1], [0, 1, 2])), shape=(2, A.shape[0]))
    plan = padchol.analyze(A)
    a = plan.values(A)
    change = padchol.assembly.gram(plan, rows)(np.ones(2))
    M, F = padchol.cholesky(plan, a).update(rows.toarray().T), padchol.cholesky(plan, a + change)
    np.testing.assert_allclose(M.logdet(), F.logdet(), rtol=1e-13)
    np.testing.assert_allclose(M.marginal_variances(), F.marginal_variances(), rtol=1e-12)

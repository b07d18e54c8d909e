"""Constraints C x = e: which rows are refused, and the constrained field against the dense one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support
from jax.experimental import sparse as jsparse
from scipy import stats

import padchol
from padchol.gmrf import GMRF

pytestmark = [pytest.mark.core, pytest.mark.shapes]

n, c = 12, 3
GRID = support.grid(3, 4)
PLAN = padchol.analyze(GRID)
YEARS = np.linspace(1990, 2021, n)


def matrix(r):
    """A symmetric, diagonally dominant matrix on the plan, of random scale."""
    return 10 ** r.uniform(-4, 4) * support.from_edges(n, edges(), int(r.integers(1 << 30)))


def edges():
    low = PLAN.rows > PLAN.cols
    return np.stack([PLAN.rows[low], PLAN.cols[low]], 1)


def rows(r):
    """Independent rows of all kinds: single nodes, differences, sums, dense ones, any scale."""
    node = lambda: np.eye(n)[r.integers(n)]
    kinds = (node, lambda: node() - node(), lambda: np.ones(n), lambda: r.normal(size=n))
    while True:
        C = np.stack([kinds[r.integers(4)]() for _ in range(c)])
        C = C * 10 ** r.uniform(-6, 6, (c, 1))
        unit = C / np.maximum(np.linalg.norm(C, axis=1, keepdims=True), 1e-300)
        if np.linalg.svd(unit, compute_uv=False)[-1] > 1e-3:
            return C


def dependent(r):
    """Rows of which one is a combination of the others, and values that agree with it or not."""
    C, k = rows(r), r.integers(c)
    others = np.delete(np.arange(c), k)
    C[k] = (
        10 ** r.uniform(-3, 3, 2) * r.choice([-1, 0, 1], 2) @ C[others] if r.random() < 0.9 else 0
    )
    return C


@jax.jit
def described(plan, a, C, e, key):
    field = GMRF(plan, a, 0.5).constrain(C, e)
    draws = field.sample(key, (4,))
    return (
        field.mean,
        field.marginal_variances(),
        field.log_determinant(),
        draws,
        field.log_prob(draws),
        field.log_prob(draws + C[0] / jnp.linalg.norm(C[0]) * 1e-3 * jnp.abs(draws).max()),
    )


def check(C, e, A, found, tolerance):
    mean, variances, logdet, draws, density, off = (np.asarray(x, float) for x in found)
    Q, R = np.linalg.qr(C.T)
    e, Z = np.linalg.solve(R.T, e), np.linalg.svd(Q.T)[2][c:].T
    sigma = np.linalg.inv(A)
    gain = sigma @ Q @ np.linalg.inv(Q.T @ sigma @ Q)
    scale = np.sqrt(np.diag(sigma).max()) + np.abs(mean).max()
    np.testing.assert_allclose(
        mean, 0.5 - gain @ (Q.T @ np.full(n, 0.5) - e), atol=tolerance * scale
    )
    wanted = Z @ np.linalg.inv(Z.T @ A @ Z) @ Z.T
    np.testing.assert_allclose(variances, np.diag(wanted), atol=tolerance * np.diag(sigma).max())
    assert (variances >= 0).all()
    np.testing.assert_allclose(logdet, np.linalg.slogdet(Z.T @ A @ Z)[1], atol=100 * tolerance)
    np.testing.assert_allclose(draws @ Q, np.broadcast_to(e, (4, c)), atol=tolerance * scale)
    law = stats.multivariate_normal(Z.T @ mean, Z.T @ wanted @ Z)
    np.testing.assert_allclose(density, law.logpdf(draws @ Z), atol=3000 * tolerance)
    np.testing.assert_array_equal(off, -np.inf)


@support.both_precisions
def test_constrained_fields_of_all_kinds_hold_their_own_draws(precision):
    """A constraint on nodes with e = 0 among them; C traced."""
    r = np.random.default_rng(0)
    tolerance = {"float64": 1e-10, "float32": 1e-4}[precision.name]
    for trial in range(150):
        A, C = matrix(r), rows(r)
        e = np.zeros(c) if r.random() < 0.5 else C @ r.normal(size=n)
        a = PLAN.values(A).astype(precision)
        given = PLAN, a, C.astype(precision), e.astype(precision), jax.random.key(trial)
        check(C.astype(precision).astype(float), e, A.toarray(), described(*given), tolerance)


@pytest.mark.slow
def test_nodes_held_at_zero():
    """Where C is known, from single nodes to all of them."""
    A = matrix(np.random.default_rng(1))
    field, sigma = GMRF(PLAN, PLAN.values(A)), np.linalg.inv(A.toarray())
    for k in (7, n):
        held = field.constrain(np.eye(n)[:k])
        draws = held.sample(jax.random.key(0), 50)
        assert draws.shape == (50, n)
        np.testing.assert_allclose(draws[:, :k], 0, atol=1e-15 * np.sqrt(sigma.max()))
        rest = A.toarray()[k:, k:]
        wanted = (
            stats.multivariate_normal(cov=np.linalg.inv(rest)).logpdf(draws[:, k:]) if k < n else 0
        )
        np.testing.assert_allclose(held.log_prob(draws), wanted, atol=1e-9)
        wanted = np.r_[np.zeros(k), np.diag(np.linalg.inv(rest))]
        np.testing.assert_allclose(held.marginal_variances(), wanted, atol=1e-12 * sigma.max())


@support.both_precisions
def test_dependent_rows_are_an_error_or_nan(precision):
    r = np.random.default_rng(2)
    A = matrix(r)
    a = PLAN.values(A).astype(precision)
    field = GMRF(PLAN, a)
    for trial in range(200):
        C, e = dependent(r), r.normal(size=c) * r.integers(2)
        with pytest.raises(ValueError, match="linearly independent rows; row"):
            field.constrain(C, e)
        found = described(PLAN, a, C.astype(precision), e.astype(precision), jax.random.key(trial))
        assert all(np.isnan(x).all() for x in found)


def test_what_is_said_of_dependent_rows():
    field, one = GMRF(PLAN, PLAN.values(GRID)), np.ones(n)
    with pytest.raises(ValueError, match=r"row 1 is a combination .*: leave it out"):
        field.constrain([one, 2 * one], [1, 2])
    with pytest.raises(ValueError, match=r"row 1 is a combination .*: and no x satisfies them all"):
        field.constrain([one, 2 * one], [1, 3])
    with pytest.raises(ValueError, match=r"row 1 is zero"):
        field.constrain([one, 0 * one])
    with pytest.raises(
        ValueError, match=r"row 1 is a combination .* of which 1 were there already"
    ):
        field.constrain(one).constrain(one)
    with pytest.raises(ValueError, match="linearly independent rows"):
        jax.jit(lambda e: field.constrain(one, e).constrain(3 * one, e).mean)(1.0)
    with pytest.raises(ValueError, match="at most 12 constraints in all"):
        field.constrain(np.eye(n)).constrain(one)
    with pytest.raises(ValueError, match="constraints that are finite"):
        field.constrain(np.where(np.arange(n) == 3, np.nan, 1))
    with pytest.raises(ValueError, match="constraint values that are finite"):
        field.constrain(one, np.inf)
    assert np.isnan(jax.jit(lambda e: field.constrain(one, e).log_prob(one))(np.nan))


def test_powers_of_years_are_independent():
    C, A = np.stack([YEARS**0, YEARS, YEARS**2]), GRID.toarray()
    held = GMRF(PLAN, PLAN.values(GRID)).constrain(C)
    Z = np.linalg.svd(np.vander(YEARS - YEARS.mean(), 3).T)[2][3:].T
    wanted = np.diag(Z @ np.linalg.inv(Z.T @ A @ Z) @ Z.T)
    np.testing.assert_allclose(held.marginal_variances(), wanted, atol=1e-6)


def test_constraints_of_any_container():
    field, C = GMRF(PLAN, PLAN.values(GRID), 1.0), np.stack([np.ones(n), np.eye(n)[4]])
    wanted = field.constrain(C, [1, 2]).mean
    for each in (
        sp.csr_array(C),
        sp.coo_matrix(C),
        jsparse.BCOO.fromdense(jnp.asarray(C)),
        C.tolist(),
        C > 0,
    ):
        np.testing.assert_allclose(field.constrain(each, [1, 2]).mean, wanted, rtol=1e-13)
    traced = jax.jit(lambda B: field.constrain(B, np.array([1, 2])).mean)(
        jsparse.BCOO.fromdense(jnp.asarray(C))
    )
    np.testing.assert_allclose(traced, wanted, rtol=1e-12)
    known = jsparse.BCOO.fromdense(jnp.asarray(C))
    inside = jax.jit(lambda: field.constrain(known, [1, 2]).mean)()
    np.testing.assert_allclose(inside, wanted, rtol=1e-12)
    with pytest.raises(TypeError, match="real constraints; got dtype complex"):
        field.constrain(1j * C)


def test_no_rows_are_no_constraint():
    field = GMRF(PLAN, PLAN.values(GRID))
    x = np.ones(n)
    for none in (np.zeros((0, n)), sp.csr_array((0, n))):
        assert field.constrain(none).log_prob(x) == field.log_prob(x)
    held = field.constrain(x, float(n))
    assert held.constrain(np.zeros((0, n)), np.zeros(0)).log_prob(x) == held.log_prob(x)


def test_single_precision_points_of_a_field_in_double():
    field = GMRF(PLAN, PLAN.values(GRID)).constrain(np.ones(n))
    x = field.sample(jax.random.key(0), 5).astype(jnp.float32)
    np.testing.assert_allclose(
        field.log_prob(x), field.log_prob(field.on_plane(x.astype(float))), rtol=1e-5
    )
    assert (field.log_prob(x.astype(float) + 1e-9) == -np.inf).all()


@pytest.mark.slow
def test_derivatives_through_constraints():
    """In C and e, against the same in dense JAX."""
    A, x = jnp.asarray(GRID.toarray()), jnp.asarray(np.random.default_rng(3).normal(size=n))
    a, C = PLAN.values(GRID), np.stack([np.ones(n), np.eye(n)[4] - np.eye(n)[7]])

    def ours(t):
        held = GMRF(PLAN, a, 0.3).constrain(C + t * jnp.outer(jnp.arange(2.0), x), t)
        return held.mean @ x + held.marginal_variances() @ x + held.log_determinant()

    def theirs(t):
        B = C + t * jnp.outer(jnp.arange(2.0), x)
        W = jnp.linalg.solve(A, B.T)
        gain = W @ jnp.linalg.inv(B @ W)
        sigma = jnp.linalg.inv(A) - gain @ W.T
        logdet = jnp.linalg.slogdet(A)[1] + jnp.linalg.slogdet(B @ W)[1]
        logdet = logdet - jnp.linalg.slogdet(B @ B.T)[1]
        mean = 0.3 - gain @ (B @ jnp.full(n, 0.3) - t)
        return mean @ x + jnp.diagonal(sigma) @ x + logdet

    found = jax.jit(lambda t: (jax.grad(ours)(t), jax.jvp(ours, (t,), (1.0,))[1]))(0.2)
    np.testing.assert_allclose(found, [jax.jit(jax.grad(theirs))(0.2)] * 2, rtol=1e-8)

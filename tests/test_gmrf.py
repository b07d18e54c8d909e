"""Gaussian Markov random fields against the dense multivariate normal."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support
from scipy import stats

import padchol
from padchol import assembly
from padchol.gmrf import GMRF, IntrinsicGMRF

pytestmark = [pytest.mark.core, pytest.mark.oldest, pytest.mark.shapes]

n = 25
Q = support.laplacian(5) + 0.3 * sp.eye_array(n)
B = sp.random_array((9, n), density=0.2, rng=np.random.default_rng(1), format="csr")
PLAN = padchol.analyze([Q, assembly.gram_pattern(B)])
LOC = np.linspace(-1, 2, n)
SIGMA = np.linalg.inv(Q.toarray())
C = np.stack([np.ones(n), np.arange(n) / n])
E = np.array([0.5, -0.25])


def field(loc=LOC, scale: Any = 1.0):
    return GMRF(PLAN, scale * jnp.asarray(PLAN.values(Q)), loc)


def dense_constrained(mean, sigma, C, e):
    """Mean and covariance of N(mean, sigma) given C x = e."""
    gain = sigma @ C.T @ np.linalg.inv(C @ sigma @ C.T)
    return mean - gain @ (C @ mean - e), sigma - gain @ C @ sigma


def dense_conditioned(B, y, noise):
    """Mean and covariance given y = B x + noise."""
    precision = Q.toarray() + B.T @ np.diag(noise) @ B
    sigma = np.linalg.inv(precision)
    return sigma @ (Q @ LOC + B.T @ (noise * y)), sigma


def test_log_density():
    x = np.random.default_rng(0).normal(size=(3, 2, n))
    expected = stats.multivariate_normal(LOC, SIGMA).logpdf(x)
    np.testing.assert_allclose(field().log_prob(x), expected, rtol=1e-12)
    np.testing.assert_allclose(jax.vmap(field().log_prob)(x[0]), expected[0], rtol=1e-12)
    zero = stats.multivariate_normal(np.zeros(n), SIGMA).logpdf(x[0, 0])
    np.testing.assert_allclose(GMRF(PLAN, PLAN.values(Q)).log_prob(x[0, 0]), zero, rtol=1e-12)


@pytest.mark.slow
def test_log_density_derivatives():
    x = jnp.asarray(np.random.default_rng(0).normal(size=n))
    support.check_gradients(lambda s: field(s * LOC, jnp.exp(s)).log_prob(x), jnp.asarray(0.3))


def test_samples_have_the_mean_and_the_covariance():
    draws = field().sample(jax.random.key(0), (200, 200))
    assert draws.shape == (200, 200, n)
    flat = np.asarray(draws).reshape(-1, n)
    np.testing.assert_allclose(flat.mean(0), LOC, atol=5 * np.sqrt(SIGMA.max() / len(flat)))
    np.testing.assert_allclose(np.cov(flat.T), SIGMA, atol=7 * SIGMA.max() / np.sqrt(len(flat)))


def test_marginal_variances():
    np.testing.assert_allclose(field().marginal_variances(), np.diag(SIGMA), rtol=1e-12)


@pytest.mark.parametrize("noise", [2.5, np.linspace(0.5, 4, 9)])
def test_conditioning_on_observations(noise):
    y = np.random.default_rng(2).normal(size=9)
    found = jax.jit(lambda y, t: field().condition(B, y, t))(y, noise)
    mean, sigma = dense_conditioned(B.toarray(), y, np.broadcast_to(noise, 9))
    np.testing.assert_allclose(found.mean, mean, rtol=1e-10)
    np.testing.assert_allclose(found.marginal_variances(), np.diag(sigma), rtol=1e-11)
    x = np.random.default_rng(3).normal(size=n)
    expected = stats.multivariate_normal(mean, sigma).logpdf(x)
    np.testing.assert_allclose(found.log_prob(x), expected, rtol=1e-10)


@pytest.mark.slow
def test_the_evidence_follows_from_the_densities_and_differentiates():
    y = jnp.asarray(np.random.default_rng(2).normal(size=9))
    x = jnp.zeros(n)
    dense = B.toarray()

    def evidence(t):
        prior, posterior = field(), field().condition(B, y, t)
        gap = y - dense @ x
        noise = (9 * jnp.log(t) - 9 * jnp.log(2 * jnp.pi) - t * gap @ gap) / 2
        return prior.log_prob(x) + noise - posterior.log_prob(x)

    sigma = dense @ SIGMA @ dense.T + np.eye(9) / 1.7
    expected = stats.multivariate_normal(dense @ LOC, sigma).logpdf(y)
    np.testing.assert_allclose(evidence(1.7), expected, rtol=1e-11)
    support.check_gradients(evidence, jnp.asarray(1.7))


def test_constraints():
    found = field().constrain(C, E)
    mean, sigma = dense_constrained(LOC, SIGMA, C, E)
    np.testing.assert_allclose(found.mean, mean, atol=1e-12)
    np.testing.assert_allclose(found.marginal_variances(), np.diag(sigma), atol=1e-12)
    draws = found.sample(jax.random.key(1), (500,))
    np.testing.assert_allclose(draws @ C.T, np.broadcast_to(E, (500, 2)), atol=1e-11)
    in_steps = field().constrain(C[0], E[0]).constrain(C[1], E[1])
    np.testing.assert_allclose(in_steps.mean, mean, atol=1e-12)


def test_the_density_under_constraints_is_that_of_the_plane():
    """In orthonormal coordinates of the plane C x = e."""
    found = field().constrain(C, E)
    mean, sigma = dense_constrained(LOC, SIGMA, C, E)
    x = np.asarray(found.sample(jax.random.key(2)))
    plane = np.linalg.svd(C)[2][2:]
    expected = stats.multivariate_normal(plane @ mean, plane @ sigma @ plane.T).logpdf(plane @ x)
    np.testing.assert_allclose(found.log_prob(x), expected, rtol=1e-10)
    assert found.log_prob(x + 1e-3) == -np.inf


def test_constraints_survive_conditioning():
    y, noise = np.random.default_rng(2).normal(size=9), np.full(9, 2.0)
    found = field().constrain(np.ones(n)).condition(B, y, 2.0)
    mean, sigma = dense_conditioned(B.toarray(), y, noise)
    mean, sigma = dense_constrained(mean, sigma, np.ones((1, n)), np.zeros(1))
    np.testing.assert_allclose(found.mean, mean, atol=1e-12)
    np.testing.assert_allclose(found.marginal_variances(), np.diag(sigma), atol=1e-12)


def test_failure_is_never_a_number():
    broken = GMRF(PLAN, -PLAN.values(Q))
    for f in (broken, broken.constrain(np.ones(n)), broken.condition(B, np.ones(9), 1e-3)):
        assert np.isnan(f.log_prob(LOC))
        assert np.isnan(f.marginal_variances()).all()
        assert np.isnan(f.sample(jax.random.key(0))).all()


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"loc a number or of shape \(25,\); got \(3,\)"):
        field(np.ones(3))
    with pytest.raises(ValueError, match=r"x of shape \(\.\.\., 25\); got shape \(24,\)"):
        field().log_prob(np.ones(24))
    with pytest.raises(ValueError, match=r"C of shape \(c, 25\) or \(25,\); got \(1, 3\)"):
        field().constrain(np.ones(3))
    with pytest.raises(ValueError, match=r"e a number or of shape \(2,\); got \(3,\)"):
        field().constrain(C, np.ones(3))
    with pytest.raises(ValueError, match=r"y of shape \(9,\), the rows of B"):
        field().condition(B, np.ones(4), 1.0)
    other = padchol.analyze(Q)
    with pytest.raises(ValueError, match="pattern is contained in the plan's"):
        GMRF(other, other.values(Q)).condition(B, np.ones(9), 1.0)


# ---- intrinsic fields -------------------------------------------------------------------------

R = support.graph_laplacian(sp.block_diag([support.grid(4, 5), support.path(5)], "csc"))
NULL = np.stack([np.arange(n) < 20, np.arange(n) >= 20], 1).astype(float)  # two components
R_PLAN = padchol.analyze([R, assembly.gram_pattern(B)])
TILTED = NULL.T + 0.1 * np.random.default_rng(5).normal(size=(2, n))  # other constraints


def intrinsic(tau=1.7, **options):
    return IntrinsicGMRF(R_PLAN, tau * jnp.asarray(R_PLAN.values(R)), NULL, LOC, **options)


def dense_intrinsic(C, tau=1.7):
    """log |Z^T Q Z| and the covariance on the plane C x = 0, Z an orthonormal basis of it."""
    Z = np.linalg.svd(C)[2][2:].T
    inner = Z.T @ (tau * R.toarray()) @ Z
    return np.linalg.slogdet(inner)[1], Z @ np.linalg.inv(inner) @ Z.T


@jax.jit
def described(field, x, key):
    return (
        field.log_determinant(),
        field.log_prob(x),
        field.marginal_variances(),
        field.sample(key, (40_000,)),
    )


@pytest.mark.parametrize("constraints", [None, TILTED], ids=["orthogonal", "tilted"])
def test_intrinsic_field(constraints):
    C = NULL.T if constraints is None else constraints
    x = np.random.default_rng(0).normal(size=n)
    given = described(intrinsic(constraints=constraints), x, jax.random.key(0))
    logdet, density, variances, draws = given
    expected, covariance = dense_intrinsic(C)
    if constraints is None:
        eigenvalues = np.linalg.eigvalsh(1.7 * R.toarray())
        np.testing.assert_allclose(expected, np.log(eigenvalues[2:]).sum(), rtol=1e-11)
        np.testing.assert_allclose(covariance, np.linalg.pinv(1.7 * R.toarray()), atol=1e-12)
    np.testing.assert_allclose(logdet, expected, rtol=1e-11)
    square = (x - LOC) @ (1.7 * R) @ (x - LOC)
    expected = (expected - (n - 2) * np.log(2 * np.pi) - square) / 2
    np.testing.assert_allclose(density, expected, rtol=1e-11)
    np.testing.assert_allclose(variances, np.diag(covariance), rtol=1e-10)
    draws = np.asarray(draws)
    np.testing.assert_allclose((draws - LOC) @ C.T, 0, atol=1e-11)
    bound = 7 * covariance.max() / np.sqrt(len(draws))
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=bound)


def test_intrinsic_density_is_blind_to_the_null_space():
    """And where no constraint is needed, C on the plane, it is that of the constrained field."""
    field, x = intrinsic(), np.random.default_rng(0).normal(size=n)
    assert field.rank_deficiency == 2
    moved = field.log_prob(np.stack([x, x + NULL @ [3.0, -7.0]]))
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-12)


def test_intrinsic_derivatives():
    """In tau: (n - k) / (2 tau) - (x - loc)^T R (x - loc) / 2 and its derivative."""
    x = np.random.default_rng(0).normal(size=n)
    f = lambda tau: intrinsic(tau).log_prob(x)
    first, second = jax.jit(lambda t: (jax.grad(f)(t), jax.grad(jax.grad(f))(t)))(1.7)
    square = (x - LOC) @ R @ (x - LOC)
    np.testing.assert_allclose(first, (n - 2) / (2 * 1.7) - square / 2, rtol=1e-11)
    np.testing.assert_allclose(second, -(n - 2) / (2 * 1.7**2), rtol=1e-10)


def test_intrinsic_conditioning():
    """The posterior is proper; constraining it is conditioning the constrained field."""
    y, dense = np.random.default_rng(2).normal(size=9), B.toarray()
    assert np.linalg.matrix_rank(dense @ NULL) == 2
    found = intrinsic().condition(B, y, 2.5)
    precision = 1.7 * R.toarray() + 2.5 * dense.T @ dense
    mean = np.linalg.solve(precision, 1.7 * R @ LOC + 2.5 * dense.T @ y)
    np.testing.assert_allclose(found.mean, mean, atol=1e-10)
    np.testing.assert_allclose(
        found.marginal_variances(), np.diag(np.linalg.inv(precision)), rtol=1e-9
    )
    held = found.constrain(NULL.T, NULL.T @ LOC)
    _, prior = dense_intrinsic(NULL.T)
    gain = prior @ dense.T @ np.linalg.inv(dense @ prior @ dense.T + np.eye(9) / 2.5)
    np.testing.assert_allclose(held.mean, LOC + gain @ (y - dense @ LOC), atol=1e-10)
    np.testing.assert_allclose(
        held.marginal_variances(), np.diag(prior - gain @ dense @ prior), atol=1e-10
    )


def test_what_is_no_intrinsic_field_is_no_number():
    values = R_PLAN.values(R)
    for field in (
        IntrinsicGMRF(R_PLAN, -values, NULL),
        IntrinsicGMRF(R_PLAN, values, NULL + np.eye(n, 2)),  # not its null space
        IntrinsicGMRF(R_PLAN, R_PLAN.values(R + sp.eye_array(n)), NULL),
        IntrinsicGMRF(R_PLAN, values, NULL.sum(1)),  # not all of it
    ):
        assert np.isnan(field.log_prob(LOC))
    assert np.isnan(field.marginal_variances()).all()
    assert np.isnan(field.sample(jax.random.key(0))).all()


def test_what_does_not_fit_an_intrinsic_field_is_named():
    values = R_PLAN.values(R)
    with pytest.raises(ValueError, match=r"got \(25, 2\) and \(1, 25\)"):
        IntrinsicGMRF(R_PLAN, values, NULL, constraints=np.ones((1, n)))
    with pytest.raises(ValueError, match=r"null space of 25 rows; got shape \(24, 2\)"):
        IntrinsicGMRF(R_PLAN, values, NULL[1:])
    with pytest.raises(ValueError, match="constraints of full rank 2"):
        IntrinsicGMRF(R_PLAN, values, NULL, constraints=np.ones((2, n)))
    with pytest.raises(ValueError, match="known when the field is traced"):
        jax.jit(lambda N: IntrinsicGMRF(R_PLAN, values, N).log_determinant())(NULL)

"""Nested Laplace against integration by brute force, on models small enough for it."""

import functools
import itertools
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

import padchol
from padchol import inla, likelihoods
from padchol.inla import _points
from padchol.inla._evaluation import Evaluated, devices_for
from padchol.inla._mode import Mode
from padchol.laplace import design, laplace

# ---- Gaussian observations: all is exact given theta ---------------------------------------------

n = 8
rng = np.random.default_rng(3)
Q = sp.csc_array(sp.diags_array([-1.0, 2.4, -1.0], offsets=[-1, 0, 1], shape=(n, n)))
B = sp.csr_array(np.concatenate([np.eye(n), 0.5 * np.eye(n)[::2] + 0.5 * np.eye(n)[1::2]]))
PLAN = padchol.analyze([Q, padchol.assembly.gram_pattern(B)])
DESIGN = design(PLAN, B)
PRIOR = PLAN.values(Q)
Y = rng.normal(size=B.shape[0]) + np.sin(np.arange(B.shape[0]))
START = np.array([0.3, -0.4])
SHAPES = 3.0, 2.0  # of the gamma priors of both precisions, with rates 2 and 1.5


def gaussian(theta):
    """theta: log precisions of the field and of the noise."""
    return laplace(DESIGN, likelihoods.gaussian(Y, jnp.exp(theta[1])), jnp.exp(theta[0]) * PRIOR)


def log_prior(theta):
    return (
        SHAPES[0] * theta[0]
        - 2 * jnp.exp(theta[0])
        + SHAPES[1] * theta[1]
        - 1.5 * jnp.exp(theta[1])
    )


def dense(theta):
    """log p(y, theta), and mean and covariance of x."""
    s, t = np.exp(theta)
    whole = B @ np.linalg.inv(s * Q.toarray()) @ B.T + np.eye(B.shape[0]) / t
    value = stats.multivariate_normal(np.zeros(B.shape[0]), whole).logpdf(Y)
    S = np.linalg.inv(s * Q.toarray() + t * (B.T @ B).toarray())
    return value + float(log_prior(theta)), t * S @ (B.T @ Y), S


@pytest.fixture(scope="module")
def integrated():
    """By a fine lattice, with numpy: weights, thetas, means and standard deviations of x."""
    side = np.linspace(-5.5, 4.5, 101)
    thetas = np.array(list(itertools.product(side, side)))
    found = [dense(theta) for theta in thetas]
    value = np.array([f[0] for f in found])
    weights = np.exp(value - value.max())
    evidence = np.log(weights.sum() * (side[1] - side[0]) ** 2) + value.max()
    return weights / weights.sum(), thetas, found, evidence


@functools.cache
def once():
    return inla.integrate(gaussian, log_prior, START)


@pytest.fixture
def posterior():
    """Made inside of a test: in double precision, as those are."""
    return once()


def test_theta_is_integrated_out(posterior, integrated):
    weights, thetas, found, evidence = integrated
    assert posterior.converged
    assert posterior.message == ""
    np.testing.assert_allclose(posterior.log_evidence, evidence, atol=5e-3)
    mean = weights @ thetas
    sd = np.sqrt(weights @ (thetas - mean) ** 2)
    np.testing.assert_allclose(posterior.hyper.mean, mean, atol=0.01)
    np.testing.assert_allclose(posterior.hyper.sd, sd, rtol=0.02)
    x = np.array([f[1] for f in found])
    variance = np.array([np.diag(f[2]) for f in found])
    expected = weights @ x
    spread = np.sqrt(weights @ (variance + (x - expected) ** 2))
    np.testing.assert_allclose(posterior.latent.mean, expected, atol=2e-3)
    np.testing.assert_allclose(posterior.latent.sd, spread, rtol=5e-3)
    np.testing.assert_allclose(posterior.predictor.mean, B @ expected, atol=2e-3)


def test_marginals_of_theta(posterior, integrated):
    weights, thetas, _, _ = integrated
    for j in range(2):
        side = np.unique(thetas[:, j])
        share = np.array(
            [weights[thetas[:, j] < t].sum() + weights[thetas[:, j] == t].sum() / 2 for t in side]
        )
        q = np.array([0.025, 0.25, 0.5, 0.75, 0.975])
        found = posterior.hyper.quantile(q)[:, j]
        np.testing.assert_allclose(found, np.interp(q, share, side), atol=0.02)
        density = posterior.hyper.density(j)
        t = np.linspace(side[0], side[-1], 4001)
        np.testing.assert_allclose(np.trapezoid(density(t), t), 1, atol=1e-3)
        of_side = np.array([weights[thetas[:, j] == t].sum() for t in side]) / (side[1] - side[0])
        np.testing.assert_allclose(density(side), of_side, atol=0.03 * of_side.max())
        np.testing.assert_allclose(posterior.hyper.cdf(j)(found), q, atol=1e-3)


def test_functions_of_theta(posterior, integrated):
    weights, thetas, _, _ = integrated
    precision = posterior.hyper_of(jnp.exp)
    np.testing.assert_allclose(precision.mean, weights @ np.exp(thetas), rtol=0.01)
    both = np.cov(thetas.T, aweights=weights, ddof=0)
    np.testing.assert_allclose(posterior.hyper.covariance, both, atol=0.02 * both.max())
    assert repr(precision).startswith(f"Weighted(mean={precision.mean}, sd=")
    ratio = posterior.hyper_of(lambda t: t[0] - t[1])
    assert np.ndim(ratio.mean) == 0
    np.testing.assert_allclose(ratio.mean, weights @ (thetas[:, 0] - thetas[:, 1]), atol=0.01)
    assert ratio.quantile([0.1, 0.9]).shape == (2,)
    median = posterior.hyper.quantile(0.5)
    np.testing.assert_allclose(precision.quantile(0.5), np.exp(median), rtol=2e-3)


def test_quantiles_of_the_latent_field(posterior, integrated):
    weights, _, found, _ = integrated
    for i in (0, 3):
        law = stats.norm([f[1][i] for f in found], [f[2][i, i] ** 0.5 for f in found])
        for q in (0.05, 0.5, 0.9):
            t = posterior.latent.quantile(q)[i]
            np.testing.assert_allclose(weights @ law.cdf(t), q, atol=2e-3)
            np.testing.assert_allclose(posterior.latent.cdf(i)(t), q, atol=1e-9)
        t = np.linspace(-6, 6, 2001)
        density = posterior.latent.density(i)(t)
        np.testing.assert_allclose(np.trapezoid(density, t), 1, atol=1e-6)
        np.testing.assert_allclose(density[1000], weights @ law.pdf(0.0), rtol=0.01)
    assert posterior.latent.quantile([0.1, 0.5, 0.9]).shape == (3, n)
    normal = posterior.latent.expectation(np.square)
    expected = posterior.latent.mean**2 + posterior.latent.sd**2
    np.testing.assert_allclose(normal, expected, rtol=1e-10)


def test_combinations(posterior, integrated):
    weights, _, found, _ = integrated
    A = np.zeros((3, n))
    A[0, 2] = 1
    A[1, [0, 7]] = 1, -1
    A[2] = 1 / n
    combined = posterior.combination(sp.csr_array(A))
    means = np.array([A @ f[1] for f in found])
    variances = np.array([np.diag(A @ f[2] @ A.T) for f in found])
    mean = weights @ means
    np.testing.assert_allclose(combined.mean, mean, atol=2e-3)
    np.testing.assert_allclose(
        combined.sd, np.sqrt(weights @ (variances + (means - mean) ** 2)), rtol=5e-3
    )
    np.testing.assert_allclose(posterior.combination(A[2]).mean, combined.mean[2:], rtol=1e-10)
    with pytest.raises(ValueError, match=r"combinations of shape \(m, 8\) or \(8,\); got \(2, 3\)"):
        posterior.combination(np.ones((2, 3)))


def test_samples(posterior):
    theta, x = posterior.sample(jax.random.key(0), (40, 100))
    assert theta.shape == (40, 100, 2)
    assert x.shape == (40, 100, n)
    x, theta = np.asarray(x).reshape(-1, n), np.asarray(theta).reshape(-1, 2)
    error = posterior.latent.sd / np.sqrt(len(x))
    assert (abs(x.mean(0) - posterior.latent.mean) < 5 * error).all()
    np.testing.assert_allclose(x.std(0), posterior.latent.sd, rtol=0.06)
    np.testing.assert_allclose(theta.mean(0), posterior.weights @ posterior.points, atol=0.06)
    alone = posterior.sample(jax.random.key(1))
    assert alone[0].shape == (2,)
    assert alone[1].shape == (n,)


def test_one_device_and_several_agree(posterior, monkeypatch):
    from padchol.inla import _integrate

    monkeypatch.setattr(_integrate, "devices_for", lambda *_: 1)
    alone = inla.integrate(gaussian, log_prior, START)
    assert jax.local_device_count() == 1 or alone._devices != posterior._devices
    np.testing.assert_allclose(alone.log_evidence, posterior.log_evidence, rtol=1e-10)
    np.testing.assert_allclose(alone.latent.mean, posterior.latent.mean, atol=1e-10)


class Held(eqx.Module):
    """An approximation that holds arrays, and so has no hash."""

    y: jax.Array

    def __call__(self, theta):
        return gaussian(theta)


def test_a_posterior_says_what_it_is(posterior):
    text = repr(posterior)
    assert text.startswith(f"Posterior(theta {posterior.hyper.mean[0]:.4g} (")
    assert text.endswith(f"{len(posterior.points)} points, {n} latent, {B.shape[0]} observations)")
    assert repr(posterior.latent) == f"Marginals of {n}, corrected='gaussian'"
    assert posterior.dic == posterior.criteria.dic


def test_modules_are_approximations():
    assert devices_for(Held(jnp.ones(3)), 2) == devices_for(gaussian, 2)


def test_strategies_agree(posterior):
    alone = inla.integrate(gaussian, log_prior, START, strategy="eb")
    assert alone.points.shape == (1, 2)
    np.testing.assert_allclose(alone.points[0], alone.mode, atol=1e-12)
    np.testing.assert_allclose(alone.log_evidence, posterior.log_evidence, atol=0.1)
    np.testing.assert_allclose(alone.latent.mean, posterior.latent.mean, atol=0.1)
    _, mean, S = dense(alone.mode)
    np.testing.assert_allclose(alone.latent.mean, mean, atol=1e-10)
    np.testing.assert_allclose(alone.latent.sd, np.sqrt(np.diag(S)), rtol=1e-10)


def test_the_mode_is_that_of_a_search_without_derivatives(posterior):
    import scipy.optimize

    found = scipy.optimize.minimize(
        lambda t: -dense(t)[0], START, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10}
    )
    np.testing.assert_allclose(posterior.mode, found.x, atol=2e-3)
    h = 1e-3
    H = np.array(
        [
            [
                sum(
                    s * t * dense(found.x + h * (s * np.eye(2)[i] + t * np.eye(2)[j]))[0]
                    for s in (-1, 1)
                    for t in (-1, 1)
                )
                / (4 * h**2)
                for j in range(2)
            ]
            for i in range(2)
        ]
    )
    np.testing.assert_allclose(posterior.mode_covariance, np.linalg.inv(-H), rtol=1e-2, atol=1e-3)


# ---- designs -------------------------------------------------------------------------------------


def of_normal(mean, precision):
    """An evaluator of a normal density of theta."""

    def evaluate(theta):
        apart = theta - mean
        k = len(apart)
        value = -np.einsum("kp,pq,kq->k", apart, precision, apart) / 2
        nothing = np.zeros((k, 1))
        return Evaluated(value, -apart @ precision, *[nothing] * 5, converged=np.ones(k, bool))

    evaluate.dtype = np.dtype(float)
    return evaluate, Mode(np.asarray(mean, float), 0.0, precision, "")


@pytest.mark.parametrize("p", [1, 2, 3, 4, 6])
def test_rules_integrate_a_normal_density(p):
    root = np.random.default_rng(p).normal(size=(p, p)) + 2 * np.eye(p)
    precision = root @ root.T
    evaluate, mode = of_normal(np.arange(p) / 3, precision)
    along = _points.axes(evaluate, mode)
    np.testing.assert_allclose(along.stretch, 1, rtol=1e-9)
    np.testing.assert_allclose(along.vectors @ along.vectors.T, np.linalg.inv(precision), rtol=1e-9)
    volume = np.log(2 * np.pi) * p / 2 - np.linalg.slogdet(precision)[1] / 2
    rules = [_points.at_the_mode, _points.composite, *([_points.lattice] if p < 4 else [])]
    for rule in rules:
        points = rule(evaluate, along)
        weight = np.exp(points.log_weight + points.found.log_density - volume)
        lattice = rule is _points.lattice
        np.testing.assert_allclose(weight.sum(), 1, atol=0.02 if lattice else 1e-10)
        np.testing.assert_allclose(weight @ points.z, 0, atol=1e-9)
        if rule is not _points.at_the_mode:
            square = np.einsum("k,ki,kj->ij", weight, points.z, points.z)
            np.testing.assert_allclose(square, np.eye(p), atol=0.08 if lattice else 1e-10)


@pytest.mark.parametrize("p", range(1, 13))
def test_factorials_are_of_resolution_five(p):
    signs = _points.factorial(p)
    assert (abs(signs) == 1).all()
    assert len(signs) <= 2**p
    for k in range(1, 5):
        for columns in itertools.combinations(range(p), k):
            assert signs[:, columns].prod(1).sum() == 0
    assert [len(_points.factorial(k)) for k in (5, 6, 8, 11)] == [16, 32, 64, 128]


# ---- what is refused, and failures ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: inla.integrate(gaussian, log_prior, START, strategy="mcmc"),
            ValueError,
            "grid, ccd, eb",
        ),
        (
            lambda: inla.integrate(gaussian, log_prior, START, corrected="full"),
            ValueError,
            "simplified",
        ),
        (lambda: inla.integrate(gaussian, log_prior, 0.0), ValueError, r"shape \(p,\); got \(\)"),
        (lambda: inla.integrate(gaussian, log_prior, [0.0, np.nan]), ValueError, "finite start"),
        (lambda: inla.integrate(gaussian, log_prior, START, correct=0.5), ValueError, "indices"),
        (
            lambda: inla.integrate(cast(Any, jnp.sum), log_prior, START),
            TypeError,
            "padchol.laplace.laplace",
        ),
        (
            lambda: inla.integrate(gaussian, lambda theta: -(theta**2), START),
            ValueError,
            r"a log_prior that gives a number; got shape \(2,\)",
        ),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_refused_of_results(posterior):
    with pytest.raises(ValueError, match="probabilities from 0 to 1"):
        posterior.latent.quantile(1.5)
    with pytest.raises(ValueError, match="simplified"):
        posterior.latent.quantile(0.5, corrected="skew")
    with pytest.raises(IndexError, match="below 2; got 5"):
        posterior.hyper.density(5)
    with pytest.raises(ValueError, match=r"a number or a vector; got shape \(2, 2\)"):
        posterior.hyper_of(lambda theta: jnp.outer(theta, theta))
    with pytest.raises(ValueError, match="finite where theta has weight; it is not"):
        posterior.hyper_of(lambda theta: jnp.nan * theta)
    with pytest.raises(ValueError, match="an entry that is not a constant; got 2"):
        posterior.hyper_of(lambda theta: 0 * theta[0] + 2.0).density()
    with pytest.raises(ValueError, match="finite coefficients of combinations; got NaN"):
        posterior.combination(np.full((1, n), np.nan))


def test_failures_are_not_numbers():
    """No density at the start; a log density without a maximum."""
    nowhere = inla.integrate(gaussian, lambda t: jnp.nan * t[0], START)
    assert not nowhere.converged
    assert "no log density at the start" in nowhere.message
    flat = inla.integrate(gaussian, lambda t: 5.0 * t[0] - gaussian(t).log_marginal, START)
    assert not flat.converged
    for failed in (nowhere, flat):
        assert "converged=False" in repr(failed)
        assert np.isnan(failed.log_evidence)
        assert np.isnan(failed.hyper.mean).all()
        assert np.isnan(failed.latent.mean).all()
        assert np.isnan(failed.latent.quantile(0.5)).all()
        assert np.isnan(failed.mode_covariance).all()

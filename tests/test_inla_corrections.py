"""Means, skewness and model criteria given theta, against quadrature in all dimensions."""

import functools
import itertools

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from scipy import special, stats

import padchol
from padchol import inla, likelihoods
from padchol.gmrf import GMRF
from padchol.laplace import design, laplace

# ---- three counts: no theta, the posterior of x on a lattice ------------------------------------

n = 3
Q = np.array([[1.5, -0.8, 0.0], [-0.8, 1.9, -0.7], [0.0, -0.7, 1.2]])
COUNTS = np.array([0.0, 1.0, 4.0])
EXPOSURE = np.array([1.5, 2.0, 1.0])
PLAN = padchol.analyze(sp.csc_array(Q))
DESIGN = design(PLAN, sp.eye_array(n, format="csr"))
PRIOR = PLAN.values(sp.csc_array(Q))
NOTHING = np.zeros(0)


def counts(theta):
    del theta
    return laplace(DESIGN, likelihoods.poisson(COUNTS, EXPOSURE), PRIOR)


@functools.cache
def of_counts(corrected="gaussian"):
    return inla.integrate(counts, lambda theta: 0.0, NOTHING, corrected=corrected)


@functools.cache
def lattice():
    """Points x, their log prior density, and log p(y_i | x_i) for each."""
    side = np.linspace(-7, 5, 97)
    x = np.array(list(itertools.product(side, repeat=n)))
    prior = stats.multivariate_normal(np.zeros(n), np.linalg.inv(Q)).logpdf(x)
    terms = stats.poisson(EXPOSURE * np.exp(x)).logpmf(COUNTS)
    return x, prior + n * np.log(side[1] - side[0]), terms


def exact_weights():
    x, prior, terms = lattice()
    value = prior + terms.sum(1)
    return x, np.exp(value - special.logsumexp(value)), special.logsumexp(value)


def test_means_are_those_of_the_posterior():
    x, weights, evidence = exact_weights()
    mean = weights @ x
    sd = np.sqrt(weights @ (x - mean) ** 2)
    found = of_counts()
    assert found.converged
    mode = counts(NOTHING).mode
    assert (abs(mode - mean) / sd).max() > 0.1  # where the Gaussian sits without a correction
    np.testing.assert_allclose(found.latent.mean, mean, atol=0.02 * sd.min())
    np.testing.assert_allclose(found.latent.sd, sd, rtol=0.05)
    np.testing.assert_allclose(found.log_evidence, evidence, atol=0.05)


@pytest.mark.slow
def test_means_corrected_along_some_entries():
    """None, one, and all in turn: what is moved is along columns of the covariance."""
    mode = np.asarray(counts(NOTHING).mode)
    none = inla.integrate(counts, lambda theta: 0.0, NOTHING, correct=())
    np.testing.assert_allclose(none.latent.mean, mode, atol=1e-12)
    one = inla.integrate(counts, lambda theta: 0.0, NOTHING, correct=[1])
    S = np.linalg.inv(Q + np.diag(EXPOSURE * np.exp(mode)))
    moved = one.latent.mean - mode
    np.testing.assert_allclose(moved, S[:, 1] * moved[1] / S[1, 1], atol=1e-9)
    # Stationary: the expected gradient of the log density vanishes along S[:, 1].
    mean, variance = one.latent.mean, np.diag(S)
    gradient = COUNTS - EXPOSURE * np.exp(mean + variance / 2) - Q @ mean
    np.testing.assert_allclose(S[:, 1] @ gradient, 0, atol=1e-6)
    every = inla.integrate(counts, lambda theta: 0.0, NOTHING, correct=[0, 1, 2])
    np.testing.assert_allclose(every.latent.mean, of_counts().latent.mean, atol=1e-5)


def test_skewness():
    x, weights, _ = exact_weights()
    mean = weights @ x
    sd = np.sqrt(weights @ (x - mean) ** 2)
    skewness = weights @ (x - mean) ** 3 / sd**3
    found = of_counts("simplified")
    np.testing.assert_allclose(found._skewness[0][0], skewness, atol=0.12)
    assert (np.sign(skewness) == np.sign(found._skewness[0][0])).all()
    for q in (0.01, 0.025, 0.5, 0.975, 0.99):
        exact = []
        for i in range(n):
            side = np.unique(x[:, i])
            each = np.array([weights[x[:, i] == t].sum() for t in side])
            exact.append(np.interp(q, np.cumsum(each) - each / 2, side))
        error = abs(found.latent.quantile(q) - exact) / sd
        plain = abs(found.latent.quantile(q, corrected="gaussian") - exact) / sd
        assert error.max() < 0.12
        assert error.max() < plain.max()
    t = np.linspace(-12, 8, 4001)
    for law in (found.latent, found.predictor):
        np.testing.assert_allclose(np.trapezoid(law.density(0)(t), t), 1, atol=1e-6)
        np.testing.assert_allclose(law.cdf(0)(law.quantile(0.3)[0]), 0.3, atol=1e-9)


def test_criteria_of_counts():
    x, weights, _ = exact_weights()
    _, prior, terms = lattice()
    found = of_counts().criteria
    for i in range(n):
        others = prior + np.delete(terms, i, 1).sum(1)
        left = np.exp(others - special.logsumexp(others))
        np.testing.assert_allclose(found.cpo[i], left @ np.exp(terms[:, i]), rtol=0.03)
        cdf = stats.poisson(EXPOSURE[i] * np.exp(x[:, i])).cdf(COUNTS[i])
        np.testing.assert_allclose(found.pit[i], left @ cdf, atol=0.015)
    spread = weights @ terms**2 - (weights @ terms) ** 2
    waic = -2 * (np.log(weights @ np.exp(terms)) - spread).sum()
    np.testing.assert_allclose(found.waic, waic, atol=0.15)
    np.testing.assert_allclose(found.effective_waic, spread.sum(), atol=0.08)
    deviance = -2 * (weights @ terms).sum()
    at_mean = -2 * stats.poisson(EXPOSURE * np.exp(weights @ x)).logpmf(COUNTS).sum()
    np.testing.assert_allclose(found.dic, 2 * deviance - at_mean, atol=0.1)
    np.testing.assert_allclose(found.effective_dic, deviance - at_mean, atol=0.05)
    assert (found.failure == 0).all()


@pytest.mark.slow
def test_on_a_plane_means_stay_on_it():
    """x sums to zero: means, samples and skewness are those on the plane."""

    def held(theta):
        del theta
        field = GMRF(PLAN, PRIOR).constrain(np.ones(n))
        return laplace(DESIGN, likelihoods.poisson(COUNTS, EXPOSURE), field)

    found = inla.integrate(held, lambda theta: 0.0, NOTHING)
    # On the plane: x = Z u, u in two dimensions.
    Z = np.linalg.svd(np.ones((1, n)))[2][1:].T
    side = np.linspace(-5, 5, 301)
    u = np.array(list(itertools.product(side, repeat=2)))
    x = u @ Z.T
    value = stats.poisson(EXPOSURE * np.exp(x)).logpmf(COUNTS).sum(1)
    value += stats.multivariate_normal(np.zeros(2), np.linalg.inv(Z.T @ Q @ Z)).logpdf(u)
    weights = np.exp(value - special.logsumexp(value))
    mean = weights @ x
    sd = np.sqrt(weights @ (x - mean) ** 2)
    np.testing.assert_allclose(found.latent.mean, mean, atol=0.03 * sd.min())
    np.testing.assert_allclose(found.latent.mean.sum(), 0, atol=1e-12)
    np.testing.assert_allclose(found.latent.sd, sd, rtol=0.05)
    skewness = weights @ (x - mean) ** 3 / sd**3
    np.testing.assert_allclose(found._skewness[0][0], skewness, atol=0.12)
    combined = found.combination(np.array([[1.0, 1, 1], [1, 0, 0]]))
    np.testing.assert_allclose(combined.sd, [0, found.latent.sd[0]], atol=1e-7)


# ---- Gaussian observations: leaving one out is exact --------------------------------------------

Y = np.array([0.3, -1.2, 1.9])


def noisy(theta):
    return laplace(DESIGN, likelihoods.gaussian(Y, jnp.exp(theta[0])), PRIOR)


def log_prior(theta):
    return 3 * theta[0] - 2 * jnp.exp(theta[0])


@pytest.mark.slow
def test_criteria_of_gaussian_observations():
    found = inla.integrate(noisy, log_prior, np.zeros(1))
    thetas = np.linspace(-6, 4, 401)
    S = np.linalg.inv(Q)
    value, cpo, pit = [], [], []
    for theta in thetas:
        whole = S + np.eye(n) * np.exp(-theta)
        value.append(stats.multivariate_normal(np.zeros(n), whole).logpdf(Y) + log_prior([theta]))
        P = np.linalg.inv(whole)
        law = stats.norm(Y - P @ Y / np.diag(P), np.diag(P) ** -0.5)
        cpo.append(law.pdf(Y))
        pit.append(law.cdf(Y))
    weights = np.exp(np.array(value) - np.max(value))
    weights /= weights.sum()
    cpo = np.array(cpo)
    expected = 1 / (weights @ (1 / cpo))
    np.testing.assert_allclose(found.cpo, expected, rtol=2e-3)
    share = weights[:, None] / cpo * expected
    np.testing.assert_allclose(found.pit, (share * np.array(pit)).sum(0), atol=2e-3)
    np.testing.assert_allclose(found.cpo_failure, 0)


@pytest.mark.parametrize("scale", [1.0, 1e3])
@pytest.mark.slow
def test_an_observation_that_is_alone_has_no_criterion(scale):
    """Without its one observation a flat direction has no law: the CPO is NaN, not a number."""

    def flat(theta):
        del theta
        Q = np.diag([1e-12, 1.0, 1.0])
        return laplace(DESIGN, likelihoods.gaussian(Y, scale), PLAN.values(sp.csc_array(Q)))

    found = inla.integrate(flat, lambda theta: 0.0, NOTHING)
    assert found.cpo_failure.tolist() == [1, 0, 0]
    assert np.isnan(found.cpo).tolist() == [True, False, False]


@pytest.mark.slow
def test_plain_functions_are_likelihoods_too():
    """Criteria that need no distribution function; PIT is NaN."""

    def plain(theta):
        tau = jnp.exp(theta[0])
        return laplace(
            DESIGN, lambda eta: (jnp.log(tau / (2 * jnp.pi)) - tau * (Y - eta) ** 2) / 2, PRIOR
        )

    found, same = (inla.integrate(f, log_prior, np.zeros(1)) for f in (plain, noisy))
    np.testing.assert_allclose(found.log_evidence, same.log_evidence, rtol=1e-10)
    np.testing.assert_allclose(found.waic, same.waic, rtol=1e-8)
    np.testing.assert_allclose(found.cpo, same.cpo, rtol=1e-8)
    assert np.isnan(found.pit).all()

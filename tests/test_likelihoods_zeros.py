"""Counts of linear variance, without zeros, with more zeros; weights; beside scipy's laws."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from padchol import likelihoods

ETA = np.array([-3.0, -1.2, -0.4, 0.3, 0.8, 2.5])
Y = np.array([0, 1, 3, 0, 7, 2])
SOME = np.maximum(Y, 1)
MU = np.exp(ETA)


def nbinom(size):
    return stats.nbinom(size, size / (size + MU))


CASES = {
    "linear": (lambda y: likelihoods.linear_negative_binomial(y, 1.7), nbinom(MU / 1.7)),
    "poisson": (likelihoods.poisson, stats.poisson(MU)),
    "quadratic": (lambda y: likelihoods.negative_binomial(y, 1.7), nbinom(1.7)),
}


@pytest.mark.parametrize("name", CASES)
def test_truncated_counts(name):
    make, law = CASES[name]
    terms, eta = likelihoods.truncated(make(SOME)), jnp.asarray(ETA)
    none = law.pmf(0)
    np.testing.assert_allclose(
        terms(eta), law.logpmf(SOME) - np.log1p(-none), rtol=1e-10, atol=1e-13
    )
    np.testing.assert_allclose(
        terms.cdf(eta), (law.cdf(SOME) - none) / (1 - none), rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(terms.mean(eta), law.mean() / (1 - none), rtol=1e-12)
    assert likelihoods.truncated(make(Y))(eta)[0] == -jnp.inf
    far = likelihoods.truncated(make(np.ones(2)))(jnp.array([-40.0, -60.0]))
    one = np.log(1.7 / 2.7 / np.log1p(1.7)) if name == "linear" else 0.0  # the logarithmic law
    np.testing.assert_allclose(far, one, atol=1e-14)


def test_linear_variance():
    make, law = CASES["linear"]
    terms, eta = make(Y), jnp.asarray(ETA)
    np.testing.assert_allclose(terms(eta), law.logpmf(Y), rtol=1e-12)
    np.testing.assert_allclose(terms.log_none(eta), law.logpmf(0), rtol=1e-12)
    np.testing.assert_allclose(terms.cdf(eta), law.cdf(Y), rtol=1e-10)
    np.testing.assert_allclose(law.var(), MU * 2.7)
    limit = likelihoods.linear_negative_binomial(Y, 1e-12)(eta)
    np.testing.assert_allclose(limit, stats.poisson(MU).logpmf(Y), atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_draws_of_truncated_counts(name):
    make, _ = CASES[name]
    n = 20_000
    for eta in (-2.0, 1.0):
        terms = likelihoods.truncated(make(np.ones(n)))
        y = np.asarray(terms.sampled(jax.random.key(1), jnp.full(n, eta)).y)
        k = np.arange(1, 200)
        at = jnp.full(len(k), eta)
        p = np.exp(likelihoods.truncated(make(k))(at))
        assert y.min() == 1
        assert y.mean() == pytest.approx(p @ k, rel=0.03)
        assert (y == 1).mean() == pytest.approx(p[0], abs=0.015)
        assert (y == 2).mean() == pytest.approx(p[1], abs=0.015)


@pytest.mark.parametrize("logit", [-30.0, -0.7, 0.4, 30.0])
def test_more_zeros(logit):
    zero = 1 / (1 + np.exp(-logit))
    eta, law = jnp.asarray(ETA), stats.poisson(MU)
    terms = likelihoods.excess_zeros(Y, likelihoods.poisson(Y), logit)
    wanted = np.log(zero * (Y == 0) + np.exp(-np.logaddexp(0, logit)) * law.pmf(Y))
    np.testing.assert_allclose(terms(eta), wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(terms.cdf(eta), zero + (1 - zero) * law.cdf(Y), atol=1e-12)
    np.testing.assert_allclose(terms.mean(eta), (1 - zero) * MU, rtol=1e-9, atol=1e-13)
    same = likelihoods.zero_inflated_poisson(Y, zero)(eta)
    np.testing.assert_allclose(terms(eta), same, atol=1e-12 * (1 + np.exp(logit)))
    hurdle = likelihoods.excess_zeros(Y, likelihoods.truncated(likelihoods.poisson(SOME)), logit)
    none = np.logaddexp(0, logit)
    over = law.logpmf(SOME) - np.log1p(-law.pmf(0)) - none
    np.testing.assert_allclose(hurdle(eta), np.where(Y == 0, logit - none, over), rtol=1e-9)
    slope = jax.grad(lambda eta: jnp.sum(hurdle(eta)))(eta)
    np.testing.assert_array_equal(slope[Y == 0], 0.0)


def test_draws_with_more_zeros():
    n = 20_000
    terms = likelihoods.excess_zeros(np.ones(n), likelihoods.gamma(np.ones(n), 2.0), -0.5)
    y = np.asarray(terms.sampled(jax.random.key(2), jnp.zeros(n)).y)
    zero = 1 / (1 + np.exp(0.5))
    assert (y == 0).mean() == pytest.approx(zero, abs=0.015)
    assert y.mean() == pytest.approx(1 - zero, rel=0.04)


def test_weights():
    eta, weights = jnp.asarray(ETA), np.array([0.0, 1, 2, 0.5, 3, 1])
    terms = likelihoods.weighted(likelihoods.poisson(-1 * (weights == 0) + Y), weights)
    np.testing.assert_allclose(
        terms(eta)[1:], weights[1:] * stats.poisson(MU).logpmf(Y)[1:], rtol=1e-12
    )
    assert terms(eta)[0] == 0
    with pytest.raises(ValueError, match="weights >= 0; got -1"):
        likelihoods.weighted(likelihoods.poisson(Y), -np.ones(6))


def test_what_does_not_fit():
    with pytest.raises(TypeError, match=r"a likelihood of counts.*got Gamma"):
        likelihoods.truncated(cast(Any, likelihoods.gamma(np.ones(2), 1.0)))
    with pytest.raises(TypeError, match=r"a likelihood of padchol\.likelihoods"):
        likelihoods.excess_zeros(np.ones(2), cast(Any, lambda eta: eta), 0.0)

"""Likelihoods far from their data and in the limits of their parameters: nothing cancels there.

The derivatives of each law are written out with sigmoids of both signs, which keep their digits.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from likelihood_laws import COUNTS, ETA, derivatives
from scipy import stats
from scipy.special import digamma, expit, gammaln, polygamma, softplus
from support import both_precisions

from padchol import likelihoods

FAR = np.array([-800.0, -40.0, 40.0, 800.0])
P, Q = expit(FAR), expit(-FAR)


def constant(value):
    """As the value and the derivatives in eta."""
    return np.stack([value + 0 * FAR, *np.zeros((3, FAR.size))])


def logistic(eta, ups, downs):
    """Of -ups softplus(-eta) - downs softplus(eta)"""
    p, q = expit(eta), expit(-eta)
    value, curvature = -ups * softplus(-eta) - downs * softplus(eta), (ups + downs) * p * q
    return np.array([value, ups * q - downs * p, -curvature, -curvature * (q - p)])


def negative_binomial(y, size):
    value = gammaln(y + size) - gammaln(size) - gammaln(y + 1) if y else 0.0
    return constant(value) + logistic(FAR - np.log(size), y, size)


def beta(y, phi):
    a, b, m = phi * P, phi * Q, P * Q
    value = gammaln(phi) - gammaln(1 + a) - gammaln(1 + b)
    value = value + 2 * np.log(phi) + (a - 1) * np.log(y) + (b - 1) * np.log1p(-y)
    B = phi * m * (digamma(1 + b) - digamma(1 + a) + np.log(y) - np.log1p(-y))
    C, D = (polygamma(k, 1 + a) - (-1) ** k * polygamma(k, 1 + b) for k in (1, 2))
    rest = np.array([
        value, B, (Q - P) * B - (phi * m) ** 2 * C,
        ((Q - P) ** 2 - 2 * m) * B - 3 * (phi * m) ** 2 * (Q - P) * C - (phi * m) ** 3 * D,
    ])  # fmt: skip
    return rest + logistic(FAR, 1, 1)


def student_t(y, tau, nu):
    e = FAR - y
    value = gammaln((nu + 1) / 2) - gammaln(nu / 2) + np.log(tau / nu / np.pi) / 2
    v = nu + tau * e**2
    return np.array([
        value - (nu + 1) / 2 * np.log1p(tau * e**2 / nu), -(nu + 1) * tau * e / v,
        -(nu + 1) * tau * (nu - tau * e**2) / v**2,
        2 * (nu + 1) * tau**2 * e * (3 * nu - tau * e**2) / v**3,
    ])  # fmt: skip


def ordinal(y, cuts):
    """Category 0 or 1"""
    upper = logistic(FAR - cuts[y], 0, 1)
    if y == 0:
        return upper
    return upper + logistic(FAR - cuts[0], 1, 0) + constant(np.log(-np.expm1(cuts[0] - cuts[1])))


def zero_inflated_binomial(zero, trials):
    """Of y = 0. At the left log(1 - (1 - zero) (1 - p)), p = p(0) of the counts near 1; at the
    right log(zero + (1 - zero) p), p nearly 0."""
    p = np.exp(-np.abs(FAR) * np.where(FAR < 0, 1, trials))
    rest = np.where(FAR < 0, -(1 - zero) * trials, (1 - zero) / zero) * p
    power = np.where(FAR < 0, 1.0, -trials)
    value = np.where(FAR < 0, rest, np.log(zero))
    return np.array([value, *(rest * power**order for order in (1, 2, 3))])


CASES = {
    "binomial": (lambda: likelihoods.binomial(np.full(4, 3.0), 3), logistic(FAR, 3, 0)),
    "binomial, none": (lambda: likelihoods.binomial(np.zeros(4), 3), logistic(FAR, 0, 3)),
    "negative binomial": (
        lambda: likelihoods.negative_binomial(np.full(4, 5.0), 2.5), negative_binomial(5, 2.5)
    ),
    "negative binomial, none": (
        lambda: likelihoods.negative_binomial(np.zeros(4), 0.3), negative_binomial(0, 0.3)
    ),
    "zero-inflated binomial": (
        lambda: likelihoods.zero_inflated_binomial(np.zeros(4), 0.3, 2),
        zero_inflated_binomial(0.3, 2),
    ),
    "beta": (lambda: likelihoods.beta(np.full(4, 0.3), 6.0), beta(0.3, 6.0)),
    "beta, large precision": (lambda: likelihoods.beta(np.full(4, 0.3), 50.0), beta(0.3, 50.0)),
    "student t": (
        lambda: likelihoods.student_t(np.full(4, 0.7), 1.7, 3.5), student_t(0.7, 1.7, 3.5)
    ),
    "ordinal, first": (
        lambda: likelihoods.ordinal(np.zeros(4), [-1.0, 0.5]), ordinal(0, [-1.0, 0.5])
    ),
    "ordinal": (lambda: likelihoods.ordinal(np.ones(4), [-1.0, 0.5]), ordinal(1, [-1.0, 0.5])),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_far_out_every_derivative_is_exact(name):
    make, expected = CASES[name]
    found = jax.jit(lambda eta: derivatives(make(), eta))(FAR)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_far_out_where_there_is_an_exponential():
    """Of eta = 800, where exp(eta) overflows, these are the terms that do not have it."""
    eta, down = jnp.asarray(FAR), np.exp(-40.0)

    @jax.jit
    def everything(eta):
        return [derivatives(terms, eta) for terms in (
            likelihoods.poisson(np.array([2.0, 0.0, 0.0, 0.0]), [1.0, 1.0, 0.0, 0.0]),
            likelihoods.zero_inflated_poisson(np.array([2.0, 0.0, 0.0, 0.0]), 0.3),
            likelihoods.stochastic_volatility(np.array([0.0, 0.0, 2.0, 2.0])),
            likelihoods.cox(np.array([1.0, 0.0, 1.0, 1.0]), np.array([1.0, 1.0, 0.0, 0.0])),
            likelihoods.gamma(np.array([0.0, 0.0, 2.0, 2.0]), 1.0),
            likelihoods.inverse_gaussian(np.full(4, 2.0), [0.0, 2.0, 2.0, 2.0]),
        )]  # fmt: skip

    poisson, zero_inflated, volatility, cox, gamma, inverse_gaussian = np.array(everything(eta))
    log2 = np.log(2)
    expected = [[-1600 - log2, -down, 0, 0], [2, -down, 0, 0], *[[0, -down, 0, 0]] * 2]
    np.testing.assert_allclose(poisson, expected, rtol=1e-12)
    left, right = -0.7 * down, np.log(0.3)
    expected = [[np.log(0.7) - 1600 - log2, left, right, right], [2, left, 0, 0]]
    np.testing.assert_allclose(zero_inflated, [*expected, *[[0, left, 0, 0]] * 2], rtol=1e-12)
    rest = np.array([0, 0, 2 * down, 0])
    value = -(np.log(2 * np.pi) + FAR) / 2 - rest
    np.testing.assert_allclose(volatility, [value, rest - 0.5, -rest, rest], rtol=1e-12)
    expected = [[-800, -down, 40, 800], [1, -down, 1, 1], *[[0, -down, 0, 0]] * 2]
    np.testing.assert_allclose(cox, expected, rtol=1e-12)
    expected = [-FAR - rest, rest - 1, -rest, rest]
    np.testing.assert_allclose(gamma, expected, rtol=1e-12)
    r = 2 * np.exp(-FAR[1:])
    value = -(np.log(8 * np.pi) + (r - 1) ** 2) / 2
    expected = np.array([value, r * (r - 1), -r * (2 * r - 1), r * (4 * r - 1)])
    np.testing.assert_array_equal(inverse_gaussian[:, 0], 0)
    np.testing.assert_allclose(inverse_gaussian[:, 1:], expected, rtol=1e-12)


@both_precisions
def test_negative_binomial_goes_to_poisson(precision):
    """log p is that of Poisson + ((y - mu)^2 - y) / (2 size) and terms in 1 / size^2; so are its
    derivative in size, and that of the slope in eta, which is mu (y - mu) / size^2."""
    eta, y, mu = jnp.asarray(ETA, precision), COUNTS.astype(precision), np.exp(ETA)
    size = np.array([1e6, 1e9, 1e12], precision)

    @jax.jit
    @jax.vmap
    def everything(size):
        terms = lambda size: likelihoods.negative_binomial(y, size)
        value = lambda size: terms(size)(eta)
        slope = lambda size: derivatives(terms(size), eta, 1)[1]
        poisson = likelihoods.poisson(y)(eta)
        return value(size), jax.jacfwd(value)(size), jax.jacfwd(slope)(size), poisson

    eps = np.finfo(precision).eps
    value, of_size, mixed, poisson = everything(size)
    for k, r in enumerate(size.astype(float)):
        expected, rtol = ((COUNTS - mu) ** 2 - COUNTS) / 2, 100 / r + 20 * eps
        np.testing.assert_allclose(value[k], poisson[k] + expected / r, rtol=rtol / r + 20 * eps)
        np.testing.assert_allclose(of_size[k] * r**2, -expected, rtol=rtol, atol=100 * rtol)
        np.testing.assert_allclose(mixed[k] * r**2, mu * (COUNTS - mu), rtol=rtol, atol=100 * rtol)


@both_precisions
def test_student_t_goes_to_the_normal_law(precision):
    """log p is that of the normal law + ((x - 1)^2 - 2) / (4 degrees) and terms in 1 / degrees^2,
    x = precision (y - eta)^2."""
    eta, y = jnp.zeros(3, precision), np.array([-0.3, 1.2, 4.0], precision)
    degrees, tau = np.array([1e6, 1e12], precision), np.asarray(1.7, precision)

    @jax.jit
    @jax.vmap
    def everything(degrees):
        terms = lambda degrees: likelihoods.student_t(y, tau, degrees)(eta)
        return terms(degrees), jax.jacfwd(terms)(degrees), likelihoods.gaussian(y, tau)(eta)

    eps = np.finfo(precision).eps
    value, slope, normal = everything(degrees)
    expected = ((1.7 * y.astype(float) ** 2 - 1) ** 2 - 2) / 4
    for k, nu in enumerate(degrees.astype(float)):
        rtol = 1e4 / nu + 100 * eps
        np.testing.assert_allclose(value[k], normal[k] + expected / nu, rtol=rtol / nu + 20 * eps)
        np.testing.assert_allclose(slope[k] * nu**2, -expected, rtol=rtol)


def test_beta_at_a_large_precision():
    """At the mean, by Stirling's formula, log(precision / (2 pi m)) / 2 + (1 - 1 / m) / (12
    precision), m = mu (1 - mu)"""
    eta, phi = np.array([-1.0, 0.2]), np.array([1e8, 1e12])
    m = expit(eta) * expit(-eta)
    terms = lambda phi: likelihoods.beta(expit(eta), phi)(jnp.asarray(eta))
    value, slope = jax.jit(lambda phi: jax.jvp(terms, (phi,), (jnp.ones(2),)))(phi)
    expected = np.log(phi / (2 * np.pi * m)) / 2 + (1 - 1 / m) / 12 / phi
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    np.testing.assert_allclose(slope, 1 / (2 * phi), rtol=1e-7)


def test_distribution_functions_at_large_parameters():
    """Where those of JAX have lost their digits, against scipy's."""
    y, mu, size = np.array([3, 11, 20]), np.exp(2.0), 1e12
    odds, near = np.array([-1.7, 0.2, 2.9]), np.full(3, 0.004)

    @jax.jit
    def everything(eta):
        return [
            likelihoods.negative_binomial(y, size).cdf(eta),
            likelihoods.poisson(1000 * y, 1000.0).cdf(eta),
            likelihoods.student_t(y / 4, 1.0, size).cdf(0 * eta),
            likelihoods.binomial(1000 * y, 21_000).cdf(jnp.asarray(odds)),
            likelihoods.beta(np.full(3, 0.501), 2e8).cdf(jnp.asarray(near)),
            likelihoods.inverse_gaussian(mu * (1 + odds / 1e3), 1e6 * mu).cdf(eta),
            likelihoods.inverse_gaussian(mu * np.array([0.2, 1.0, 1e4]), 30 * mu).cdf(eta),
        ]

    expected = [
        stats.poisson.cdf(y, mu), stats.poisson.cdf(1000 * y, 1000 * mu), stats.norm.cdf(y / 4),
        stats.binom.cdf(1000 * y, 21_000, expit(odds)),
        stats.beta.cdf(0.501, 2e8 * expit(near), 2e8 * expit(-near)),
        stats.invgauss.cdf(1 + odds / 1e3, 1e-6, scale=1e6),
        stats.invgauss.cdf([0.2, 1.0, 1e4], 1 / 30, scale=30),
    ]  # fmt: skip
    np.testing.assert_allclose(everything(jnp.full(3, 2.0)), expected, rtol=1e-9, atol=1e-300)

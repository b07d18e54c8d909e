"""Counts: Poisson, binomial and negative binomial."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from padchol.likelihoods._base import (
    Likelihood,
    log,
    occurs,
    real,
    times_exp,
    weight,
    where_defined,
    where_possible,
)
from padchol.likelihoods._functions import log_rising, scaled_log1p, sigmoid, softplus
from padchol.likelihoods._incomplete import betainc, gammainc


def poisson(y: Any, exposure: Any = 1.0) -> Poisson:
    """y ~ Poisson(exposure exp(eta))"""
    return Poisson(real(y), weight(exposure, "exposure"))


def binomial(y: Any, trials: Any = 1) -> Binomial:
    """y ~ Binomial(trials, 1 / (1 + exp(-eta)))"""
    return Binomial(real(y), weight(trials, "trials"))


def negative_binomial(y: Any, size: Any, exposure: Any = 1.0) -> NegativeBinomial:
    """y ~ negative binomial with mean mu = exposure exp(eta) and variance mu + mu^2 / size

    Poisson in the limit of large size, to all digits in values and derivatives; y = 0 in the limit
    of small size. Raises `ValueError` for a negative size or exposure.
    """
    return NegativeBinomial(real(y), weight(size, "size"), weight(exposure, "exposure"))


class Poisson(Likelihood):
    """y (eta + log(exposure)) - exposure exp(eta) - log(y!)"""

    y: Array
    exposure: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        value, possible = _of_counts(self.y, self.exposure, eta)
        return where_possible(possible, value + self.log_none(eta), self.exposure >= 0)

    def log_none(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """log p(0 | eta) = -exposure exp(eta)"""
        return -times_exp(self.exposure, eta)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """P(Y <= y) = Q(y + 1, exposure exp(eta)), the incomplete gamma function"""
        _, above = gammainc(_successor(self.y, eta), self.mean(eta))
        return where_defined(self.exposure >= 0, jnp.where(self.y < 0, 0.0, above))

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """exposure exp(eta)"""
        return where_defined(self.exposure >= 0, times_exp(self.exposure, eta))

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        return jax.random.poisson(key, self.mean(eta)).astype(eta.dtype)


class Binomial(Likelihood):
    """log(trials choose y) - y log(1 + exp(-eta)) - (trials - y) log(1 + exp(eta))

    The two logarithms keep their digits apart where eta is large: y eta - trials log(1 + exp(eta))
    would cancel.
    """

    y: Array
    trials: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        possible = ~(self.y < 0) & ~(self.y > self.trials)
        y = jnp.where(possible, self.y, 0.0)
        failures = jnp.where(possible, self.trials - self.y, 0.0)
        ways = _log_factorial(y + failures) - _log_factorial(y) - _log_factorial(failures)
        value = ways - y * softplus(-eta) - failures * softplus(eta)
        return where_possible(possible, value, self.trials >= 0)

    def log_none(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """log p(0 | eta) = -trials log(1 + exp(eta))"""
        return -self.trials * softplus(eta)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """P(Y <= y) = I_{1 - p}(trials - y, y + 1), the incomplete beta function"""
        left = self.trials - jnp.floor(self.y)
        below = betainc(jnp.where(left > 0, left, 1.0), _successor(self.y, eta), *_odds(-eta))
        value = jnp.where(self.y < 0, 0.0, jnp.where(left <= 0, 1.0, below))
        return where_defined(self.trials >= 0, value)

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """trials / (1 + exp(-eta))"""
        return where_defined(self.trials >= 0, self.trials * sigmoid(eta))

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        return jax.random.binomial(key, self.trials, sigmoid(eta), eta.shape, eta.dtype)


class NegativeBinomial(Likelihood):
    """log(Gamma(size + y) / (Gamma(size) y!)) + size log(size / (size + mu)) + y log(mu / (size +
    mu)), mu = exposure exp(eta)

    Summed as log(Gamma(size + y) / (Gamma(size) size^y)) + y log(mu) - log(y!) - (size + y) log(1 +
    mu / size), whose first summand is small and whose last goes to mu where size is large.
    """

    y: Array
    size: Array
    exposure: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        value, possible = _of_counts(self.y, self.exposure, eta)
        y = jnp.where(possible, self.y, 0.0)
        large, log_odds, mu = self._mean(eta)
        log_1p = jnp.where(large, softplus(log_odds), jnp.log1p(mu / self._size))
        value = value + log_rising(y, self._size) - y * log_1p + self.log_none(eta)
        possible = possible & ~((self.size == 0) & (self.y != 0))
        return where_possible(possible, value, self._defined)

    def log_none(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """log p(0 | eta) = -size log(1 + mu / size)"""
        large, log_odds, mu = self._mean(eta)
        small = scaled_log1p(mu, self._size)
        value = jnp.where(large, self._size * softplus(log_odds), small)
        return -jnp.where(self.size == 0, 0.0, value)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """P(Y <= y) = I_{size / (size + mu)}(size, y + 1), the incomplete beta function"""
        log_odds = eta + log(self.exposure) - jnp.log(self._size)
        log_odds = jnp.where(self.size > 0, log_odds, -jnp.inf)
        below = betainc(self._size, _successor(self.y, eta), *_odds(-log_odds))
        return where_defined(self._defined, jnp.where(self.y < 0, 0.0, below))

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """exposure exp(eta)"""
        return where_defined(self._defined, times_exp(self.exposure, eta))

    @property
    def _defined(self) -> Array:
        return (self.size >= 0) & (self.exposure >= 0)

    @property
    def _size(self) -> Array:
        return jnp.where(self.size > 0, self.size, 1.0)

    def _mean(self, eta: Array) -> tuple[Array, Array, Array]:
        """Whether mu > size; log(mu / size) where it is, which does not overflow; mu where not."""
        log_odds = eta + log(self.exposure) - jnp.log(self._size)
        large = log_odds > 0
        mu = self.exposure * jnp.exp(jnp.where(large, -jnp.inf, eta))
        return large, jnp.where(large, log_odds, 0.0), mu

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """Poisson with a rate that is gamma distributed."""
        of_rate, of_count = jax.random.split(key)
        share = jax.random.gamma(of_rate, self._size, eta.shape, eta.dtype) / self._size
        rate = self.mean(eta) * share
        rate = jnp.where(self.size > 0, rate, 0.0)
        return jax.random.poisson(of_count, rate).astype(eta.dtype)


def _of_counts(y: Array, exposure: Array, eta: Array) -> tuple[Array, Array]:
    """log(mu^y / y!), mu = exposure exp(eta), and where there can be such a count."""
    possible = occurs(y)
    y = jnp.where(possible, y, 0.0)
    some = y != 0
    offset = log(jnp.where(some, exposure, 1.0))
    value = y * eta + jnp.where(some, y * offset, 0.0) - _log_factorial(y)
    return value, possible & ~(some & (exposure == 0))


def _log_factorial(y: Array) -> Array:
    """log(y!), 0 of a negative y; of 0 and 1 without rounding, beside terms that may be e^-40"""
    return jnp.where((y <= 0) | (y == 1), 0.0, gammaln(jnp.maximum(y, 0.0) + 1.0))


def _successor(y: Array, eta: Array) -> Array:
    """floor(y) + 1, of a negative y as if it were 0"""
    return (jnp.floor(jnp.maximum(y, 0.0)) + 1.0).astype(eta.dtype)


def _odds(eta: Array) -> tuple[Array, Array]:
    """(p, 1 - p) of the logit eta"""
    return sigmoid(eta), sigmoid(-eta)

"""Counts whose variance is a multiple of their mean."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from padchol.likelihoods._base import (
    Likelihood,
    positive,
    real,
    times_exp,
    weight,
    where_defined,
    where_possible,
)
from padchol.likelihoods._counts import NegativeBinomial, _of_counts
from padchol.likelihoods._functions import log_rising


def linear_negative_binomial(
    y: Any, dispersion: Any, exposure: Any = 1.0
) -> LinearNegativeBinomial:
    """y ~ negative binomial with mean mu = exposure exp(eta) and variance mu (1 + dispersion)

    The first of the two kinds of Cameron & Trivedi (1986, J. Appl. Econometrics 1, 29-53);
    `negative_binomial` is the second. Poisson in the limit of small dispersion. Raises `ValueError`
    for a dispersion that is not positive and for a negative exposure.
    """
    return LinearNegativeBinomial(
        real(y), positive(dispersion, "dispersion"), weight(exposure, "exposure")
    )


class LinearNegativeBinomial(Likelihood):
    """log(Gamma(s + y) / (Gamma(s) s^y)) + y log(mu) - log(y!) - (s + y) log(1 + dispersion), the
    size s = mu / dispersion, mu = exposure exp(eta)

    The negative binomial law of that size; its first summand is small where s is large.
    """

    y: Array
    dispersion: Array
    exposure: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        value, possible = _of_counts(self.y, self.exposure, eta)
        y, log_1p = jnp.where(possible, self.y, 0.0), jnp.log1p(self._dispersion)
        size = jnp.where(self.exposure > 0, self._size(eta), 1.0)
        value = value + log_rising(y, size) - y * log_1p + self.log_none(eta)
        return where_possible(possible, value, self._defined)

    def log_none(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """log p(0 | eta) = -mu log(1 + dispersion) / dispersion"""
        log_1p = jnp.log1p(self._dispersion)
        return -times_exp(self.exposure * (log_1p / self._dispersion), eta)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """P(Y <= y), the incomplete beta function"""
        return self.of_size(eta).cdf(eta)

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """exposure exp(eta)"""
        return where_defined(self._defined, times_exp(self.exposure, eta))

    def of_size(self, eta: Float[Array, " m"]) -> NegativeBinomial:
        """The negative binomial law of the size that it has at eta."""
        return NegativeBinomial(self.y, self._size(eta), self.exposure)

    @property
    def _defined(self) -> Array:
        return (self.dispersion > 0) & (self.exposure >= 0)

    @property
    def _dispersion(self) -> Array:
        return jnp.where(self.dispersion > 0, self.dispersion, 1.0)

    def _size(self, eta: Array) -> Array:
        return times_exp(self.exposure / self._dispersion, eta)

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """Poisson with a rate that is gamma distributed, of scale `dispersion`."""
        of_rate, of_count = jax.random.split(key)
        size = self._size(eta)
        rate = self._dispersion * jax.random.gamma(of_rate, size, eta.shape, eta.dtype)
        return jax.random.poisson(of_count, jnp.where(size > 0, rate, 0.0)).astype(eta.dtype)

"""Counts whose variance is a multiple of their mean."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from padchol.likelihoods._base import Likelihood, positive, real, weight
from padchol.likelihoods._counts import NegativeBinomial


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
    """The negative binomial law of size exp(eta + log(exposure)) / dispersion"""

    y: Array
    dispersion: Array
    exposure: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        return self._at(eta)(eta)

    def log_none(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """log p(0 | eta) = -mu log(1 + dispersion) / dispersion"""
        return self._at(eta).log_none(eta)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """P(Y <= y), the incomplete beta function"""
        return self._at(eta).cdf(eta)

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """exposure exp(eta)"""
        return self._at(eta).mean(eta)

    def _at(self, eta: Array) -> NegativeBinomial:
        size = self.exposure * jnp.exp(eta) / self.dispersion
        return NegativeBinomial(self.y, size, self.exposure)

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """Poisson with a rate that is gamma distributed, of scale `dispersion`."""
        of_rate, of_count = jax.random.split(key)
        size = self._at(eta).size
        rate = self.dispersion * jax.random.gamma(of_rate, size, eta.shape, eta.dtype)
        rate = jnp.where(size > 0, rate, 0.0)
        return jax.random.poisson(of_count, rate).astype(eta.dtype)

"""Proportions: the beta law by its mean, as in beta regression."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from padchol.likelihoods._base import Likelihood, log, real, weight, where_defined, where_possible
from padchol.likelihoods._functions import divergence, sigmoid, softplus, stirling_remainder
from padchol.likelihoods._incomplete import betainc


def beta(y: Any, precision: Any) -> Beta:
    """y ~ Beta(mu precision, (1 - mu) precision), mu = 1 / (1 + exp(-eta)), y in (0, 1)

    The variance is mu (1 - mu) / (1 + precision) (Ferrari & Cribari-Neto 2004, J. Appl. Stat. 31,
    799-815, eq. 4). At y = 0 and 1, where the density is 0 or
    infinite as eta has it, the log-likelihood is -inf as it is outside. Raises `ValueError` for a
    negative precision.
    """
    return Beta(real(y), weight(precision, "precision"))


class Beta(Likelihood):
    """log Gamma(precision) - log Gamma(a) - log Gamma(b) + (a - 1) log(y) + (b - 1) log(1 - y), a =
    mu precision, b = (1 - mu) precision

    Summed with Stirling's remainder R and the Kullback-Leibler divergence of mu from y as

        log(precision mu (1 - mu) / (2 pi)) / 2 - precision KL(mu, y) - log(y (1 - y))
        + R(precision) - R(a) - R(b)
    """

    y: Array
    precision: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        possible = ~(self.y <= 0) & ~(self.y >= 1)
        y, precision = jnp.where(possible & (self.precision != 0), self.y, 0.5), self._precision
        log_total, log_p, log_q = jnp.log(precision), -softplus(-eta), -softplus(eta)
        a, b = self._parameters(eta)
        z = jnp.stack(jnp.broadcast_arrays(precision, a, b))
        log_z = jnp.broadcast_arrays(log_total, log_total + log_p, log_total + log_q)
        of_total, of_a, of_b = stirling_remainder(z, jnp.stack(log_z))
        value = (log_total + log_p + log_q - math.log(2 * math.pi)) / 2 + of_total - of_a - of_b
        value = value - precision * _divergence(eta, y) - jnp.log(y) - jnp.log1p(-y)
        value = where_possible(possible, value, self.precision > 0)
        return jnp.where(self.precision == 0, 0.0, value)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """I_y(a, b), the incomplete beta function, NaN where there is no precision"""
        y = jnp.clip(self.y, 0.0, 1.0)
        return where_defined(self.precision > 0, betainc(*self._parameters(eta), y, 1 - y))

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """1 / (1 + exp(-eta))"""
        return where_defined(self.precision >= 0, sigmoid(eta))

    @property
    def _precision(self) -> Array:
        return jnp.where(self.precision > 0, self.precision, 1.0)

    def _parameters(self, eta: Array) -> tuple[Array, Array]:
        return self._precision * sigmoid(eta), self._precision * sigmoid(-eta)

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """Not 0 and not 1, to which numbers near them are rounded."""
        info = jnp.finfo(eta.dtype)
        tiny = jnp.asarray(info.tiny, eta.dtype)
        a, b = (jnp.maximum(x, tiny) for x in self._parameters(eta))
        return jnp.clip(jax.random.beta(key, a, b, eta.shape, eta.dtype), tiny, 1 - info.eps / 2)


@jax.custom_jvp
def _divergence(eta: Array, y: Array) -> Array:
    """mu log(mu / y) + (1 - mu) log((1 - mu) / (1 - y)), which is small where y is near mu"""
    p, q = sigmoid(eta), sigmoid(-eta)
    difference = jnp.where(y < 0.5, y - p, q - (1 - y))
    of_p = divergence(p, difference, log(y) + softplus(-eta))
    return of_p + divergence(q, -difference, jnp.log1p(-y) + softplus(eta))


_divergence.defjvps(
    lambda d, _, eta, y: sigmoid(eta) * sigmoid(-eta) * (eta - jnp.log(y) + jnp.log1p(-y)) * d,
    lambda d, _, eta, y: (y - sigmoid(eta)) / (y * (1 - y)) * d,
)

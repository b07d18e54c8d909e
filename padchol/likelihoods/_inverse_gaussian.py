"""Positive data that are skewer than gamma ones: the inverse Gaussian law, or Wald's."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import erfc, ndtr
from jaxtyping import Array, Float

from padchol.likelihoods._base import (
    Likelihood,
    occurs,
    real,
    times_exp,
    weight,
    where_defined,
    where_possible,
)

FROM = 4.0  # where the continued fraction is used: its terms below leave 1e-15 there
TERMS = 20


def inverse_gaussian(y: Any, shape: Any) -> InverseGaussian:
    """y > 0, inverse Gaussian with mean mu = exp(eta) and variance mu^3 / shape

    The time at which a Brownian motion with drift first reaches a level (Tweedie 1957, Ann. Math.
    Stat. 28, 362-377, with lambda for shape). At y = 0, where the density is 0, the log-likelihood
    is -inf as it is outside. Not concave in eta where mu > 2 y. Raises `ValueError` for a negative
    shape.
    """
    return InverseGaussian(real(y), weight(shape, "shape"))


class InverseGaussian(Likelihood):
    """(log(shape / (2 pi)) - 3 log(y) - shape (y / mu - 1)^2 / y) / 2"""

    y: Array
    shape: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        possible = occurs(self.y) & (self.y != 0)
        y, shape = jnp.where(possible & (self.shape != 0), self.y, 1.0), self._shape
        apart = times_exp(y, -eta) - 1
        value = jnp.log(shape / (2 * jnp.pi)) - 3 * jnp.log(y) - shape * apart * (apart / y)
        value = where_possible(possible, value / 2, self.shape > 0)
        return jnp.where(self.shape == 0, 0.0, value)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """Phi(s (y / mu - 1)) + exp(2 shape / mu) Phi(-s (y / mu + 1)), s = sqrt(shape / y); NaN
        without a shape

        Shuster 1968, JASA 63, 1514-1516. The second term, whose first factor may overflow, is
        exp(-a^2 / 2) erfcx(b / sqrt(2)) / 2 with a and b for the brackets times s.
        """
        info = jnp.finfo(eta.dtype)
        y = jnp.clip(self.y, info.tiny, info.max / 4)
        ratio, s = times_exp(y, -eta), jnp.sqrt(self._shape) / jnp.sqrt(y)
        a, b = s * (ratio - 1), s * (ratio + 1)
        value = ndtr(a) + jnp.exp(-(a**2) / 2) * _erfcx(b / math.sqrt(2)) / 2
        return where_defined(self.shape > 0, jnp.where(self.y <= 0, 0.0, jnp.minimum(value, 1.0)))

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """exp(eta)"""
        return where_defined(self.shape >= 0, jnp.exp(eta))

    @property
    def _shape(self) -> Array:
        return jnp.where(self.shape > 0, self.shape, 1.0)

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """mu q with probability 1 / (1 + q), otherwise mu / q: the two y, q < 1, at which
        shape (y / mu - 1)^2 / y is the square of one standard normal number.

        Michael, Schucany & Haas 1976, Am. Stat. 30, 88-90. With w = mu z^2 / (2 shape) it is
        q = 1 / (1 + w + sqrt(w (w + 2))), which is 1 + w - sqrt(w (w + 2)) without cancellation.
        """
        of_z, of_u = jax.random.split(key)
        z = jax.random.normal(of_z, eta.shape, eta.dtype)
        w = times_exp(z**2 / (2 * self._shape), eta)
        q = 1 / (1 + w + jnp.sqrt(w) * jnp.sqrt(w + 2))
        first = jax.random.uniform(of_u, eta.shape, eta.dtype) * (1 + q) <= 1
        return jnp.exp(eta) * jnp.where(first, q, 1 / q)


def _erfcx(x: Array) -> Array:
    """exp(x^2) erfc(x), x >= 0, by the continued fraction 1 / (x + (1/2) / (x + 1 / (x + ...))) /
    sqrt(pi) for large x (DLMF 7.9.1)"""
    inner, outer = jnp.minimum(x, FROM), jnp.maximum(x, FROM)
    rest = outer
    for k in range(TERMS, 0, -1):
        rest = outer + k / 2 / rest
    return jnp.where(x < FROM, jnp.exp(inner**2) * erfc(inner), 1 / (math.sqrt(math.pi) * rest))

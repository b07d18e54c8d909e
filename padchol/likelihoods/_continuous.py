"""Laws on the line and on the half line: normal, Student's t, gamma."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln, ndtr
from jaxtyping import Array, Float

from padchol.likelihoods._base import (
    Likelihood,
    log,
    log_power,
    occurs,
    positive,
    real,
    times_exp,
    weight,
    where_defined,
    where_possible,
)
from padchol.likelihoods._functions import log_rising, scaled_log1p
from padchol.likelihoods._incomplete import betainc, gammainc


def gaussian(y: Any, precision: Any) -> Gaussian:
    """y ~ N(eta, 1 / precision)"""
    return Gaussian(real(y), weight(precision, "precision"))


def student_t(y: Any, precision: Any, degrees: Any) -> StudentT:
    """y = eta + e, sqrt(precision) e ~ Student's t with `degrees` degrees of freedom

    1 / precision is the square of the scale, not the variance: that is degrees / (degrees - 2) /
    precision for more than two degrees, and infinite for fewer. `gaussian` in the limit of many
    degrees, to all digits. Not concave in eta. Raises `ValueError` for degrees <= 0.
    """
    return StudentT(real(y), weight(precision, "precision"), positive(degrees, "degrees"))


def gamma(y: Any, shape: Any) -> Gamma:
    """y ~ Gamma with mean exp(eta) and variance exp(2 eta) / shape"""
    return Gamma(real(y), weight(shape, "shape"))


class Gaussian(Likelihood):
    """(log(precision / 2 pi) - precision (y - eta)^2) / 2"""

    y: Array
    precision: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        seen, y, precision = _seen(self.y, self.precision)
        value = (log(precision / (2 * jnp.pi)) - precision * (y - eta) ** 2) / 2
        return jnp.where(seen, value, 0.0)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """Phi(sqrt(precision) (y - eta)), NaN where there is no precision"""
        return ndtr(_standardised(self.y, self.precision, eta))

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """eta"""
        return where_defined(self.precision >= 0, eta)

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        return eta + _scale(self.precision) * jax.random.normal(key, eta.shape, eta.dtype)


class StudentT(Likelihood):
    """log(Gamma((degrees + 1) / 2) / Gamma(degrees / 2)) + log(precision / (pi degrees)) / 2 -
    (degrees + 1) / 2 log(1 + precision (y - eta)^2 / degrees)

    Summed as the normal law's with what is left of both for finite degrees, see `log_rising` and
    `scaled_log1p`.
    """

    y: Array
    precision: Array
    degrees: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        seen, y, precision = _seen(self.y, self.precision)
        degrees = jnp.where(self.degrees > 0, self.degrees, 1.0)
        square = precision * (y - eta) ** 2
        constant = log_rising(jnp.asarray(0.5, eta.dtype), degrees / 2)
        constant = constant + log(precision / (2 * jnp.pi)) / 2
        value = constant - (scaled_log1p(square, degrees) + jnp.log1p(square / degrees)) / 2
        return where_defined(self.degrees > 0, jnp.where(seen, value, 0.0))

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """Of Student's t at z = sqrt(precision) (y - eta): half of I_{degrees / (degrees + z^2)}(
        degrees / 2, 1 / 2) for negative z, 1 minus that for others; NaN where there is no
        precision"""
        z = _standardised(self.y, self.precision, eta)
        degrees, half = jnp.where(self.degrees > 0, self.degrees, 1.0), jnp.asarray(0.5, eta.dtype)
        large = jnp.finfo(eta.dtype).max ** 0.25
        z = jnp.clip(z, -large, large)  # whose square does not overflow, also for infinite y
        total = degrees + z**2
        tail = betainc(degrees / 2, half, degrees / total, z**2 / total) / 2
        return where_defined(self.degrees > 0, jnp.where(z < 0, tail, 1 - tail))

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """eta, NaN for one degree of freedom or fewer"""
        return where_defined((self.precision >= 0) & (self.degrees > 1), eta)

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        e = jax.random.t(key, self.degrees, eta.shape, eta.dtype)
        return eta + _scale(self.precision) * e


class Gamma(Likelihood):
    """shape log(shape) + (shape - 1) log(y) - log Gamma(shape) - shape (eta + y exp(-eta))"""

    y: Array
    shape: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        seen, y, shape = _seen(self.y, self.shape)
        possible = occurs(y)
        y = jnp.where(possible, y, 1.0)
        constant = shape * log(shape) + log_power(shape - 1, y) - gammaln(shape)
        value = constant - shape * (eta + times_exp(y, -eta))
        value = where_possible(possible, value, shape > 0)
        return jnp.where(seen, value, 0.0)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """P(shape, shape y exp(-eta)), the incomplete gamma function; NaN without a shape"""
        seen, y, shape = _seen(self.y, self.shape)
        below, _ = gammainc(shape, shape * times_exp(jnp.maximum(y, 0.0), -eta))
        return where_defined(seen & (shape > 0), below)

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """exp(eta)"""
        return where_defined(self.shape >= 0, jnp.exp(eta))

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        return jnp.exp(eta) * jax.random.gamma(key, self.shape, eta.shape, eta.dtype) / self.shape


def _seen(y: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Where there is weight, and data and weight with others where there is none."""
    seen = weight != 0
    return seen, jnp.where(seen, y, 0.0), jnp.where(seen, weight, 1.0)


def _scale(precision: Array) -> Array:
    return jnp.where(precision > 0, precision, 1.0) ** -0.5


def _standardised(y: Array, precision: Array, eta: Array) -> Array:
    return where_defined(precision > 0, (y - eta) / _scale(precision))

"""Amounts with a mass at zero: sums of a Poisson number of gamma variables."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from padchol.likelihoods._base import Likelihood, check, occurs, positive, real
from padchol.likelihoods._functions import FROM, STIRLING, divergence
from padchol.likelihoods._incomplete import gammainc

SIDE = 41  # nodes of a sum on each side of its largest term
WIDTH = 3.0  # strides in a standard deviation of the terms, or more: 9 deviations on each side


def tweedie(y: Any, dispersion: Any, power: Any) -> Tweedie:
    """y >= 0 with mean mu = exp(eta) and variance dispersion mu^power, 1 < power < 2

    The sum of N ~ Poisson(mu^(2 - power) / (dispersion (2 - power))) gamma variables of shape
    (2 - power) / (power - 1), so that y = 0 has the probability that N = 0. The part of the density
    that does not depend on eta, a series, is summed here, once for all eta. Raises `ValueError` for
    a dispersion that is not positive and a power outside of (1, 2); NaN where they are traced.
    """
    y, dispersion, power = real(y), positive(dispersion, "dispersion"), real(power)
    fine = (power > 1) & (power < 2)
    check(power, fine, "power in (1, 2)")
    power = jnp.where(fine, power, jnp.nan)
    return Tweedie(y, dispersion, power, _normaliser(y, dispersion, power))


class Tweedie(Likelihood):
    """-d(y, mu) / (2 dispersion) + normaliser, d the deviance:

        d / 2 = y^(2 - p) / ((1 - p) (2 - p)) - y mu^(1 - p) / (1 - p) + mu^(2 - p) / (2 - p)

    log p(0) = -mu^(2 - p) / (dispersion (2 - p)). The normaliser is that of y, dispersion and power
    p: made by `tweedie`.
    """

    y: Array
    dispersion: Array
    power: Array
    normaliser: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        p, some = self.power, (self.y > 0) & occurs(self.y)
        y = jnp.where(some, self.y, 1.0)
        constant = jnp.exp((2 - p) * jnp.log(y)) / ((p - 1) * (2 - p))
        there = (constant - y * jnp.exp((1 - p) * eta) / (p - 1)) / self.dispersion
        value = self.log_none(eta) + jnp.where(some, there + self.normaliser, 0.0)
        return jnp.where(occurs(self.y), value, -jnp.inf)

    def log_none(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """log p(0 | eta) = -mu^(2 - power) / (dispersion (2 - power))"""
        return -jnp.exp((2 - self.power) * eta) / (self.dispersion * (2 - self.power))

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """The sum over n of P(N = n) times the incomplete gamma function, by `SIDE` terms each side
        of the mean of N, with strides where that is large"""
        rate, shape, scale = self._sums(eta)
        centre, stride = _nodes(rate, jnp.sqrt(rate))
        n = centre + stride * jnp.arange(-SIDE, SIDE + 1, dtype=eta.dtype)[:, None]
        at = jnp.maximum(n, 1.0)
        log_weight = at * jnp.log(rate) - rate - jax.scipy.special.gammaln(at + 1)
        below, _ = gammainc(shape * at, jnp.maximum(self.y, 0.0) / scale + 0 * at)
        some = jnp.sum(jnp.where(n >= 1, stride * jnp.exp(log_weight) * below, 0.0), 0)
        return jnp.where(self.y < 0, 0.0, jnp.exp(-rate) + some)

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """exp(eta)"""
        return jnp.exp(eta)

    def sampled(self, key: Array, eta: Float[Array, " m"]) -> Tweedie:
        """The same likelihood of data drawn from it at eta."""
        of_number, of_sum = jax.random.split(key)
        rate, shape, scale = self._sums(eta)
        n = jax.random.poisson(of_number, rate, eta.shape).astype(eta.dtype)
        y = scale * jax.random.gamma(of_sum, jnp.maximum(shape * n, 1e-300), eta.shape, eta.dtype)
        return tweedie(jnp.where(n > 0, y, 0.0), self.dispersion, self.power)

    def _sums(self, eta: Array) -> tuple[Array, Array, Array]:
        """The mean of N, and shape and scale of the gamma variables."""
        p = self.power
        return (
            -self.log_none(eta),
            (2 - p) / (p - 1),
            self.dispersion * (p - 1) * jnp.exp((p - 1) * eta),
        )


def _normaliser(y: Array, dispersion: Array, power: Array) -> Array:
    """log of the sum over j >= 1 of

        sqrt(a) / (2 pi y) exp(-(1 + a) K_j - R(j) - R(a j)),   K_j = j log(j / k) - j + k

    with a = (2 - p) / (p - 1), k = y^(2 - p) / (dispersion (2 - p)) and Stirling's remainder R of
    log Gamma: the series W_j of Dunn & Smyth (2005, Statistics and Computing 15, 267-280, section
    4), each term divided by the exponential part at mu = y, so that nothing cancels. Its largest
    term is near k, and the standard deviation of the terms about sqrt(k / (1 + a)). They are a
    log-concave sequence: where they are many, a sum over every s-th, times s, is the same to
    rounding (the trapezoidal rule, whose error is exp(-2 pi^2 (deviation / s)^2) or so).
    """
    some = y > 0
    log_y = jnp.log(jnp.where(some, y, 1.0))
    p = power
    a = (2 - p) / (p - 1)
    log_k = (2 - p) * log_y - jnp.log(dispersion * (2 - p))
    k = jnp.exp(log_k)
    centre, stride = lax.stop_gradient(_nodes(k, jnp.sqrt(k / (1 + a))))
    steps = jnp.arange(-SIDE, SIDE + 1, dtype=k.dtype).reshape(-1, *(1,) * k.ndim)
    j = centre + stride * steps
    inside = j >= 1
    j = jnp.where(inside, j, 1.0)
    log_j, log_aj = jnp.log(j), jnp.log(a) + jnp.log(j)
    rest = _remainder(a * j, log_aj) + _remainder(j, log_j)
    exponent = -(1 + a) * divergence(j, k - j, log_k - log_j) - rest
    total = jax.scipy.special.logsumexp(jnp.where(inside, exponent, -jnp.inf), 0)
    constant = jnp.log(a) / 2 - math.log(2 * math.pi) - log_y + jnp.log(stride)
    return jnp.where(some, constant + total, 0.0)


def _remainder(z: Array, log_z: Array) -> Array:
    """`stirling_remainder` of many numbers: one logarithm of a product in place of seven."""
    small = z < FROM
    below = jnp.where(small, z, 0.0)
    at = jnp.where(small, z + FROM, z)
    inverse = 1 / at
    square, series, product = inverse**2, jnp.zeros_like(at), jnp.ones_like(at)
    for c in reversed(STIRLING):
        series = series * square + c
    for k in range(1, int(FROM)):
        product = product * (below + k)
    shift = (below + FROM - 0.5) * jnp.log(below + FROM) - FROM - jnp.log(product)
    return series * inverse + jnp.where(small, shift - (below + 0.5) * log_z, 0.0)


def _nodes(largest: Array, deviation: Array) -> tuple[Array, Array]:
    """Where the nodes of a sum are centred, and their stride."""
    return jnp.maximum(jnp.round(largest), 1.0), jnp.maximum(jnp.round(deviation / WIDTH), 1.0)

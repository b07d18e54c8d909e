"""Counts with more zeros than their law has (Lambert 1992, Technometrics 34, 1-14)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from padchol.likelihoods._base import Likelihood, Terms, check, real, where_defined
from padchol.likelihoods._counts import (
    Binomial,
    NegativeBinomial,
    Poisson,
    binomial,
    poisson,
)

Counts = Poisson | Binomial | NegativeBinomial


def zero_inflated(counts: Counts, zero: Any) -> ZeroInflated:
    """y = 0 with probability `zero`, otherwise by the likelihood `counts` of counts y

    `counts`: what `poisson`, `binomial` or `negative_binomial` give. zero in [0, 1), a number or
    (m,). Raises `ValueError` for another, or gives NaN where it is traced, and `TypeError` for
    another likelihood.
    """
    if not isinstance(counts, Counts):
        raise TypeError(
            "expected a likelihood of counts: poisson, binomial or negative_binomial of "
            f"padchol.likelihoods; got {type(counts).__name__}"
        )
    zero = real(zero)
    check(zero, ~(zero < 0) & ~(zero >= 1), "zero in [0, 1)")
    return ZeroInflated(counts, zero)


def zero_inflated_poisson(y: Any, zero: Any, exposure: Any = 1.0) -> ZeroInflated:
    """y = 0 with probability `zero` in [0, 1), otherwise y ~ Poisson(exposure exp(eta))"""
    return zero_inflated(poisson(y, exposure), zero)


def zero_inflated_binomial(y: Any, zero: Any, trials: Any = 1) -> ZeroInflated:
    """y = 0 with probability `zero` in [0, 1), otherwise y ~ Binomial(trials, sigmoid(eta))"""
    return zero_inflated(binomial(y, trials), zero)


class ZeroInflated(Likelihood):
    """log(zero + (1 - zero) p(0 | eta)) for y = 0, log(1 - zero) + log p(y | eta) for other y

    Not concave in eta where y = 0.
    """

    counts: Counts
    zero: Array

    @property
    def y(self) -> Array:
        """The data: counts."""
        return self.counts.y

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        none = self.y == 0
        zero = jnp.where(self._defined, self.zero, 0.0)
        structural, rest, share = _structural(zero, self.counts.log_none, eta)
        # Where nearly all zeros are structural, p(0 | eta) may be 0: eta is kept away from there.
        counts = self.counts(jnp.where(none & structural, 0.0, eta))
        both = jnp.where(structural, rest, jnp.where(none, counts, 0.0) + share)
        value = jnp.where(none, both, jnp.log1p(-zero) + counts)
        return where_defined(self._defined, value)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """zero + (1 - zero) P(count <= y), 0 for a negative y"""
        value = self.zero + (1 - self.zero) * self.counts.cdf(eta)
        return where_defined(self._defined, jnp.where(self.y < 0, 0.0, value))

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """(1 - zero) E[count]"""
        return where_defined(self._defined, (1 - self.zero) * self.counts.mean(eta))

    @property
    def _defined(self) -> Array:
        return (self.zero >= 0) & (self.zero < 1)

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        of_zero, of_count = jax.random.split(key)
        structural = jax.random.uniform(of_zero, eta.shape, eta.dtype) < self.zero
        return jnp.where(structural, 0.0, self.counts.sampled(of_count, eta).y)


def _structural(zero: Array, log_none: Terms, eta: Array) -> tuple[Array, Array, Array]:
    """Whether most zeros are structural, and log(zero + (1 - zero) p) in two forms, p = p(0 | eta)

    log(zero) + log(1 + (1 - zero) / zero p) where they are; otherwise log(p) + log(1 + zero (1 / p
    - 1)), without the log(p) that the caller has. Each has its derivatives in eta without
    cancellation, and the second those in zero at zero = 0 as well.
    """
    most = 0.9 * jnp.log(jnp.finfo(eta.dtype).max)  # of -log(p), so that 1 / p does not overflow
    beyond = lax.stop_gradient(log_none(eta)) < -most
    hazard = jnp.where(beyond, most, -log_none(jnp.where(beyond, 0.0, eta)))
    odds = zero * jnp.expm1(hazard)
    structural = (zero > 0) & (beyond | (odds > 1))
    some = jnp.where(structural, zero, 1.0)
    p = jnp.where(structural & ~beyond, jnp.exp(-hazard), 0.0)
    return structural, jnp.log(some) + jnp.log1p((1 - some) / some * p), jnp.log1p(odds)

"""Counts that are never zero."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from padchol.likelihoods._base import Likelihood, occurs, where_possible
from padchol.likelihoods._counts import NegativeBinomial, Poisson, poisson
from padchol.likelihoods._functions import log1mexp
from padchol.likelihoods._linear_variance import LinearNegativeBinomial

Counts = Poisson | NegativeBinomial | LinearNegativeBinomial


def truncated(counts: Counts) -> Truncated:
    """y >= 1 by the likelihood `counts` of counts, given that it is not 0

    `counts`: what `poisson`, `negative_binomial` or `linear_negative_binomial` give. Raises
    `TypeError` for another likelihood.
    """
    if not isinstance(counts, Counts):
        raise TypeError(
            "expected a likelihood of counts: poisson, negative_binomial or "
            f"linear_negative_binomial of padchol.likelihoods; got {type(counts).__name__}"
        )
    return Truncated(counts)


def truncated_poisson(y: Any, exposure: Any = 1.0) -> Truncated:
    """y >= 1 by Poisson(exposure exp(eta)), given that it is not 0"""
    return truncated(poisson(y, exposure))


class Truncated(Likelihood):
    """log p(y | eta) - log(1 - p(0 | eta)); -inf for y = 0

    1 - p(0) is 1 - exp(log p(0)), from log p(0), in which nothing cancels.
    """

    counts: Counts

    @property
    def y(self) -> Array:
        """The data: counts of 1 or more."""
        return self.counts.y

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        value = self.counts(eta) - log1mexp(-self.counts.log_none(eta))
        return where_possible(~(self.y < 1) & occurs(self.y), value, value == value)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """(P(count <= y) - p(0)) / (1 - p(0)), 0 for y < 1"""
        log_none = self.counts.log_none(eta)
        value = (self.counts.cdf(eta) - jnp.exp(log_none)) / -jnp.expm1(log_none)
        return jnp.where(self.y < 1, 0.0, jnp.maximum(value, 0.0))

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """E[count] / (1 - p(0))"""
        return self.counts.mean(eta) / -jnp.expm1(self.counts.log_none(eta))

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """The first cluster and the others.

        The counts are sums over a Poisson number, of mean H = -log p(0), of clusters, each of
        logarithmic size (one, for Poisson counts). The first comes at a time that is exponential,
        given that it is below H; what is left of H has the others.
        """
        of_time, of_first, of_rest = jax.random.split(key, 3)
        H = -self.counts.log_none(eta)
        time = -jnp.log1p(jax.random.uniform(of_time, eta.shape, eta.dtype) * jnp.expm1(-H))
        left = jnp.clip((H - time) / H, 0.0, 1.0)
        if isinstance(self.counts, Poisson):
            rest = Poisson(self.y, self.counts.exposure * left)
            return 1 + rest._drawn(of_rest, eta)
        linear = isinstance(self.counts, LinearNegativeBinomial)
        counts = self.counts.of_size(eta) if linear else self.counts
        rest = NegativeBinomial(self.y, counts.size * left, counts.exposure * left)
        first = _logarithmic(of_first, counts.mean(eta) / counts.size)
        return first + rest._drawn(of_rest, eta)


def _logarithmic(key: Array, odds: Array) -> Array:
    """Draws of the logarithmic series law of p = odds / (1 + odds), p^k / k.

    Geometric, with a probability of going on that is 1 - (1 - p)^U, U uniform (Kemp 1981, Appl.
    Stat. 30, 249-253).
    """
    of_chance, of_count = jax.random.split(key)
    tiny = jnp.finfo(odds.dtype).tiny
    U = jax.random.uniform(of_chance, odds.shape, odds.dtype)
    V = jax.random.uniform(of_count, odds.shape, odds.dtype, minval=tiny)
    going = -jnp.expm1(-U * jnp.log1p(odds))
    return 1 + jnp.floor(jnp.log(V) / jnp.log(jnp.maximum(going, tiny)))

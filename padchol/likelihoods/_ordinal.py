"""Ordered categories: the proportional odds model (McCullagh 1980, JRSS B 42, 109-142)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from padchol.likelihoods._base import Likelihood, check, real, where_defined, where_possible
from padchol.likelihoods._functions import log1mexp, sigmoid, softplus


def ordinal(y: Any, cuts: Any) -> Ordinal:
    """y in 0, ..., K - 1 with P(y <= k) = 1 / (1 + exp(eta - cuts_k)), cuts (K - 1,) increasing

    Other y cannot occur, and neither can a category between equal cuts. The cuts may be traced, see
    `increasing_cuts`; eta then has no intercept of its own. Raises `ValueError` for cuts that
    decrease, and gives NaN where they are traced.
    """
    cuts = real(cuts)
    if cuts.ndim != 1 or cuts.size == 0:
        raise ValueError(f"expected cuts of shape (K - 1,), K >= 2; got shape {cuts.shape}")
    gaps = jnp.diff(cuts)
    check(gaps, ~(gaps < 0), "differences of cuts >= 0 (they increase)")
    return Ordinal(real(y), cuts)


def increasing_cuts(theta: Float[Array, " cuts"]) -> Float[Array, " cuts"]:
    """theta_0, theta_0 + exp(theta_1), theta_0 + exp(theta_1) + exp(theta_2), ...

    Maps R^(K - 1) one to one to increasing cuts; the log determinant of its Jacobian, which the
    density of a prior on the cuts takes, is the sum of theta without theta_0.
    """
    theta = real(theta)
    return jnp.cumsum(jnp.concatenate([theta[:1], jnp.exp(theta[1:])]))


class Ordinal(Likelihood):
    """log(sigmoid(upper) - sigmoid(lower)), upper = cuts_y - eta, lower = cuts_(y - 1) - eta

    Summed as log sigmoid(upper) + log sigmoid(-lower) + log(1 - exp(lower - upper)), in which
    nothing cancels, and of which the last does not depend on eta. Concave in eta.
    """

    y: Array
    cuts: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        first, last, below, above = self._between()
        gap = above - below
        inside = ~first & ~last
        some = gap > 0
        between = log1mexp(jnp.where(inside & some, gap, 1.0))
        value = -jnp.where(last, 0.0, softplus(eta - above))
        value = value - jnp.where(first, 0.0, softplus(below - eta))
        value = value + jnp.where(inside, between, 0.0)
        possible = (self.y == jnp.round(self.y)) & (self.y >= 0) & (self.y <= self.cuts.size)
        return where_possible(possible & (some | ~inside), value, self._defined)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """1 / (1 + exp(eta - cuts_y)); 1 for the last category, 0 for a negative y"""
        _, last, _, above = self._between()
        value = jnp.where(last, 1.0, jnp.where(self.y < 0, 0.0, sigmoid(above - eta)))
        return where_defined(self._defined, value)

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """sum_k P(y > k), of the categories as numbers 0, ..., K - 1"""
        value = jnp.sum(sigmoid(eta - self.cuts[:, None]), 0)
        return where_defined(self._ordered, value)

    @property
    def _ordered(self) -> Array:
        return jnp.all(jnp.diff(self.cuts) >= 0) & ~jnp.any(jnp.isnan(self.cuts))

    @property
    def _defined(self) -> Array:
        return self._ordered & ~jnp.isnan(self.y)

    def _between(self) -> tuple[Array, Array, Array, Array]:
        """Whether y is the first category or the last, and the cuts below and above it."""
        last = self.cuts.size
        y = jnp.clip(jnp.where(jnp.isnan(self.y), 0, self.y), 0, last).astype(int)
        below, above = self.cuts[jnp.maximum(y - 1, 0)], self.cuts[jnp.minimum(y, last - 1)]
        return y == 0, y == last, below, above

    def _shapes(self) -> list[tuple[int, ...]]:
        return [self.y.shape]

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """How many cuts lie below eta + e, where e has the logistic law."""
        latent = eta + jax.random.logistic(key, eta.shape, eta.dtype)
        return jnp.sum(latent > self.cuts[:, None], 0).astype(eta.dtype)

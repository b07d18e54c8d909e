"""Likelihoods whose terms count several times, or in part."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from padchol.likelihoods._base import Likelihood, check_kind, weight


def weighted(likelihood: Likelihood, weights: Any) -> Weighted:
    """The terms of the likelihood times weights >= 0, a number or (m,)

    A weight of 2 stands for two rows with the same data. Raises `ValueError` for negative weights,
    `TypeError` for what is not a `Likelihood`.
    """
    check_kind(likelihood)
    return Weighted(likelihood, weight(weights, "weights"))


class Weighted(Likelihood):
    """weights log p(y_i | eta_i), 0 where the weight is 0"""

    likelihood: Likelihood
    weights: Array

    @property
    def y(self) -> Array:
        """The data."""
        return self.likelihood.y

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        value = self.likelihood(eta)
        return jnp.where(self.weights == 0, 0.0, self.weights * value)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """P(Y_i <= y_i | eta_i) of one datum"""
        return self.likelihood.cdf(eta)

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """E[Y_i | eta_i]"""
        return self.likelihood.mean(eta)

    def sampled(self, key: Array, eta: Float[Array, " m"]) -> Weighted:
        """The same likelihood of data drawn from it at eta, with the same weights."""
        return Weighted(self.likelihood.sampled(key, eta), self.weights)

    def _shapes(self) -> list[tuple[int, ...]]:
        return [self.weights.shape, *self.likelihood._shapes()]

"""Returns whose variance is latent: stochastic volatility."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array, Float

from padchol.likelihoods._base import Likelihood, real, times_exp


def stochastic_volatility(y: Any) -> StochasticVolatility:
    """y ~ N(0, exp(eta)): eta is the logarithm of the variance

    Kim, Shephard & Chib 1998, Rev. Econ. Stud. 65, 361-393, eq. 1.
    """
    return StochasticVolatility(real(y))


class StochasticVolatility(Likelihood):
    """-(log(2 pi) + eta + y^2 exp(-eta)) / 2"""

    y: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        return -(math.log(2 * math.pi) + eta + times_exp(self.y**2, -eta)) / 2

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """Phi(y exp(-eta / 2))"""
        return ndtr(times_exp(self.y, -eta / 2))

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """0"""
        return jnp.zeros_like(eta)

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        return jnp.exp(eta / 2) * jax.random.normal(key, eta.shape, eta.dtype)

"""More zeros than a law has, or all of them: mixtures with a logit, for predictors of zeros."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from padchol.likelihoods._base import Likelihood, real
from padchol.likelihoods._functions import sigmoid, softplus


def excess_zeros(y: Any, likelihood: Likelihood, logit: Any) -> ExcessZeros:
    """y = 0 with probability sigmoid(logit), otherwise y by the likelihood

    Zero inflation where the law has zeros of its own (it has a `log_none`: counts, `tweedie`;
    Lambert 1992, Technometrics 34, 1-14), a hurdle where it has none (`truncated` counts, `gamma`,
    `beta`; Mullahy 1986, J. Econometrics 33, 341-365). The likelihood is of the same y, apart from
    rows with y = 0, where it may have any datum inside its support. logit: a number or (m,), any
    real number, where `zero_inflated` takes the probability. Raises `TypeError` for what is no
    `Likelihood`.
    """
    if not isinstance(likelihood, Likelihood):
        raise TypeError(
            f"expected a likelihood of padchol.likelihoods; got {type(likelihood).__name__}"
        )
    return ExcessZeros(real(y), likelihood, real(logit))


class ExcessZeros(Likelihood):
    """log(sigmoid(z) + sigmoid(-z) p(0 | eta)) for y = 0, log sigmoid(-z) + log p(y | eta) for
    other y, z the logit

    Summed with log sigmoid(-z) = -log(1 + e^z) and log(e^z + p) = z + log(1 + e^(log p - z)). Not
    concave in eta where y = 0.
    """

    y: Array
    likelihood: Likelihood
    logit: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        z, log_none = self.logit, getattr(self.likelihood, "log_none", None)
        zero = z if log_none is None else z + softplus(log_none(eta) - z)
        return jnp.where(self.y == 0, zero, self.likelihood(eta)) - softplus(z)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """sigmoid(z) + sigmoid(-z) P(Y <= y) for y >= 0, of the likelihood"""
        log_none = getattr(self.likelihood, "log_none", None)
        none = jnp.zeros_like(eta) if log_none is None else jnp.exp(log_none(eta))
        below = jnp.where(self.y == 0, none, self.likelihood.cdf(eta))
        value = sigmoid(self.logit) + sigmoid(-self.logit) * below
        return jnp.where(self.y < 0, 0.0, value)

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """sigmoid(-z) times the mean of the likelihood"""
        return sigmoid(-self.logit) * self.likelihood.mean(eta)

    def sampled(self, key: Array, eta: Float[Array, " m"]) -> ExcessZeros:
        """The same likelihood of data drawn from it at eta."""
        of_zero, of_other = jax.random.split(key)
        zero = jax.random.uniform(of_zero, eta.shape, eta.dtype) < sigmoid(self.logit)
        drawn: Any = self.likelihood.sampled(of_other, eta)
        return ExcessZeros(jnp.where(zero, 0.0, drawn.y), drawn, self.logit)

    def _shapes(self) -> list[tuple[int, ...]]:
        return [self.y.shape, self.logit.shape, *self.likelihood._shapes()]

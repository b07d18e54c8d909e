"""The linear model at one theta: estimates, and the deviance with beta and sigma profiled out.

The formulas are those at the head of `padchol.mixed.lmm`, y in units of the model.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from padchol.factor import Factor
from padchol.mixed.algebra import quadratic


class Solution(eqx.Module):
    """What follows from theta: estimates and their deviance."""

    deviance: Float[Array, ""]
    sigma: Float[Array, ""]
    beta: Float[Array, " p"]
    covariance: Float[Array, "p p"]  # of beta: sigma^2 (X^T V^-1 X)^-1
    b: Float[Array, " q"]  # the conditional means of the random effects


class Profile(eqx.Module):
    """The factored system at one theta."""

    model: Any  # a `LinearMixedModel`
    theta: Array
    factor: Factor
    R: Float[Array, "q p+1"]

    @property
    def freedom(self) -> int:
        return self.model.n - self.model.reml * self.model.p

    def regression(self, explained: Float[Array, "p+1 p+1"]) -> tuple[Array, Array, Array]:
        """(L, g, r^2): the Cholesky factor of S_X, the coefficients of y in S, what they leave."""
        p, S = self.model.p, jnp.asarray(self.model.XytXy) - explained
        L = jnp.linalg.cholesky(S[:p, :p])
        g = jax.scipy.linalg.cho_solve((L, True), S[:p, p])
        return L, g, S[p, p] - S[:p, p] @ g

    def deviance(self, sigma: Any = None, coefficients: Any = None) -> Array:
        """coefficients (p,): those of y in S, where they are not the best."""
        L, g, rss = self.regression(quadratic(self.factor, self.R)[0])
        if coefficients is not None:
            rss = rss + jnp.sum((L.T @ (coefficients - g)) ** 2)
        return self._value(L, rss, sigma)

    def _value(self, L: Array, rss: Array, sigma: Any = None) -> Array:
        """The criterion, from what `regression` gives."""
        unit = jnp.asarray(self.model.unit)
        variance = rss / self.freedom if sigma is None else (jnp.asarray(sigma, float) / unit) ** 2
        model = self.model
        value = self.factor.logdet() - model.prior.logdet(model.effects.rho(self.theta))
        value = value + rss / variance
        value = value + self.freedom * (jnp.log(2 * jnp.pi * variance) + 2 * jnp.log(unit))
        value = value - jnp.asarray(self.model.log_weights)
        if not self.model.reml:
            return value
        U = jnp.asarray(self.model.U)
        return value + 2 * jnp.sum(jnp.log(jnp.diagonal(L)) + jnp.log(jnp.abs(jnp.diagonal(U))))

    def solution(self) -> Solution:
        explained, W = quadratic(self.factor, self.R)
        L, g, rss = self.regression(explained)
        unit, U = jnp.asarray(self.model.unit), jnp.asarray(self.model.U)
        sigma = unit * jnp.sqrt(rss / self.freedom)
        half = jax.scipy.linalg.solve_triangular
        root = sigma * half(L, jnp.eye(self.model.p), lower=True)  # S_X^-1 = L^-T L^-1
        root = half(U, root.T)
        beta = unit * half(U, jnp.asarray(self.model.ols) + g)
        effects = self.model.effects
        b = unit * effects.times(effects.factors(self.theta), W[:, -1] - W[:, :-1] @ g)
        return Solution(self._value(L, rss), sigma, beta, root @ root.T, b)

"""Skewness of the latent field and of the predictor given theta, to first order in l'''.

    third cumulant of x_i = sum_j l'''(eta_j) cov(x_i, eta_j)^3

which is what the cubic term of the simplified Laplace approximation, gamma^(3) of Rue, Martino &
Chopin (2009, JRSS B 71, section 3.2.3), stands for; its linear term, gamma^(1), is a shift of the
mean, which `_correction` finds without expanding. Covariances of all pairs are needed: one solve
for each entry of eta, in blocks.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from padchol.inla._correction import covariances
from padchol.inla._evaluation import Approximation, fitted
from padchol.laplace import Laplace
from padchol.numeric.devices import alike

BLOCK = 32  # right-hand sides at a time


class Skewness(eqx.Module):
    """theta to the skewness of each entry of x (n,) and of eta (m,)."""

    approximation: Approximation

    def __call__(self, theta: Float[Array, " p"]) -> tuple[Array, Array]:
        fit = fitted(self.approximation, theta)
        variances, predictor = fit.variances()
        eta = fit.design(fit.mode)
        m = eta.shape[0]
        third = third_derivatives(fit, eta)
        blocks = -(-m // BLOCK)
        of_block = jnp.arange(BLOCK)

        def one(i, out):
            j = i * BLOCK + of_block
            unit = (jnp.arange(m)[:, None] == j).astype(eta.dtype)
            V = covariances(fit, jax.vmap(fit.design.t, 1, 1)(unit))
            weight = jnp.where(j < m, third[jnp.minimum(j, m - 1)], 0)
            of_eta = jax.vmap(fit.design, 1, 1)(V)
            return out[0] + V**3 @ weight, out[1] + of_eta**3 @ weight

        start = alike(jnp.zeros_like(fit.mode), jnp.zeros_like(eta), fit.mode, eta)[:2]
        latent, seen = lax.fori_loop(0, blocks, one, tuple(start))
        return _scaled(latent, variances), _scaled(seen, predictor)


def third_derivatives(fit: Laplace, eta: Float[Array, " m"]) -> Float[Array, " m"]:
    """l'''(eta_j)"""
    slope = jax.grad(lambda eta: jnp.sum(fit.log_likelihood(eta)))
    ones = jnp.ones_like(eta)
    second = lambda eta: jax.jvp(slope, (eta,), (ones,))[1]
    return jax.jvp(second, (eta,), (ones,))[1]


def _scaled(third: Array, variance: Array) -> Array:
    """Over the cube of the standard deviation; 0 where there is none, under a constraint say."""
    fine = variance > 0
    return jnp.where(fine, third / jnp.where(fine, variance, 1.0) ** 1.5, 0.0)

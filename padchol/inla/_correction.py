"""The means of the latent field, corrected for the likelihood not being Gaussian.

The Gaussian approximation sits at the mode. With its covariance S = H^-1 held fixed, the mean that
is nearest to the posterior in the sense of Kullback and Leibler, min KL(N(mu, S) || p(x | y)), is
where

    B^T E[l'(eta)] - Q (mu - loc) = 0,     eta_i ~ N((B mu)_i, (B S B^T)_ii)

(van Niekerk & Rue 2021, arXiv 2111.12945; 2024, JMLR 25(62)). They move the mean along a few
columns of S, those of fixed effects say. Here every entry is free, unless told otherwise, which
costs a few solves with the factor that is there and comes nearer to the posterior.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from padchol.laplace import Laplace, LogLikelihood
from padchol.numeric.devices import alike

NODES = 15  # of Gauss and Hermite: exact up to degree 29 in eta, e^eta to 1e-11 for sd 1.5
MAX_STEPS = 60
SUFFICIENT = 0.6  # power of the rounding at which steps end: 4e-10, 2e-5 standard deviations


def hermite(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights with E f(z) = sum_q w_q f(z_q) for a standard normal z."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return nodes, weights / weights.sum()


def expected(f: LogLikelihood, eta: Array, sd: Array, count: int = NODES) -> Float[Array, " m"]:
    """E f(eta + sd z), term by term."""
    z, w = (jnp.asarray(x, eta.dtype) for x in hermite(count))
    return w @ jax.vmap(lambda z: f(eta + sd * z))(z)


def covariances(fit: Laplace, A_t: Float[Array, "n b"]) -> Float[Array, "n b"]:
    """S A^T, the covariances of x with A x."""
    held, found = fit.posterior.constraint, fit.factor.solve(A_t)
    if held is not None:
        root = held.root()
        found = found - root.T @ (root @ A_t)
    return found


def corrected_mean(
    fit: Laplace, predictor_sd: Float[Array, " m"], along: Any = None
) -> tuple[Float[Array, " n"], Bool[Array, ""]]:
    """The mean mu, and whether it was found. along: entries of x along whose covariances it moves,
    S[:, along]; all by default, () for none.

    Steps S r from the mode, r the left side above: Newton's method with the curvature at the mode,
    which is near that of the expectation. Where a step does not bring r down it is too long, and
    the steps that follow are half as long. On a plane of constraints steps stay on it.
    """
    problem, held = fit.problem, fit.posterior.constraint
    if along is not None:
        along = jnp.asarray(along, int)
        unit = (jnp.arange(fit.mode.size)[:, None] == along).astype(fit.mode.dtype)
        S = covariances(fit, unit)

    def direction(mean, rest):
        if along is None:
            return problem.stepped(mean, fit.factor.solve(rest), held) - mean
        return S @ jnp.linalg.solve(S[along], S.T @ rest)

    def slope(eta: Array) -> Array:
        return jax.grad(lambda eta: jnp.sum(expected(problem.terms, eta, predictor_sd)))(eta)

    def step(mean):
        rest = problem.balance(mean, slope)
        move = direction(mean, rest)
        return move, jnp.abs(move @ rest)

    def one(carry):
        mean, part, before, count, _ = carry
        move, size = step(mean)
        part = jnp.where(size < before, part, part / 2)
        return mean + part * move, part, size, count + 1, size > tolerance

    def going(carry):
        return carry[4] & (carry[3] < MAX_STEPS)

    mean = fit.mode
    if along is not None and not along.size:
        return mean, fit.converged
    tolerance = jnp.finfo(mean.dtype).eps ** SUFFICIENT
    start = (jnp.ones((), mean.dtype), jnp.full((), jnp.inf, mean.dtype), 0, True)
    start = alike(*map(jnp.asarray, start), mean)[:-1]
    mean, _, size, _, _ = lax.while_loop(going, one, (mean, *start))
    return mean, size <= tolerance

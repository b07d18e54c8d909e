"""Each likelihood of padchol beside the law it is of, by scipy; shared by the tests of likelihoods.

A law is made for eta and the likelihood's own parameters p, which both vary, so that scipy's
log-densities can be differentiated by differences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from padchol import likelihoods

ETA = np.array([-1.2, -0.4, 0.3, 0.8, 1.1, 0.1])
M = len(ETA)
COUNTS = np.array([0, 1, 3, 0, 7, 2])
REAL = np.array([-0.7, 0.4, 2.1, -3.0, 1.1, 9.0])
POSITIVE = np.array([0.2, 0.4, 2.1, 3.0, 1.1, 0.7])
PART = np.array([0.2, 0.4, 0.9, 0.01, 0.55, 0.7])
EXPOSURE = np.array([1.0, 2.0, 0.5, 1.3, 1.0, 0.2])


class Law(NamedTuple):
    make: Callable[..., Any]  # data and p to the likelihood
    y: np.ndarray
    p: tuple[float, ...]
    of: Callable[..., Any]  # eta and p to a law with logpdf or logpmf, cdf, mean and var
    larger: float = 1.1  # other parameters are these times those

    def both(self) -> np.ndarray:
        """(2, parameters)"""
        return np.array([np.array(self.p), np.array(self.p) * self.larger])


class Mixture:
    """0 with probability `zero`, otherwise by a law of counts."""

    def __init__(self, zero: Any, counts: Any):
        self.zero, self.counts = zero, counts

    def logpmf(self, y):
        return np.log(self.zero * (y == 0) + (1 - self.zero) * self.counts.pmf(y))

    def cdf(self, y):
        return self.zero + (1 - self.zero) * self.counts.cdf(y)

    def mean(self):
        return (1 - self.zero) * self.counts.mean()

    def var(self):
        square = (1 - self.zero) * (self.counts.var() + self.counts.mean() ** 2)
        return square - self.mean() ** 2


class Categories:
    """Differences of logistic distribution functions."""

    def __init__(self, eta: Any, cuts: Any):
        between = special.expit(np.reshape(cuts, (-1, 1)) - eta)
        self.below = np.concatenate([0 * between[:1], between, 0 * between[:1] + 1])

    def logpmf(self, y):
        return np.log(np.take_along_axis(np.diff(self.below, axis=0), y[None], 0)[0])

    def cdf(self, y):
        return np.take_along_axis(self.below[1:], y[None], 0)[0]

    def mean(self):
        return (1 - self.below[1:-1]).sum(0)

    def var(self):
        k = np.arange(len(self.below) - 1)[:, None]
        return (k**2 * np.diff(self.below, axis=0)).sum(0) - self.mean() ** 2


def _nbinom(eta, size, exposure=1.0):
    return stats.nbinom(size, size / (size + exposure * np.exp(eta)))


def _beta(eta, precision):
    return stats.beta(precision * special.expit(eta), precision * special.expit(-eta))


LAWS = {
    "gaussian": Law(
        likelihoods.gaussian, REAL, (1.7,), lambda eta, tau: stats.norm(eta, tau**-0.5)
    ),
    "poisson": Law(
        likelihoods.poisson, COUNTS, (1.3,), lambda eta, e: stats.poisson(e * np.exp(eta))
    ),
    "binomial": Law(
        lambda y: likelihoods.binomial(y, 7), COUNTS, (),
        lambda eta: stats.binom(7, special.expit(eta)),
    ),
    "gamma": Law(
        likelihoods.gamma, POSITIVE, (2.3,), lambda eta, k: stats.gamma(k, scale=np.exp(eta) / k)
    ),
    "inverse gaussian": Law(
        likelihoods.inverse_gaussian, POSITIVE, (1.7,),
        lambda eta, k: stats.invgauss(np.exp(eta) / k, scale=k),
    ),
    "weibull": Law(
        lambda y, k: likelihoods.weibull(y, np.ones_like(y), k), POSITIVE, (1.7,),
        lambda eta, k: stats.weibull_min(k, scale=np.exp(-eta / k)),
    ),
    "negative binomial": Law(likelihoods.negative_binomial, COUNTS, (2.5, 1.3), _nbinom, 16),
    "zero-inflated poisson": Law(
        likelihoods.zero_inflated_poisson, COUNTS, (0.3, 1.3),
        lambda eta, zero, e: Mixture(zero, stats.poisson(e * np.exp(eta))),
    ),
    "zero-inflated binomial": Law(
        lambda y, zero: likelihoods.zero_inflated_binomial(y, zero, 7), COUNTS, (0.3,),
        lambda eta, zero: Mixture(zero, stats.binom(7, special.expit(eta))),
    ),
    "zero-inflated negative binomial": Law(
        lambda y, zero, size: likelihoods.zero_inflated(
            likelihoods.negative_binomial(y, size), zero
        ),
        COUNTS, (0.1, 0.8), lambda eta, zero, size: Mixture(zero, _nbinom(eta, size)),
    ),
    "beta": Law(likelihoods.beta, PART, (6.0,), _beta, 10),
    "student t": Law(
        likelihoods.student_t, REAL, (1.7, 3.5), lambda eta, tau, nu: stats.t(nu, eta, tau**-0.5)
    ),
    "stochastic volatility": Law(
        likelihoods.stochastic_volatility, REAL, (), lambda eta: stats.norm(0, np.exp(eta / 2))
    ),
    "ordinal": Law(
        lambda y, *cuts: likelihoods.ordinal(y, jnp.stack(cuts)), np.minimum(COUNTS, 3),
        (-1.0, 0.2, 1.5), lambda eta, *cuts: Categories(eta, cuts),
    ),
}  # fmt: skip
DISCRETE = [name for name, law in LAWS.items() if np.issubdtype(law.y.dtype, np.integer)]


def log_density(name: str, eta: Any, p: Any) -> np.ndarray:
    law = LAWS[name]
    found = law.of(eta, *p)
    return (found.logpmf if name in DISCRETE else found.logpdf)(law.y)


def derivatives(terms: Callable, eta: Any, orders: int = 3) -> list[jax.Array]:
    """The terms and their derivatives in eta."""
    found, functions = [], [terms]
    for _ in range(orders):
        last = functions[-1]
        functions.append(lambda eta, f=last: jax.jvp(f, (eta,), (jnp.ones_like(eta),))[1])
    for f in functions:
        found.append(f(eta))
    return found


def differences(f: Callable, order: int, h: float = 0.05) -> Any:
    """The derivative of f at 0 of that order, from thirteen points."""
    k = np.arange(-6, 7)
    powers = np.vander(k, increasing=True).T.astype(float)
    weights = np.linalg.solve(powers, np.eye(13)[order] * special.factorial(order))
    return sum(w * f(h * i) for w, i in zip(weights, k, strict=True)) / h**order

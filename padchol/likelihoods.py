"""Log-likelihoods of a linear predictor eta, term by term, for `padchol.laplace`.

Each function takes the data (and parameters, which may be traced) and gives eta (m,) to (m,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

Terms = Callable[[Float[Array, " m"]], Float[Array, " m"]]


def gaussian(y: Any, precision: Any) -> Terms:
    """y ~ N(eta, 1 / precision)"""
    y, precision = jnp.asarray(y), jnp.asarray(precision)
    return lambda eta: (jnp.log(precision / (2 * jnp.pi)) - precision * (y - eta) ** 2) / 2


def poisson(y: Any, exposure: Any = 1.0) -> Terms:
    """y ~ Poisson(exposure exp(eta))"""
    y, offset = jnp.asarray(y), jnp.log(jnp.asarray(exposure))
    return lambda eta: y * (eta + offset) - jnp.exp(eta + offset) - gammaln(y + 1.0)


def binomial(y: Any, trials: Any = 1) -> Terms:
    """y ~ Binomial(trials, 1 / (1 + exp(-eta)))"""
    y, trials = jnp.asarray(y), jnp.asarray(trials)
    ways = gammaln(trials + 1.0) - gammaln(y + 1.0) - gammaln(trials - y + 1.0)
    return lambda eta: ways + y * eta - trials * jax.nn.softplus(eta)


def gamma(y: Any, shape: Any) -> Terms:
    """y ~ Gamma with mean exp(eta) and variance exp(2 eta) / shape"""
    y, shape = jnp.asarray(y), jnp.asarray(shape)
    constant = shape * jnp.log(shape) + (shape - 1) * jnp.log(y) - gammaln(shape)
    return lambda eta: constant - shape * (eta + y * jnp.exp(-eta))


def weibull(time: Any, event: Any, shape: Any) -> Terms:
    """Survival with hazard shape exp(eta) time^(shape - 1); event 1: it happened, 0: censored"""
    time, event, shape = jnp.asarray(time), jnp.asarray(event), jnp.asarray(shape)
    log_time = jnp.log(time)
    log_hazard = jnp.log(shape) + (shape - 1) * log_time
    return lambda eta: event * (log_hazard + eta) - jnp.exp(eta + shape * log_time)

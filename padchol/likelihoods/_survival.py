"""Times to an event, some of them censored."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from padchol.likelihoods._base import (
    Likelihood,
    check,
    log,
    log_power,
    occurs,
    real,
    weight,
    where_defined,
    where_possible,
)


def weibull(time: Any, event: Any, shape: Any) -> Weibull:
    """Survival with hazard shape exp(eta) time^(shape - 1); event 1: it happened, 0: censored"""
    event = real(event)
    check(event, (event == 0) | (event == 1), "event 0 (censored) or 1 (it happened)")
    return Weibull(real(time), event, weight(shape, "shape"))


class Weibull(Likelihood):
    """event (log(shape) + (shape - 1) log(time) + eta) - exp(eta) time^shape

    Data cannot be drawn from it: when those would have been censored to whom it happened is not
    known.
    """

    time: Array
    event: Array
    shape: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        happened, possible = self.event != 0, occurs(self.time)
        time = jnp.where(happened & possible, self.time, 1.0)
        log_hazard = log(self.shape) + log_power(self.shape - 1, time) + eta
        passed = jnp.where(possible, self.time, 0.0)
        value = jnp.where(happened, log_hazard, 0.0) - self._cumulative(passed, eta)
        return where_possible(possible, value, self._defined)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """1 - exp(-exp(eta) time^shape), NaN for a censored time, of which it is only known that
        the event comes later"""
        below = -jnp.expm1(-self._cumulative(self.time, eta))
        return where_defined(self._defined & (self.event == 1), below)

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """exp(-eta / shape) Gamma(1 + 1 / shape), of the time to the event"""
        shape = jnp.where(self._defined, self.shape, 1.0)
        return where_defined(self._defined, jnp.exp(gammaln(1 + 1 / shape) - eta / shape))

    @property
    def _defined(self) -> Array:
        return ((self.event == 0) | (self.event == 1)) & (self.shape > 0)

    def _cumulative(self, time: Array, eta: Array) -> Array:
        """The cumulative hazard exp(eta) time^shape; 0 for a negative time."""
        passed = time > 0
        hazard = jnp.exp(eta + self.shape * log(jnp.where(passed, time, 1.0)))
        return jnp.where(passed, hazard, 0.0 * time)  # NaN where the time is NaN

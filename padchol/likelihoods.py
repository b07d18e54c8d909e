"""Log-likelihoods of a linear predictor eta, term by term, for `padchol.laplace`.

Each function takes the data (and parameters, which may be traced) and gives a map of eta (m,) to
the m terms log p(y_i | eta_i). The maps are pytrees whose leaves are the data: one compiled program
serves all data of one shape.

At the edges of the support values and derivatives are those of the limit. A term without weight (no
exposure, no trials, precision or shape zero) adds 0; data that cannot occur (a count where there is
no exposure, more successes than trials, a negative time) have the log-likelihood -inf. Negative
weights raise `ValueError`, or give NaN where they are traced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

from padchol.methods import WithMethods

Terms = Callable[[Float[Array, " m"]], Float[Array, " m"]]


def gaussian(y: Any, precision: Any) -> Gaussian:
    """y ~ N(eta, 1 / precision)"""
    return Gaussian(_real(y), _weight(precision, "precision"))


def poisson(y: Any, exposure: Any = 1.0) -> Poisson:
    """y ~ Poisson(exposure exp(eta))"""
    return Poisson(_real(y), _weight(exposure, "exposure"))


def binomial(y: Any, trials: Any = 1) -> Binomial:
    """y ~ Binomial(trials, 1 / (1 + exp(-eta)))"""
    return Binomial(_real(y), _weight(trials, "trials"))


def gamma(y: Any, shape: Any) -> Gamma:
    """y ~ Gamma with mean exp(eta) and variance exp(2 eta) / shape"""
    return Gamma(_real(y), _weight(shape, "shape"))


def weibull(time: Any, event: Any, shape: Any) -> Weibull:
    """Survival with hazard shape exp(eta) time^(shape - 1); event 1: it happened, 0: censored"""
    event = _real(event)
    _check(event, (event == 0) | (event == 1), "event 0 (censored) or 1 (it happened)")
    return Weibull(_real(time), event, _weight(shape, "shape"))


class _Likelihood(WithMethods):
    """Compared by identity as well, as functions are: `jax.jit` and the like ask for it."""

    __hash__ = WithMethods.__hash__

    def __eq__(self, other: Any) -> bool:
        return self is other

    def sampled(self, key: Array, eta: Float[Array, " m"]) -> Any:
        """The same likelihood of data drawn from it at eta, for a JAX key."""
        return eqx.tree_at(lambda likelihood: likelihood.y, self, self._drawn(key, eta))

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        del key, eta
        raise NotImplementedError(
            "expected one of padchol.likelihoods, which data can be drawn from; got "
            f"{type(self).__name__}"
        )


class Gaussian(_Likelihood):
    """(log(precision / 2 pi) - precision (y - eta)^2) / 2"""

    y: Array
    precision: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        seen = self.precision != 0
        precision = jnp.where(seen, self.precision, 1.0)
        y = jnp.where(seen, self.y, 0.0)  # whatever stands there
        value = (_log(precision / (2 * jnp.pi)) - precision * (y - eta) ** 2) / 2
        return jnp.where(seen, value, 0.0)

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        scale = jnp.where(self.precision > 0, self.precision, 1.0) ** -0.5
        return eta + scale * jax.random.normal(key, eta.shape, eta.dtype)


class Poisson(_Likelihood):
    """y (eta + log(exposure)) - exposure exp(eta) - log(y!)"""

    y: Array
    exposure: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        some = self.y != 0
        offset = _log(jnp.where(some, self.exposure, 1.0))
        value = self.y * eta + jnp.where(some, self.y * offset, 0.0)
        value = value - self.exposure * jnp.exp(eta) - gammaln(jnp.maximum(self.y, 0) + 1.0)
        possible = ~(self.y < 0) & ~(some & (self.exposure == 0))
        return _where_possible(possible, value, self.exposure >= 0)

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        return jax.random.poisson(key, self.exposure * jnp.exp(eta)).astype(eta.dtype)


class Binomial(_Likelihood):
    """log(trials choose y) - y log(1 + exp(-eta)) - (trials - y) log(1 + exp(eta))

    The two logarithms keep their digits apart where eta is large: y eta - trials log(1 + exp(eta))
    would cancel.
    """

    y: Array
    trials: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        possible = ~(self.y < 0) & ~(self.y > self.trials)
        y = jnp.where(possible, self.y, 0.0)
        failures = jnp.where(possible, self.trials - self.y, 0.0)
        ways = gammaln(y + failures + 1.0) - gammaln(y + 1.0) - gammaln(failures + 1.0)
        value = ways - y * jax.nn.softplus(-eta) - failures * jax.nn.softplus(eta)
        return _where_possible(possible, value, self.trials >= 0)

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        return jax.random.binomial(key, self.trials, jax.nn.sigmoid(eta), eta.shape, eta.dtype)


class Gamma(_Likelihood):
    """shape log(shape) + (shape - 1) log(y) - log Gamma(shape) - shape (eta + y exp(-eta))"""

    y: Array
    shape: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        seen = self.shape != 0
        shape = jnp.where(seen, self.shape, 1.0)
        constant = shape * _log(shape) + _power(shape - 1, self.y) - gammaln(shape)
        value = constant - shape * (eta + self.y * jnp.exp(-eta))
        value = _where_possible(~(self.y < 0), value, shape > 0)
        return jnp.where(seen, value, 0.0)

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        return jnp.exp(eta) * jax.random.gamma(key, self.shape, eta.shape, eta.dtype) / self.shape


class Weibull(_Likelihood):
    """event (log(shape) + (shape - 1) log(time) + eta) - exp(eta) time^shape"""

    time: Array
    event: Array
    shape: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        happened = self.event != 0
        time = jnp.where(happened, self.time, 1.0)
        log_hazard = _log(self.shape) + _power(self.shape - 1, time) + eta
        passed = self.time > 0
        cumulative = jnp.exp(eta + self.shape * _log(jnp.where(passed, self.time, 1.0)))
        cumulative = jnp.where(passed, cumulative, 0.0 * self.time)  # NaN where the time is NaN
        value = jnp.where(happened, log_hazard, 0.0) - cumulative
        known = (self.event == 0) | (self.event == 1)
        return _where_possible(~(self.time < 0), value, known & (self.shape > 0))


def _where_possible(possible: Array, value: Array, defined: Array) -> Array:
    """The value; -inf where the data cannot occur, NaN where the law is not defined."""
    return jnp.where(defined, jnp.where(possible, value, -jnp.inf), jnp.nan)


def _log(x: Array) -> Array:
    """log(x), NaN and without a warning where x is negative; finite derivatives at zero."""
    fine = x > 0
    return jnp.where(fine, jnp.log(jnp.where(fine, x, 1.0)), jnp.where(x == 0, -jnp.inf, jnp.nan))


def _power(k: Array, x: Array) -> Array:
    """log(x^k), 0 for k = 0 also at x = 0, where log(x) has no number."""
    return k * _log(jnp.where((k == 0) & (x == 0), 1.0, x))


def _real(x: Any) -> Array:
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)


def _weight(x: Any, name: str) -> Array:
    x = _real(x)
    _check(x, ~(x < 0), f"{name} >= 0")
    return x


def _check(x: Array, fine: Array, expected: str) -> None:
    """Raise `ValueError` for the first entry that is not fine, unless it is traced."""
    if isinstance(fine, jax.core.Tracer) or bool(jnp.all(fine)):
        return
    k = int(np.argmin(np.atleast_1d(fine).ravel()))
    raise ValueError(f"expected {expected}; got {np.atleast_1d(x).ravel()[k]} in entry {k}")

"""Residuals of a fit, given its random effects at their conditional means.

    response   y - mu,  mu = E[y | b]
    pearson    (y - mu) / sqrt(V(mu) / w)            in a linear model sqrt(w) (y - mu), as in lme4
               with zeros of probability pi beside a law of mean m, V = (1 - pi) (V(m) + m^2) - mu^2
    scaled     pearson over sigma, where there is one
    working    (y - mu) d eta / d mu
    deviance   sign(y - mu) sqrt(2 (l_i(saturated) - l_i(eta_i)))

McCullagh & Nelder (1989), Generalized Linear Models, section 2.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Float

KINDS = ("response", "pearson", "scaled", "working", "deviance")


def residuals(fit: Any, kind: str) -> Float[np.ndarray, " n"]:
    """See `Fit.residuals`."""
    if kind not in KINDS:
        raise ValueError(f"expected a kind of residuals of {KINDS}; got {kind!r}")
    if fit.sigma is None:
        return of_family(fit, kind)
    left = fit.model.observed - fit.predict()
    root = fit.model.data.root
    if kind in ("pearson", "deviance"):
        return root * left
    return root * left / fit.sigma if kind == "scaled" else left


class Law(NamedTuple):
    """Of a mean mu, the dispersion phi and further parameters: the variance of y, and y's part of
    the deviance."""

    variance: Callable[..., np.ndarray]
    deviance: Callable[..., np.ndarray] | None


def _ratio(y: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """y log(y / mu), 0 where y is"""
    return scipy.special.xlogy(y, y) - scipy.special.xlogy(y, mu)


# Of one trial of a binomial, whose number of trials is a weight.
LAWS = {
    "gaussian": Law(lambda mu, phi: phi**2 + 0 * mu, lambda y, mu, phi: (y - mu) ** 2 / phi**2),
    "binomial": Law(
        lambda mu: mu * (1 - mu), lambda y, mu: 2 * (_ratio(y, mu) + _ratio(1 - y, 1 - mu))
    ),
    "poisson": Law(lambda mu: mu, lambda y, mu: 2 * (_ratio(y, mu) - (y - mu))),
    "nbinom1": Law(lambda mu, phi: mu * (1 + phi), None),
    "nbinom2": Law(
        lambda mu, phi: mu + mu**2 / phi,
        lambda y, mu, phi: 2 * (_ratio(y, mu) - (y + phi) * np.log((y + phi) / (mu + phi))),
    ),
    "gamma": Law(
        lambda mu, phi: mu**2 / phi, lambda y, mu, phi: 2 * phi * ((y - mu) / mu - np.log(y / mu))
    ),
    "beta": Law(lambda mu, phi: mu * (1 - mu) / (1 + phi), None),
    "tweedie": Law(lambda mu, phi, power: phi * mu**power, None),
}


def of_family(fit: Any, kind: str) -> Float[np.ndarray, " n"]:
    """Residuals of a generalised model, whose law is that of a family."""
    model = fit.model
    if not model.has_family:
        if kind == "response":
            return model.observed / _trials(model) - fit.fitted
        raise NotImplementedError(
            f"{kind} residuals need a family of padchol.mixed.families; got a likelihood"
        )
    terms = model.terms.whole()
    family, data = terms.family, terms.data
    trials = np.ones(fit.n) if data.trials is None else np.asarray(data.trials)
    weights = trials if data.weights is None or family.name == "binomial" else data.weights
    y = model.observed / trials
    eta = fit.predict()
    mu, slope = model.inference.response_at(model, fit, eta, model.own_rows())
    if kind == "response":
        return y - mu
    if kind == "working":
        return (y - mu) / slope
    law = LAWS.get(family.name)
    if law is None or (kind == "deviance" and (terms.zero or law.deviance is None)):
        raise NotImplementedError(
            f"{kind} residuals are not defined here for the family {family.name}"
            + (" with zero inflation" if terms.zero else "")
            + '; there are "response" and "working"'
        )
    pairs = zip(model.parts, fit.extras, strict=True)
    predictors = [part(jnp.asarray(found.parameters)) for part, found in pairs]
    own = [np.asarray(value) for value in terms.values(*predictors)]
    if kind == "deviance":
        part = np.maximum(law.deviance(y, mu, *own), 0) if law.deviance else np.full(fit.n, np.nan)
        return np.sign(y - mu) * np.sqrt(weights * part)
    pi = scipy.special.expit(np.asarray(predictors[0])) if terms.zero else 0.0
    inside = mu / (1 - pi)  # the mean of the law beside the zeros
    variance = (1 - pi) * (law.variance(inside, *own) / trials + inside**2) - mu**2
    return (y - mu) / np.sqrt(variance * trials / weights)


def _trials(model: Any) -> np.ndarray:
    return np.asarray(getattr(model.terms.whole(), "trials", 1.0))

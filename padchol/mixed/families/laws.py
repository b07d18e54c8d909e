"""The families. Each function gives a `Family`, for `padchol.mixed.generalized`.

phi is the dispersion parameter; its logarithm has a linear predictor, a constant unless a formula
`dispersion` says otherwise. What phi is of each law is as in R's glmmTMB; of the gaussian it is the
standard deviation.
"""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from padchol import likelihoods as of
from padchol.likelihoods import Likelihood
from padchol.mixed.families.family import Data, Family
from padchol.mixed.families.predictors import Predictor, predictor

SIZE = "variance mu + mu^2 / phi"
MULTIPLE = "variance mu (1 + phi)"


def gaussian(link: str = "identity") -> Family:
    """y ~ N(mu, phi^2): phi is the standard deviation; phi^2 / weights where there are weights.

    Links identity, log, inverse.
    """
    return Family(
        "gaussian", _gaussian, "identity", link, "real", "standard deviation of the residuals",
        _log_deviation, np.inf, weigh=False,
    )  # fmt: skip


def binomial(link: str = "logit") -> Family:
    """y successes of as many trials; or proportions y whose trials are the weights, as in R.

    Links logit, probit, cloglog. A response of two labels: the second is success.
    """
    return Family("binomial", _binomial, "logit", link, "successes", prepare=_trials)


def poisson(link: str = "log") -> Family:
    """Counts of mean and variance mu. Links log, identity, sqrt, inverse."""
    return Family("poisson", _poisson, "log", link, "counts")


def nbinom1(link: str = "log") -> Family:
    """Counts of variance mu (1 + phi)."""
    return Family("nbinom1", _nbinom1, "log", link, "counts", MULTIPLE)


def nbinom2(link: str = "log") -> Family:
    """Counts of variance mu + mu^2 / phi."""
    return Family("nbinom2", _nbinom2, "log", link, "counts", SIZE)


def truncated_poisson(link: str = "log") -> Family:
    """Counts >= 1: Poisson, given that they are not 0. With `zero` a hurdle, which has zeros."""
    return Family("truncated_poisson", _truncated_poisson, "log", link, "positive counts")


def truncated_nbinom1(link: str = "log") -> Family:
    """Counts >= 1: `nbinom1`, given that they are not 0. With `zero` a hurdle."""
    return Family("truncated_nbinom1", _truncated_1, "log", link, "positive counts", MULTIPLE)


def truncated_nbinom2(link: str = "log") -> Family:
    """Counts >= 1: `nbinom2`, given that they are not 0. With `zero` a hurdle."""
    return Family("truncated_nbinom2", _truncated_2, "log", link, "positive counts", SIZE)


def gamma(link: str = "log") -> Family:
    """y > 0 of mean mu and variance mu^2 / phi: phi is the shape. With `zero` a hurdle.

    Links log, identity, sqrt, inverse.
    """
    return Family("gamma", _gamma, "log", link, "positive", "shape, variance mu^2 / phi")


def beta(link: str = "logit") -> Family:
    """Proportions of mean mu and variance mu (1 - mu) / (1 + phi). Links logit, probit, cloglog.

    With `zero` a hurdle.
    """
    about = "precision, variance mu (1 - mu) / (1 + phi)"
    return Family("beta", _beta, "logit", link, "proportions", about)


def tweedie(power: float | None = None, link: str = "log") -> Family:
    """y >= 0 of mean mu and variance phi mu^power, 1 < power < 2, with a probability of 0.

    The power is estimated where it is not given.
    """
    about = "variance phi mu^power"
    if power is None:
        return Family("tweedie", _tweedie, "log", link, "amounts", about, parameters=_power)
    if not 1 < power < 2:
        raise ValueError(f"expected a power between 1 and 2; got {power}")
    return Family("tweedie", _tweedie_given, "log", link, "amounts", about, given=(float(power),))


def ordinal(link: str = "logit") -> Family:
    """Ordered categories k = 0, 1, ..., K: P(y <= k) = 1 / (1 + exp(eta - cut_k)), the cuts
    estimated. There is no intercept, whose place the cuts have."""
    if link != "logit":
        raise ValueError(f"expected the link logit for ordinal; got {link!r}")
    return Family(
        "ordinal", _ordinal, "logit", link, "categories", parameters=_cuts, intercept=False
    )


def _gaussian(data: Data, phi: Array) -> Likelihood:
    return of.gaussian(data.y, (1.0 if data.weights is None else data.weights) / phi**2)


def _binomial(data: Data) -> Likelihood:
    return of.binomial(data.y, data.trials)


def _poisson(data: Data) -> Likelihood:
    return of.poisson(data.y)


def _nbinom1(data: Data, phi: Array) -> of.LinearNegativeBinomial:
    return of.linear_negative_binomial(data.y, phi)


def _nbinom2(data: Data, phi: Array) -> of.NegativeBinomial:
    return of.negative_binomial(data.y, phi)


def _truncated_poisson(data: Data) -> Likelihood:
    return of.truncated_poisson(data.y)


def _truncated_1(data: Data, phi: Array) -> Likelihood:
    return of.truncated(_nbinom1(data, phi))


def _truncated_2(data: Data, phi: Array) -> Likelihood:
    return of.truncated(_nbinom2(data, phi))


def _gamma(data: Data, phi: Array) -> Likelihood:
    return of.gamma(data.y, phi)


def _beta(data: Data, phi: Array) -> Likelihood:
    return of.beta(data.y, phi)


def _tweedie(data: Data, phi: Array, power: Array) -> Likelihood:
    return _tweedie_given(data, phi, powers(power))


def _tweedie_given(data: Data, phi: Array, power: Array | float) -> Likelihood:
    return of.tweedie(data.y, phi, jnp.asarray(power))


def _ordinal(data: Data, cuts: Array) -> Likelihood:
    return of.ordinal(data.y, of.increasing_cuts(cuts))


def _log_deviation(data: Data) -> float:
    deviation = float(np.std(data.y))
    return float(np.log(deviation)) if deviation > 0 else 0.0


def _trials(data: Data) -> Data:
    """Successes and trials; of proportions with weights the products, which are whole numbers up to
    rounding."""
    if data.trials is not None:
        return data
    if data.weights is None:
        return Data(data.y, np.ones(len(data.y)))
    products = data.y * data.weights
    near = np.abs(products - np.round(products)) < 1e-6 * np.maximum(1.0, data.weights)
    return Data(np.where(near, np.round(products), products), data.weights)


def powers(c: Array) -> Array:
    """The power of its logit on (1, 2)."""
    return 1 + jax.nn.sigmoid(c)


def _power(family: Family, data: Data) -> tuple[Predictor, ...]:
    del family, data
    return (predictor("power", np.ones((1, 1)), ("power",), 0.0, shown=powers),)


def _cuts(family: Family, data: Data) -> tuple[Predictor, ...]:
    counts = np.bincount(data.y.astype(int))
    if counts.size < 2 or not counts.all():
        raise ValueError(
            "expected categories 0, 1, ..., K, two or more and each of them in some row; got "
            f"{counts.tolist()} rows of each"
        )
    below = np.cumsum(counts)[:-1] / counts.sum()
    cuts = np.log(below / (1 - below))
    first = np.concatenate([cuts[:1], np.log(np.diff(cuts))])
    labels = family.labels or tuple(str(k) for k in range(counts.size))
    names = tuple(f"{low}|{high}" for low, high in pairwise(labels))
    return (predictor("cuts", np.eye(cuts.size), names, first, shown=of.increasing_cuts),)

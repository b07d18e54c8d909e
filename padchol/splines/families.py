"""What an additive model needs of a likelihood: parameters of its own, weights, deviance.

The families are the functions of `padchol.likelihoods`. One that is not listed here is taken as it
is: `family(y, *columns)`, without parameters to be estimated, and weights multiply its terms.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import expit, xlogy

from padchol import likelihoods
from padchol.likelihoods import Likelihood
from padchol.mixed.families.family import check_rows

COUNTS = "counts 0, 1, 2, ..."


class Weighted(Likelihood):
    """weight log p(y_i | eta_i)"""

    likelihood: Likelihood
    weight: Array

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        seen = self.weight != 0
        return jnp.where(seen, self.weight * jnp.where(seen, self.likelihood(eta), 0.0), 0.0)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        return self.likelihood.cdf(eta)

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        return self.likelihood.mean(eta)


class Family(NamedTuple):
    """`make(y, w, theta, *columns)` is the likelihood at its positive parameters theta.

    dispersed: whether theta is (phi,), by which the prior of the coefficients is scaled as well:
    their precision is then S / phi, as in a Gaussian model.
    """

    name: str
    make: Callable[..., Likelihood]
    parameters: tuple[str, ...] = ()
    begin: Callable[..., list[float]] = lambda y: []  # where the search of theta begins
    dispersed: bool = False
    inverse: Callable[..., np.ndarray] | None = None  # eta to mu, of one trial or unit of exposure
    deviance: Callable[..., np.ndarray] | None = None  # (y, mu, theta): unit deviances
    variance: Callable[..., np.ndarray] | None = None  # (mu, theta): of y, over the dispersion
    outcome: Callable[..., np.ndarray] = lambda y, *columns: y  # whose mean is mu
    counted: Callable[..., np.ndarray] = lambda y, *columns: np.ones_like(y)  # weights of these
    possible: Callable[..., Any] = lambda y, *columns: np.isfinite(y)  # which responses may occur
    expected: str = "numbers"  # these, in words

    def check(self, y: np.ndarray, w: np.ndarray, offset: np.ndarray, columns: Any) -> list[str]:
        """Raises `ValueError` for responses that cannot occur, and for such that no finite
        predictor fits best; says which are not whole where they are counts."""
        possible = self.possible(y, *columns) | (w == 0)
        check_rows(y, possible, f"{self.expected} as response of {self.name}")
        seen = w * self.counted(y, *columns) > 0
        outcome = self.outcome(y, *columns)[seen]
        if self.name == "gaussian" and seen.any() and np.ptp((y - offset)[seen]) == 0:
            raise ValueError(f"expected a response that varies; got {outcome[0]:g} in every row")
        ends = {"binomial": (0, 1)}.get(self.name, (0,) if self.expected == COUNTS else ())
        for end in ends:
            if seen.any() and (outcome == end).all():
                raise ValueError(
                    f"expected a response of {self.name} whose mean a finite predictor has; got "
                    f"the mean {end}"
                )
        broken = y != np.round(y)
        if self.expected != COUNTS or not broken.any():
            return []
        row = int(np.argmax(broken))
        return [f"the response of {self.name} is not whole in {broken.sum()} rows, first row {row}"]

    def mean(self, eta: np.ndarray, theta: Any) -> np.ndarray:
        """E[y | eta], of one trial or unit of exposure; NaN where it takes more columns."""
        if self.inverse is not None:
            return self.inverse(eta)
        try:
            made = self.make(jnp.full(eta.shape, 0.5), jnp.ones(eta.shape), jnp.asarray(theta))
        except TypeError:
            return np.full(eta.shape, np.nan)
        return np.asarray(made.mean(jnp.asarray(eta)))


@functools.cache
def family_of(function: Callable[..., Any] | Family | str) -> Family:
    """That of a function of `padchol.likelihoods`, or of the name of one that is listed here.

    Raises `ValueError` for another name, `TypeError` for what cannot be called, and for families of
    `padchol.mixed`.
    """
    if isinstance(function, Family):
        return function
    if isinstance(function, str):
        names = {each.__name__: family for each, family in KNOWN.items()}
        if function not in names:
            raise ValueError(f"expected one of the families {', '.join(names)}; got {function!r}")
        return names[function]
    of_mixed = getattr(function, "__module__", "").startswith("padchol.mixed")
    if of_mixed or not callable(function):
        raise TypeError(f"expected a family such as padchol.likelihoods.poisson; got {function!r}")
    if function in KNOWN:
        return KNOWN[function]
    name = getattr(function, "__name__", type(function).__name__)
    return Family(name, _plain(function))


def _plain(function: Callable[..., Any]) -> Callable:
    return lambda y, w, theta, *columns: Weighted(function(y, *columns), w)


def _with(function: Callable) -> Callable:
    """Of a function whose parameters follow the data."""
    return lambda y, w, theta, *columns: Weighted(function(y, *theta, *columns), w)


def _poisson(y, mu, theta):
    """2 (y log(y / mu) - y + mu)"""
    return 2 * (xlogy(y, y / mu) - (y - mu))


def _binomial(y, mu, theta):
    """2 (y log(y / mu) + (1 - y) log((1 - y) / (1 - mu))), y a share"""
    return 2 * (xlogy(y, y / mu) + xlogy(1 - y, (1 - y) / (1 - mu)))


def _gamma(y, mu, theta):
    """2 ((y - mu) / mu - log(y / mu))"""
    return 2 * ((y - mu) / mu - np.log(y / mu))


def _negative_binomial(y, mu, theta):
    """2 (y log(y / mu) - (y + size) log((y + size) / (mu + size)))"""
    size = theta[0]
    return 2 * (xlogy(y, y / mu) - (y + size) * np.log((y + size) / (mu + size)))


def _share(y, trials=1.0):
    return y / np.maximum(trials, 1e-300)


def _trials(y, trials=1.0):
    return trials * np.ones_like(y)


def _rate(y, exposure=1.0):
    return y / np.maximum(exposure, 1e-300)


_counts: Any = {
    "inverse": np.exp,
    "outcome": _rate,
    "counted": _trials,
    "possible": lambda y, *columns: y >= 0,
    "expected": COUNTS,
}
_positive: Any = {"possible": lambda y, *columns: y > 0, "expected": "numbers > 0"}

KNOWN: dict[Any, Family] = {
    likelihoods.gaussian: Family(
        "gaussian",
        lambda y, w, theta: likelihoods.gaussian(y, w / theta[0]),
        dispersed=True,
        inverse=lambda eta: eta,
        deviance=lambda y, mu, theta: (y - mu) ** 2,
        variance=lambda mu, theta: np.ones_like(mu),
    ),
    likelihoods.gamma: Family(
        "gamma",
        lambda y, w, theta: likelihoods.gamma(y, w / theta[0]),
        ("dispersion",),
        lambda y: [float(np.var(y) / np.mean(y) ** 2)],
        dispersed=True,
        inverse=np.exp,
        deviance=_gamma,
        variance=lambda mu, theta: mu**2,
        **_positive,
    ),
    likelihoods.poisson: Family(
        "poisson",
        _plain(likelihoods.poisson),
        deviance=_poisson,
        variance=lambda mu, theta: mu,
        **_counts,
    ),
    likelihoods.binomial: Family(
        "binomial",
        _plain(likelihoods.binomial),
        inverse=expit,
        deviance=_binomial,
        variance=lambda mu, theta: mu * (1 - mu),
        outcome=_share,
        counted=_trials,
        possible=lambda y, trials=1.0: (y >= 0) & (y <= trials),
        expected="successes between 0 and the trials",
    ),
    likelihoods.negative_binomial: Family(
        "negative binomial",
        _with(likelihoods.negative_binomial),
        ("size",),
        lambda y: [1.0],
        deviance=_negative_binomial,
        variance=lambda mu, theta: mu + mu**2 / theta[0],
        **_counts,
    ),
    likelihoods.beta: Family(
        "beta",
        _with(likelihoods.beta),
        ("precision",),
        lambda y: [5.0],
        inverse=expit,
        variance=lambda mu, theta: mu * (1 - mu) / (1 + theta[0]),
        possible=lambda y, *columns: (y > 0) & (y < 1),
        expected="proportions between 0 and 1",
    ),
    likelihoods.weibull: Family(
        "weibull",
        lambda y, w, theta, event: Weighted(likelihoods.weibull(y, event, theta[0]), w),
        ("shape",),
        lambda y: [1.0],
        **_positive,
    ),
    likelihoods.student_t: Family(
        "student t",
        _with(likelihoods.student_t),
        ("precision", "degrees"),
        lambda y: [2 / float(np.var(y)), 5.0],
        inverse=lambda eta: eta,
    ),
}

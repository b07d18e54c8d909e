"""Confidence intervals of all parameters of a fit.

    wald       estimate +- z times its standard error. Standard deviations on the scale of their
               logarithm, correlations on that of artanh, by the delta method from the Hessian of
               the deviance; fixed effects of a linear model given theta and sigma, as in lme4
    profile    {value of the quantity g : the least deviance with g(x) = value is at most q above
               the minimum}, q the quantile of chi-squared with one degree of freedom
    bootstrap  quantiles of the estimates in refits to simulated responses

The ends of a profile interval are the least and the largest g(x) over the points x with d(x) <=
d_min + q (the same set: Cox & Hinkley 1974, Theoretical Statistics, section 7.2), found by
sequential quadratic programming (Kraft 1988, DFVLR-FB 88-28) with exact gradients of d. A standard
deviation whose lower end is zero has it there. Profiles are of the likelihood: a REML fit is fitted
again by maximum likelihood, as lme4 does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.optimize
import scipy.stats
from jaxtyping import Float

from padchol.mixed.surface import Surface, shown

METHODS = ("wald", "profile", "bootstrap")
CLOSE = 1e-3  # part of q by which the deviance at an end may miss it
STEPS = 200
NONE = 1e-6  # a variance, relative to its estimate, that is none
OUTSIDE = 1e3  # stands for a deviance that is no number, in the search for an end


def profile(surface: Surface, level: float) -> Float[np.ndarray, "k 2"]:
    """Ends of the profile intervals; NaN where none was found."""
    q = float(scipy.stats.chi2.ppf(level, 1))
    B, _ = surface.root()
    return np.array(
        [[_end(surface, B, j, sign, q) for sign in (-1, 1)] for j in range(len(surface.names))]
    )


def _end(surface: Surface, B: np.ndarray, j: int, sign: int, q: float) -> float:
    kind = surface.kinds[j]
    value, slope = surface.quantities(surface.x)
    direction = B.T @ slope[j]
    size = np.linalg.norm(direction)
    if size == 0:  # a variance of zero: no direction lowers it, every one that it has raises it
        if sign < 0:
            return float(shown(kind, value[j]))
        direction, size = _rising(surface, B, j)
    at = lambda z: surface.x + B @ z

    def minus(z: np.ndarray) -> tuple[float, np.ndarray]:
        g, slope = surface.quantities(at(z))
        return -sign * (g[j] - value[j]) / size, -sign * (B.T @ slope[j]) / size

    def left(z: np.ndarray) -> float:
        d = float(surface.value_and_grad(at(z))[0])
        return q - (d - surface.value) if np.isfinite(d) else -OUTSIDE

    def left_slope(z: np.ndarray) -> np.ndarray:
        found = B.T @ np.asarray(surface.value_and_grad(at(z))[1])
        return -found if np.isfinite(found).all() else -2 * z

    start = 0.9 * sign * np.sqrt(q) * direction / np.linalg.norm(direction)
    found = scipy.optimize.minimize(
        minus, start, jac=True, method="SLSQP",
        constraints={"type": "ineq", "fun": left, "jac": left_slope},
        options={"ftol": 1e-9, "maxiter": STEPS},
    )  # fmt: skip
    end = float(surface.quantities(at(found.x))[0][j])
    if kind == "variance" and end < NONE * max(value[j], NONE):
        return 0.0
    if kind == "correlation" and abs(end) > 1 - NONE:
        return float(np.sign(end))
    return float(shown(kind, end)) if abs(left(found.x)) < CLOSE * q else np.nan


def _rising(surface: Surface, B: np.ndarray, j: int) -> tuple[np.ndarray, float]:
    """A direction in which a variance of zero grows, and how fast it does."""
    value = surface.quantities(surface.x)[0][j]
    gains = [surface.quantities(surface.x + column)[0][j] - value for column in B.T]
    k = int(np.argmax(gains))
    direction = np.zeros(B.shape[1])
    direction[k] = 1.0
    return direction, max(float(gains[k]), np.finfo(float).tiny)


def wald(surface: Surface, level: float) -> Float[np.ndarray, "k 2"]:
    """Ends of Wald's intervals; NaN where the Hessian is not positive definite, or where a standard
    deviation is zero or a correlation one in size."""
    z = z_of(level)
    B, sound = surface.root()
    value, slope = surface.quantities(surface.x)
    error = np.linalg.norm(slope @ B, axis=1) if sound else np.full(value.size, np.nan)
    found = []
    for kind, g, e in zip(surface.kinds, value, error, strict=True):
        if kind == "variance":
            half = z * e / (2 * g) if g > 0 else np.nan  # of the logarithm of its root
            found.append([np.sqrt(g) * np.exp(-half), np.sqrt(g) * np.exp(half)])
        elif kind == "correlation":
            half = z * e / (1 - g**2) if abs(g) < 1 else np.nan
            found.append([np.tanh(np.arctanh(g) - half), np.tanh(np.arctanh(g) + half)])
        else:
            found.append([shown(kind, g - z * e), shown(kind, g + z * e)])
    return np.array(found).reshape(-1, 2)


def z_of(level: float) -> float:
    """The quantile of the normal law."""
    return float(scipy.stats.norm.ppf((1 + level) / 2))


def quantiles(draws: Float[np.ndarray, "refits k"], level: float) -> Float[np.ndarray, "k 2"]:
    """Of the estimates of refits, without those that are NaN."""
    tails = [(1 - level) / 2, (1 + level) / 2]
    return np.nanquantile(draws, tails, axis=0).T


def check(level: Any, method: Any) -> None:
    if method not in METHODS:
        raise ValueError(f"expected a method of {METHODS}; got {method!r}")
    if not 0 < level < 1:
        raise ValueError(f"expected a level between 0 and 1; got {level}")

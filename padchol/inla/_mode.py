"""The mode of theta: a quasi-Newton search with exact gradients, and the curvature there."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.optimize
from jaxtyping import Float

from padchol.inla._evaluation import Evaluated

LARGE = 1e10  # stands for values that are not finite, in the search
NEAR = 1e-6  # twice the log density still to be gained by a Newton step, where the search ends
POLISHING = 5  # Newton steps at most, after the quasi-Newton search


class Mode(NamedTuple):
    """Where the search ended."""

    theta: Float[np.ndarray, " p"]
    log_density: float
    precision: Float[np.ndarray, "p p"]  # minus the Hessian of the log density
    message: str  # empty where a mode was found


def find_mode(evaluate: Callable[[np.ndarray], Evaluated], start: Float[np.ndarray, " p"]) -> Mode:
    """The maximum of log p(y, theta) from `start`, which must have a finite value.

    L-BFGS-B without bounds (Byrd, Lu, Nocedal & Zhu 1995, SIAM J. Sci. Comput. 16(5), 1190-1208),
    then Newton steps. The Hessian is by central differences of exact gradients: 2 p of them, where
    the exact one would be compiled for as long as all the rest.
    """

    def minus(theta):
        found = evaluate(theta[None])
        value, slope = -float(found.log_density[0]), -found.gradient[0].astype(float)
        if found.converged[0] and np.isfinite(value) and np.isfinite(slope).all():
            return value, slope
        return LARGE, np.zeros_like(theta)

    value, slope = minus(start)
    if value == LARGE:
        return Mode(start, np.nan, np.full((start.size, start.size), np.nan), _NO_START)
    theta = start
    if start.size:
        options = {"ftol": 1e-12, "gtol": 1e-5, "maxcor": max(10, start.size)}
        found = scipy.optimize.minimize(minus, start, jac=True, method="L-BFGS-B", options=options)
        theta, value, slope = found.x, float(found.fun), np.asarray(found.jac)
    return _polished(evaluate, minus, theta, value, slope)


def _polished(
    evaluate: Callable, minus: Callable, theta: np.ndarray, value: float, slope: np.ndarray
) -> Mode:
    """Newton steps until none has anything to gain, or the curvature is not that of a maximum."""
    for _ in range(POLISHING):
        precision = curvature(evaluate, theta)
        if not (np.isfinite(precision).all() and (np.linalg.eigvalsh(precision) > 0).all()):
            return Mode(theta, -value, precision, _NOT_A_MAXIMUM)
        step = -np.linalg.solve(precision, slope)
        if -step @ slope <= NEAR:
            return Mode(theta, -value, precision, "")
        after, there = minus(theta + step)
        while not after < value and abs(step).max() > 1e-8:
            step = step / 2
            after, there = minus(theta + step)
        theta, value, slope = theta + step, after, there
    return Mode(theta, -value, precision, _NOT_FOUND)


def curvature(evaluate: Callable, theta: Float[np.ndarray, " p"]) -> Float[np.ndarray, "p p"]:
    """Minus the Hessian, by central differences of gradients."""
    p = theta.size
    if not p:
        return np.zeros((0, 0))
    # Gradients carry rounding of about eps: eps^(1/4) leaves eps^(1/2) of truncation and less of
    # rounding in the differences.
    h = float(np.finfo(evaluate.dtype).eps) ** 0.25
    steps = h * np.eye(p)
    found = evaluate(np.concatenate([theta + steps, theta - steps]))
    slopes = np.where(found.converged[:, None], found.gradient, np.nan)
    H = (slopes[:p] - slopes[p:]) / (2 * h)
    return -(H + H.T) / 2


_NO_START = (
    "no log density at the start: expected a finite log_prior there and an approximation that "
    "converges; start elsewhere"
)
_NOT_A_MAXIMUM = (
    "the search of the mode of theta ended where the log density has no maximum: the data and the "
    "prior say nothing about some direction, or the mode is at infinity; a proper prior helps"
)
_NOT_FOUND = "the search of the mode of theta did not converge; start nearer to it"

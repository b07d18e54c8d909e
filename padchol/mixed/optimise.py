"""Minimisation over parameters some of which must not be negative; honest about its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.optimize

SLOPE = 1e-3  # the largest entry of the projected gradient that counts as none, in deviance
NEAR, AWAY = 1e-4, 0.05  # standard deviations relative to sigma: taken for zero; tried instead
STARTS = 5  # at most


class Minimum(NamedTuple):
    """Where the search ended; `converged` only if the projected gradient vanishes there."""

    x: np.ndarray
    value: float
    gradient: np.ndarray
    slope: float  # the largest entry of the projected gradient
    converged: bool
    evaluations: int
    message: str


def minimise(
    value_and_grad: Callable[[Any], tuple[Any, Any]],
    start: np.ndarray,
    bounded: np.ndarray,
    *,
    max_steps: int = 500,
) -> Minimum:
    """Minimise by L-BFGS-B (Byrd, Lu, Nocedal & Zhu 1995), x[bounded] >= 0.

    A deviance is even in a standard deviation and so has no slope where it is zero, minimum or not:
    from an end there, a value away from zero is tried, and if it is better the search goes on from
    it. Converged: the projected gradient is below `SLOPE` and no such value is better.
    """
    count = 0

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal count
        count += 1
        value, gradient = value_and_grad(jnp.asarray(x))
        return float(value), np.asarray(gradient, float)

    if not start.size:
        value, gradient = objective(start)
        return Minimum(start, value, gradient, 0.0, bool(np.isfinite(value)), count, "no parameter")
    lower = np.where(bounded, 0.0, -np.inf)
    better, x, found = True, np.asarray(start, float), None
    for _ in range(STARTS):
        found = scipy.optimize.minimize(
            objective, x, jac=True, method="L-BFGS-B",
            bounds=[(low, None) for low in lower],
            options={"ftol": 1e-15, "gtol": 1e-2 * SLOPE, "maxiter": max_steps},
        )  # fmt: skip
        x, better = _away_from_zero(objective, found, bounded)
        if not better:
            break
    assert found is not None
    gradient = np.asarray(found.jac, float)
    slope = float(np.max(np.abs(np.maximum(found.x - gradient, lower) - found.x)))
    converged = bool(np.isfinite(found.fun) and slope <= SLOPE and not better)
    message = found.message if not better else "stopped at a saddle: a variance of zero"
    return Minimum(found.x, float(found.fun), gradient, slope, converged, count, str(message))


def _away_from_zero(objective: Callable, found: Any, bounded: np.ndarray) -> tuple[Any, bool]:
    """The first better point with one of the zeros moved away, and whether there is one."""
    for k in np.flatnonzero(bounded & (found.x < NEAR)):
        moved = found.x.copy()
        moved[k] = AWAY
        if objective(moved)[0] < found.fun:
            return moved, True
    return found.x, False

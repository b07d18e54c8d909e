"""The least value of a function of few parameters within bounds, flat stretches and all.

A quasi-Newton search alone ends at the first place where a function is flat: beyond its minimum at
a bound, or on a stretch where rounding decides about its slope. Here its end is taken for a minimum
only when a smaller value was looked for, on lines through it near and far, and not found.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.optimize
from jaxtyping import Float

STARTS = (0.25, 0.5, 0.75)  # of the way between the bounds, besides the start that was given
STEPS = (0.1, 0.5, 2.0, 5.0, 10.0, 20.0)  # along each parameter, to both sides
ROUNDS = 20  # more improvements than this have not been seen to matter
SMALL = 1e-7  # of a value, relative to 1 + |value|: what is smaller is rounding


def least(
    f: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: Float[np.ndarray, " k"],
    low: Float[np.ndarray, " k"],
    high: Float[np.ndarray, " k"],
) -> Float[np.ndarray, " k"]:
    """Where f, which gives its value and gradient, is least between low and high.

    Values that are not finite are taken for large ones. Raises `RuntimeError` where there are no
    others at any start. Cost: those of L-BFGS-B (Byrd, Lu, Nocedal & Zhu 1995, SIAM J. Sci.
    Comput. 16(5), 1190-1208) and 2 k len(STEPS) values, times the improvements found by these.
    """
    watched = _Watched(f)
    for point in (start, *(low + share * (high - low) for share in STARTS)):
        watched(np.clip(point, low, high))
    if not np.isfinite(watched.value):
        raise RuntimeError("no maximum of the restricted likelihood: it is finite at no start")
    bounds = list(zip(low, high, strict=True))
    for _ in range(ROUNDS):
        scipy.optimize.minimize(
            watched,
            watched.at,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"ftol": 1e-13, "gtol": 1e-7},
        )
        before = watched.value
        _look_around(watched, low, high)
        if watched.value > before - SMALL * (1 + abs(before)):
            return _polished(watched, low, high)
    return _polished(watched, low, high)


class _Watched:
    """f, finite, with the best point that was seen."""

    def __init__(self, f: Callable):
        self.f, self.at, self.value = f, np.zeros(0), np.inf

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = self.f(x)
        if not (np.isfinite(value) and np.isfinite(slope).all()):
            return max(1e3 * (1 + abs(self.value)), 1e10) if self.at.size else 1e10, 0 * x
        if value < self.value or not self.at.size:
            self.at, self.value = x.copy(), value
        return value, slope


def _look_around(f: _Watched, low: np.ndarray, high: np.ndarray) -> None:
    """Values along each parameter from the best point, and in all parameters at once."""
    centre = f.at
    together = [np.ones(centre.size)] if centre.size > 1 else []
    for direction in (*np.eye(centre.size), *together):
        for step in STEPS:
            for sign in (-1, 1):
                f(np.clip(centre + sign * step * direction, low, high))


def _polished(f: _Watched, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The best point after one parabola along each parameter: the line search of L-BFGS-B ends
    where rounding decides, which is further from the minimum than a parabola through values."""
    for j in range(f.at.size):
        at = f.at.copy()

        def along(step, at=at, j=j):
            return f(np.clip(at + step * (np.arange(at.size) == j), low, high))[0]

        scipy.optimize.minimize_scalar(along, bounds=(-0.1, 0.1), method="bounded")
    return f.at

"""Tails of sums of chi-squared variables, P(sum_i w_i X_i > q), X_i chi-squared on h_i degrees.

Weights may be negative: with -T / d on d degrees among them and q = 0 it is the tail of a ratio, an
F statistic's. With the cumulant function K(t) = -sum_i h_i log(1 - 2 t w_i) / 2

    P = (1 / 2 pi i) int exp(K(t) - t q) / t dt

along a line from below to above that crosses the real axis between 0 and the first pole of K; left
of 0 it is P - 1. The line crosses at the saddlepoint, K'(t) = q, and bends away from the axis so
that exp(-t q) decays: nothing oscillates, and the error is relative, also far in the tail (Rice
1980, SIAM J. Sci. Stat. Comput. 1(4), 438-448).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.integrate
import scipy.optimize
from jaxtyping import Float
from scipy import stats

NEAR = 0.05  # of the way to a pole: a saddlepoint nearer to 0, where there is a pole as well


def upper_tail(
    weights: Float[np.ndarray, " k"], degrees: Float[np.ndarray, " k"], q: float = 0.0
) -> float:
    """P(sum_i w_i X_i > q); `degrees` need not be whole."""
    kept = (weights != 0) & (degrees > 0)
    w, h = weights[kept], degrees[kept]
    if not w.size:
        return float(q < 0)
    w, q = w / np.max(np.abs(w)), q / np.max(np.abs(w))
    if (w == w[0]).all():
        law = stats.chi2(h.sum())
        return float(law.sf(q / w[0]) if w[0] > 0 else law.cdf(q / w[0]))
    low = 1 / (2 * w.min()) if w.min() < 0 else -np.inf
    high = 1 / (2 * w.max()) if w.max() > 0 else np.inf
    t = _root(lambda t: float(np.sum(h * w / (1 - 2 * t * w)) - q), low, high)
    if t is None:  # q is beyond what can occur
        return float(q < 0)
    first, last = max(low, -10.0), min(high, 10.0)
    if NEAR * first < t < NEAR * last:
        t = NEAR * last
    found = _along(w, h, q, t, first, last)
    return min(max(found if t > 0 else 1 + found, 0.0), 1.0)


def _along(w: np.ndarray, h: np.ndarray, q: float, c: float, low: float, high: float) -> float:
    """The integral along t = c + i y + a y^2."""
    a = np.sign(q) / (2 * ((high - c) if q > 0 else (c - low)))
    peak = -0.5 * h @ np.log1p(-2 * c * w) - c * q
    scale = np.sum(2 * h * w**2 / (1 - 2 * c * w) ** 2) ** -0.5

    def integrand(v):
        y = scale * v
        t = c + 1j * y + a * y**2
        exponent = -0.5 * (h @ np.log(1 - 2 * t * w)) - t * q - peak
        return (np.exp(exponent) / t * (1j + 2 * a * y)).imag * scale

    value, _ = scipy.integrate.quad(integrand, 0, np.inf, limit=200, epsabs=0, epsrel=1e-8)
    return float(np.exp(peak) * value / np.pi)


def _root(slope: Callable[[float], float], low: float, high: float) -> float | None:
    """Where an increasing function between two poles, or infinity, is zero."""

    def towards(end, sign):
        for k in range(1, 60):
            t = sign * 4.0**k if np.isinf(end) else end * (1 - 0.5**k)
            if sign * slope(t) > 0:
                return t
        return None

    a, b = towards(low, -1), towards(high, 1)
    if a is None or b is None:
        return None
    found: Any = scipy.optimize.brentq(slope, a, b, xtol=1e-14)
    return float(found)

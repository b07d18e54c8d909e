"""The skew-normal law with a given mean, standard deviation and skewness.

    density 2/w phi((t - x)/w) Phi(a (t - x)/w)

Azzalini (1985, Scand. J. Statist. 12, 171-178). With d = a / sqrt(1 + a^2) its skewness is
(4 - pi)/2 (d sqrt(2/pi))^3 / (1 - 2 d^2/pi)^(3/2), which is below 0.9953.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import special

LARGEST = 0.99  # skewness: beyond 0.9953 no skew-normal law has it
STEPS = 60  # of bisection, at most: of [-8, 8] standard deviations to rounding


class Laws(NamedTuple):
    """Many laws, arrays of one shape: location x, scale w, slant a."""

    location: Any
    scale: Any
    slant: Any

    def of(self, i: Any) -> Laws:
        """Some of them, along the last axis."""
        return Laws(*(x[..., i] for x in self))

    def pdf(self, t: Any) -> np.ndarray:
        z = (t - self.location) / self.scale
        normal = np.exp(-(z**2) / 2) / (math.sqrt(2 * math.pi) * self.scale)
        return 2 * normal * special.ndtr(self.slant * z)

    def cdf(self, t: Any) -> np.ndarray:
        z = (t - self.location) / self.scale
        return np.clip(special.ndtr(z) - 2 * special.owens_t(z, self.slant), 0, 1)

    def quantile(self, q: Any) -> np.ndarray:
        """By bisection where the law is skew; q may be 0 or 1."""
        plain = self.location + self.scale * special.ndtri(q)
        if not self.slant.any():
            return plain
        low = np.full(np.broadcast_shapes(plain.shape, np.shape(q)), -9.0)
        high = -low
        for _ in range(STEPS):
            middle = (low + high) / 2
            below = self.cdf(self.location + self.scale * middle) < q
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.where((q > 0) & (q < 1), self.location + self.scale * (low + high) / 2, plain)


def laws(mean: np.ndarray, sd: np.ndarray, skewness: np.ndarray) -> Laws:
    """Those with these moments; a skewness that none has becomes the largest."""
    g = np.abs(np.clip(skewness, -LARGEST, LARGEST)) ** (2 / 3)
    d2 = math.pi / 2 * g / (g + ((4 - math.pi) / 2) ** (2 / 3))
    d = np.sign(skewness) * np.sqrt(d2)
    scale = sd / np.sqrt(1 - 2 * d2 / math.pi)
    location = mean - scale * d * math.sqrt(2 / math.pi)
    return Laws(location, scale, d / np.sqrt(1 - d2))

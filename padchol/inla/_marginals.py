"""Posterior marginals of the latent field and of predictors: mixtures over the points of theta."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import elementwise

from padchol.inla import _skew_normal as skew_normal
from padchol.inla._correction import hermite
from padchol.inla._hyper import probabilities


class Marginals:
    """The laws of many numbers, each a mixture of normal or skew-normal laws.

    weights (k,); mean, sd, skewness (k, m) of the components.
    """

    def __init__(
        self,
        weights: Float[np.ndarray, " k"],
        mean: Float[np.ndarray, "k m"],
        sd: Float[np.ndarray, "k m"],
        skewness: Callable[[], Float[np.ndarray, "k m"]],
        corrected: str,
    ):
        self._weights, self._mean, self._sd = weights, mean, sd
        self._skewness, self._corrected = skewness, corrected

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {self._mean.shape[1]}, corrected={self._corrected!r}"

    @property
    def mean(self) -> Float[np.ndarray, " m"]:
        """Posterior means."""
        return self._weights @ self._mean

    @property
    def sd(self) -> Float[np.ndarray, " m"]:
        """Posterior standard deviations."""
        return np.sqrt(self._weights @ (self._sd**2 + (self._mean - self.mean) ** 2))

    def quantile(self, q: Any, corrected: str | None = None) -> Float[np.ndarray, "*q m"]:
        """Of each; corrected="simplified" for skew-normal components, see `padchol.inla`."""
        q = probabilities(q)
        law = self._components(corrected)
        levels = q.reshape(-1, 1, 1)
        each = law.quantile(levels)
        low, high = each.min(1), each.max(1)  # that of the mixture lies between those of its parts
        share = np.broadcast_to(levels[:, 0], low.shape)

        def miss(t, share, i):
            return np.einsum("k,km->m", self._weights, law.of(i).cdf(t[None])) - share

        found = np.where(high > low, low, low)
        at = np.argwhere(high - low > 1e-12 * (abs(low) + abs(high)))
        if at.size:
            row, i = at.T
            args = (share[row, i], i)
            root = elementwise.find_root(miss, (low[row, i], high[row, i]), args=args)
            found[row, i] = root.x
        return found.reshape(*q.shape, -1)

    def density(self, i: int, corrected: str | None = None) -> Callable[[Any], Any]:
        """t to the density of number i at t."""
        law = self._components(corrected).of(np.asarray([i]))
        return lambda t: self._mixed(law.pdf, t)

    def cdf(self, i: int, corrected: str | None = None) -> Callable[[Any], Any]:
        """t to the probability that number i is at most t."""
        law = self._components(corrected).of(np.asarray([i]))
        return lambda t: self._mixed(law.cdf, t)

    def expectation(self, f: Callable[[np.ndarray], np.ndarray]) -> Float[np.ndarray, " m"]:
        """E f of each number, f a numpy function that works entry by entry: np.exp, say. By
        quadrature with normal components."""
        z, w = hermite(31)
        values = f(self._mean[:, None] + self._sd[:, None] * z[:, None])
        return np.einsum("k,q,kqm->m", self._weights, w, values)

    def _mixed(self, f: Callable, t: Any) -> np.ndarray:
        t = np.asarray(t, float)
        return (self._weights @ f(t.reshape(1, -1))).reshape(t.shape)

    def _components(self, corrected: str | None) -> skew_normal.Laws:
        corrected = checked(self._corrected if corrected is None else corrected)
        skewness = self._skewness() if corrected == "simplified" else np.zeros_like(self._mean)
        return skew_normal.laws(self._mean, self._sd, skewness)


def checked(corrected: str) -> str:
    if corrected not in ("gaussian", "simplified"):
        raise ValueError(f'expected corrected="gaussian" or "simplified"; got {corrected!r}')
    return corrected

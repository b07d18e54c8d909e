"""Points in the plane: log-Gaussian Cox processes on a dual mesh."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from padchol.likelihoods._base import (
    Likelihood,
    occurs,
    times_exp,
    weight,
    where_defined,
    where_possible,
)


def cox(points: Any, weights: Any) -> Cox:
    """A Poisson process of intensity exp(eta), eta at the nodes of a mesh and at observed points

    Terms points eta - weights exp(eta). A node has points 0, and as its weight the area of its cell
    in the dual mesh, as far as it lies in the domain; an observed point has points 1 and weight 0.
    The integral of the intensity becomes the sum of weights exp(eta), so the sum of the terms is
    the log density of the point pattern with respect to the Poisson process of intensity 1, without
    the constant |domain|. Raises `ValueError` for negative points or weights.

    Simpson, Illian, Lindgren, Sorbye & Rue 2016, Biometrika 103, 49-70.
    """
    return Cox(weight(points, "points"), weight(weights, "weights"))


class Cox(Likelihood):
    """points eta - weights exp(eta)"""

    points: Array
    weights: Array

    @property
    def y(self) -> Array:
        """The data: how many points each place has."""
        return self.points

    def __call__(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        possible = occurs(self.points)
        value = jnp.where(possible, self.points, 0.0) * eta - times_exp(self.weights, eta)
        return where_possible(possible, value, self.weights >= 0)

    def cdf(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """NaN: terms are parts of the density of one point pattern, no laws of their own"""
        return jnp.full_like(eta, jnp.nan)

    def mean(self, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """weights exp(eta), the expected number of points in the cell; 0 at an observed point"""
        return where_defined(self.weights >= 0, times_exp(self.weights, eta))

    def _drawn(self, key: Array, eta: Float[Array, " m"]) -> Float[Array, " m"]:
        """Numbers of points in the cells, taken to lie at their nodes; 0 where points had been."""
        return jax.random.poisson(key, self.mean(eta)).astype(eta.dtype)

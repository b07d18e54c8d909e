"""Satterthwaite's degrees of freedom in a linear model.

Of one row l, t = (l beta - r) / sqrt(l C l^T) has about a t distribution with

    nu = 2 (l C l^T)^2 / (g^T A g),     g = d(l C l^T) / d(theta, sigma),

C (p, p) the covariance of beta given (theta, sigma) and A = 2 H^-1 that of (theta, sigma), H the
exact Hessian of the deviance, or of the REML criterion (Satterthwaite 1946, Biometrics Bulletin
2(6), 110-114; Giesbrecht & Burns 1985, Biometrics 41, 477-486). Directions of (theta, sigma) in
which H is not positive, at a variance of zero, are left out of A.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from padchol.mixed.wald import NEGLIGIBLE


class Satterthwaite:
    """What the degrees of freedom of every hypothesis about one fit need."""

    def __init__(self, fit: Any):
        model = fit.model.without_data()
        x = jnp.asarray([*fit.theta, fit.sigma])
        C, slope, H = (np.asarray(each) for each in _parts(model, x))
        self.C, self.slope = C, slope
        scale = np.sqrt(np.maximum(np.abs(np.diagonal(H)), np.finfo(float).tiny))
        values, vectors = np.linalg.eigh(H / scale[:, None] / scale)
        kept = values > NEGLIGIBLE * values.max(initial=0.0)
        root = vectors[:, kept] / np.sqrt(values[kept]) / scale[:, None]
        self.A = 2 * root @ root.T

    def df(self, row: Float[np.ndarray, " p"]) -> float:
        """nu of one row."""
        g = np.einsum("i,ijk,j->k", row, self.slope, row)
        spread = g @ self.A @ g
        return float(2 * (row @ self.C @ row) ** 2 / spread) if spread > 0 else np.inf


@eqx.filter_jit
def _parts(model: Any, x: Array) -> tuple[Array, Array, Array]:
    """C (p, p), dC / dx (p, p, x), and the Hessian of the criterion, at x = (theta, sigma)."""

    def covariance(x):
        at = model.solution(x[:-1])
        return at.covariance * (x[-1] / at.sigma) ** 2

    criterion = lambda x: model.deviance(x[:-1], x[-1])
    return covariance(x), jax.jacfwd(covariance)(x), jax.hessian(criterion)(x)

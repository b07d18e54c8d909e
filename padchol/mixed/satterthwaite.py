"""Tests of linear hypotheses L beta = r in a linear model, with Satterthwaite's degrees of freedom.

Of one row l, t = (l beta - r) / sqrt(l C l^T) has about a t distribution with

    nu = 2 (l C l^T)^2 / (g^T A g),     g = d(l C l^T) / d(theta, sigma),

C (p, p) the covariance of beta given (theta, sigma) and A = 2 H^-1 that of (theta, sigma), H the
exact Hessian of the deviance, or of the REML criterion (Satterthwaite 1946, Biometrics Bulletin
2(6), 110-114; Giesbrecht & Burns 1985, Biometrics 41, 477-486). Of several rows, L C L^T = P D P^T
with D diagonal, and F = sum_k t_k^2 / rank with t_k of the row (P^T L)_k, whose degrees of freedom
nu_k give

    E = sum_(nu_k > 2) nu_k / (nu_k - 2),    nu = 2 E / (E - rank),    2 if no nu_k is above 2,

as t_k^2 has the mean nu_k / (nu_k - 2) (Fai & Cornelius 1996, J. Stat. Comput. Simul. 54, 363-378).
Directions of (theta, sigma) in which H is not positive, at a variance of zero, are left out of A.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jaxtyping import Array, Float

NEGLIGIBLE = 1e-8  # eigenvalues, relative to the largest, that count as zero


class Hypothesis(NamedTuple):
    """F (the square of t, of one row) with its degrees of freedom, and the probability beyond."""

    F: float
    df: float  # of the numerator: the rank of L
    df_denominator: float
    p_value: float
    estimate: np.ndarray  # L beta - r
    standard_error: np.ndarray  # of each row


class Satterthwaite:
    """What the degrees of freedom of every hypothesis about one fit need."""

    def __init__(self, fit: Any):
        model = fit.model.without_data()
        x = jnp.asarray([*fit.theta, fit.sigma])
        C, slope, H = (np.asarray(each) for each in _parts(model, x))
        self.beta, self.C, self.slope = fit.beta, C, slope
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

    def test(self, L: Float[np.ndarray, "r p"], r: Any = 0.0) -> Hypothesis:
        """See the head of this file. Raises `ValueError` for L of another width or of rank zero."""
        L = np.atleast_2d(np.asarray(L, float))
        p = self.beta.size
        if L.ndim != 2 or L.shape[1] != p or not np.isfinite(L).all():
            raise ValueError(f"expected L of shape (r, {p}), finite; got shape {L.shape}")
        gap = L @ self.beta - np.broadcast_to(np.asarray(r, float), len(L))
        V = L @ self.C @ L.T
        values, vectors = np.linalg.eigh(V)
        kept = values > NEGLIGIBLE * values.max(initial=0.0)
        rank = int(kept.sum())
        if not rank:
            raise ValueError("expected L with a row that is not zero; got rank 0")
        t = (vectors.T @ gap)[kept] / np.sqrt(values[kept])
        nu = np.array([self.df(row) for row in (vectors.T @ L)[kept]])
        df = float(nu[0]) if rank == 1 else _of_several(nu)
        F = float(np.mean(t**2))
        p_value = float(scipy.stats.f.sf(F, rank, df))
        return Hypothesis(F, float(rank), df, p_value, gap, np.sqrt(np.diagonal(V)))


def _of_several(nu: np.ndarray) -> float:
    if np.all(np.abs(np.diff(nu)) < NEGLIGIBLE * nu.max()):
        return float(nu.mean())
    large = nu[nu > 2]
    E = float(np.sum(np.where(np.isinf(large), 1.0, large / (large - 2))))
    return 2 * E / (E - nu.size) if nu.size < E else (2.0 if not large.size else np.inf)


@eqx.filter_jit
def _parts(model: Any, x: Array) -> tuple[Array, Array, Array]:
    """C (p, p), dC / dx (p, p, x), and the Hessian of the criterion, at x = (theta, sigma)."""

    def covariance(x):
        at = model.solution(x[:-1])
        return at.covariance * (x[-1] / at.sigma) ** 2

    criterion = lambda x: model.deviance(x[:-1], x[-1])
    return covariance(x), jax.jacfwd(covariance)(x), jax.hessian(criterion)(x)

"""Tests of linear hypotheses L beta = r.

With C (p, p) the covariance of beta, and L C L^T = P D P^T with D diagonal,

    F = sum_k t_k^2 / rank,    t = D^-1/2 P^T (L beta - r)

In large samples rank F is chi-squared: Wald's test. In a linear model t_k has about a t
distribution with nu_k degrees of freedom, which give F

    E = sum_(nu_k > 2) nu_k / (nu_k - 2),    nu = 2 E / (E - rank),

as t_k^2 has the mean nu_k / (nu_k - 2) (Fai & Cornelius 1996, J. Stat. Comput. Simul. 54, 363-378);
2 where no nu > 2 has this mean, as some nu_k are 2 or less.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float

NEGLIGIBLE = 1e-8  # eigenvalues, relative to the largest, that count as zero


class Hypothesis(NamedTuple):
    """F (the square of t, of one row) with its degrees of freedom, and the probability beyond."""

    F: float
    df: float  # of the numerator: the rank of L
    df_denominator: float
    p_value: float
    estimate: np.ndarray  # L beta - r
    standard_error: np.ndarray  # of each row


def wald(
    beta: Float[np.ndarray, " p"],
    C: Float[np.ndarray, "p p"],
    L: Float[np.ndarray, "r p"],
    r: Any = 0.0,
    df_of: Callable[[np.ndarray], float] | None = None,
) -> Hypothesis:
    """The test of L beta = r, C the covariance of beta; df_of: nu of one row, None for infinite.

    Raises `ValueError` for L of another width or of rank zero.
    """
    L = np.atleast_2d(np.asarray(L, float))
    p = beta.size
    if L.ndim != 2 or L.shape[1] != p or not np.isfinite(L).all():
        raise ValueError(f"expected L of shape (r, {p}), finite; got shape {L.shape}")
    gap = L @ beta - np.broadcast_to(np.asarray(r, float), len(L))
    V = L @ C @ L.T
    if not np.isfinite(V).all():  # of a fit that did not converge
        nothing = np.full(len(L), np.nan)
        return Hypothesis(np.nan, np.nan, np.nan, np.nan, gap, nothing)
    values, vectors = np.linalg.eigh(V)
    kept = values > NEGLIGIBLE * values.max(initial=0.0)
    rank = int(kept.sum())
    if not rank:
        raise ValueError("expected L with a row that is not zero; got rank 0")
    t = (vectors.T @ gap)[kept] / np.sqrt(values[kept])
    df = np.inf
    if df_of is not None:
        nu = np.array([df_of(row) for row in (vectors.T @ L)[kept]])
        df = float(nu[0]) if rank == 1 else _of_several(nu)
    F = float(np.mean(t**2))
    law = scipy.stats.f(rank, df) if np.isfinite(df) else scipy.stats.chi2(rank, scale=1 / rank)
    return Hypothesis(F, float(rank), df, float(law.sf(F)), gap, np.sqrt(np.diagonal(V)))


def _of_several(nu: np.ndarray) -> float:
    if np.isinf(nu).all():
        return np.inf
    if nu.max() - nu.min() < NEGLIGIBLE * nu.max():
        return float(nu.mean())
    E = float(np.sum(1 / (1 - 2 / nu[nu > 2])))
    return 2 * E / (E - nu.size) if nu.size < E else 2.0

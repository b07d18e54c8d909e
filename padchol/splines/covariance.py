"""Covariances of the coefficients given the smoothing parameters, from the factor of H.

    V = scale H^-1,   var(rows beta) = scale |L^-1 P rows^T|^2   column by column

The Bayesian covariance (Wood 2017, Generalized Additive Models, 2nd ed., section 6.10). On the
host: new rows pair coefficients that the pattern of H need not have, so that the selected inverse
does not do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from padchol.factor import Factor

ROWS = 1024  # of a design whose variances are computed at a time


class Covariance:
    """scale H^-1 of n coefficients, by the factor of H."""

    def __init__(self, factor: Factor, scale: float):
        self.lower = sp.csr_array(factor.to_csc())
        self.upper = sp.csr_array(self.lower.T)
        self.perm, self.scale = np.asarray(factor.plan.perm), scale

    def half(self, rows: Any) -> Float[np.ndarray, "n k"]:
        """sqrt(scale) L^-1 P rows^T, rows (k, n) sparse: its Gram matrix is their covariance."""
        right = sp.csc_array(rows)[:, self.perm].T.toarray()
        return np.sqrt(self.scale) * self._solved(self.lower, right, True)

    def variances(self, rows: Any) -> Float[np.ndarray, " k"]:
        """Of rows beta. Cost: one triangular solve with k columns."""
        rows = sp.csr_array(rows)
        parts = [self.half(rows[k : k + ROWS]) for k in range(0, len(rows.indptr) - 1, ROWS)]
        return np.concatenate([np.zeros(0), *(np.sum(part**2, 0) for part in parts)])

    def dense(self) -> Float[np.ndarray, "n n"]:
        half = self.half(sp.csr_array(sp.eye_array(self.perm.size)))
        return half.T @ half

    def inverse_columns(self, where: slice) -> Float[np.ndarray, "n k"]:
        """Columns of H^-1, without the scale."""
        E = np.eye(self.perm.size)[:, where]
        half = self._solved(self.lower, E[self.perm], True)
        found = np.empty_like(half)
        found[self.perm] = self._solved(self.upper, half, False)
        return found

    @staticmethod
    def _solved(triangle: Any, b: np.ndarray, lower: bool) -> np.ndarray:
        b = np.ascontiguousarray(b, float)
        return np.asarray(sp.linalg.spsolve_triangular(triangle, b, lower=lower))

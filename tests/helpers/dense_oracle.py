"""One matrix by dense numpy: every output of a Factor, and its first derivatives by formula.

dZ = -Z dA Z                    Z = A^-1
d log|A| = tr(Z dA)             dx = Z (db - dA x)
dL = L Phi(L^-1 dA' L^-T)       A' in the plan's order; Phi: lower half, diagonal halved
dy = L^-1 (db - dL y)           and the same with L^T
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

import padchol

OUTPUTS = ("logdet", "solve", "solve_L", "solve_Lt", "selected_inverse", "marginal_variances")


def output(F: padchol.Factor, name: str, b):
    """The output of that name; those that need no right-hand side leave b alone."""
    method = getattr(F, name)
    return method(b) if name.startswith("solve") else method()


class Dense:
    """One output of the matrix with canonical values a (nnz,), at a right-hand side b (n,)."""

    def __init__(self, plan: padchol.Plan, name: str, a: Any, b: Any):
        self.plan, self.name, self.b = plan, name, np.asarray(b, float)
        self.A = self.matrix(np.asarray(a, float))
        self.L = np.linalg.cholesky(self.ordered(self.A))
        self.Z = np.linalg.inv(self.A)

    def matrix(self, a: np.ndarray) -> np.ndarray:
        """The symmetric matrix of canonical values, which need not be positive definite."""
        A = np.zeros((self.plan.n, self.plan.n))
        A[self.plan.rows, self.plan.cols] = A[self.plan.cols, self.plan.rows] = a
        return A

    def ordered(self, A: np.ndarray) -> np.ndarray:
        return A[self.plan.perm][:, self.plan.perm]

    @cached_property
    def value(self) -> np.ndarray:
        match self.name:
            case "logdet":
                return 2 * np.log(np.diag(self.L)).sum()
            case "solve":
                return self.Z @ self.b
            case "solve_L":
                return np.linalg.solve(self.L, self.b)
            case "solve_Lt":
                return np.linalg.solve(self.L.T, self.b)
        return self.select(self.Z)

    def select(self, Z: np.ndarray) -> np.ndarray:
        if self.name == "marginal_variances":
            return np.diag(Z)
        return Z[self.plan.rows, self.plan.cols]

    def tangent(self, da: np.ndarray, db: np.ndarray) -> Any:
        """The derivative along (da, db)."""
        dA = self.matrix(da)
        match self.name:
            case "logdet":
                return np.sum(self.Z * dA)
            case "solve":
                return self.Z @ (db - dA @ self.value)
            case "solve_L":
                return np.linalg.solve(self.L, db - self.factor_tangent(dA) @ self.value)
            case "solve_Lt":
                return np.linalg.solve(self.L.T, db - self.factor_tangent(dA).T @ self.value)
        return self.select(-self.Z @ dA @ self.Z)

    def factor_tangent(self, dA: np.ndarray) -> np.ndarray:
        inverse = np.linalg.inv(self.L)
        half = np.tril(inverse @ self.ordered(dA) @ inverse.T)
        return self.L @ (half - np.diag(np.diag(half)) / 2)

    def gradient(self, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of <w, output>, to the values and to the right-hand side."""
        n, nnz = self.plan.n, self.plan.nnz
        to_a = [np.vdot(w, self.tangent(unit, np.zeros(n))) for unit in np.eye(nnz)]
        to_b = [np.vdot(w, self.tangent(np.zeros(nnz), unit)) for unit in np.eye(n)]
        return np.array(to_a), np.array(to_b)

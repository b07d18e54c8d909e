"""A smooth term as the model has it: columns of the design, penalties, and their determinant."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from padchol.splines.bases import Basis
from padchol.splines.centring import centred_null, centring
from padchol.splines.determinant import log_determinant, orthonormal
from padchol.splines.tensor import Tensor


class Smooth:
    """f(x), by f(x), or f(x) for the rows of one level.

    x: as the basis takes it. by: (m,) or None, what multiplies f. centred: whether f sums to zero
    over the x of all rows. select: a further penalty, on what the others do not see (Marra & Wood
    2011, Comput. Stat. Data Anal. 55(7), 2372-2387), in the metric of the basis.
    """

    def __init__(
        self,
        label: str,
        basis: Basis,
        x: Any,
        by: Any = None,
        *,
        centred: bool = True,
        select: bool = False,
    ):
        self.label, self.basis, self.centred = label, basis, centred
        k, N, B = basis.size, basis.null(), basis.design(x)
        self.Z: Any = sp.csc_array(sp.eye_array(k))
        if centred:
            c = np.asarray(B.sum(0)).ravel()
            self.Z = centring(c)
            N = centred_null(N, c, self.Z)
        P = basis.measure() @ self.Z
        G = sp.csc_array(P.T @ P)
        several = basis.roots() if isinstance(basis, Tensor) else [basis.root()]
        self.roots = [sp.csr_array(root @ self.Z) for root in several]
        self._determinant(N, G)
        if select and N.shape[1]:
            N = self._selected(N, G)
        self.null: Float[np.ndarray, "size q"] = N
        self.columns = self.rows(x, by)

    @property
    def size(self) -> int:
        return self.Z.shape[1]

    def rows(self, x: Any, by: Any = None) -> sp.csr_array:
        """The design (m, size) at x, times by."""
        B = sp.csr_array(self.basis.design(x) @ self.Z)
        return B if by is None else sp.csr_array(sp.diags_array(np.asarray(by, float)) @ B)

    def _determinant(self, N: np.ndarray, G: Any) -> None:
        """log |det K| as times @ log(table @ lambda) + constant."""
        if isinstance(self.basis, Tensor):
            self.table = self.basis.eigenvalues()
            self.times = np.ones(len(self.table))
        else:
            self.table = np.ones((1, 1))
            self.times = np.array([self.size - N.shape[1]], float)
        whole = sum((root.T @ root for root in self.roots[1:]), self.roots[0].T @ self.roots[0])
        at_one = self.times @ np.log(self.table.sum(1))
        self.constant = log_determinant(whole, N, G) - float(at_one)

    def _selected(self, N: np.ndarray, G: Any) -> np.ndarray:
        """One more penalty, |N^T G gamma|^2, after which none is free: its determinant in the
        metric is 1, and K's is then that of S itself."""
        self.roots.append(sp.csr_array(orthonormal(N, G).T @ G))
        rows, penalties = self.table.shape
        table = np.zeros((rows + 1, penalties + 1))
        table[:rows, :penalties], table[rows, penalties] = self.table, 1
        self.table, self.times = table, np.append(self.times, N.shape[1])
        return N[:, :0]

"""Tensor products of bases: smooths of several variables, with a penalty along each.

B = B_1 (row-wise x) B_2,   penalties S_1 (x) G_2 and G_1 (x) S_2,   G_i = P_i^T P_i

(Wood 2006, Biometrics 62(4), 1025-1036). |P_2 b|^2 adds up squares of b's function at the points
of the second margin, so that S_1 (x) G_2 is the penalty along x_1 summed over these. mgcv takes the
values there for its coefficients (np = TRUE), which makes B dense; here B and the penalties stay
sparse and are those of the same functions. np = False sums over coefficients instead: P_i = I.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from padchol.splines.bases import Basis
from padchol.splines.determinant import eigenvalues, sums


class Tensor(Basis):
    """The product of margins; x is one array for each."""

    def __init__(self, margins: Sequence[Basis], points: bool = True):
        self.margins = tuple(margins)
        self.size = int(np.prod([basis.size for basis in margins]))
        self.measures = [b.tensor_measure() if points else b.measure() for b in margins]

    def design(self, x: Sequence[Any]) -> sp.csr_array:
        return functools.reduce(
            rowwise, [b.design(v) for b, v in zip(self.margins, x, strict=True)]
        )

    def roots(self) -> list[sp.csr_array]:
        """One for each margin: D_1 (x) P_2, P_1 (x) D_2."""
        found = []
        for k, basis in enumerate(self.margins):
            parts = [basis.root() if i == k else P for i, P in enumerate(self.measures)]
            found.append(sp.csr_array(functools.reduce(sp.kron, parts)))
        return found

    def root(self) -> sp.csr_array:
        return sp.csr_array(sp.vstack(self.roots()))

    def null(self) -> Float[np.ndarray, "size q"]:
        return functools.reduce(np.kron, [basis.null() for basis in self.margins])

    def measure(self) -> sp.csr_array:
        return sp.csr_array(functools.reduce(sp.kron, self.measures))

    def eigenvalues(self) -> Float[np.ndarray, "rows margins"]:
        """See `padchol.splines.determinant`."""
        pairs = zip(self.margins, self.measures, strict=True)
        return sums([eigenvalues(basis, P) for basis, P in pairs])


def rowwise(A: Any, B: Any) -> sp.csr_array:
    """(m, k l): row i is the Kronecker product of the rows i of A (m, k) and B (m, l)."""
    A, B = sp.csr_array(A), sp.csr_array(B)
    a, b = np.diff(A.indptr), np.diff(B.indptr)
    count = a * b
    row = np.repeat(np.arange(A.shape[0]), count)
    within = np.arange(row.size) - np.repeat(np.cumsum(count) - count, count)
    left = A.indptr[row] + within // np.maximum(b[row], 1)
    right = B.indptr[row] + within % np.maximum(b[row], 1)
    data = A.data[left] * B.data[right]
    cols = A.indices[left].astype(np.int64) * B.shape[1] + B.indices[right]
    return sp.csr_array((data, (row, cols)), shape=(A.shape[0], A.shape[1] * B.shape[1]))

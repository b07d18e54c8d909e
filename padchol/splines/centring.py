"""Functions that sum to zero over the data, in coordinates that keep the design sparse.

A smooth is told from the intercept by c^T beta = 0, c = B^T 1: its values at the data sum to zero
(Wood 2017, Generalized Additive Models, 2nd ed., section 5.4.1). beta = Z gamma runs through these
with any basis Z of them. An orthonormal one, from a QR decomposition of c, is dense. Here each
column of Z has two entries, for two neighbouring coefficients i and j,

    c_j e_i - c_i e_j,   of length one,

so that a column of B Z has the support of two B-splines instead of one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from padchol.splines.bases import Basis

LARGE = 0.05  # of the largest entry of c; two neighbours that are, or one that is and one that is
# not, make columns that are far from dependent: an entry near zero between two large ones does not


def centring(c: Float[np.ndarray, " k"]) -> sp.csc_array:
    """Z (k, k - 1) of full rank with c^T Z = 0. `ValueError` where c is zero."""
    size = np.abs(c)
    if not size.max(initial=0) > 0:
        raise ValueError("expected a smooth of data: all its functions sum to zero over them")
    large = np.flatnonzero(size > LARGE * size.max())
    small = np.flatnonzero(size <= LARGE * size.max())
    near = np.clip(np.searchsorted(large, small), 0, large.size - 1)
    one = np.concatenate([large[:-1], small])
    other = np.concatenate([large[1:], large[near]])
    order = np.argsort(np.minimum(one, other), kind="stable")
    one, other = one[order], other[order]
    length = np.hypot(c[one], c[other])
    column = np.arange(one.size)
    data = np.concatenate([c[other] / length, -c[one] / length])
    at = (np.concatenate([one, other]), np.concatenate([column, column]))
    return sp.csc_array((data, at), shape=(c.size, c.size - 1))


def centred_null(
    N: Float[np.ndarray, "k q"], c: Float[np.ndarray, " k"], Z: Any
) -> Float[np.ndarray, "k-1 q-1"]:
    """What of span(N) sums to zero, in the coordinates of Z: gamma with Z gamma = N a, c^T N a = 0.
    None is lost where all of N does."""
    row = c @ N
    scale = np.abs(c) @ np.abs(N)
    if not (np.abs(row) > 1e-10 * np.maximum(scale, 1e-300)).any():
        kept = N
    else:
        kept = N @ np.linalg.svd(row[None])[2][1:].T
    if not kept.shape[1]:
        return np.zeros((Z.shape[1], 0))
    normal = sp.linalg.splu(sp.csc_array(Z.T @ Z))
    return np.asarray(normal.solve(np.asarray(Z.T @ kept)))


class Centred(Basis):
    """A basis of what sums to zero over the x given."""

    def __init__(self, basis: Basis, x):
        c = np.asarray(basis.design(x).sum(0)).ravel()
        self.basis = basis
        self.Z: Any = centring(c)
        self.size, self.low, self.high = basis.size - 1, basis.low, basis.high
        self.constant = centred_null(basis.null(), c, self.Z)

    def design(self, x) -> sp.csr_array:
        return sp.csr_array(self.basis.design(x) @ self.Z)

    def root(self) -> sp.csr_array:
        return sp.csr_array(self.basis.root() @ self.Z)

    def null(self) -> Float[np.ndarray, "size q"]:
        return self.constant

    def measure(self) -> sp.csr_array:
        return sp.csr_array(self.basis.measure() @ self.Z)

    def tensor_measure(self) -> sp.csr_array:
        """Values at equidistant points, unless the basis has a measure of its own."""
        own = type(self.basis).tensor_measure is not Basis.tensor_measure
        return self.measure() if own else Basis.tensor_measure(self)

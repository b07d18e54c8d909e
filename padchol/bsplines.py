"""B-splines on equal intervals, their penalty, and terms of a regression made of them.

Eilers & Marx 1996, Statistical Science 11(2), 89-121; see `padchol.splines`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from jaxtyping import Float
from scipy.interpolate import BSpline


class _PSpline(NamedTuple):
    low: float
    high: float
    intervals: int
    degree: int = 3
    order: int = 2


class PSpline(_PSpline):
    """B-splines on equal intervals of [low, high], and a penalty on differences of `order`.

    A large lambda gives a polynomial of degree order - 1; the penalty does not see it. Raises
    `ValueError` for an empty range, no interval, or no more coefficients than `order`.
    """

    __slots__ = ()

    def __new__(cls, low, high, intervals, degree=3, order=2):
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise ValueError(f"expected a range with low < high; got [{low}, {high}]")
        for name, given, fewest in (
            ("intervals", intervals, 1),
            ("degree", degree, 0),
            ("order", order, 0),
        ):
            if not isinstance(given, int | np.integer) or given < fewest:
                raise ValueError(f"expected {name} to be a whole number >= {fewest}; got {given!r}")
        if order >= intervals + degree:
            raise ValueError(
                f"expected a penalty of an order below the {intervals + degree} coefficients "
                f"(intervals + degree); got {order}"
            )
        return super().__new__(cls, low, high, int(intervals), int(degree), int(order))

    @property
    def size(self) -> int:
        """Coefficients."""
        return self.intervals + self.degree

    @property
    def rank(self) -> int:
        """Of the penalty."""
        return self.size - self.order

    def design(self, x: Any) -> sp.csr_array:
        """(m, size): the B-splines at x (m,). Raises `ValueError` for an x outside [low, high]."""
        x = np.asarray(x, float)
        if x.ndim != 1:
            raise ValueError(f"expected x of shape (m,); got shape {x.shape}")
        outside = ~((x >= self.low) & (x <= self.high))
        if outside.any():
            raise ValueError(f"expected x in [{self.low}, {self.high}]; got {x[outside][0]}")
        step = (self.high - self.low) / self.intervals
        at = self.low + step * np.arange(-self.degree, self.intervals + self.degree + 1)
        at[self.degree], at[self.degree + self.intervals] = self.low, self.high
        return sp.csr_array(BSpline.design_matrix(x, at, self.degree))

    def differences(self) -> sp.csr_array:
        """D (rank, size), the differences of `order` of neighbouring coefficients."""
        D: Any = sp.eye_array(self.size, format="csr")
        for _ in range(self.order):
            D = D[1:] - D[:-1]
        return sp.csr_array(D)

    def log_determinant(self) -> float:
        """log |D D^T|: of the penalty without its null space."""
        D = self.differences()
        G = sp.csr_array(D @ D.T)
        bands = np.zeros((self.order + 1, self.rank))
        for k in range(min(self.order + 1, self.rank)):
            bands[k, : self.rank - k] = G.diagonal(k)
        return float(2 * np.sum(np.log(scipy.linalg.cholesky_banded(bands, lower=True)[0])))

    def unpenalised(self) -> Float[np.ndarray, "size order"]:
        """Orthonormal coefficients that the penalty does not see: polynomials of their number."""
        at = np.linspace(-1, 1, self.size)
        return np.linalg.qr(np.vander(at, self.order, increasing=True))[0]

    def everywhere(self) -> sp.csr_array:
        """The design at one point of each interval: every product of two B-splines that occurs."""
        ends = np.linspace(self.low, self.high, self.intervals + 1)
        return self.design((ends[1:] + ends[:-1]) / 2)


class Term(NamedTuple):
    """f(x), or by * f(x) where `by` (m,) is given."""

    spline: PSpline
    x: Any
    by: Any = None

    def design(self) -> sp.csr_array:
        """The basis functions at x, times `by` where there is one: (m, k)."""
        B: Any = self.spline.design(self.x)
        if self.by is None:
            return B
        by = np.asarray(self.by, float)
        if by.shape != B.shape[:1] or not np.isfinite(by).all():
            raise ValueError(
                f"expected by of {B.shape[0]} finite numbers, one for each x; got shape {by.shape}"
                + ("" if np.isfinite(by).all() else " with values that are not finite")
            )
        return sp.csr_array(sp.diags_array(by) @ B)

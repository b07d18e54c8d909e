"""Bases of smooth functions of one variable: B-splines, cyclic ones, natural splines, effects.

A basis of k functions has

    design(x)   B (m, k), sparse: the functions at x
    root()      D (r, k), sparse: the penalty of f = B beta is |D beta|^2
    null()      N (k, q): coefficients that the penalty does not see
    measure()   P (k, k), sparse: |P beta| is the length of beta in which mgcv has the restricted
                likelihood, see `padchol.splines.determinant`

Everything here is numpy and scipy, on the host.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from jaxtyping import Float
from scipy.interpolate import BSpline

from padchol.bsplines import PSpline

MARGIN = 1e-3  # of the range of x, by which the B-splines of "ps" go beyond it, as in mgcv


class Basis(abc.ABC):
    """See the module's docstring. `low` and `high` are the ends of the data."""

    size: int
    low: float
    high: float

    @abc.abstractmethod
    def design(self, x: Any) -> sp.csr_array:
        """(m, size)"""

    @abc.abstractmethod
    def root(self) -> sp.csr_array:
        """(r, size)"""

    @abc.abstractmethod
    def null(self) -> Float[np.ndarray, "size q"]:
        """Orthonormal columns."""

    def measure(self) -> sp.csr_array:
        """(size, size)"""
        return sp.csr_array(sp.eye_array(self.size))

    def tensor_measure(self) -> sp.csr_array:
        """The same as a margin of a tensor product: values at as many equidistant points."""
        return self.design(np.linspace(self.low, self.high, self.size))


class BSplines(Basis):
    """Cubic B-splines on equal intervals with a penalty on differences: "ps".

    Eilers & Marx 1996, Statistical Science 11(2), 89-121. Beyond the data, where the intervals
    end, a function goes on along its tangent. Raises `ValueError` for k up to the degree, and as
    `PSpline` does.
    """

    def __init__(self, x: Any, k: int, degree: int = 3, order: int = 2):
        if k <= degree:
            raise ValueError(f"expected k of {degree + 1} or more for B-splines; got {k}")
        self.low, self.high = float(np.min(x)), float(np.max(x))
        beyond = MARGIN * (self.high - self.low)
        ends = (self.low - beyond, self.high + beyond)
        self.spline = PSpline(*ends, k - degree, degree, order)
        self.size = k

    def design(self, x: Any) -> sp.csr_array:
        spline = self.spline
        return _with_tangents(spline.design, _slopes(spline), x, spline.low, spline.high)

    def root(self) -> sp.csr_array:
        return self.spline.differences()

    def null(self) -> Float[np.ndarray, "size order"]:
        return self.spline.unpenalised()


class Cyclic(Basis):
    """B-splines on a circle, penalised by differences: "cp".

    The circle closes where the last x meets the first, or at the ends given, (0, 24) for hours.
    """

    def __init__(self, x: Any, k: int, degree: int = 3, order: int = 2, ends: tuple | None = None):
        self.low, self.high = map(float, (np.min(x), np.max(x)) if ends is None else ends)
        self.spline = PSpline(self.low, self.high, k, degree, order)
        if order < 1 or k <= max(degree, order):
            raise ValueError(
                "expected a cyclic smooth with a penalty of order 1 or more and more functions "
                f"than its degree and order; got k = {k}, degree {degree}, order {order}"
            )
        self.size, self.order = k, order

    def design(self, x: Any) -> sp.csr_array:
        x, period = np.asarray(x, float), self.high - self.low
        inside = (x >= self.low) & (x <= self.high)
        x = np.where(inside, x, self.low + (x - self.low) % period)
        t = sp.coo_array(self.spline.design(np.clip(x, self.low, self.high)))
        return sp.csr_array((t.data, (t.row, t.col % self.size)), shape=(x.size, self.size))

    def root(self) -> sp.csr_array:
        eye: Any = sp.eye_array(self.size, format="csr")
        D = eye
        for _ in range(self.order):
            D = D[(np.arange(self.size) + 1) % self.size] - D
        return sp.csr_array(D)

    def null(self) -> Float[np.ndarray, "size 1"]:
        return np.full((self.size, 1), self.size**-0.5)

    tensor_measure = Basis.measure  # equidistant points have the first and the last in one


class Natural(Basis):
    """Natural cubic splines on knots at quantiles, penalised by the integral of f''^2: "cr".

    Wood (2017), Generalized Additive Models, 2nd ed., section 5.3.1, in other coordinates: not the
    values at the knots, whose functions reach everywhere, but B-splines, of which at each end one
    is taken up by f'' = 0. `measure` gives the values at the knots. f'' is linear between knots, so
    that the integral is exact from its values there.
    """

    def __init__(self, x: Any, k: int):
        distinct = np.unique(np.asarray(x, float))
        if k < 3 or distinct.size < k:
            raise ValueError(
                f"expected 3 knots or more, and no more than there are distinct values of x, "
                f"{distinct.size}; got k = {k}"
            )
        self.knots = np.quantile(distinct, np.linspace(0, 1, k))
        self.low, self.high, self.size = self.knots[0], self.knots[-1], k
        self.full = np.r_[[self.low] * 3, self.knots, [self.high] * 3]
        self.bends = _derivatives(self.full, 2, self.knots)  # f'' at the knots of all B-splines
        self.natural = self._natural()

    def _natural(self) -> sp.csr_array:
        """(k + 2, k): coefficients of all B-splines from those of all but the second from each
        end, which follow from f'' = 0."""
        k = self.size
        kept = np.delete(np.arange(k + 2), [1, k])
        N = np.zeros((k + 2, k))
        N[kept, np.arange(k)] = 1
        for at, row in ((1, self.bends[0]), (k, self.bends[-1])):
            N[at] = -row[kept] / row[at]
        return sp.csr_array(N)

    def design(self, x: Any) -> sp.csr_array:
        def inside(x):
            return sp.csr_array(BSpline.design_matrix(x, self.full, 3) @ self.natural)

        slopes = _derivatives(self.full, 1, np.array([self.low, self.high])) @ self.natural
        return _with_tangents(inside, slopes, x, self.low, self.high)

    def root(self) -> sp.csr_array:
        h = np.diff(self.knots)
        bands = np.stack([(h[:-1] + h[1:]) / 3, np.r_[h[1:-1] / 6, 0]])
        L = scipy.linalg.cholesky_banded(bands, lower=True)
        offsets: Any = [0, 1]
        upper = sp.diags_array([L[0], L[1, :-1]], offsets=offsets, shape=(h.size - 1,) * 2)
        return sp.csr_array(upper @ sp.csr_array(self.bends[1:-1]) @ self.natural)

    def null(self) -> Float[np.ndarray, "size 2"]:
        k = self.size
        centres = (self.full[1:-3] + self.full[2:-2] + self.full[3:-1]) / 3
        kept = np.delete(centres, [1, k])
        scaled = (kept - self.low) / (self.high - self.low)
        return np.linalg.qr(np.stack([np.ones(k), scaled], 1))[0]

    def measure(self) -> sp.csr_array:
        return self.design(self.knots)

    tensor_measure = measure


class Effects(Basis):
    """Independent coefficients, a column for each level: "re". Give codes (m,), or -1 for none.

    Values (m,), by which the rows are multiplied, make slopes of it.
    """

    def __init__(self, levels: int):
        self.size, self.low, self.high = levels, 0.0, 1.0

    def design(self, x: Any) -> sp.csr_array:
        codes, values = x
        seen = np.flatnonzero(codes >= 0)
        shape = (codes.size, self.size)
        return sp.csr_array((values[seen], (seen, codes[seen])), shape=shape)

    def root(self) -> sp.csr_array:
        return sp.csr_array(sp.eye_array(self.size))

    def null(self) -> Float[np.ndarray, "size 0"]:
        return np.zeros((self.size, 0))

    tensor_measure = Basis.measure


def _with_tangents(inside: Any, slopes: Any, x: Any, low: float, high: float) -> sp.csr_array:
    """The design at x within [low, high], and on the tangents at the ends beyond."""
    x = np.asarray(x, float)
    B = inside(np.clip(x, low, high))
    beyond = np.stack([np.minimum(x - low, 0), np.maximum(x - high, 0)], 1)
    if not beyond.any():
        return B
    return sp.csr_array(B + sp.csr_array(beyond) @ sp.csr_array(slopes))


def _slopes(spline: PSpline) -> Float[np.ndarray, "2 size"]:
    """The derivatives of all functions at both ends."""
    step = (spline.high - spline.low) / spline.intervals
    at = spline.low + step * np.arange(-spline.degree, spline.intervals + spline.degree + 1)
    if spline.degree == 0:
        return np.zeros((2, spline.size))
    return BSpline(at, np.eye(spline.size), spline.degree).derivative()(
        np.array([spline.low, spline.high])
    )


def _derivatives(knots: np.ndarray, order: int, x: np.ndarray) -> Float[np.ndarray, "m size"]:
    """Of the cubic B-splines on the knots, at x; at the last knot from the left."""
    return BSpline(knots, np.eye(knots.size - 4), 3).derivative(order)(x)

"""Penalised regression splines, with smoothing parameters chosen by REML.

    y = B beta + e,   e ~ N(0, phi W^-1),   beta ~ N(0, phi (sum_j lambda_j S_j)^-), improper

B-splines on equal intervals with a penalty on the differences of neighbouring coefficients (Eilers
& Marx 1996, Statistical Science 11(2), 89-121): S_j = D^T D, of rank size - order. The estimate is

    beta = H^-1 B^T W y,     H = B^T W B + sum_j lambda_j S_j   sparse,

and the restricted log likelihood of the lambda_j (Wood 2011, JRSS B 73(1), 3-36), with
d(beta) = (y - B beta)^T W (y - B beta) + sum_j lambda_j beta^T S_j beta and M the unpenalised
dimensions,

    2 l = log|sum lambda_j S_j|_+ - log|H| + log|W| - (m - M) log(2 pi phi) - d(beta) / phi

at its best phi, d(beta) / (m - M). |.|_+ is the product of the eigenvalues that are not zero.
Everything is differentiable in y, the weights and the log lambda_j, to any order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.sparse as sp
from jaxtyping import Array, Float
from scipy.interpolate import BSpline

from padchol import assembly
from padchol.analysis import analyze
from padchol.factor import Factor, cholesky
from padchol.methods import WithMethods
from padchol.numeric.values import real_array
from padchol.plan import Plan


class PSpline(NamedTuple):
    """B-splines on equal intervals of [low, high], and a penalty on differences of `order`.

    A large lambda gives a polynomial of degree order - 1; the penalty does not see it.
    """

    low: float
    high: float
    intervals: int
    degree: int = 3
    order: int = 2

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
        B = self.spline.design(self.x)
        return B if self.by is None else sp.csr_array(sp.diags_array(np.asarray(self.by)) @ B)


class Fit(WithMethods):
    """The estimate at given smoothing parameters. Where H is not positive definite: NaN."""

    coefficients: Float[Array, " n"]
    dispersion: Float[Array, ""]  # phi
    log_restricted: Float[Array, ""]
    factor: Factor  # of H
    data: Float[Array, " nnz"]  # the values of B^T W B
    starts: tuple[int, ...] = eqx.field(static=True)

    def effective_degrees(self) -> Float[Array, " terms"]:
        """The trace of H^-1 B^T W B, term by term: parameters that the data are free to choose.

        Only entries on the pattern take part: one selected inverse.
        """
        plan = self.factor.plan
        rows, cols = jnp.asarray(plan.rows), jnp.asarray(plan.cols)
        products = self.factor.selected_inverse() * self.data
        apart = jnp.where(rows == cols, 0, products)
        diagonal = jnp.zeros(plan.n, products.dtype).at[rows].add(products).at[cols].add(apart)
        inner = zip(self.starts, (*self.starts[1:], plan.n), strict=True)
        return jnp.stack([jnp.sum(diagonal[first:last]) for first, last in inner])

    def variances(self, design: Any) -> Float[Array, " points"]:
        """phi diag(B H^-1 B^T) for a sparse design (points, n): of the curve, given lambda."""
        plan = self.factor.plan
        inverse = self.factor.selected_inverse()
        return self.dispersion * assembly.gram(plan, design).diagonal(plan, inverse)


class Smoothing(WithMethods):
    """Data, penalties and plan of one regression; made by `smoothing`."""

    plan: Plan
    gram: assembly.Gram
    penalties: tuple[np.ndarray, ...]  # values of each S_j
    log_determinants: tuple[float, ...] = eqx.field(static=True)  # log |S_j|_+
    ranks: tuple[int, ...] = eqx.field(static=True)
    starts: tuple[int, ...] = eqx.field(static=True)  # of the terms among the coefficients

    @property
    def m(self) -> int:
        """Data."""
        return self.gram.shape[0]

    def fit(self, y: Any, log_smoothing: Any, weights: Any = 1.0) -> Fit:
        """The estimate for data y (m,), log lambda (terms,), and weights, a number or (m,).

        Cost: one factorisation of H.
        """
        y, rho, w = self._checked(y, log_smoothing, weights)
        smooth = sum(jnp.exp(r) * jnp.asarray(S) for r, S in zip(rho, self.penalties, strict=True))
        data = self.gram(w)
        factor = cholesky(self.plan, data + smooth)
        beta = factor.solve(self.gram.t_times(w * y))
        residual = y - self.gram.times(beta)
        deviance = jnp.sum(w * residual**2) + self._roughness(beta, rho)
        free = self.m - (self.plan.n - sum(self.ranks))
        phi = deviance / free
        ranks, determinants = jnp.asarray(self.ranks), sum(self.log_determinants)
        penalty = jnp.sum(ranks * rho) + determinants
        twice = penalty - factor.logdet() + jnp.sum(jnp.log(w))
        twice = twice - free * (jnp.log(2 * jnp.pi * phi) + 1)
        return Fit(beta, phi, twice / 2, factor, data, self.starts)

    def log_restricted(self, y: Any, log_smoothing: Any, weights: Any = 1.0) -> Float[Array, ""]:
        """The restricted log likelihood of log lambda (terms,), at its best phi."""
        return self.fit(y, log_smoothing, weights).log_restricted

    def choose(self, y: Any, weights: Any = 1.0, start: Any = None) -> Float[np.ndarray, " terms"]:
        """log lambda (terms,) of the largest restricted likelihood: L-BFGS-B with its gradient.

        On the host. Each lambda is looked for within 1 / sqrt(eps) of trace(B^T W B) / trace(S),
        where the search also starts: beyond it, data or penalty are lost in rounding. A smooth
        without curvature ends at the upper bound. Raises `RuntimeError` where no maximum is found.
        """
        middle, reach = self._balance(weights)
        start = middle if start is None else np.broadcast_to(np.asarray(start, float), middle.shape)

        def loss(rho):
            value, slope = _climb(jnp.asarray(rho), self, y, weights)
            return -float(value), -np.asarray(slope, float)

        bounds = list(zip(middle - reach, middle + reach, strict=True))
        found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
        if not (found.success and np.isfinite(found.fun)):
            raise RuntimeError(f"no maximum of the restricted likelihood: {found.message}")
        return found.x

    def _balance(self, weights: Any) -> tuple[Float[np.ndarray, " terms"], float]:
        """log(trace(B^T W B) / trace(S)) term by term, and -log(eps) / 2."""
        data = self.gram(jnp.broadcast_to(real_array(weights, "weights"), (self.m,)))
        diagonal = self.plan.rows == self.plan.cols
        sums = [
            np.add.reduceat(np.asarray(values, float)[diagonal], self.starts)
            for values in (data, sum(self.penalties))
        ]
        return np.log(sums[0] / sums[1]), -math.log(float(jnp.finfo(data.dtype).eps)) / 2

    def _roughness(self, beta: Array, rho: Array) -> Array:
        """sum_j lambda_j |D_j beta_j|^2, from differences: no cancellation where it is small."""
        pieces = jnp.split(beta, self.starts[1:])
        orders = [piece.size - rank for piece, rank in zip(pieces, self.ranks, strict=True)]
        bends = [jnp.diff(piece, n=order) for piece, order in zip(pieces, orders, strict=True)]
        each = [jnp.exp(r) * (d @ d) for r, d in zip(rho, bends, strict=True)]
        return jnp.sum(jnp.stack(each))

    def _checked(self, y: Any, rho: Any, weights: Any) -> tuple[Array, Array, Array]:
        y, w = real_array(y, "data"), real_array(weights, "weights")
        rho = real_array(rho, "log smoothing parameters")
        for what, v, length in (("y", y, self.m), ("log_smoothing", rho, len(self.ranks))):
            if v.shape != (length,):
                raise ValueError(f"expected {what} of shape ({length},); got shape {v.shape}")
        if w.shape not in ((), (self.m,)):
            raise ValueError(f"expected weights a number or of shape ({self.m},); got {w.shape}")
        return y, rho, jnp.broadcast_to(w, y.shape)


@jax.jit
@jax.value_and_grad
def _climb(rho: Array, model: Smoothing, y: Array, weights: Array) -> Array:
    return model.log_restricted(y, rho, weights)


def smoothing(terms: Sequence[Term]) -> Smoothing:
    """The regression on a sum of terms; the symbolic work, on the host.

    Terms must be identifiable without constraints: one smooth function, or further ones with `by`.
    Raises `ValueError` where lengths differ or data are too few to estimate phi.
    """
    designs: list[Any] = [term.design() for term in terms]
    m = designs[0].shape[0]
    if any(B.shape[0] != m for B in designs):
        raise ValueError(f"expected terms of one length; got {[B.shape[0] for B in designs]}")
    splines = [term.spline for term in terms]
    starts = np.cumsum([0, *(spline.size for spline in splines)])
    ranks = tuple(spline.rank for spline in splines)
    if m <= (unpenalised := int(starts[-1]) - sum(ranks)):
        raise ValueError(f"expected more than {unpenalised} data, the free parameters; got {m}")
    B = sp.csr_array(sp.hstack(designs))
    D = [spline.differences() for spline in splines]
    S = [_placed(d.T @ d, first, starts[-1]) for d, first in zip(D, starts[:-1], strict=True)]
    anywhere = sp.block_diag([spline.everywhere() for spline in splines])
    plan = analyze([assembly.gram_pattern(B), assembly.gram_pattern(anywhere), *S])
    return Smoothing(
        plan,
        assembly.gram(plan, B),
        tuple(np.asarray(plan.values(s)) for s in S),
        tuple(spline.log_determinant() for spline in splines),
        ranks,
        tuple(int(first) for first in starts[:-1]),
    )


def _placed(block: Any, first: int, n: int) -> sp.csc_array:
    """A diagonal block in a matrix of order n."""
    t = sp.coo_array(block)
    return sp.csc_array((t.data, (t.row + first, t.col + first)), shape=(n, n))

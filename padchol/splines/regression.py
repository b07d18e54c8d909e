"""Penalised regression splines, with smoothing parameters chosen by REML.

    y = B beta + e,   e ~ N(0, phi W^-1),   beta ~ N(0, phi (sum_j lambda_j S_j)^-), improper

B-splines on equal intervals with a penalty on the differences of neighbouring coefficients (Eilers
& Marx 1996, Statistical Science 11(2), 89-121): S_j = D^T D, of rank size - order. The estimate is

    beta = H^-1 B^T W y,     H = B^T W B + sum_j lambda_j S_j   sparse,

and the restricted log likelihood of the lambda_j (Wood 2011, JRSS B 73(1), 3-36), with
d(beta) = (y - B beta)^T W (y - B beta) + sum_j lambda_j beta^T S_j beta and M the unpenalised
dimensions,

    2 l = log|sum lambda_j S_j|_+ - log|H| + log|W| - (m - M) log(2 pi phi) - d(beta) / phi

at its best phi, d(beta) / (m - M). |.|_+ is the product of the eigenvalues that are not zero. Data
of weight zero are none: they count neither in m nor in |W|.
Everything is differentiable in y, the weights and the log lambda_j, to any order.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax import lax
from jaxtyping import Array, Float

from padchol import assembly
from padchol.analysis import analyze
from padchol.bsplines import PSpline, Term
from padchol.factor import Factor, cholesky
from padchol.methods import WithMethods
from padchol.numeric.values import poisoned, real_array
from padchol.plan import Plan
from padchol.search import least

ROUNDING = 1e-4  # relative error of what the data tell about polynomials at the largest lambda
NOTHING_LEFT = 1e4  # roundings of the data below which their standard deviation is none


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
    free: Float[np.ndarray, "m unpenalised"]  # B on what no penalty sees, of columns of length 1
    ranks: tuple[int, ...] = eqx.field(static=True)
    starts: tuple[int, ...] = eqx.field(static=True)  # of the terms among the coefficients

    @property
    def m(self) -> int:
        """Data."""
        return self.gram.shape[0]

    def fit(self, y: Any, log_smoothing: Any, weights: Any = 1.0) -> Fit:
        """The estimate for data y (m,), log lambda (terms,), and weights, a number or (m,).

        Raises `ValueError` for weights below zero, or with which the terms are not identifiable;
        traced, these give NaN. Cost: one factorisation of H.
        """
        y, rho, w = self._checked(y, log_smoothing, weights)
        smooth = sum(jnp.exp(r) * jnp.asarray(S) for r, S in zip(rho, self.penalties, strict=True))
        data = self.gram(w)
        factor = cholesky(self.plan, poisoned(data + smooth, self._identifiable(w)))
        beta = factor.solve(self.gram.t_times(w * y))
        residual = y - self.gram.times(beta)
        deviance = jnp.sum(w * residual**2) + self._roughness(beta, rho)
        free = jnp.sum(w > 0) - self.free.shape[1]
        phi = deviance / free
        ranks, determinants = jnp.asarray(self.ranks), sum(self.log_determinants)
        penalty = jnp.sum(ranks * rho) + determinants
        twice = penalty - factor.logdet() + jnp.sum(jnp.log(jnp.where(w > 0, w, 1)))
        twice = twice - free * (jnp.log(2 * jnp.pi * phi) + 1)
        return Fit(beta, phi, twice / 2, factor, data, self.starts)

    def log_restricted(self, y: Any, log_smoothing: Any, weights: Any = 1.0) -> Float[Array, ""]:
        """The restricted log likelihood of log lambda (terms,), at its best phi."""
        return self.fit(y, log_smoothing, weights).log_restricted

    def choose(self, y: Any, weights: Any = 1.0, start: Any = None) -> Float[np.ndarray, " terms"]:
        """log lambda (terms,) of the largest restricted likelihood.

        On the host: L-BFGS-B with its gradient from the best of a few starts, and again from any
        better point found on the lines through where it ends. Each lambda is looked for between
        the bounds beyond which data or penalty are lost in rounding, see `_range`. A smooth without
        curvature ends at the upper bound. Raises `RuntimeError` where the restricted likelihood is
        finite nowhere, or unbounded because no residual is left, and `ValueError` as `fit` does.
        """
        low, middle, high = self._range(weights)
        start = middle if start is None else np.broadcast_to(np.asarray(start, float), middle.shape)

        def loss(rho):
            (value, _), slope = _climb(jnp.asarray(rho), self, y, weights)
            return -float(value), -np.asarray(slope, float)

        found = least(loss, start, low, high)
        (_, phi), _ = _climb(jnp.asarray(found), self, y, weights)
        y, _, w = self._checked(y, found, weights)
        if not phi > jnp.mean(w * y**2) * (NOTHING_LEFT * jnp.finfo(y.dtype).eps) ** 2:
            raise RuntimeError(
                "no maximum of the restricted likelihood: the terms fit the data without a "
                f"residual, phi = {float(phi):.3g}, and the likelihood is unbounded"
            )
        return found

    def _range(self, weights: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(low, middle, high): where each log lambda is looked for.

        middle: log(trace(B^T W B) / trace(S)), -log(eps) / 2 above low. The smallest eigenvalue of
        S that is not zero is (pi / size)^(2 order) of its largest or less: high is beyond the
        lambda at which it, too, outweighs the data, as far as rounding allows, which is eps times
        exp(high - middle) of what the data tell about polynomials.
        """
        w = self._checked(jnp.zeros(self.m), jnp.zeros(len(self.ranks)), weights)[2]
        data = self.gram(w)
        diagonal = self.plan.rows == self.plan.cols
        sums = [
            np.add.reduceat(np.asarray(values, float)[diagonal], self.starts)
            for values in (data, sum(self.penalties))
        ]
        middle, eps = np.log(sums[0] / sums[1]), float(jnp.finfo(data.dtype).eps)
        reach = -math.log(eps) / 2
        size = np.diff([*self.starts, self.plan.n])
        smallest = 2 * (size - np.array(self.ranks)) * np.log(np.maximum(size / math.pi, 1))
        high = np.minimum(reach + smallest, max(reach, math.log(ROUNDING / eps)))
        return middle - reach, middle, middle + high

    def _roughness(self, beta: Array, rho: Array) -> Array:
        """sum_j lambda_j |D_j beta_j|^2, from differences: no cancellation where it is small."""
        pieces = jnp.split(beta, self.starts[1:])
        orders = [piece.size - rank for piece, rank in zip(pieces, self.ranks, strict=True)]
        bends = [jnp.diff(piece, n=order) for piece, order in zip(pieces, orders, strict=True)]
        each = [jnp.exp(r) * (d @ d) for r, d in zip(rho, bends, strict=True)]
        return jnp.sum(jnp.stack(each))

    def _identifiable(self, w: Array) -> Array:
        """Whether data of these weights determine what no penalty sees."""
        free = jnp.asarray(self.free, w.dtype)
        enough = jnp.sum(w > 0) > free.shape[1]
        share = w / jnp.where(enough, jnp.max(w), 1)
        scale = jnp.linalg.eigvalsh(lax.stop_gradient(free.T @ (share[:, None] * free)))
        within = 1e3 * float(jnp.finfo(w.dtype).eps)  # of its rounding, which m terms add to
        return enough & jnp.all(w >= 0) & jnp.all(scale > within * jnp.max(scale, initial=0.0))

    def _checked(self, y: Any, rho: Any, weights: Any) -> tuple[Array, Array, Array]:
        y, w = real_array(y, "data"), real_array(weights, "weights")
        rho = real_array(rho, "log smoothing parameters")
        for what, v, length in (("y", y, self.m), ("log_smoothing", rho, len(self.ranks))):
            if v.shape != (length,):
                raise ValueError(f"expected {what} of shape ({length},); got shape {v.shape}")
        if w.shape not in ((), (self.m,)):
            raise ValueError(f"expected weights a number or of shape ({self.m},); got {w.shape}")
        w = jnp.broadcast_to(w, y.shape)
        if not isinstance(w, jax.core.Tracer):
            self._check_weights(np.asarray(w))
        return y, rho, w

    def _check_weights(self, w: np.ndarray) -> None:
        if not (w >= 0).all():
            raise ValueError(f"expected weights >= 0; got {w[~(w >= 0)][0]}")
        if not self._identifiable(jnp.asarray(w)):
            raise ValueError(
                f"the terms are not identifiable without constraints: the {int(np.sum(w > 0))} "
                f"data of positive weight do not determine the {self.free.shape[1]} parameters "
                "that no penalty sees, and phi"
            )


@jax.jit
@functools.partial(jax.value_and_grad, has_aux=True)
def _climb(rho: Array, model: Smoothing, y: Array, weights: Array) -> tuple[Array, Array]:
    """The restricted log likelihood, its slope, and the dispersion."""
    found = model.fit(y, rho, weights)
    return found.log_restricted, found.dispersion


def smoothing(terms: Sequence[Term]) -> Smoothing:
    """The regression on a sum of terms; the symbolic work, on the host.

    Terms must be identifiable without constraints: one smooth function, or further ones with `by`.
    Raises `ValueError` where they are not, where lengths differ, or where data are too few to
    estimate phi.
    """
    if not terms:
        raise ValueError("expected at least one term; got none")
    designs: list[Any] = [term.design() for term in terms]
    m = designs[0].shape[0]
    if any(B.shape[0] != m for B in designs):
        raise ValueError(f"expected terms of one length; got {[B.shape[0] for B in designs]}")
    splines = [term.spline for term in terms]
    starts = np.cumsum([0, *(spline.size for spline in splines)])
    ranks = tuple(spline.rank for spline in splines)
    if m <= (unpenalised := int(starts[-1]) - sum(ranks)):
        raise ValueError(f"expected more than {unpenalised} data, the free parameters; got {m}")
    free = _unpenalised(designs, splines)
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
        free,
        ranks,
        tuple(int(first) for first in starts[:-1]),
    )


def _unpenalised(designs: list[Any], splines: list[PSpline]) -> Float[np.ndarray, "m unpenalised"]:
    """B on what no penalty sees, of columns of length 1; `ValueError` where they are dependent."""
    parts = [B @ spline.unpenalised() for B, spline in zip(designs, splines, strict=True)]
    free = np.hstack(parts)
    length = np.linalg.norm(free, axis=0)
    for k, part in enumerate(parts):
        if not _independent(part):
            raise ValueError(
                f"the terms are not identifiable without constraints: the data of term {k}, its x "
                f"and by, do not determine a polynomial of {part.shape[1]} coefficients"
            )
    if not _independent(free):
        raise ValueError(
            f"the {len(parts)} terms are not identifiable without constraints: no penalty sees the "
            "polynomials in them, a constant each at least, and those of one can be made up by "
            "those of the others. Give one term, and further ones with by"
        )
    return free / length


def _independent(columns: np.ndarray) -> bool:
    """Whether normal equations can tell the columns apart in double precision."""
    length = np.linalg.norm(columns, axis=0)
    if not (length > 0).all():
        return False
    singular = np.linalg.svd(columns / length, compute_uv=False)
    return bool(singular[-1:].min(initial=1.0) > 1e-6 * singular.max(initial=0.0))


def _placed(block: Any, first: int, n: int) -> sp.csc_array:
    """A diagonal block in a matrix of order n."""
    t = sp.coo_array(block)
    return sp.csc_array((t.data, (t.row + first, t.col + first)), shape=(n, n))

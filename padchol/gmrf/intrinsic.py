"""Intrinsic fields: precisions A of rank n - k whose null space is known.

After Rue & Held (2005), Gaussian Markov Random Fields, chapter 3. Notation

    N   (n, k)  basis of the null space of A: A N = 0
    C   (k, n)  constraints that tie it down: C N is invertible; N^T where none are given
    Z   (n, n - k)  orthonormal basis of the plane C x = 0
    S   k pinned rows such that N_S, the rows S of N, is invertible
    G = A + d I_S I_S^T     A with d > 0 added at the pins

A is singular, and A + C^T C dense. G has the pattern of A, and all follows from it exactly:

    |G| = d^k |A_RR|,  R the rows not in S        (the Schur complement of A_RR in A is zero)
    |Z^T A Z| = |A_RR| |C N|^2 / (|C C^T| |N_S|^2)
    A G^-1 v = v   for v orthogonal to N          (multiply G x = v by N^T: x_S = 0)

The second is the product of the non-zero eigenvalues of A where C = N^T; with one component and N
constant it is Kirchhoff's matrix tree theorem, n |A_RR|. By the third P G^-1 P^T with the
projection P = I - N (C N)^-1 C is the covariance of the field on the plane.
"""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax import lax
from jaxtyping import Array, Float, Int

from padchol.factor import Factor, cholesky
from padchol.gmrf.proper import GMRF, given_observations, mean_of, points, square
from padchol.numeric.factorise import first_of
from padchol.numeric.values import check_values, diagonal_places, multiply, poisoned
from padchol.plan import Plan

NOT_NULL = 1e4  # roundings of |A| |N| by which A N may miss zero
SPENT = 10  # roundings of a diagonal entry: what is left of it, as a pivot, if it should be zero


class IntrinsicGMRF(eqx.Module):
    """The improper density with precision A of rank n - k, k = null.shape[1]: the rank deficiency.

    plan, a: the plan and the canonical values of A. null: (n, k), a basis of its null space, traced
    or not. loc: a number or (n,). constraints: (k, n), by default null^T. Samples and variances are
    those given constraints @ (x - loc) = 0, since no others exist. pins: (k,), found by
    `padchol.gmrf.pins` where the constraints are known; needed where they are traced.

    Differentiable in `a`, `loc` and `null`, along changes of A that keep null its null space. Where
    A null is not zero, or A is not positive semidefinite of that rank, every output is NaN; except
    that a rank smaller still may be hidden by rounding: it is seen in a pivot of which no more is
    left than SPENT roundings. Raises `ValueError` for shapes that do not fit and constraints that
    are not of full rank. Cost: one factorisation when it is made.
    """

    factor: Factor  # of G
    values: Float[Array, " nnz"]
    loc: Float[Array, " n"]
    null: Float[Array, "n k"]
    constraints: Float[Array, "k n"]
    pins: Int[Array | np.ndarray, " k"]
    pinned: Float[Array, ""]  # d

    def __init__(
        self,
        plan: Plan,
        a: Any,
        null: Any,
        loc: Any = 0.0,
        *,
        constraints: Any = None,
        pins: Any = None,
    ):
        self.values = a = check_values(plan, a)
        null, C = null_space(plan, null, constraints)
        self.pins = _pins(C) if pins is None else pins
        self.loc = mean_of(plan, loc, a.dtype)
        self.null, self.constraints = jnp.asarray(null, a.dtype), jnp.asarray(C, a.dtype)
        on_diagonal = jnp.asarray(plan.rows) == jnp.asarray(plan.cols)
        self.pinned = lax.stop_gradient(jnp.sum(jnp.where(on_diagonal, a, 0)) / max(plan.n, 1))
        at = jnp.zeros(plan.n, a.dtype).at[self.pins].set(self.pinned)
        a = poisoned(a, _is_null(plan, a, self.null))
        self.factor = _of_full_rank(cholesky(plan, plan.add_diagonal(a, at)))

    @property
    def plan(self) -> Plan:
        return self.factor.plan

    @property
    def n(self) -> int:
        return self.plan.n

    @property
    def rank_deficiency(self) -> int:
        return self.null.shape[1]

    @property
    def mean(self) -> Float[Array, " n"]:
        return self.loc

    def log_determinant(self) -> Float[Array, ""]:
        """log |Z^T A Z|: log of the product of the non-zero eigenvalues where C = N^T."""
        N, C = self.null, self.constraints
        outside = self.factor.logdet() - self.rank_deficiency * jnp.log(self.pinned)
        pinned, held = _log_abs_det(N[self.pins]), _log_abs_det(C @ N)
        return outside + 2 * held - _log_abs_det(C @ C.T) - 2 * pinned

    def log_prob(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
        """(log |Z^T A Z| - (n - k) log 2 pi - (x - loc)^T A (x - loc)) / 2: the improper density.

        Rue & Held (2005), definition 3.1. It is the same at x and at x + N c for every c; on the
        plane C (x - loc) = 0 it is the density of the constrained field.
        """
        x = points(self, x)
        rank = self.n - self.rank_deficiency
        return (self.log_determinant() - rank * math.log(2 * math.pi) - square(self, x)) / 2

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Float[Array, "*shape n"]:
        """Draws of the field given C (x - loc) = 0."""
        return self.loc + self.on_plane(self.factor.sample(key, shape))

    def on_plane(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """P x: along the null space onto the plane C x = 0."""
        return x - (x @ self._level.T) @ self.null.T

    @property
    def _level(self) -> Float[Array, "k n"]:
        """(C N)^-1 C, so that P = I - N level."""
        return jnp.linalg.solve(self.constraints @ self.null, self.constraints)

    def marginal_variances(self) -> Float[Array, " n"]:
        """The diagonal of P G^-1 P^T: the variances given C (x - loc) = 0. Cost: k solves more."""
        level = self._level
        W = self.factor.solve(level.T)
        shared = jnp.sum(self.null * W, 1)
        own = jnp.sum((self.null @ (level @ W)) * self.null, 1)
        return self.factor.marginal_variances() - 2 * shared + own

    def condition(self, B: Any, y: Any, noise_precision: Any) -> GMRF:
        """The field given y = B x + e, as `GMRF.condition`: proper where B N is of full rank.

        The improper prior is conditioned, null space and all. For the constrained one say
        `.condition(B, y, t).constrain(field.constraints, field.constraints @ field.loc)`.
        """
        return given_observations(self, B, y, noise_precision)


def null_space(plan: Plan, null: Any, constraints: Any) -> tuple[Any, Any]:
    """N (n, k) and C (k, n), by default N^T, traced or not; `ValueError` for other shapes."""
    null = null[:, None] if np.ndim(null) == 1 else null
    C = null.T if constraints is None else constraints
    if np.ndim(null) != 2 or np.shape(C) != np.shape(null)[::-1] or not np.size(C):
        raise ValueError(
            f"expected a null space of shape ({plan.n}, k) and constraints of shape "
            f"(k, {plan.n}), k > 0; got {np.shape(null)} and {np.shape(C)}"
        )
    if null.shape[0] != plan.n:
        raise ValueError(
            f"expected a null space of shape ({plan.n}, k), a null space of {plan.n} rows; "
            f"got shape {null.shape}"
        )
    return null, C


def pins(C: Any) -> Int[np.ndarray, " k"]:
    """k columns of C (k, n) that are as independent as may be: QR with column pivoting.

    Raises `ValueError` for values that are traced, or not of full rank.
    """
    if isinstance(C, jax.core.Tracer):
        raise ValueError(
            "expected pins, or constraints that are known when the field is traced (numpy arrays)"
        )
    C = np.asarray(C, float)
    factored: Any = scipy.linalg.qr(C, mode="r", pivoting=True)
    R, order = factored
    size = np.abs(np.diagonal(R))
    if size.size < C.shape[0] or not size.min() > C.shape[1] * np.finfo(float).eps * size.max():
        raise ValueError(f"expected constraints of full rank {C.shape[0]}; got a matrix of less")
    return order[: C.shape[0]].astype(np.int32)


_pins = pins  # where an argument has that name


def _is_null(plan: Plan, a: Array, N: Array) -> Array:
    """Whether A N is zero up to rounding."""
    miss, size = multiply(plan, a, N), multiply(plan, jnp.abs(a), jnp.abs(N))
    return jnp.all(jnp.abs(miss) <= NOT_NULL * _eps(a) * jnp.max(size, initial=0.0))


def _of_full_rank(factor: Factor) -> Factor:
    """The factor, failed where rounding alone has left something of a pivot."""
    plan, values = factor.plan, lax.stop_gradient(factor.values)
    before = values[diagonal_places(plan)][jnp.asarray(plan.perm)]
    spent = lax.stop_gradient(factor.pivots) ** 2 <= SPENT * _eps(values) * before
    info = jnp.where(factor.info == 0, first_of(plan, spent), factor.info)
    return eqx.tree_at(lambda f: f.info, factor, info)


def _log_abs_det(M: Array) -> Array:
    return jnp.linalg.slogdet(M)[1]


def _eps(a: Array) -> Any:
    return jnp.finfo(a.dtype).eps

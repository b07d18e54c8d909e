"""Intrinsic fields: precisions A of rank n - k whose null space is known.

After Rue & Held (2005), Gaussian Markov Random Fields, chapter 3. Notation

    N   (n, k)  basis of the null space of A: A N = 0
    C   (k, n)  constraints that tie it down: C N is invertible; N^T where none are given
    Z   (n, n - k)  orthonormal basis of the plane C x = 0
    S   k pinned rows such that N_S, the rows S of N, is invertible
    G = A + I_S D I_S^T     A with D = diag(d) > 0 added at the pins

A is singular, and A + C^T C dense. G has the pattern of A, and all follows from it exactly:

    |G| = |D| |A_RR|,  R the rows not in S        (the Schur complement of A_RR in A is zero)
    |Z^T A Z| = |A_RR| |C N|^2 / (|C C^T| |N_S|^2)
    A G^-1 v = v   for v orthogonal to N          (multiply G x = v by N^T: x_S = 0)

The second is the product of the non-zero eigenvalues of A where C = N^T; with one component and N
constant it is Kirchhoff's matrix tree theorem, n |A_RR|. By the third P G^-1 P^T with the
projection P = I - N (C N)^-1 C is the covariance of the field on the plane.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int, Real

from padchol.factor import Factor, cholesky
from padchol.gmrf.nullspace import null_space, tie_down, tied, traced
from padchol.gmrf.nullspace import pins as find_pins
from padchol.gmrf.proper import (
    GMRF,
    given_observations,
    log_determinants,
    mean_of,
    points,
    square,
)
from padchol.methods import WithMethods
from padchol.numeric.values import as_shape, check_values, diagonal_places, multiply, poisoned
from padchol.plan import Plan

NOT_NULL = 1e3  # roundings of |A| |N| by which A N may miss zero
# By how much rounding may change log |G|, see `rounding_of_logdet`. Where the null space given
# misses a component of a graph with random weights from 1e-2 to 1e2 and G passes as positive
# definite, it comes out at 0.3 or more, in float64 as in float32, at 1e-12 and at 7e-4 where it
# does not; the error of rw2 is then of that size itself (tests/test_intrinsic.py).
LOST = 0.05
PROBES = 16  # of the trace


class IntrinsicGMRF(WithMethods):
    """The improper density with precision A of rank n - k, k = null.shape[1]: the rank deficiency.

    plan, a: the plan and the canonical values of A. null: (n, k), a basis of its null space, traced
    or not. loc: a number or (n,). constraints: (k, n), by default null^T. Samples and variances are
    those given constraints @ (x - loc) = 0, since no others exist. pins: (k,), found by
    `padchol.gmrf.pins` where the constraints are known; needed where they are traced.

    Differentiable in `a`, `loc` and `null`, along changes of A that keep null its null space. Where
    A null is not zero, A is not positive semidefinite of that rank, or rounding may have changed
    the log determinant by more than LOST, every output is NaN. The latter is announced by a warning
    outside of jit: float32 carries a second-order walk of some 50 steps, a first-order one of 900,
    and areas on a grid by the ten thousands; float64 a second-order walk of 5000. Raises
    `ValueError` for shapes that do not fit, and for null spaces and constraints that are known and
    not of full rank, or do not tie each other down. Cost: one factorisation and a forward solve
    when it is made.
    """

    factor: Factor  # of G
    values: Float[Array, " nnz"]
    loc: Float[Array, " n"]
    null: Float[Array, "n k"]
    constraints: Float[Array | np.ndarray, "k n"]
    pins: Int[Array | np.ndarray, " k"]
    pinned: Float[Array, " k"]  # d
    tied: Float[Array, ""]  # log (|C N|^2 / (|C C^T| |N_S|^2))

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
        N, C = null_space(plan, null, constraints)
        self.pins = pins = find_pins(C if traced(N) else N.T) if pins is None else pins
        self.tied = jnp.asarray(tied(N, C, pins), a.dtype)
        self.loc = mean_of(plan, loc, a.dtype)
        self.null = jnp.asarray(N, a.dtype)
        self.constraints = C.astype(a.dtype)  # on the host where known: planes are checked there
        at_pins = lax.stop_gradient(a[diagonal_places(plan)])[pins]
        self.pinned = jnp.where(at_pins > 0, at_pins, 1)  # 1: a row of zeros
        at = jnp.zeros(plan.n, a.dtype).at[pins].set(self.pinned)
        a = poisoned(a, _is_null(plan, a, self.null) & tie_down(N, C))
        self.factor = _of_full_rank(cholesky(plan, plan.add_diagonal(a, at)), len(C))

    @property
    def plan(self) -> Plan:
        """The plan of the precision."""
        return self.factor.plan

    @property
    def n(self) -> int:
        """How many variables the field has."""
        return self.plan.n

    @property
    def rank_deficiency(self) -> int:
        """The dimension of the null space."""
        return self.null.shape[1]

    @property
    def mean(self) -> Float[Array, " n"]:
        """The mean of the field, `loc`."""
        return self.loc

    def log_determinant(self) -> Float[Array, ""]:
        """log |Z^T A Z|: log of the product of the non-zero eigenvalues where C = N^T."""
        return log_determinants(self)[0]

    def _beyond(self) -> Array:
        """What is added to the log determinant of the factor's matrix, G."""
        return self.tied - jnp.sum(jnp.log(self.pinned))

    def log_prob(self, x: Real[ArrayLike, "*batch n"]) -> Float[Array, "*batch"]:
        """(log |Z^T A Z| - (n - k) log 2 pi - (x - loc)^T A (x - loc)) / 2: the improper density.

        Rue & Held (2005), definition 3.1. It is the same at x and at x + N c for every c; on the
        plane C (x - loc) = 0 it is the density of the constrained field.
        """
        x = points(self, x)
        rank = self.n - self.rank_deficiency
        return (self.log_determinant() - rank * math.log(2 * math.pi) - square(self, x)) / 2

    def sample(self, key: Array, shape: int | Sequence[int] = ()) -> Float[Array, "*shape n"]:
        """Draws of the field given C (x - loc) = 0."""
        return self.loc + self.on_plane(self.factor.sample(key, as_shape(shape)))

    def on_plane(self, x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
        """P x: along the null space onto the plane C x = 0; twice, for what rounding left."""
        level = self._level
        for _ in range(2):
            x = x - (x @ level.T) @ self.null.T
        return x

    @property
    def _level(self) -> Float[Array, "k n"]:
        """(C N)^-1 C, so that P = I - N level."""
        return jnp.linalg.solve(self.constraints @ self.null, jnp.asarray(self.constraints))

    def marginal_variances(self) -> Float[Array, " n"]:
        """The diagonal of P G^-1 P^T: the variances given C (x - loc) = 0. Cost: k solves more."""
        level = self._level
        W = self.factor.solve(level.T)
        shared = jnp.sum(self.null * W, 1)
        own = jnp.sum((self.null @ (level @ W)) * self.null, 1)
        return jnp.maximum(self.factor.marginal_variances() - 2 * shared + own, 0)

    def condition(self, B: Any, y: Any, noise_precision: Any) -> GMRF:
        """The field given y = B x + e, as `GMRF.condition`: proper where B N is of full rank.

        The improper prior is conditioned, null space and all. For the constrained one say
        `.condition(B, y, t).constrain(field.constraints, field.constraints @ field.loc)`.
        """
        return given_observations(self, B, y, noise_precision)


def _is_null(plan: Plan, a: Array, N: Array) -> Array:
    """Whether A N is zero up to rounding of each row of A."""
    miss, ones = multiply(plan, a, N), jnp.ones((plan.n, 1), a.dtype)
    size = multiply(plan, jnp.abs(a), ones) * jnp.max(jnp.abs(N), 0)
    return jnp.all(jnp.abs(miss) <= NOT_NULL * jnp.finfo(a.dtype).eps * size)


def _of_full_rank(factor: Factor, k: int) -> Factor:
    """The factor of G, failed where rounding may have made what it says of the determinant: where
    A is singular in more than the k dimensions given, or nearly so."""
    lost = (factor.info == 0) & (rounding_of_logdet(factor) > LOST)
    if not traced(lost) and lost:
        name = factor.values.dtype.name
        warnings.warn(
            f"the precision is singular up to rounding of {name} beyond the {k} dimensions of the "
            f"null space given: every output is NaN. Either the null space is too small, or {name} "
            "cannot carry the field" + (": enable float64" if name == "float32" else ""),
            stacklevel=6,
        )
    smallest = jnp.argmin(factor.pivots**2 / _diagonal(factor)[jnp.asarray(factor.plan.perm)])
    at = jnp.asarray(factor.plan.perm, jnp.int32)[smallest] + 1
    return eqx.tree_at(lambda f: f.info, factor, jnp.where(lost, at, factor.info))


def rounding_of_logdet(factor: Factor) -> Float[Array, ""]:
    """eps trace(D^1/2 G^-1 D^1/2), D = diag(G): how much log |G| moves at most, to first order, as
    the entries of G are rounded. By Hutchinson's estimate (1990, Commun. Stat. Simul. Comput. 19,
    433-450), with random signs. Cost: one forward solve with PROBES columns."""
    held = lambda f: (f.values, f.panels, f.pivots)
    factor = eqx.tree_at(held, factor, lax.stop_gradient(held(factor)))
    D = jnp.abs(_diagonal(factor))
    z = _signs(factor.plan.n * PROBES, D.dtype).reshape(-1, PROBES)
    half = factor.solve_L(factor.apply_P(jnp.sqrt(D)[:, None] * z))
    return jnp.finfo(D.dtype).eps * jnp.sum(half**2) / PROBES


def _signs(count: int, dtype: Any) -> Array:
    """1 or -1, as good as independent, always the same: the last bits of mixed-up indices. JAX's
    own generator takes as long as the rest of a small field, and half a second to compile."""
    bits = jnp.arange(count, dtype=jnp.uint32)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):  # multipliers of Wellons (2018)
        bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
    return 1 - 2 * ((bits ^ (bits >> 16)) & 1).astype(dtype)


def _diagonal(factor: Factor) -> Float[Array, " n"]:
    return lax.stop_gradient(factor.values)[diagonal_places(factor.plan)]

"""Factor: the user's face of the numeric phase."""

from __future__ import annotations

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import scipy.sparse as sp
from jax import lax
from jaxtyping import Array, Float, Int

from padchol.errors import NOT_POSITIVE_DEFINITE, NotPositiveDefiniteError
from padchol.low_rank import LowRank, low_rank
from padchol.methods import WithMethods
from padchol.numeric import factorise as numeric
from padchol.numeric.logdet import log_determinant
from padchol.numeric.pivots import with_derivatives, without_derivatives
from padchol.numeric.resident import resident
from padchol.numeric.selected_inverse import selected_inverse
from padchol.numeric.shards import placed
from padchol.numeric.solve import solve_half, solve_system
from padchol.numeric.values import (
    as_shape,
    check_values,
    diagonal_places,
    multiply,
    permute,
    poisoned,
    real_array,
    unpermute,
)
from padchol.plan import Plan


class Factor(WithMethods):
    """L with L L^T = A[p][:, p], p = plan.perm, and everything that follows from it.

    A pytree: carry it through jit, vmap, scan, cond; save it. It is made by `cholesky`. Every
    method is differentiable with respect to the values given there, in every mode, to any order,
    where an off-diagonal value counts for both entries of its symmetric pair. `info` is 0, or
    1 + the index (user's numbering) of the first pivot that was not positive; every output is then
    NaN. Where a value off the diagonal is NaN or infinite, it may be a pivot before that row, of
    the same supernode.

    A Factor that `vmap` has given holds a batch. Its methods are those of one matrix: call them
    inside a vmap, as in `jax.vmap(lambda F: F.logdet())(F)`; outside they raise `ValueError`.
    """

    plan: Plan
    values: Float[Array, " nnz"]
    panels: Float[Array, "*shards panels"]  # L as it is stored, see `to_csc`; derivatives are NaN
    info: Int[Array, ""]
    pivots: Float[Array, " n"]  # diag(L), in the plan's order; differentiable

    def _check_one(self) -> None:
        """Raise for a batch outside of its vmap: sums over members would be plausible numbers."""
        expected = (self.plan.nnz,)
        if self.values.shape != expected:
            raise ValueError(
                f"expected the Factor of one matrix, with values of shape {expected}; got a batch "
                f"of shape {self.values.shape}. Call its methods inside a vmap, as in "
                "jax.vmap(lambda F: F.logdet())(F)"
            )

    def _poisoned(self, x: Array) -> Array:
        """x, or NaN throughout where the factorisation failed."""
        return poisoned(x, self.info == 0)

    def _columns(self, b: Any, what: str = "a right-hand side") -> tuple[Array, bool]:
        """b as (n, k), promoted with the values, and whether it was one column."""
        self._check_one()
        b = real_array(b, what)
        n = self.plan.n
        if b.ndim not in (1, 2) or b.shape[0] != n:
            raise ValueError(f"expected {what} of shape ({n},) or ({n}, k); got shape {b.shape}")
        dtype = jnp.promote_types(self.values.dtype, b.dtype)
        return (b[:, None] if b.ndim == 1 else b).astype(dtype), b.ndim == 1

    def solve(self, b: Any, *, refine: int = 0) -> Array:
        """x with A x = b, for b (n,) or (n, k) in the user's order.

        refine: steps of iterative refinement, x += A^-1 (b - A x), in the wider of b's type and the
        values' type. Cost: two triangular sweeps over L for each step and the first solve.
        """
        return _solve(self, real_array(b, "a right-hand side"), refine)

    def solve_L(self, b: Any) -> Array:
        """y with L y = b, for b (n,) or (n, k), both in the plan's order (see `apply_P`)."""
        return self._half(True, b)

    def solve_Lt(self, b: Any) -> Array:
        """x with L^T x = b, for b (n,) or (n, k), both in the plan's order."""
        return self._half(False, b)

    def _half(self, up: bool, b: Any) -> Array:
        columns, single = self._columns(b)
        x = self._poisoned(solve_half(self.plan, up, self.values, self.panels, columns))
        return x[:, 0] if single else x

    def apply_P(self, b: Any) -> Array:
        """b[plan.perm]: from the user's order to the plan's."""
        columns, single = self._columns(b)
        moved = permute(self.plan, columns)
        return moved[:, 0] if single else moved

    def apply_Pt(self, b: Any) -> Array:
        """The inverse of `apply_P`: from the plan's order to the user's."""
        columns, single = self._columns(b)
        moved = unpermute(self.plan, columns)
        return moved[:, 0] if single else moved

    def logdet(self) -> Float[Array, ""]:
        """log |A|, computed as 2 sum log diag(L): no overflow where |A| overflows.

        Its gradient is the selected inverse, off-diagonal entries counted twice: one down sweep.
        """
        self._check_one()
        held = (self.panels, self.pivots)
        return self._poisoned(log_determinant(self.plan, self.values, *held))

    def sample(self, key: Array, shape: int | tuple[int, ...] = ()) -> Float[Array, "*shape n"]:
        """Draws of N(0, A^-1): P^T L^-T z with z standard normal, for an explicit key."""
        shape = as_shape(shape)
        n, count = self.plan.n, math.prod(shape)
        z = jax.random.normal(key, (*shape, n), self.values.dtype)
        x = self.apply_Pt(self.solve_Lt(z.reshape(count, n).T))
        return x.T.reshape((*shape, n))

    def selected_inverse(self) -> Float[Array, " nnz"]:
        """The entries of A^-1 on the pattern of A, in canonical order. Cost: one down sweep."""
        self._check_one()
        return self._poisoned(selected_inverse(self.plan, self.values, self.panels))

    def marginal_variances(self) -> Float[Array, " n"]:
        """diag(A^-1), in the user's order: the variances of N(0, A^-1)."""
        return self.selected_inverse()[diagonal_places(self.plan)]

    def update(self, U: Any, sign: int = 1) -> LowRank:
        """A + U U^T, or A - U U^T with sign -1: solves, log-determinant, variances and draws.

        U: (n,) or (n, k), dense, of any pattern, in the user's order. By the Woodbury identity, not
        by a new L: a solve with k columns, their QR factorisation where sign is 1, and then two to
        four products with (n, k) a solve. k = 1 costs 0.1 to 0.5 of a factorisation, k = 8 0.4 to
        0.9, k = 32 1 to 3.5 (NOTES, experiment 41). A must be positive definite itself. Columns to
        come later are joined to U. `LowRank` says what rounding does: where sign is -1 and
        A - U U^T is nearly singular, digits are lost.

        Where the plan holds the pattern of U U^T, `cholesky(plan, a + change)` is a new Factor, of
        change `padchol.assembly.gram(plan, U^T)(ones)` for a sparse U: the way for many columns.
        """
        columns, _ = self._columns(U, "columns of a change")
        known = not isinstance(sign, jax.core.Tracer) and getattr(sign, "shape", ()) == ()
        if not known or sign not in (1, -1):
            raise ValueError(f"expected sign 1 (A + U U^T) or -1 (A - U U^T); got {sign!r}")
        return low_rank(self, columns, int(sign))

    def to_csc(self) -> sp.csc_array:
        """L as a scipy CSC array, lower triangular, in the plan's order. On the host."""
        from padchol.export import lower_factor

        self._check_one()
        return lower_factor(self)


@functools.partial(jax.jit, static_argnums=2)
def _solve(F: Factor, b: Array, refine: int) -> Array:
    """One program also of an eager call: its few operations one by one take 350 us (42)."""
    columns, single = F._columns(b)

    def solved(r):
        return solve_system(F.plan, F.values, F.panels, r, F.info == 0)

    x = solved(columns)
    for _ in range(refine):
        x = x + solved(columns - multiply(F.plan, F.values, x))
    return x[:, 0] if single else x


def cholesky(plan: Plan, a: Any, *, throw: bool = False, mesh: Any = None) -> Factor:
    """Factor the matrix whose canonical values are `a`, shape (nnz,): see `Plan.values`.

    float32 and float64; integers are promoted; complex is refused. Where the matrix is not positive
    definite, or holds NaN or infinity, `info` says so and every output is NaN; `throw=True` raises
    `NotPositiveDefiniteError` (eagerly) or an Equinox runtime error (under jit) instead.

    mesh: of a plan in k shards (`analyze(A, shards=k)`) the devices, a `jax.sharding.Mesh` of one
    axis; by default the first k of the default backend. Each device has its own subtrees' part of L
    and of the tables, and all have the top; what goes in and comes out is the same on all of them.

    >>> import padchol, scipy.sparse as sp
    >>> A = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(3, 3))
    >>> plan = padchol.analyze(A)
    >>> F = cholesky(plan, plan.values(A))
    >>> print(F.info, F.marginal_variances().round(4))
    0 [0.75 1.   0.75]
    """
    a = check_values(plan, a)
    plan = placed(plan, mesh)
    if not isinstance(a, jax.core.Tracer):
        plan = resident(plan)
    panels, pivots, info = numeric.factorise(plan, a)
    factor = factor_of(plan, a, panels, info, pivots)
    return _checked(factor) if throw else factor


def same_factor(factor: Factor, a: Float[Array, " nnz"]) -> Factor:
    """The Factor of values that are the same numbers, with derivatives with respect to these."""
    held = lax.stop_gradient((factor.panels, factor.info, factor.pivots))
    return factor_of(factor.plan, a, *held)


def log_determinants(*factors: Factor) -> tuple[Float[Array, ""], ...]:
    """log |A| of each. Together where they have one plan: what derivatives take is then a loop over
    the matrices, which is compiled once."""
    plan = factors[0].plan
    kinds = {(*map(id, jax.tree.leaves(F.plan)), F.panels.dtype) for F in factors}
    if len(kinds) > 1 or len(factors) == 1:
        return tuple(F.logdet() for F in factors)

    def one(a, panels, info, pivots):
        return Factor(plan, a, panels, info, pivots).logdet()

    parts = [(F.values, F.panels, F.info, F.pivots) for F in factors]
    return tuple(jax.vmap(one)(*map(jnp.stack, zip(*parts, strict=True))))


def factor_of(plan: Plan, a: Array, panels: Array, info: Array, pivots: Array) -> Factor:
    """The Factor with these parts, as functions of `a`."""
    pivots = with_derivatives(plan, a, panels, pivots)
    return Factor(plan, a, without_derivatives(a, panels), info, pivots)


def _checked(factor: Factor) -> Factor:
    """Raise where the factorisation failed."""
    info = lax.stop_gradient(factor.info)
    if isinstance(info, jax.core.Tracer):
        where = lambda f: (f.panels, f.pivots)
        found = eqx.error_if(where(factor), info != 0, NOT_POSITIVE_DEFINITE)
        return eqx.tree_at(where, factor, found)
    if int(info) == 0:
        return factor
    from padchol.export import pivot_squared

    constant = lax.stop_gradient(factor)  # known numbers, where the values are differentiated
    raise NotPositiveDefiniteError(int(info) - 1, pivot_squared(constant))

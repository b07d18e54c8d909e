"""Values of a plan from values of its parts: products, Kronecker products and blocks.

Every map here is a sum of products over static index tables,

    out[place[t]] += x_1[at_1[t]] x_2[at_2[t]] ...

made once on the host for a plan, then plain JAX: linear in each factor, differentiable to any
order, batched by `vmap`. Sums of matrices need no map: `padchol.analyze([A, B])` plans their union,
`plan.values(A)` and `plan.values(B)` give the value vectors, and any combination of those is the
value vector of the combination.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float, Int

from padchol.methods import WithMethods
from padchol.numeric.devices import alike
from padchol.numeric.values import check_values, pair_weights, real_array
from padchol.plan import Plan, check_plan
from padchol.symbolic.layout import fits_int32
from padchol.symbolic.pattern import positions
from padchol.symbolic.supernodes import ramp
from padchol.symbolic.triplets import entries


class Products(WithMethods):
    """The tables of one map; see the module's docstring. All tables (terms,), in order of place."""

    place: Int[np.ndarray, " terms"]
    at: tuple[Int[np.ndarray, " terms"], ...]
    nnz: int = eqx.field(static=True)
    lengths: tuple[int, ...] = eqx.field(static=True)  # of the factors

    @staticmethod
    def of(plan: Plan, rows, cols, at: Sequence[np.ndarray], lengths: Sequence[int]) -> Products:
        """Terms at entries (rows, cols) of the plan's pattern; the lower triangle counts."""
        if isinstance(plan.rows, jax.core.Tracer):
            raise ValueError(
                "expected a plan that is known when the map is made; got a traced one: make the "
                "map outside of the jitted function and pass it in, or close over the plan"
            )
        low = rows >= cols
        place = positions(plan.pattern, rows[low], cols[low])
        fits_int32(place.size, "terms of an assembly")
        order = np.argsort(place, kind="stable")
        tables = tuple(index[low][order].astype(np.int32) for index in at)
        return Products(place[order].astype(np.int32), tables, plan.nnz, tuple(lengths))

    def __call__(self, *factors: Any) -> Float[Array, " nnz"]:
        product: Any = 1
        for x, at, length in zip(factors, self.at, self.lengths, strict=True):
            x = real_array(x, "values")
            if x.shape != (length,):
                raise ValueError(f"expected values of shape ({length},); got shape {x.shape}")
            product = product * x.at[jnp.asarray(at)].get(mode="promise_in_bounds")
        out = jnp.zeros(self.nnz, product.dtype)
        place = jnp.asarray(self.place)
        return out.at[place].add(product, indices_are_sorted=True, mode="promise_in_bounds")


def gram_pattern(A: Any) -> sp.csc_array:
    """The pattern of A^T W A for `padchol.analyze`: no entry is lost to cancellation."""
    t = entries(A)
    ones = sp.csc_array((np.ones(t.rows.size), (t.rows, t.cols)), shape=t.shape)
    return sp.csc_array(ones.T @ ones)


class Gram(WithMethods):
    """w (m,) to the canonical values of A^T diag(w) A, and products with A; made by `gram`."""

    terms: Products
    data: Array | np.ndarray  # entries of A as they are stored
    rows: Int[np.ndarray, " entries"]
    cols: Int[np.ndarray, " entries"]
    shape: tuple[int, int] = eqx.field(static=True)

    def __call__(self, w: Any, data: Any = None) -> Float[Array, " nnz"]:
        """Values of A^T diag(w) A, w (m,); `data` replaces the entries of A, in their order."""
        data = self.data if data is None else data
        return self.terms(data, data, w)

    def times(self, x: Any) -> Float[Array, " m"]:
        """A x, for x (n,); `ValueError` for an x of another shape."""
        return self._product(self.rows, self.cols, x, *self.shape)

    def t_times(self, v: Any) -> Float[Array, " n"]:
        """A^T v, for v (m,); `ValueError` for a v of another shape."""
        return self._product(self.cols, self.rows, v, *self.shape[::-1])

    def _product(self, to: Any, of: Any, x: Any, length: int, given: int) -> Array:
        x = real_array(x, "a vector")
        if x.shape != (given,):
            raise ValueError(f"expected a vector of shape ({given},); got shape {x.shape}")
        moved = jnp.asarray(self.data) * x[jnp.asarray(of)]
        return jnp.zeros(length, moved.dtype).at[jnp.asarray(to)].add(moved)

    def diagonal(self, plan: Plan, Z: Any) -> Float[Array, " m"]:
        """diag(A Z A^T) from canonical values of Z, (nnz,), as the selected inverse has them: the
        adjoint of the map from w."""
        Z = check_values(plan, Z)
        at, _ = alike(jnp.zeros(self.shape[0], Z.dtype), Z)
        return jax.linear_transpose(self, at)(pair_weights(plan, Z.dtype) * Z)[0]


def gram(plan: Plan, A: Any) -> Gram:
    """The map from weights w to the values of A^T diag(w) A, for a sparse A (m, n).

    For least squares, GLMMs (w from the linear predictor) and interior points. The plan must hold
    the pattern of A^T A: `analyze(gram_pattern(A))`, or the union `analyze([gram_pattern(A), Q])`.
    A is a scipy matrix, or a JAX BCOO or BCSR. Tables and time in proportion to the sum over rows
    of A of c (c + 1) / 2, c their entries. Raises `ValueError` for a pattern the plan lacks.
    """
    check_plan(plan)
    t = entries(A)
    if t.shape[1] != plan.n:
        raise ValueError(f"expected A with {plan.n} columns, the plan's order; got {t.shape}")
    if t.data is None:
        raise TypeError("expected a matrix with values; got index arrays only")
    order = np.argsort(t.rows, kind="stable")  # by rows: each is paired with itself
    rows = t.rows[order]
    count = np.bincount(rows, minlength=t.shape[0])
    start = np.cumsum(count) - count
    left = np.repeat(np.arange(rows.size), count[rows])
    right = start[rows[left]] + ramp(count[rows])
    i, j = t.cols[order[left]], t.cols[order[right]]
    at = (order[left], order[right], rows[left])
    terms = Products.of(plan, i, j, at, (rows.size, rows.size, t.shape[0]))
    return Gram(terms, t.data, t.rows.astype(np.int32), t.cols.astype(np.int32), t.shape)


def kron(plan: Plan, A: Any, B: Any) -> Products:
    """The map (a, b) to the canonical values of the Kronecker product of A and B.

    a and b are the stored entries of A and B (their `.data`), both full symmetric: space-time
    precisions, say. The plan must hold the pattern: `analyze(scipy.sparse.kron(A, B))`.
    """
    check_plan(plan)
    s, t = entries(A), entries(B)
    if s.shape[0] != s.shape[1] or t.shape[0] != t.shape[1]:
        raise ValueError(f"expected square matrices; got shapes {s.shape} and {t.shape}")
    p, q = (index.reshape(-1) for index in np.indices((s.rows.size, t.rows.size)))
    if (order := s.shape[0] * t.shape[0]) != plan.n:
        raise ValueError(f"expected a product of order {plan.n}, the plan's; got {order}")
    rows = s.rows[p] * t.shape[0] + t.rows[q]
    cols = s.cols[p] * t.shape[1] + t.cols[q]
    return Products.of(plan, rows, cols, (p, q), (s.rows.size, t.rows.size))


class Blocks(WithMethods):
    """The stored entries of each block to the canonical values of the whole; made by `blocks`."""

    terms: Products
    entries: tuple[int, ...] = eqx.field(static=True)  # of each block
    at: tuple[tuple[int, int], ...] = eqx.field(static=True)  # row and column of each block

    def __call__(self, *data: Any) -> Float[Array, " nnz"]:
        """Values from the entries of the blocks given, row by row of blocks."""
        given = [real_array(x, "values") for x in data]
        if len(given) != len(self.entries):
            raise ValueError(
                f"expected the entries of {len(self.entries)} blocks, at {list(self.at)}; got "
                f"{len(given)} arrays"
            )
        for x, size, at in zip(given, self.entries, self.at, strict=True):
            if x.shape != (size,):
                raise ValueError(f"expected block {at} with {size} entries; got shape {x.shape}")
        return self.terms(jnp.concatenate(given))


def blocks(plan: Plan, parts: Sequence[Sequence[Any]]) -> Blocks:
    """The map from blocks to a symmetric block matrix, as in `scipy.sparse.block_array`.

    `parts` is the lower block triangle: `[[A], [C, B]]` for [[A, C^T], [C, B]]; None is a block of
    zeros, diagonal blocks are full symmetric. The map takes the stored entries (`.data`) of every
    block that is not None, row by row.
    """
    check_plan(plan)
    found = [(i, j, entries(part)) for i, row in enumerate(parts) for j, part in _real(row)]
    sizes = [0] * len(parts)
    for i, j, t in found:
        if j > i:
            raise ValueError(f"expected the lower block triangle; got a block at ({i}, {j})")
        for axis, k in enumerate((i, j)):
            if sizes[k] not in (0, t.shape[axis]):
                raise ValueError(
                    f"expected block ({i}, {j}) with {sizes[k]} along axis {axis}; got {t.shape}"
                )
            sizes[k] = t.shape[axis]
    if sum(sizes) != plan.n:
        raise ValueError(f"expected blocks of order {plan.n} in all, the plan's; got {sizes}")
    start = np.cumsum([0, *sizes])
    rows = np.concatenate([t.rows + start[i] for i, _, t in found])
    cols = np.concatenate([t.cols + start[j] for _, j, t in found])
    terms = Products.of(plan, rows, cols, (np.arange(rows.size),), (rows.size,))
    return Blocks(
        terms, tuple(t.rows.size for _, _, t in found), tuple((i, j) for i, j, _ in found)
    )


def _real(row: Sequence[Any]) -> list[tuple[int, Any]]:
    return [(j, part) for j, part in enumerate(row) if part is not None]

"""Between canonical values and fronts, between vectors and fronts: one scatter or gather each.

All maps here are linear, made of JAX's own indexing, and so differentiable to any order.
Fronts of bin b hold the pivot columns as (F, D, W); vectors as (F, W, k).
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from padchol.plan import Plan
from padchol.symbolic.layout import BinLayout, Section


def section(plan: Plan, where: Section):
    """One index table."""
    return lax.slice_in_dim(jnp.asarray(plan.table), where.start, where.start + where.size)


def structured_copy(plan: Plan, a: Float[Array, " nnz"]) -> Float[Array, " nnz_L"]:
    """The entries of A placed in the pattern of L (order of `plan.factor_pattern()`), else zero.

    One scatter: linear in `a`, exactly differentiable, compiled in the same time at every n. The
    derivative with respect to an off-diagonal value is that of one entry of L's triangle.
    """
    a = check_values(plan, a)
    places = jnp.asarray(plan.copy_places)
    return (
        jnp.zeros(plan.nnz_L, a.dtype)
        .at[places]
        .set(a, mode="promise_in_bounds", unique_indices=True)
    )


def to_fronts(plan: Plan, a: Float[Array, " nnz"]) -> list[Array]:
    """Per bin (F, E): the values of A that enter each front, zero at padding."""
    extended = jnp.concatenate([a, jnp.zeros(1, a.dtype)])
    return [
        extended.at[section(plan, bin.at["value"])]
        .get(mode="promise_in_bounds")
        .reshape(bin.fronts, -1)
        for bin in plan.layout.bins
    ]


def entries(plan: Plan) -> list[Array]:
    """Per bin (F, E): row * W + column in the pivot columns of each value of `to_fronts`."""
    return [section(plan, bin.at["entry"]).reshape(bin.fronts, -1) for bin in plan.layout.bins]


def from_fronts(plan: Plan, fronts: list[Array], dtype: Any) -> Float[Array, " nnz"]:
    """Canonical values from (F, E): the inverse of `to_fronts`."""
    out = jnp.zeros(plan.nnz, dtype)
    for bin, front in zip(plan.layout.bins, fronts, strict=True):
        slot, member = section(plan, bin.at["slot"]), section(plan, bin.at["member"])
        chosen = front.reshape(-1).at[slot].get(mode="promise_in_bounds")
        out = out.at[member].set(chosen, mode="promise_in_bounds", unique_indices=True)
    return out


def widths(plan: Plan) -> list[Array]:
    """Per bin (F,): pivots that are not padding."""
    return [section(plan, bin.at["width"]) for bin in plan.layout.bins]


def assemble(columns: Float[Array, "C D W"], values: Float[Array, "C E"], entry: Array) -> Array:
    """The pivot columns plus the values of A that belong in them."""
    at = _flat_places(columns, entry)
    return columns.reshape(-1).at[at].add(values, mode="promise_in_bounds").reshape(columns.shape)


def _flat_places(columns: Float[Array, "C D W"], entry: Array) -> Array:
    """(C, E): places in the flattened chunk. One flat index is several times faster than two."""
    C, D, W = columns.shape
    return entry + jnp.arange(C, dtype=entry.dtype)[:, None] * (D * W)


def select(columns: Float[Array, "C D W"], entry: Array) -> Float[Array, "C E"]:
    """The entries of pivot columns at the places of A's values: the adjoint of `assemble`."""
    return columns.reshape(-1).at[_flat_places(columns, entry)].get(mode="promise_in_bounds")


def vector_to_fronts(plan: Plan, v: Float[Array, "n k"]) -> list[Array]:
    """Per bin (F, W, k): the rows of v (plan order) at the fronts' pivots, zero at padding."""
    extended = jnp.concatenate([v, jnp.zeros((1, v.shape[1]), v.dtype)])
    return [
        extended.at[section(plan, bin.at["pivot"])]
        .get(mode="promise_in_bounds")
        .reshape(bin.fronts, bin.W, v.shape[1])
        for bin in plan.layout.bins
    ]


def vector_from_fronts(plan: Plan, fronts: list[Array], k: int) -> Float[Array, "n k"]:
    """The inverse of `vector_to_fronts`."""
    rows = jnp.concatenate([front.reshape(front.shape[0] * front.shape[1], k) for front in fronts])
    return rows.at[section(plan, plan.layout.location)].get(mode="promise_in_bounds")


def pivots(plan: Plan, bin: BinLayout) -> Array:
    """(F, W): plan position of each pivot, n at padding."""
    return section(plan, bin.at["pivot"]).reshape(bin.fronts, bin.W)


def multiply(plan: Plan, a: Float[Array, " nnz"], x: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """A x from canonical values, x in the user's order."""
    rows, cols = jnp.asarray(plan.rows), jnp.asarray(plan.cols)
    mirrored = jnp.where(rows == cols, 0, a)
    out = jnp.zeros_like(x, dtype=jnp.result_type(a, x))
    out = out.at[rows].add(a[:, None] * x[cols], mode="promise_in_bounds")
    return out.at[cols].add(mirrored[:, None] * x[rows], mode="promise_in_bounds")


def pair_weights(plan: Plan, dtype: Any) -> Float[Array, " nnz"]:
    """1 on the diagonal, 2 elsewhere: entries of A per canonical value."""
    return jnp.where(jnp.asarray(plan.rows) == jnp.asarray(plan.cols), 1, 2).astype(dtype)


def check_values(plan: Plan, a: Any) -> Array:
    """`a` as a floating (nnz,) array: integers are promoted, complex and wrong shapes refused."""
    a = real_array(a, "values")
    if a.shape != (plan.nnz,):
        raise ValueError(
            f"expected values of shape ({plan.nnz},), the plan's canonical order; "
            f"got shape {a.shape}"
        )
    return a


def real_array(x: Any, what: str) -> Array:
    """A float array; integers and booleans become JAX's default float type."""
    x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"expected real {what}; got dtype {x.dtype} (complex is not supported)")
    if x.dtype not in (jnp.float32, jnp.float64):
        if jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(f"expected float32 or float64 {what}; got dtype {x.dtype}")
        x = x.astype(jnp.result_type(float))
    return x


def sparse_values(plan: Plan, A: Any) -> Float[Array, " nnz"]:
    """Canonical values of a JAX BCOO or BCSR matrix, traced or not.

    Entries above the diagonal are taken for mirror images and skipped unless the matrix has none
    below it. An entry that the plan does not have makes every value NaN.
    """
    if A.shape != (plan.n, plan.n):
        raise ValueError(f"expected a matrix of shape ({plan.n}, {plan.n}); got {A.shape}")
    data = real_array(A.data, "values")
    if hasattr(A, "indptr"):
        positions = jnp.arange(data.shape[0])
        i = jnp.searchsorted(A.indptr, positions, side="right") - 1
        j = A.indices
    else:
        i, j = A.indices[:, 0], A.indices[:, 1]
    padding = (i >= plan.n) | (j >= plan.n)
    above = (i < j) & jnp.any((i > j) & ~padding)
    skip = padding | above
    place, found = _search(plan, jnp.maximum(i, j), jnp.minimum(i, j))
    kept = jnp.where(skip, 0, data)
    out = jnp.zeros(plan.nnz, data.dtype).at[jnp.where(skip, 0, place)].add(kept)
    return jnp.where(jnp.all(found | padding), out, jnp.nan)


def _search(plan: Plan, row: Array, col: Array) -> tuple[Array, Array]:
    """Canonical position of (row, col), and whether it exists: a binary search by column and row.

    Compares pairs, as a combined key would not fit 32 bits.
    """
    rows, cols = jnp.asarray(plan.rows), jnp.asarray(plan.cols)
    low, high = jnp.zeros_like(row), jnp.full_like(row, plan.nnz)

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        r, c = rows.at[middle].get(mode="clip"), cols.at[middle].get(mode="clip")
        less = (low < high) & ((c < col) | ((c == col) & (r < row)))
        more = (low < high) & ~less
        return jnp.where(less, middle + 1, low), jnp.where(more, middle, high)

    place, _ = lax.fori_loop(0, max(plan.nnz, 1).bit_length(), halve, (low, high))
    hit = (rows.at[place].get(mode="clip") == row) & (cols.at[place].get(mode="clip") == col)
    return jnp.minimum(place, plan.nnz - 1), hit & (place < plan.nnz)

"""Canonical values of a BCOO or BCSR matrix, traced or not: each entry's place by binary search."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from padchol.numeric.values import real_array
from padchol.plan import Plan
from padchol.symbolic import pattern, triplets


def sparse_values(plan: Plan, A: Any) -> Float[Array, " nnz"]:
    """Canonical values of a JAX BCOO or BCSR matrix, traced or not.

    A holds both triangles, symmetric, or one of them. Indices and values that are concrete are
    checked and refused with a `ValueError` naming the entry: outside of the plan's pattern, or
    without its like across the diagonal. Of what is traced such an entry makes every value NaN.
    Where both triangles are there, derivatives are those of the lower one.
    """
    if A.shape != (plan.n, plan.n):
        raise ValueError(f"expected a matrix of shape ({plan.n}, {plan.n}); got {A.shape}")
    triplets.no_axes(A)
    data = real_array(A.data, "values")
    _check_concrete(plan, A)
    if hasattr(A, "indptr"):
        positions = jnp.arange(data.shape[0])
        i = jnp.searchsorted(A.indptr, positions, side="right") - 1
        j = A.indices
    else:
        i, j = A.indices[:, 0], A.indices[:, 1]
    return _sparse_values(jnp.asarray(plan.rows), jnp.asarray(plan.cols), plan.n, data, i, j)


@functools.partial(jax.jit, static_argnums=2)
def _sparse_values(rows: Array, cols: Array, n: int, data: Array, i: Array, j: Array) -> Array:
    """Canonical values of entries (i, j); NaN throughout where they are no symmetric matrix."""
    padding = (i >= n) | (j >= n)
    above, below = (i < j) & ~padding, (i > j) & ~padding
    both = jnp.any(below) & jnp.any(above)
    place, found = _search(rows, cols, jnp.maximum(i, j), jnp.minimum(i, j))

    def summed(keep):
        kept = jnp.where(keep, data, 0)
        return jnp.zeros(rows.size, data.dtype).at[jnp.where(keep, place, 0)].add(kept)

    out, mirror = summed(~padding & ~(above & both)), lax.stop_gradient(summed(above))
    eps = float(jnp.finfo(data.dtype).eps)
    off = pattern.differ(lax.stop_gradient(out), mirror, eps, jnp) & (rows != cols)
    out = jnp.where(both & ~jnp.isfinite(mirror), mirror, out)
    return jnp.where(jnp.all(found | padding) & ~(both & jnp.any(off)), out, jnp.nan)


def _check_concrete(plan: Plan, A: Any) -> None:
    """Refuse what can be seen to be no symmetric matrix within the plan's pattern."""
    known = [A.indices, *([A.indptr] if hasattr(A, "indptr") else []), plan.rows, plan.cols]
    if any(isinstance(x, jax.core.Tracer) for x in known):
        return
    t = triplets.entries(A, with_data=not isinstance(A.data, jax.core.Tracer))
    pattern.positions(plan.pattern, t.rows, t.cols)
    pattern.check_both_triangles(t)


def _search(rows: Array, cols: Array, row: Array, col: Array) -> tuple[Array, Array]:
    """Canonical position of (row, col), and whether it exists: a binary search by column and row.

    Compares pairs, as a combined key would not fit 32 bits.
    """
    nnz = rows.size
    low, high = jnp.zeros_like(row), jnp.full_like(row, nnz)

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        r, c = rows.at[middle].get(mode="clip"), cols.at[middle].get(mode="clip")
        less = (low < high) & ((c < col) | ((c == col) & (r < row)))
        more = (low < high) & ~less
        return jnp.where(less, middle + 1, low), jnp.where(more, middle, high)

    place, _ = lax.fori_loop(0, max(nnz, 1).bit_length(), halve, (low, high))
    hit = (rows.at[place].get(mode="clip") == row) & (cols.at[place].get(mode="clip") == col)
    return jnp.minimum(place, nnz - 1), hit & (place < nnz)

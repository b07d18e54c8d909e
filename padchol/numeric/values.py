"""Between canonical values and panels, between vectors and pivot rows: one scatter or gather each.

All maps here are linear, made of JAX's own indexing, and so differentiable to any order.
"""

from __future__ import annotations

import operator
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from padchol.plan import Plan, check_plan
from padchol.symbolic.layout import INT32_MAX, Layout, Section

PIECE = 8_192  # addresses of one scatter on a TPU (experiment 34)


def section(table: Any, where: Section):
    """One index table of the flat array."""
    return lax.slice_in_dim(jnp.asarray(table), where.start, where.start + where.size)


def structured_copy(plan: Plan, a: Any) -> Float[Array, " nnz_L"]:
    """The entries of A, (nnz,), in the pattern of L (order of `plan.factor_pattern()`), else zero.

    One scatter: linear in `a`, exactly differentiable, compiled in the same time at every n. The
    derivative with respect to an off-diagonal value is that of one entry of L's triangle.
    """
    a = check_values(plan, a)
    places = jnp.asarray(plan.copy_places)
    return _put(plan, jnp.zeros(plan.nnz_L, a.dtype), places, a)


def to_panels(plan: Plan, a: Float[Array, " nnz"], pivots: float = 0) -> Float[Array, " panels"]:
    """The values of A in the panel storage, with `pivots` as the diagonal of padded pivots."""
    padded = jnp.zeros(plan.layout.storage.panels, a.dtype)
    if pivots:
        unit = section(plan.table, plan.layout.storage.unit)
        if plan.layout.in_levels:
            padded = _put(plan, padded, unit, pivots)
        else:  # filled up with zeros: trash
            padded = padded.at[unit].set(pivots, mode="promise_in_bounds")
    return _spread(plan, padded, plan.layout.storage.value, ENTRY, a)


def from_panels(plan: Plan, panels: Float[Array, " panels"]) -> Float[Array, " nnz"]:
    """The entries of the panel storage at the canonical positions: the adjoint of `to_panels`."""
    return _collect(plan, panels, plan.layout.storage.value, ENTRY)


def from_diagonal(plan: Plan, panels: Float[Array, " panels"]) -> Float[Array, " n"]:
    """The diagonal of what the panel storage holds, in the plan's order."""
    return _collect(plan, panels, plan.layout.storage.diagonal, PIVOT, 0)


def to_diagonal(plan: Plan, d: Float[Array, " n"]) -> Float[Array, " panels"]:
    """The panel storage with this diagonal, zero elsewhere."""
    empty = jnp.zeros(plan.layout.storage.panels, d.dtype)
    return _spread(plan, empty, plan.layout.storage.diagonal, PIVOT, d)


def to_pivots(plan: Plan, v: Float[Array, "n k"], users: bool = False) -> Float[Array, "rows k"]:
    """A vector in the plan's order, or the user's, in the pivot storage."""
    empty = empty_pivots(plan.layout, v.shape[1], v.dtype)
    return _spread(plan, empty, locations(plan.layout, users), UNKNOWN if users else PIVOT, v)


def empty_pivots(layout: Layout, k: int, dtype: Any) -> Float[Array, "rows k"]:
    """The pivot storage before k vectors are put there."""
    return jnp.zeros((layout.storage.pivots, k), dtype)


def from_pivots(
    plan: Plan, stored: Float[Array, "rows k"], users: bool = False
) -> Float[Array, "n k"]:
    """The inverse of `to_pivots`."""
    return _collect(plan, stored, locations(plan.layout, users), UNKNOWN if users else PIVOT)


def locations(layout: Layout, users: bool) -> Section:
    """The table of the rows of the pivot storage that vectors in this order go to."""
    return layout.storage.user if users else layout.storage.location


def permute(plan: Plan, b: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """P b: from the user's order to the plan's."""
    return b.at[jnp.asarray(plan.perm)].get(**_UNIQUE)


def unpermute(plan: Plan, b: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """P^T b: from the plan's order to the user's."""
    return _put(plan, jnp.zeros_like(b), jnp.asarray(plan.perm), b)


_UNIQUE: Any = {"mode": "promise_in_bounds", "unique_indices": True}  # proved by symbolic.tables


def _collect(plan: Plan, stored: Array, places: Section, kind: int, node: int | None = None):
    """What a storage holds at the places of all pivots, unknowns or values (kind); of shards,
    summed over what each has of it, where the top counts once."""
    at, storage = section(plan.table, places), plan.layout.storage
    if plan.layout.shards == 1:
        return stored.at[at].get(**_UNIQUE)
    top = storage.top[node if node is not None else (kind != ENTRY)]
    found = stored.at[at].get(mode="fill", fill_value=0)
    mine = (at < top) | (lax.axis_index(plan.mesh.axis_names) == 0)
    found = jnp.where(mine.reshape(-1, *[1] * (found.ndim - 1)), found, 0)
    size = plan.nnz if kind == ENTRY else plan.n
    whole = jnp.zeros((size, *found.shape[1:]), found.dtype)
    number = section(plan.table, storage.which[kind])
    return lax.psum(whole.at[number].set(found, mode="drop"), plan.mesh.axis_names)


def _spread(plan: Plan, target: Array, places: Section, kind: int, values: Array) -> Array:
    """The inverse: of shards, each what it has, the top all of them."""
    at = section(plan.table, places)
    if plan.layout.shards == 1:
        return _put(plan, target, at, values)
    number = section(plan.table, plan.layout.storage.which[kind])
    return _put(plan, target, at, values.at[number].get(mode="fill", fill_value=0))


PIVOT, UNKNOWN, ENTRY = range(3)  # what a number of `Storage.which` counts


def _put(plan: Plan, target: Array, at: Array, values: Any) -> Array:
    """`values` at distinct addresses."""
    if plan.layout.shards > 1 and not plan.layout.in_levels:
        return target.at[at].set(values, mode="drop")
    if not plan.layout.in_levels or not at.size:
        return target.at[at].set(values, **_UNIQUE)
    values = jnp.broadcast_to(values, (*at.shape, *target.shape[1:])).astype(target.dtype)
    how = _UNIQUE if plan.layout.shards == 1 else {"mode": "drop"}
    whole = lambda target, at, values: target.at[at].set(values, **how)
    return lax.platform_dependent(target, at, values, tpu=_put_in_pieces, default=whole)


def _put_in_pieces(target: Array, at: Array, values: Array) -> Array:
    """XLA for TPUs sorts the addresses, and takes the longer to compile the more they are (tests/
    bench/NOTES.md, experiment 34)."""
    count = -(-at.size // PIECE)
    fill = count * PIECE - at.size
    at = jnp.pad(at, (0, fill), constant_values=INT32_MAX).reshape(count, PIECE)
    values = jnp.pad(values, ((0, fill), *[(0, 0)] * (values.ndim - 1)))
    values = values.reshape(count, PIECE, *values.shape[1:])

    def put(i, target):
        return target.at[at[i]].set(values[i], mode="drop", unique_indices=True)

    return lax.fori_loop(0, count, put, target)


def add_diagonal(plan: Plan, a: Any, d: Any) -> Float[Array, " nnz"]:
    """Canonical values of A + diag(d)."""
    a, d = check_values(plan, a), real_array(d, "diagonal")
    if d.shape not in ((), (plan.n,)):
        raise ValueError(f"expected a number or a diagonal of shape ({plan.n},); got {d.shape}")
    rows, cols = jnp.asarray(plan.rows), jnp.asarray(plan.cols)
    return a + jnp.where(rows == cols, jnp.broadcast_to(d, (plan.n,))[cols], 0)


def multiply(
    plan: Plan, a: Float[ArrayLike, " nnz"], x: Float[Array, "n k"]
) -> Float[Array, "n k"]:
    """A x from canonical values, x in the user's order."""
    rows, cols = jnp.asarray(plan.rows), jnp.asarray(plan.cols)
    to, of = jnp.concatenate([rows, cols]), jnp.concatenate([cols, rows])
    entries = jnp.concatenate([a, jnp.where(rows == cols, 0, a)])
    out = jnp.zeros_like(x, dtype=jnp.result_type(a, x))
    moved = entries[:, None] * x.at[of].get(mode="promise_in_bounds")
    return out.at[to].add(moved, mode="promise_in_bounds")


def diagonal_places(plan: Plan) -> Int[Array, " n"]:
    """Which canonical values are on the diagonal, row by row."""
    on_diagonal = jnp.asarray(plan.rows) == jnp.asarray(plan.cols)
    return jnp.nonzero(on_diagonal, size=plan.n)[0]  # canonical order: column by column


def pair_weights(plan: Plan, dtype: Any) -> Float[Array, " nnz"]:
    """1 on the diagonal, 2 elsewhere: entries of A per canonical value."""
    return jnp.where(jnp.asarray(plan.rows) == jnp.asarray(plan.cols), 1, 2).astype(dtype)


def poisoned(x: Array, sound: Array) -> Array:
    """x, or NaN throughout where `sound` is false: tangents and cotangents become NaN as well."""
    one = sound.astype(x.dtype)  # or zero; `jnp.where` would lose an explicit mesh (JAX 0.12)
    return x * (one / one)


def check_values(plan: Plan, a: Any) -> Array:
    """`a` as a floating (nnz,) array: integers are promoted, complex and wrong shapes refused, and
    so is what is not a plan."""
    check_plan(plan)
    a = real_array(a, "values")
    if a.shape != (plan.nnz,):
        raise ValueError(
            f"expected values of shape ({plan.nnz},), the plan's canonical order; "
            f"got shape {a.shape}"
        )
    return a


def as_shape(shape: Any) -> tuple[int, ...]:
    """A shape, of which one axis may be given by its length, as numpy takes it."""
    sizes = shape if isinstance(shape, tuple | list) else (shape,)
    try:
        sizes = tuple(operator.index(size) for size in sizes)
    except TypeError:
        sizes = (-1,)
    if min(sizes, default=0) < 0:
        raise ValueError(
            f"expected a shape, one or several integers that are not negative; got {shape!r}"
        )
    return sizes


def real_array(x: Any, what: str) -> Array:
    """A float array; integers and booleans become JAX's default float type."""
    if hasattr(x, "todense"):  # JAX would take a second or more to find out
        raise TypeError(f"expected {what} to be an array of numbers; got {type(x).__name__}")
    try:
        x = jnp.asarray(x)
    except (TypeError, ValueError) as error:  # JAX's and numpy's, of texts, objects, ragged lists
        kind = TypeError if isinstance(error, TypeError) else ValueError
        given = getattr(x, "dtype", type(x).__name__)
        raise kind(f"expected {what} to be an array of numbers; got {given}: {error}") from error
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"expected real {what}; got dtype {x.dtype} (complex is not supported)")
    if x.dtype not in (jnp.float32, jnp.float64):
        if jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(f"expected float32 or float64 {what}; got dtype {x.dtype}")
        x = x.astype(jnp.result_type(float))
    return x

"""The operator of `padchol.interop.lineax`, and what lineax builds of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, Float

from padchol.interop.held import Held, held_plan, hold
from padchol.numeric.values import add_diagonal, check_values, multiply
from padchol.plan import Plan


class SparseOperator(lx.AbstractLinearOperator):
    """The symmetric matrix with canonical values a (nnz,) on a plan, as a lineax operator.

    tags: lineax's, by default that it is positive semidefinite; `()` for one that is only
    symmetric. As everywhere in lineax they are taken on trust. Diagonal and tridiagonal patterns
    are recognised. The values are the only leaf (a plan is static, with its fingerprint for a
    hash): `jax.grad` and `jax.vmap` over an operator are those over its values. Only where the plan
    is itself an argument of a jitted function it is a leaf as well. Products cost O(nnz).

    Raises `ValueError` for values of another shape, `TypeError` for complex ones.
    """

    a: Float[Array, " nnz"]
    traced: Plan | None
    held: Held[Plan] | None = eqx.field(static=True)
    tags: frozenset[object] = eqx.field(static=True)

    def __init__(self, plan: Plan, a: Any, tags: Any = lx.positive_semidefinite_tag):
        self.traced, self.held = hold(plan)
        self.a = check_values(plan, a)
        self.tags = frozenset(tags if isinstance(tags, Iterable) else [tags])

    @property
    def plan(self) -> Plan:
        """The plan of the pattern."""
        return held_plan(self.traced, self.held)

    def mv(self, vector: Float[Array, " n"]) -> Float[Array, " n"]:
        return multiply(self.plan, self.a, vector[:, None])[:, 0]

    def as_matrix(self) -> Float[Array, "n n"]:
        rows, cols = jnp.asarray(self.plan.rows), jnp.asarray(self.plan.cols)
        lower = jnp.zeros((self.plan.n, self.plan.n), self.a.dtype).at[rows, cols].set(self.a)
        return lower.at[cols, rows].set(self.a)

    def transpose(self) -> SparseOperator:
        return self

    def in_structure(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((self.plan.n,), self.a.dtype)

    def out_structure(self) -> jax.ShapeDtypeStruct:
        return self.in_structure()

    def band(self, below: int) -> Float[Array, " entries"]:
        """The entries (j + below, j)."""
        rows, cols = jnp.asarray(self.plan.rows), jnp.asarray(self.plan.cols)
        length = max(self.plan.n - below, 0)
        place = jnp.where(rows - cols == below, cols, length)
        return jnp.zeros(length, self.a.dtype).at[place].add(self.a, mode="drop")

    def within(self, below: int) -> bool:
        """Whether the pattern shows that no entry is further than this from the diagonal."""
        if self.held is None:
            return self.plan.nnz == self.plan.n or self.plan.n <= below + 1
        return bool(np.all(np.asarray(self.plan.rows) - np.asarray(self.plan.cols) <= below))


for _same in (lx.linearise, lx.materialise, lx.conj):
    _same.register(SparseOperator)(lambda operator: operator)

for _check, _tag in (
    (lx.has_unit_diagonal, lx.unit_diagonal_tag),
    (lx.is_positive_semidefinite, lx.positive_semidefinite_tag),
    (lx.is_negative_semidefinite, lx.negative_semidefinite_tag),
):
    _check.register(SparseOperator)(lambda operator, tag=_tag: tag in operator.tags)

for _check, _below, _tags in (
    (lx.is_diagonal, 0, {lx.diagonal_tag}),
    (lx.is_lower_triangular, 0, {lx.diagonal_tag, lx.lower_triangular_tag}),
    (lx.is_upper_triangular, 0, {lx.diagonal_tag, lx.upper_triangular_tag}),
    (lx.is_tridiagonal, 1, {lx.diagonal_tag, lx.tridiagonal_tag}),
):
    _check.register(SparseOperator)(
        lambda operator, below=_below, tags=frozenset(_tags): (
            bool(tags & operator.tags) or operator.within(below)
        )
    )

lx.is_symmetric.register(SparseOperator)(lambda operator: True)
lx.diagonal.register(SparseOperator)(lambda operator: operator.band(0))
lx.tridiagonal.register(SparseOperator)(
    lambda operator: (operator.band(0), operator.band(1), operator.band(1))
)


def sign_of(operator: lx.AbstractLinearOperator, a: Float[Array, " nnz"]) -> Float[Array, ""]:
    """1 for an operator that is positive definite if it is definite, and -1 for a negative one.

    lineax 0.1.0 says of an untagged operator's negative that it is both.
    """
    positive, negative = (
        lx.is_positive_semidefinite(operator),
        lx.is_negative_semidefinite(operator),
    )
    if positive != negative or not a.size:
        return jnp.asarray(1 if positive else -1, a.dtype)
    return jnp.where(a[0] < 0, -1, 1).astype(a.dtype)  # a[0]: the diagonal entry of column 0


def combined(operator: lx.AbstractLinearOperator) -> SparseOperator | None:
    """Sums, multiples and tags of SparseOperators and diagonal operators as one SparseOperator.

    None where the operator holds none, or something else as well.
    """
    parts = _parts(operator)
    if parts is None:
        return None
    sparse = [(op, t) for op, t in parts if isinstance(op, SparseOperator)]
    if not sparse:
        return None
    first = sparse[0][0]
    a = jnp.zeros_like(first.a)
    for op, t in sparse:
        if op.plan.fingerprint != first.plan.fingerprint:
            raise ValueError(
                "expected SparseOperators of one plan (analyze([A, B]) plans a union); got plans "
                f"{op.plan!r} and {first.plan!r}"
            )
        a = a + t * op.a
    for op, t in parts:
        if not isinstance(op, SparseOperator):
            a = add_diagonal(first.plan, a, t * lx.diagonal(op))
    return eqx.tree_at(lambda op: op.a, first, a.astype(first.a.dtype))


def _parts(operator: Any, t: Any = 1) -> list[tuple[Any, Any]] | None:
    """(operator, factor) of each summand; None where one is neither sparse nor diagonal."""
    found = None
    if isinstance(operator, SparseOperator):
        found = [(operator, t)]
    elif isinstance(operator, lx.TaggedLinearOperator):
        found = _parts(operator.operator, t)
    elif isinstance(operator, lx.NegLinearOperator):
        found = _parts(operator.operator, -t)
    elif isinstance(operator, lx.MulLinearOperator):
        found = _parts(operator.operator, t * operator.scalar)
    elif isinstance(operator, lx.DivLinearOperator):
        found = _parts(operator.operator, t / operator.scalar)
    elif isinstance(operator, lx.AddLinearOperator):
        left, right = _parts(operator.operator1, t), _parts(operator.operator2, t)
        found = None if left is None or right is None else left + right
    if found is None and lx.is_diagonal(operator):
        return [(operator, t)]
    return found

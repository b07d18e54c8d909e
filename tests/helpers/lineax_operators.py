"""Operators of lineax with one small matrix, made in every way there is, and the solver of each."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import support

import padchol
from padchol.interop.lineax import SparseCholesky, SparseOperator

MATRIX = support.grid(2, 3)
PLAN = padchol.analyze(MATRIX)
N = PLAN.n
A = PLAN.values(MATRIX)
B = np.random.default_rng(5).normal(size=N)
DENSE = MATRIX.toarray()
SPARSE, PROBED = SparseCholesky(), SparseCholesky(PLAN)
POSITIVE, NEGATIVE = lx.positive_semidefinite_tag, lx.negative_semidefinite_tag

# ---- functions of canonical values and tags, to an operator with the matrix of these values ----


def dense(a):
    return support.symmetric(PLAN, a)


def structure(a):
    return jax.ShapeDtypeStruct((N,), jnp.result_type(a))


def flipped(tags):
    return {POSITIVE: NEGATIVE, NEGATIVE: POSITIVE}.get(tags, tags)


def of_sparse(a, tags=()):
    return SparseOperator(PLAN, a, tags)


def tagged(a, tags=()):
    return lx.TaggedLinearOperator(SparseOperator(PLAN, a, ()), tags)


def negated(a, tags=()):
    return -SparseOperator(PLAN, -a, flipped(tags))


def added(a, tags=()):
    return SparseOperator(PLAN, 0.75 * a, tags) + tagged(0.25 * a, tags)


def subtracted(a, tags=()):
    return lx.TaggedLinearOperator(of_sparse(3 * a) - of_sparse(2 * a), tags)


def multiplied(a, tags=()):
    return lx.TaggedLinearOperator(of_sparse(0.5 * a) * 2, tags)


def divided(a, tags=()):
    return lx.TaggedLinearOperator(of_sparse(-0.5 * a) / -0.5, tags)


def shifted(a, tags=()):
    """a less the identity, and the identity."""
    less = PLAN.add_diagonal(a, -1.0)
    return lx.TaggedLinearOperator(of_sparse(less) + lx.IdentityLinearOperator(structure(a)), tags)


def split(a, tags=()):
    """Of two diagonal operators and a sparse one that has no diagonal."""
    diagonal = jnp.diagonal(dense(a))
    half = lx.DiagonalLinearOperator(diagonal / 2)
    return lx.TaggedLinearOperator(half + of_sparse(PLAN.add_diagonal(a, -diagonal)) + half, tags)


def of_matrix(a, tags=()):
    return lx.MatrixLinearOperator(dense(a), tags)


def of_function(a, tags=()):
    return lx.FunctionLinearOperator(lambda x: dense(a) @ x, structure(a), tags)


def of_blocks(a, tags=()):
    return lx.PyTreeLinearOperator(dense(a), structure(a), tags)


def of_jacobian(a, tags=(), **options):
    """The Hessian at x of a function that is not quadratic, less what it has too much."""
    x = jnp.asarray(B, jnp.result_type(a))
    gradient = lambda y, _: dense(a) @ y + 3 * (y**2 - 2 * x * y)
    return lx.JacobianLinearOperator(gradient, x, None, tags, **options)


def by_rows(a, tags=()):
    return of_jacobian(a, tags, jac="bwd")


def by_columns(a, tags=()):
    return of_jacobian(a, tags, jac="fwd")


def mixed(a, tags=()):
    """A sparse operator and a function, of which the solver sees products only."""
    return lx.TaggedLinearOperator(of_sparse(a / 2) + of_function(a / 2), tags)


def composed(a, tags=()):
    scale = jnp.linspace(0.5, 2, N, dtype=jnp.result_type(a))
    left = lx.MatrixLinearOperator(dense(a) / scale)
    return lx.TaggedLinearOperator(left @ lx.DiagonalLinearOperator(scale), tags)


COMBINED = (of_sparse, tagged, negated, added, subtracted, multiplied, divided, shifted, split)
KNOWN_BY_PRODUCTS = (of_matrix, of_function, of_blocks, of_jacobian, by_rows, by_columns, mixed)
KNOWN_BY_PRODUCTS += (composed,)
SOLVERS = {make: SPARSE for make in COMBINED} | {make: PROBED for make in KNOWN_BY_PRODUCTS}

OPERATIONS = (lambda operator: operator, lambda operator: operator.T)
OPERATIONS += (lx.linearise, lx.materialise, lx.conj)
every_operator = pytest.mark.parametrize("make", SOLVERS, ids=lambda make: make.__name__)


def direction(seed, shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


# ---- the sparse solve and the dense one --------------------------------------------------------


def solving(make, use_state=False):
    """(a, b) to A^-1 b by the sparse solver."""

    def solve(a, b):
        operator, solver = make(a, POSITIVE), SOLVERS[make]
        known = make(jax.lax.stop_gradient(a), POSITIVE)  # a state has no derivative
        more = {"state": solver.init(known, {})} if use_state else {}
        return lx.linear_solve(operator, b, solver, **more).value

    return solve


def dense_solving(a, b):
    return lx.linear_solve(of_matrix(a, POSITIVE), b, lx.Cholesky()).value


def in_turn(f, in_axes=0):
    """What `vmap` gives, one after the other: batches of LAPACK calls can lock each other out."""

    def run(*arguments):
        axes = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(arguments)
        pairs = list(zip(arguments, axes, strict=True))
        count = next(len(x) for x, axis in pairs if axis == 0)
        rows = [f(*(x if axis is None else x[i] for x, axis in pairs)) for i in range(count)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)

    return run


def check(transformation, make=of_sparse, use_state=False, tolerance=1e-11):
    """A transformation, (solve, vmap) to a pytree, of the sparse solve and of the dense one."""
    found = jax.jit(lambda: transformation(solving(make, use_state), jax.vmap))()
    expected = jax.jit(lambda: transformation(dense_solving, in_turn))()
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert support.relative(x, y) < tolerance

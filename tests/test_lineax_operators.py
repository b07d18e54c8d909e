"""The operators that lineax builds, with the sparse solver: what it makes of each of them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import support

lx = pytest.importorskip("lineax")

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from lineax_operators import (  # noqa: E402
    COMBINED,
    DENSE,
    NEGATIVE,
    OPERATIONS,
    PLAN,
    POSITIVE,
    PROBED,
    SOLVERS,
    SPARSE,
    A,
    B,
    N,
    dense,
    direction,
    every_operator,
    flipped,
    negated,
    of_matrix,
    of_sparse,
    structure,
)

from padchol.interop.lineax import SparseCholesky  # noqa: E402


@every_operator
def test_states(make):
    """With each sign and tag, each of OPERATIONS: a state and what it solves, also turned."""
    solver, b = SOLVERS[make], jnp.asarray(B)
    for sign, tags in itertools.product((1, -1), (POSITIVE, ())):
        tags = flipped(tags) if sign < 0 else tags
        made = make(sign * jnp.asarray(A), tags)
        for operator in (operation(made) for operation in OPERATIONS):
            state = solver.init(operator, {})
            x, result, _ = solver.compute(state, b, {})
            assert result == lx.RESULTS.successful
            assert support.relative(x, np.linalg.solve(sign * DENSE, B)) < 1e-12
            for turned, options in (solver.transpose(state, {}), solver.conj(state, {})):
                assert options == {}
                assert eqx.tree_equal(turned, state)


def test_complex_is_refused():
    for make, solver in SOLVERS.items():
        with pytest.raises(TypeError, match="complex is not supported"):
            solver.init(make(jnp.asarray(A * (1 + 0j)), ()), {})


def test_pytrees_that_do_not_fit():
    shape = lambda *sizes: [jax.ShapeDtypeStruct((k,), np.float64) for k in sizes]
    short = lx.FunctionLinearOperator(lambda t: t, shape(2, 3))
    with pytest.raises(ValueError, match=r"shape \(6,\); got .* does not flatten to that"):
        PROBED.init(short, {})
    other = lx.FunctionLinearOperator(lambda t: [t[1], t[0]], shape(2, 4))
    with pytest.raises(ValueError, match="expected an operator that gives what it takes"):
        PROBED.init(other, {})


@every_operator
def test_what_cannot_be_factored(make):
    """Singular, indefinite, or of another pattern: `RESULTS.singular` and NaN."""
    a = jnp.asarray(A)
    row, pivot = (PLAN.rows == 3) | (PLAN.cols == 3), (PLAN.rows == 3) & (PLAN.cols == 3)
    assert DENSE[0, N - 1] == 0
    corner = lx.MatrixLinearOperator(jnp.zeros((N, N)).at[[0, N - 1], [N - 1, 0]].set(1e-3))
    for operator, solver in (
        (make(jnp.where(row, 0, a), POSITIVE), SOLVERS[make]),
        (make(jnp.where(pivot, -1, a), POSITIVE), SOLVERS[make]),
        (make(a, POSITIVE) + corner, PROBED),
    ):
        x, result, _ = solver.compute(solver.init(operator, {}), jnp.asarray(B), {})
        assert result == lx.RESULTS.singular
        assert np.isnan(x).all()


@pytest.mark.parametrize("what", ["composition", "another kind", "function"])
def test_what_needs_a_plan(what):
    """Without a plan the solver takes sums and multiples only, and says how to have others."""
    op = of_sparse(jnp.asarray(A), POSITIVE)
    operator, expected = {
        "composition": (op @ lx.IdentityLinearOperator(structure(A)), DENSE),
        "another kind": (op + of_matrix(jnp.asarray(A), POSITIVE), 2 * DENSE),
        "function": (lx.FunctionLinearOperator(op.mv, structure(A), POSITIVE), DENSE),
    }[what]
    with pytest.raises(TypeError, match=r"SparseCholesky\(plan\) takes other operators"):
        SPARSE.init(operator, {})
    x, _, _ = PROBED.compute(PROBED.init(operator, {}), jnp.asarray(B), {})
    assert support.relative(x, np.linalg.solve(expected, B)) < 1e-12


# ---- the operator ----------------------------------------------------------------------------


@every_operator
def test_algebra(make):
    """Products, matrices, diagonals and transposes of what lineax builds of it."""
    M, v = np.asarray(dense(A)), jnp.asarray(B)
    one, other = make(jnp.asarray(A), POSITIVE), lx.MatrixLinearOperator(direction(7, (N, N)))
    R, t = np.asarray(other.as_matrix()), 0.3
    cases = [
        (one, M),
        (one + other, M + R),
        (one - other, M - R),
        (-one, -M),
        (one @ other, M @ R),
        (other @ one, R @ M),
        (one * t, M * t),
        (t * one, M * t),
        (one / t, M / t),
    ]
    for operator, matrix in cases:
        for turned, expected in ((operator, matrix), (operator.T, matrix.T)):
            np.testing.assert_allclose(turned.mv(v), expected @ B, atol=1e-12)
            np.testing.assert_allclose(turned.as_matrix(), expected, atol=1e-12)
        np.testing.assert_allclose(lx.diagonal(operator), np.diag(matrix), atol=1e-12)
        assert operator.in_structure() == operator.out_structure() == structure(A)
        assert operator.in_size() == operator.out_size() == N


@pytest.mark.parametrize("make", COMBINED, ids=lambda make: make.__name__)
@pytest.mark.parametrize("tags", [POSITIVE, NEGATIVE, ()], ids=["positive", "negative", "bare"])
def test_what_is_known_of_it(make, tags):
    """Tags survive what lineax builds, and a pattern shows that nothing is diagonal."""
    if make is negated and tags == () and not hasattr(lx, "invert"):
        pytest.skip("lineax 0.1.0 takes what is not known to be negative for positive")
    operator = make(jnp.asarray(A), tags)
    assert lx.is_symmetric(operator)
    assert lx.is_positive_semidefinite(operator) == (tags == POSITIVE)
    assert lx.is_negative_semidefinite(operator) == (tags == NEGATIVE)
    for question in ("is_diagonal", "is_tridiagonal", "is_lower_triangular", "is_upper_triangular"):
        assert not getattr(lx, question)(operator)
    assert not lx.has_unit_diagonal(operator)


def test_tangent_operator():
    operator, tangent = eqx.filter_jvp(
        lambda a: of_sparse(a, POSITIVE), (jnp.asarray(A),), (direction(1, A.shape),)
    )
    moved = lx.TangentLinearOperator(operator, tangent)
    expected = dense(direction(1, A.shape))
    for same in (moved, moved.T, lx.linearise(moved), lx.materialise(moved), lx.conj(moved)):
        np.testing.assert_allclose(same.as_matrix(), expected, atol=1e-13)
        np.testing.assert_allclose(same.mv(jnp.asarray(B)), expected @ B, atol=1e-12)
    assert lx.is_symmetric(moved)


# ---- beside lineax's solvers -----------------------------------------------------------------


def test_what_the_solver_says_of_itself():
    """Full rank: lineax leaves out the terms of a pseudoinverse's derivative. No leaves: it is as
    static as lineax's own solvers."""
    for solver in (SPARSE, PROBED):
        assert solver.assume_full_rank()
        assert jax.tree.leaves(solver) == []


def test_solvers_as_static_fields():
    """Libraries on lineax keep solvers so: equal ones are one, and compile once."""

    class Strategy(eqx.Module):
        solver: Any = eqx.field(static=True)

        def solve(self, operator, b):
            return lx.linear_solve(operator, b, self.solver).value

    traces = []

    @eqx.filter_jit
    def solve(strategy, operator, b):
        traces.append(1)
        return strategy.solve(operator, b)

    for solver in (SparseCholesky(), SparseCholesky()):
        x = solve(Strategy(solver), of_sparse(jnp.asarray(A), POSITIVE), jnp.asarray(B))
        assert support.relative(x, np.linalg.solve(DENSE, B)) < 1e-12
    assert len(traces) == 1
    assert hash(Strategy(SparseCholesky(PLAN))) == hash(Strategy(PROBED))


@pytest.mark.parametrize("well_posed", [True, None, False])
def test_automatic_choice(well_posed):
    """Dense Cholesky, or SVD where anything may be singular: lineax knows none that is sparse."""
    auto = lx.AutoLinearSolver(well_posed=well_posed)
    chosen = auto.select_solver(of_sparse(A, POSITIVE))
    assert isinstance(chosen, lx.SVD if well_posed is False else lx.Cholesky)
    x = lx.linear_solve(of_sparse(jnp.asarray(A), POSITIVE), jnp.asarray(B), auto).value
    assert support.relative(x, np.linalg.solve(dense(A), B)) < 1e-12

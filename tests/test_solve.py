"""Solves with A, with L and with L^T: derivatives to second order, batches, refinement."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support

import padchol
from padchol.numeric.solve import known_solution

pytestmark = [pytest.mark.core, pytest.mark.shapes]

SOLVES = ("solve", "solve_L", "solve_Lt")


def weighted(name, outputs, plan, b):
    """values -> sum of a fixed random weight times one output."""
    w = jnp.asarray(np.random.default_rng(3).normal(size=b.shape))
    return lambda a: jnp.vdot(w, outputs(plan, a, b)[name])


@pytest.mark.parametrize(
    ("matrix", "name"),
    [("grid2", "solve")]
    + [
        pytest.param(matrix, name, marks=pytest.mark.slow)
        for matrix, name in (
            ("band", "solve_L"),
            ("band", "solve_Lt"),
            ("grid2", "solve_L"),
            ("grid2", "solve_Lt"),
        )
    ],
)
def test_derivatives_in_the_values(matrix, name):
    """Row 23: gradient and Hessian in the values, all mode combinations, on trees with fill-in."""
    _, plan, a = support.case(matrix)
    b = support.right_hand_side(plan)
    ours, dense = (weighted(name, f, plan, b) for f in (support.outputs, support.dense_outputs))
    support.check_derivatives(ours, dense, a)


@pytest.mark.parametrize(
    "name",
    [
        "solve",
        pytest.param("solve_L", marks=pytest.mark.slow),
        pytest.param("solve_Lt", marks=[pytest.mark.slow, pytest.mark.release]),
    ],
)
def test_derivatives_in_values_and_right_hand_side(name):
    """Row 23: both arguments at once, so that the mixed second derivatives are there."""
    _, plan, a = support.case("scattered")
    b = support.right_hand_side(plan, columns=1)[:, 0]

    def of(outputs):
        def f(x):
            out = outputs(plan, x[: plan.nnz], x[plan.nnz :])[name]
            return jnp.sum(jnp.sin(out) * jnp.arange(1, plan.n + 1))

        return f

    support.check_derivatives(
        of(support.outputs), of(support.dense_outputs), np.concatenate([a, b])
    )


@pytest.mark.parametrize(
    ("name", "order"),
    [(name, 1) for name in SOLVES]
    + [pytest.param(name, 2, marks=pytest.mark.slow) for name in SOLVES],
)
def test_finite_differences_and_adjoint(name, order):
    """Row 23: finite differences in both modes; <J v, w> = <v, J^T w>."""
    _, plan, a = support.case("band")
    b = support.right_hand_side(plan)
    support.check_gradients(lambda a: support.outputs(plan, a, b)[name], jnp.asarray(a), order)


def batch_of(matrix):
    """(plan, values (3, nnz), right-hand sides (3, n))"""
    _, plan, a = support.case(matrix)
    values = jnp.asarray(a * np.linspace(1.0, 1.5, 3)[:, None])
    return plan, values, jnp.asarray(np.random.default_rng(0).normal(size=(3, plan.n)))


@pytest.mark.parametrize("matrix", ["band", pytest.param("grid2", marks=pytest.mark.slow)])
def test_batches(matrix):
    """Row 24: vmap over values, right-hand sides, both and nested equals a loop."""
    plan, values, vectors = batch_of(matrix)

    def solves(a, b):
        F = padchol.cholesky(plan, a)
        return F.solve(b), F.solve_Lt(F.solve_L(b))

    support.check_batching(solves, values, vectors, 1e-12)


@pytest.mark.slow
def test_batched_gradients():
    """Row 24: vmap of a gradient in values and right-hand side equals a loop."""
    plan, values, vectors = batch_of("path")

    def energy(a, b):
        return jnp.sum(padchol.cholesky(plan, a).solve(b) ** 3)

    support.check_batching(jax.grad(energy, (0, 1)), values, vectors, 1e-11)


@pytest.mark.slow
def test_batched_gradients_of_half_solves():
    """Row 24: the same through L alone, whose adjoint is a sweep of matrix messages."""
    plan, values, vectors = batch_of("path")

    def energy(a, b):
        return jnp.sum(padchol.cholesky(plan, a).solve_L(b) ** 3)

    support.check_batching(jax.grad(energy, (0, 1)), values, vectors, 1e-11)


def test_half_solves_make_the_whole():
    """A^-1 b = P^T L^-T L^-1 P b, and apply_Pt undoes apply_P."""
    _, plan, a = support.case("grid2")
    F = padchol.cholesky(plan, a)
    b = support.right_hand_side(plan)
    x = F.apply_Pt(F.solve_Lt(F.solve_L(F.apply_P(b))))
    assert support.relative(x, F.solve(b)) < 1e-13
    np.testing.assert_array_equal(F.apply_Pt(F.apply_P(b)), b)
    np.testing.assert_array_equal(F.apply_P(b), b[plan.perm])


def test_refinement_reaches_the_wider_type():
    """A float32 factor, refined, solves a float64 right-hand side to float64 accuracy."""
    A, plan, a = support.case("band")
    b = support.right_hand_side(plan, columns=1)[:, 0]
    a32 = jnp.asarray(a, jnp.float32)
    exact = np.linalg.solve(np.asarray(support.symmetric(plan, a32), float), b)
    F = padchol.cholesky(plan, a32)
    plain, refined = F.solve(b), F.solve(b, refine=4)
    assert refined.dtype == jnp.float64
    assert support.relative(plain, exact) > 1e-9
    assert support.relative(refined, exact) < 1e-13
    assert A.shape == (plan.n, plan.n)


def known_case():
    """(along a line: a known solution, the same solved; (values, right-hand side, solution))"""
    _, plan, a = support.case("path")
    a, b = jnp.asarray(a), jnp.asarray(support.right_hand_side(plan))
    d, e = (jnp.asarray(support.random_like(x, 2)) for x in (a, b))
    x = padchol.cholesky(plan, a).solve(b)

    def known(t):
        factor = padchol.cholesky(plan, a + t * d)
        return known_solution(plan, factor.values, factor.panels, b + t * e, x)

    def solved(t):
        return padchol.cholesky(plan, a + t * d).solve(b + t * e)

    return known, solved, (plan, a, b, x)


@pytest.mark.slow
def test_a_known_solution_has_the_derivatives_of_a_solve():
    """In the values and in the right-hand side, in both modes; its numbers are those given."""
    known, solved, (plan, a, b, x) = known_case()
    assert support.relative(jax.jacfwd(known)(0.0), jax.jacfwd(solved)(0.0)) < 1e-12
    panels = padchol.cholesky(plan, a).panels
    np.testing.assert_array_equal(known_solution(plan, a, panels, b, 2 * x), 2 * x)
    cotangent = jnp.asarray(support.random_like(x, 3))
    pulled = jax.vjp(lambda a, b: known_solution(plan, a, panels, b, x), a, b)[1](cotangent)
    expected = jax.vjp(lambda a, b: padchol.cholesky(plan, a).solve(b), a, b)[1](cotangent)
    for found, wanted in zip(pulled, expected, strict=True):
        assert support.relative(found, wanted) < 1e-12


@pytest.mark.slow
def test_higher_derivatives_of_a_known_solution():
    known, solved, _ = known_case()
    known, solved = jax.jacfwd(known), jax.jacfwd(solved)
    for order in (2, 3):
        known, solved = jax.jacfwd(known), jax.jacfwd(solved)
        assert support.relative(known(0.0), solved(0.0)) < 1e-12, order


def test_a_solve_of_one_column_stays_on_its_thread():
    """XLA sends programs of a thousand flops and more, loops counted once, to another thread."""
    A = support.grid(45, 45)
    F = padchol.cholesky(plan := padchol.analyze(A, device="cpu"), plan.values(A))
    solve = jax.jit(lambda F, b: F.solve(b)).lower(F, jnp.ones(plan.n)).compile()
    assert solve.cost_analysis()["flops"] < 1_000

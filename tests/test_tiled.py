"""Routines on supernodes, against dense ones; on tiles also what XLA makes of them."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support
from storages import NAMES, case_of

import padchol
from padchol.numeric import factorise, selected_inverse, solve
from padchol.numeric.sweep import COLUMNS, apply
from padchol.numeric.values import from_diagonal, from_pivots, to_panels, to_pivots
from padchol.numeric.verbs.loops import get, loop, one_function, put, t_product, whole
from padchol.symbolic.unfold import fronts, panel_places

pytestmark = [pytest.mark.core, pytest.mark.compiler, pytest.mark.canary]


def dense_factor(plan, a):
    """L as a dense matrix, in the plan's order."""
    A = np.asarray(support.symmetric(plan, np.asarray(a, float)))
    return np.linalg.cholesky(A[plan.perm][:, plan.perm])


def pivot_inverses(plan, L):
    """L11^-T of each front, where it stands in the plan's order."""
    out = np.zeros_like(L)
    for pivots in fronts(plan.layout, plan.table).pivots:
        mine = np.ix_(pivots, pivots)
        out[mine] = np.linalg.inv(L[mine]).T
    return out


@support.both_engines
@pytest.mark.parametrize("name", [*NAMES, pytest.param("tall", marks=pytest.mark.slow)])
def test_factor_and_selected_inverse(name, device, precision):
    """Row 15: the panels of L are those of a dense factorisation; on tiles, L11^-T stands above the
    diagonal. Those of Z are entries of the inverse."""
    plan, a = case_of(name, device)
    L = dense_factor(plan, a)
    a = jnp.asarray(a, precision)
    tolerance = 200 * np.finfo(precision).eps
    panels = apply(factorise.CHOLESKY, plan, to_panels(plan, a, pivots=1))
    place, row, column = panel_places(plan.layout, plan.table)
    real = (row < plan.n) & (column < plan.n)
    place, row, column = place[real], row[real], column[real]
    found, below = np.asarray(panels)[place], row >= column
    assert support.relative(found[below], L[row[below], column[below]]) < tolerance
    if device == "cpu":
        inverse = pivot_inverses(plan, L)
        assert (
            support.relative(found[~below], inverse[row[~below], column[~below]]) < tolerance
            or not found[~below].size
        )
    Z = np.asarray(apply(selected_inverse.INVERSE, plan, panels))[place]
    wanted = np.linalg.inv(L @ L.T)
    assert support.relative(Z[below], wanted[row[below], column[below]]) < 10 * tolerance


@support.both_engines
@pytest.mark.parametrize("k", [1, COLUMNS + 5])
@pytest.mark.parametrize(
    "name", ["grid2", "disconnected", pytest.param("tall", marks=pytest.mark.slow)]
)
def test_half_solves(name, k, device):
    """Row 15: half solves are dense ones, whatever the number of columns."""
    plan, a = case_of(name, device)
    panels = factorise.factorise(plan, jnp.asarray(a))[0]
    b = np.random.default_rng(0).normal(size=(plan.n, k))
    stored = to_pivots(plan, jnp.asarray(b))
    L = dense_factor(plan, a)
    for routine, matrix in ((solve.FORWARD, L), (solve.BACKWARD, L.T)):
        found = from_pivots(plan, apply(routine, plan, stored, panels))
        assert support.relative(found, np.linalg.solve(matrix, b)) < 1e-13


def test_a_batch_of_all_routines():
    """Row 24: members follow one another; panels shared or each their own."""
    plan, a = case_of("grid2")
    values = jnp.asarray(a) * jnp.asarray([1.0, -1.0, 2.0])[:, None]  # the second fails
    b = jnp.asarray(np.random.default_rng(0).normal(size=(3, plan.n)))

    def f(a, b):
        F = padchol.cholesky(plan, a)
        return F.info, F.logdet(), F.solve(b), F.selected_inverse(), F.solve_Lt(b)

    found = jax.jit(jax.vmap(f))(values, b)
    for i in (0, 2):
        for x, y in zip(found, f(values[i], b[i]), strict=True):
            np.testing.assert_allclose(x[i], y, rtol=1e-13, atol=1e-13)
    assert found[0][1] != 0
    assert all(np.isnan(x[1]).all() for x in found[1:])


@pytest.mark.parametrize("order", ["natural", "auto"])
def test_a_failed_pivot_stays_where_it_is(order):
    """Row 1: other fronts keep what they are, so that `info` names the first pivot that fails."""
    A = sp.block_diag([support.grid(5, 5) for _ in range(3)], format="csc")
    plan = padchol.analyze(A, order=order)
    a = plan.values(A)
    sound = factorise.factorise(plan, jnp.asarray(a))[0]
    broken = a.copy()
    broken[(plan.rows == plan.cols) & (plan.rows == 30)] = -1.0
    panels, _, info = factorise.factorise(plan, jnp.asarray(broken))
    assert int(info) == 31 or order != "natural"
    assert int(info) in range(26, 51)  # in the second block
    untouched = [t for t, site in enumerate(plan.perm) if site // 25 != 1]
    kept = from_diagonal(plan, panels)[np.array(untouched)]
    np.testing.assert_array_equal(kept, from_diagonal(plan, sound)[np.array(untouched)])


def test_values_closed_over():
    """Row 21: constants instead of arguments compile as well (XLA would move them inside)."""
    plan, a = case_of("band")
    expected = np.linalg.slogdet(np.asarray(support.symmetric(plan, a)))[1]
    np.testing.assert_allclose(jax.jit(lambda: padchol.cholesky(plan, a).logdet())(), expected)
    b = np.ones(plan.n)
    F = padchol.cholesky(plan, jnp.asarray(a))
    np.testing.assert_allclose(jax.jit(lambda: F.solve(b))(), F.solve(b), rtol=1e-14)


@pytest.mark.optimised  # other flags compile a scatter as well
@pytest.mark.slow
def test_xla_compiles_one_function():
    """Row 45: the mark is understood, and what cannot be in such a function is refused."""

    def scatter(x):
        return x.at[jnp.array([1, 2])].add(x[:2], mode="drop")

    x = jnp.ones(8)
    jax.jit(scatter).lower(x).compile()
    with pytest.raises(jax.errors.JaxRuntimeError, match="UNIMPLEMENTED"):
        jax.jit(one_function(scatter)).lower(x).compile()


def test_nothing_stays_apart():
    """Everything is inlined into the one function: no call is left in what XLA is given."""
    plan, a = case_of("grid2")
    b = jnp.ones((plan.n, 2))
    panels = factorise.factorise(plan, jnp.asarray(a))[0]
    for lowered in (
        factorise.factorise.lower(plan, jnp.asarray(a)),
        selected_inverse.gradient.lower(plan, jnp.asarray(a), panels),
        solve.solve_system.lower(plan, jnp.asarray(a), panels, b),
    ):
        text = lowered.as_text()
        marked = [line for line in text.splitlines() if "call @" in line and "small_call" in line]
        assert marked
        assert all(re.search("call @(fronts|whole)", line) for line in marked), marked


def test_loops():
    x = jnp.arange(20.0).reshape(4, 5)
    assert float(loop(2, 5, lambda i, s: s + i, 0.0)) == 9
    np.testing.assert_array_equal(get(x, (1, 2), (2, 2)), x[1:3, 2:4])
    np.testing.assert_array_equal(put(x, jnp.zeros((1, 2)), (3, 1))[3, 1:3], 0)
    np.testing.assert_allclose(t_product(x, x), x.T @ x)
    assert [int(whole(jnp.asarray(n, jnp.int32), 4)) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]

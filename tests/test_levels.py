"""Batches of padded supernodes, as accelerators take them: everything a plan for CPUs gives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support

import padchol
from padchol.numeric import levels
from padchol.numeric.values import PIECE, _put_in_pieces
from padchol.symbolic.costs import CostModel

pytestmark = pytest.mark.core

ALL = [name for name in support.MATRICES if name != "empty"]


@support.float32_slowly
@pytest.mark.parametrize("merged", [False, True], ids=["each its own", "merged"])
@pytest.mark.parametrize("name", ALL)
def test_every_output(name, merged, precision):
    """Rows 13, 14, 15 and 21: solves, log-determinant, selected inverse and variances are those of
    a dense matrix."""
    _, plan, a = support.case(name, merged, "gpu")
    support.check_against_dense(plan, a.astype(precision))


@pytest.mark.parametrize("merged", [False, True], ids=["each its own", "merged"])
@pytest.mark.parametrize("name", ALL)
def test_the_factor(name, merged):
    """L on its exact pattern, in the plan's order, and its diagonal."""
    A, plan, a = support.case(name, merged, "gpu")
    F = padchol.cholesky(plan, a)
    L = F.to_csc()
    assert abs(L @ L.T - A[plan.perm][:, plan.perm]).max() < 1e-13 * abs(A).max()
    np.testing.assert_allclose(F.pivots, L.diagonal(), rtol=1e-14)


def test_no_rows_at_all():
    _, plan, a = support.case("empty", device="gpu")
    F = padchol.cholesky(plan, a)
    assert (float(F.logdet()), int(F.info), F.solve(np.zeros(0)).size) == (0, 0, 0)


def number(plan, b):
    """A scalar of all outputs that have derivatives of their own."""

    def f(a):
        F = padchol.cholesky(plan, a)
        halves = jnp.sin(F.solve_L(b)).sum() + (F.solve_Lt(b) ** 2).sum()
        return F.logdet() + halves + (F.solve(b) ** 2).sum() + (F.selected_inverse() ** 3).sum()

    return f


def dense_number(plan, b):
    def f(a):
        out = support.dense_outputs(plan, a, b)
        halves = jnp.sin(out["solve_L"]).sum() + (out["solve_Lt"] ** 2).sum()
        inner = (out["solve"] ** 2).sum() + (out["selected_inverse"] ** 3).sum()
        return out["logdet"] + halves + inner

    return f


@pytest.mark.parametrize(
    "name", ["band", *(pytest.param(n, marks=pytest.mark.slow) for n in ("grid2", "disconnected"))]
)
def test_gradients(name):
    """Row 23: of everything at once."""
    _, plan, a = support.case(name, device="gpu")
    b = support.right_hand_side(plan)
    found = jax.jit(jax.grad(number(plan, b)))(jnp.asarray(a))
    assert support.relative(found, jax.grad(dense_number(plan, b))(jnp.asarray(a))) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("path", marks=pytest.mark.release), "arrow_last"])
def test_second_derivatives(name):
    """Row 23: in all modes, twice."""
    _, plan, a = support.case(name, device="gpu")
    b = support.right_hand_side(plan)
    support.check_derivatives(number(plan, b), dense_number(plan, b), a, 1e-7)


@pytest.mark.parametrize("merged", [False, True], ids=["each its own", "merged"])
@pytest.mark.parametrize("name", ["disconnected", "band", "forest", "one"])
def test_the_first_pivot_that_fails(name, merged):
    """Rows 1 and 5: the same one that tiles name, with its value, for one failure and for two; all
    outputs are NaN."""
    A, plan, a = support.case(name, merged, "gpu")
    other = padchol.analyze(A, order=np.asarray(plan.perm), device="cpu")
    diagonal = {int(i): k for k, i in enumerate(plan.rows) if plan.cols[k] == i}
    info = jax.jit(lambda plan, a: padchol.cholesky(plan, a).info)
    for row in range(plan.n):
        for bad in (-1.0, np.nan, np.inf):
            spoiled = np.array(a)
            spoiled[diagonal[row]] = bad
            spoiled[diagonal[(row * 7 + 3) % plan.n]] -= 0.9 * a[diagonal[(row * 7 + 3) % plan.n]]
            assert int(info(plan, spoiled)) == int(info(other, spoiled)) > 0
    messages = []
    spoiled = np.array(a)
    spoiled[diagonal[plan.n // 2]] *= -1
    for each in (plan, other):
        with pytest.raises(padchol.NotPositiveDefiniteError) as raised:
            padchol.cholesky(each, spoiled, throw=True)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]
    found = support.all_outputs(plan, spoiled, support.right_hand_side(plan))
    assert all(np.isnan(x).all() for x in found.values())


def test_some_members_of_a_batch_fail():
    """Row 2: each names its own pivot, and the others are what they are alone."""
    _, plan, a = support.case("forest", device="gpu")
    on_diagonal = np.flatnonzero(plan.rows == plan.cols)
    values = np.stack([a] * 4)
    values[1, on_diagonal[3]] = -1
    values[3, on_diagonal[20]] = np.nan
    F = jax.jit(jax.vmap(lambda a: padchol.cholesky(plan, a)))(values)
    np.testing.assert_array_equal(F.info, [0, 4, 0, 21])
    logdet = jax.vmap(lambda F: F.logdet())(F)
    alone = padchol.cholesky(plan, a).logdet()
    np.testing.assert_allclose(logdet, np.array([alone, np.nan, alone, np.nan]), rtol=1e-14)


def test_what_a_tpu_does_otherwise():
    """One update after the other, with ascending indices, and scatters in pieces: the same sums and
    the same places."""
    rng = np.random.default_rng(0)
    local = np.array([[0, 2, 5, -1], [1, 3, 4, 6], [-1, -1, -1, -1], [0, 1, -1, -1]], np.int32)
    start = np.array([0, 49, 0, 49], np.int32)[:, None, None]
    order = np.full((4, 1, 1), 7, np.int32)
    parents = levels._Parents(jnp.asarray(local), jnp.asarray(start), jnp.asarray(order))
    update = rng.normal(size=(4, 4, 4))
    update = jnp.asarray(update + np.swapaxes(update, 1, 2))
    fronts = jnp.asarray(rng.normal(size=98))
    usual = levels._hand_up(fronts, parents, update).reshape(2, 7, 7)
    found = levels._hand_up_one_by_one(fronts, parents, update).reshape(2, 7, 7)
    np.testing.assert_allclose(np.tril(found), np.tril(usual), rtol=1e-14)
    assert not np.allclose(np.tril(usual), np.tril(fronts.reshape(2, 7, 7)))
    n = PIECE + 100
    at = rng.permutation(2 * n)[:n].astype(np.int32)
    values = jnp.asarray(rng.normal(size=(n, 2)))
    empty = jnp.zeros((2 * n, 2))
    np.testing.assert_array_equal(
        _put_in_pieces(empty, jnp.asarray(at), values), empty.at[at].set(values)
    )


def test_a_plan_for_a_tpu():
    """Few supernodes a trip, narrower ones: the same numbers."""
    A = support.grid(9, 9)
    plan = support.unmerged(A, device="tpu")
    assert all(CostModel.tpu().places >= stage.C for stage in plan.layout.levels.stages)
    support.check_against_dense(plan, plan.values(A))

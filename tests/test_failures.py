"""Matrices that are not positive definite, and numbers that are not numbers."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support

import padchol

pytestmark = pytest.mark.oldest


def spoiled(plan, a, row: int, value: float) -> np.ndarray:
    """The values with another diagonal entry at `row`."""
    a = np.array(a)
    a[(plan.rows == row) & (plan.cols == row)] = value
    return a


def assert_all_nan(plan, a) -> None:
    found = support.all_outputs(plan, a, support.right_hand_side(plan, np.asarray(a).dtype))
    for name, out in found.items():
        assert np.isnan(out).all(), name


@support.both_precisions
@pytest.mark.parametrize("name", ["band", "disconnected"])
def test_negative_diagonal(name, precision):
    """Row 1: info is 1 + the user's row, and every output is NaN, samples and L included."""
    _, plan, a = support.case(name)
    for row in (0, plan.n // 2, plan.n - 1):
        bad = spoiled(plan, a, row, -1.0).astype(precision)
        F = padchol.cholesky(plan, bad)
        assert int(F.info) == row + 1
        assert_all_nan(plan, bad)
        assert np.isnan(F.sample(jax.random.key(0), (2,))).all()
        assert np.isnan(F.to_csc().data).all()


def test_first_failing_pivot_of_an_indefinite_matrix():
    """Row 1: where no diagonal entry is negative, the first leading block that is not PD tells."""
    A, plan, _ = support.case("scattered")
    low = np.linalg.eigvalsh(A.toarray())[:2].mean()
    shifted = sp.csc_array(A - low * sp.eye_array(plan.n))
    assert (shifted.diagonal() > 0).all()
    permuted = shifted.toarray()[plan.perm][:, plan.perm]
    leading = (np.linalg.eigvalsh(permuted[: k + 1, : k + 1])[0] for k in range(plan.n))
    first = next(k for k, smallest in enumerate(leading) if smallest <= 0)
    F = padchol.cholesky(plan, plan.values(shifted))
    assert int(F.info) == plan.perm[first] + 1


@pytest.mark.parametrize("name", ["grid2", "band", "diagonal"])
def test_bad_diagonal_value(name):
    """Rows 3, 5: NaN, infinity or zero on the diagonal is named, and nothing comes out."""
    _, plan, a = support.case(name)
    for bad in (np.nan, np.inf, -np.inf, 0.0):
        for row in (1, plan.n // 2, plan.n - 2):
            values = spoiled(plan, a, row, bad)
            if bad == 0.0:  # nothing off the diagonal either: the pivot itself is exactly zero
                values[(plan.rows == row) | (plan.cols == row)] = 0.0
            assert int(padchol.cholesky(plan, values).info) == row + 1, (bad, row)
            assert_all_nan(plan, values)


def test_bad_off_diagonal_value():
    """Row 5: NaN or infinity off the diagonal is never reported as success."""
    _, plan, a = support.case("grid2")
    for bad in (np.nan, np.inf):
        for k in np.flatnonzero(plan.rows != plan.cols)[::7]:
            values = np.array(a)
            values[k] = bad
            assert int(padchol.cholesky(plan, values).info) > 0
            assert_all_nan(plan, values)


def test_bad_off_diagonal_value_is_placed():
    """Row 5: a NaN off the diagonal is met at the later of its two pivots, on every path of the
    factorisation, and `info` names no neighbour of it."""
    for name in support.MATRICES:
        _, plan, a = support.case(name)
        off = np.flatnonzero(plan.rows != plan.cols)
        if not off.size:
            continue
        batch = np.repeat(np.asarray(a)[None], off.size, 0)
        batch[np.arange(off.size), off] = np.nan
        info = jax.jit(jax.vmap(lambda a, plan=plan: padchol.cholesky(plan, a).info))(batch)
        place = np.argsort(plan.perm)
        later = np.maximum(place[plan.rows[off]], place[plan.cols[off]])
        np.testing.assert_array_equal(info, plan.perm[later] + 1, err_msg=name)


@pytest.mark.parametrize(
    "A",
    [
        support.graph_laplacian(support.path(8)),
        support.graph_laplacian(support.grid(4, 4)),
        sp.csc_array(np.ones((5, 5))),
        sp.csc_array([[0.0]]),
        sp.csc_array((4, 4)),
    ],
    ids=["path", "grid", "rank one", "zero", "all zero"],
)
def test_semidefinite(A):
    """Row 3: integer matrices with exact zero pivots fail, or (where rounding hides the zero) are
    found within rounding of singular: never a plausible log-determinant."""
    plan = padchol.analyze(A)
    F = padchol.cholesky(plan, plan.values(A))
    if int(F.info):
        assert np.isnan(F.logdet())
        assert np.isnan(F.solve(np.ones(plan.n))).all()
    else:
        smallest = F.to_csc().diagonal().min() ** 2
        assert smallest <= 20 * plan.n * np.finfo(float).eps * abs(A).max()
    exact_pivots = A.shape[0] in (1, 4, 5, 8)  # elimination in small integers or with unit ratios
    assert int(F.info) or not exact_pivots


def test_one_bad_element_of_a_batch():
    """Row 2: info per element; the others are unchanged to the bit."""
    _, plan, a = support.case("band")
    b = support.right_hand_side(plan)
    good = np.asarray(a) * np.array([1.0, 1.2, 1.4])[:, None]
    bad = good.copy()
    bad[1] = spoiled(plan, good[1], 7, -2.0)

    @jax.jit
    @jax.vmap
    def f(a):
        return padchol.cholesky(plan, a).info, support.outputs(plan, a, b)

    info, found = f(bad)
    np.testing.assert_array_equal(info, [0, 8, 0])
    for name, out in f(good)[1].items():
        np.testing.assert_array_equal(found[name][jnp.array([0, 2])], out[jnp.array([0, 2])])
        assert np.isnan(found[name][1]).all()


def test_one_bad_column_of_a_right_hand_side():
    """Row 6: that column only, for every solve."""
    _, plan, a = support.case("band")
    F = padchol.cholesky(plan, a)
    b = support.right_hand_side(plan, columns=3)
    for bad in (np.nan, np.inf):
        spoilt = b.copy()
        spoilt[4, 1] = bad
        for method in (F.solve, F.solve_L, F.solve_Lt):
            clean, found = np.asarray(method(b)), np.asarray(method(spoilt))
            np.testing.assert_array_equal(found[:, [0, 2]], clean[:, [0, 2]])
            assert not np.isfinite(found[:, 1]).all()
        assert not np.isfinite(F.solve(spoilt)[:, 1]).any()


@pytest.mark.parametrize("output", ["logdet", "solve", "solve_L", "marginal_variances"])
def test_gradient_at_a_failure(output):
    """Row 26: NaN in the value and in every derivative, forward and reverse; no hang."""
    _, plan, a = support.case("path")
    bad = jnp.asarray(spoiled(plan, a, 3, -1.0))
    b = np.ones((plan.n, 1))
    f = lambda a: jnp.sum(support.outputs(plan, a, b)[output])
    value, gradient = jax.jit(jax.value_and_grad(f))(bad)
    tangent = jax.jit(lambda t: jax.jvp(f, (bad,), (t,))[1])(jnp.ones_like(bad))
    assert np.isnan(value)
    assert np.isnan(gradient).all()
    assert np.isnan(tangent)


def test_throw_eagerly():
    """Row 1: the exception carries the user's row and the pivot, and says what to try."""
    A, plan, a = support.case("grid2")
    row = int(plan.perm[0])
    with pytest.raises(padchol.NotPositiveDefiniteError, match=f"row {row}.*identity") as caught:
        padchol.cholesky(plan, spoiled(plan, a, row, -0.5), throw=True)
    assert caught.value.index == row
    np.testing.assert_allclose(caught.value.pivot, -0.5)
    last = int(plan.perm[-1])  # the last pivot is what elimination leaves of the diagonal entry
    rest = np.delete(np.arange(plan.n), last)
    dense = A.toarray()
    taken = dense[last, rest] @ np.linalg.solve(dense[np.ix_(rest, rest)], dense[rest, last])
    with pytest.raises(padchol.NotPositiveDefiniteError) as caught:
        padchol.cholesky(plan, spoiled(plan, a, last, taken - 0.25), throw=True)
    assert caught.value.index == last
    np.testing.assert_allclose(caught.value.pivot, -0.25, rtol=1e-9)
    assert int(padchol.cholesky(plan, a, throw=True).info) == 0


def test_throw_under_eager_derivatives():
    """The same exception where the values are being differentiated, and gradients where all is
    well."""
    _, plan, a = support.case("band")
    logdet = lambda a: padchol.cholesky(plan, a, throw=True).logdet()
    plain = lambda a: padchol.cholesky(plan, a).logdet()
    a = jnp.asarray(a)
    np.testing.assert_allclose(jax.grad(logdet)(a), jax.grad(plain)(a), rtol=1e-13)
    bad = spoiled(plan, a, 3, -1.0)
    with pytest.raises(padchol.NotPositiveDefiniteError) as expected:
        logdet(bad)
    for f in (jax.grad(logdet), lambda a: jax.jvp(logdet, (a,), (jnp.ones_like(a),))):
        with pytest.raises(padchol.NotPositiveDefiniteError, match="row 3") as caught:
            f(jnp.asarray(bad))
        assert caught.value.pivot == expected.value.pivot < 0


def test_throw_under_jit():
    """Row 1: an Equinox runtime error with the same hint; silence where nothing is wrong."""
    _, plan, a = support.case("band")
    f = eqx.filter_jit(lambda a: padchol.cholesky(plan, a, throw=True).logdet())
    np.testing.assert_allclose(f(a), padchol.cholesky(plan, a).logdet(), rtol=1e-13)
    with pytest.raises(Exception, match="not positive definite") as caught:
        jax.block_until_ready(f(spoiled(plan, a, 3, -1.0)))
    assert "adding a small multiple of the identity" in str(caught.value)

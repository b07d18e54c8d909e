"""Values on their way in: the structured copy, and canonical values of JAX sparse matrices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support
from jax.experimental import sparse

import padchol
from padchol.numeric.values import multiply

pytestmark = [pytest.mark.core, pytest.mark.shapes]


def test_the_exercise():
    """Simpson (2022), "Sparse Matrices 3: Failing at JAX": f(A, alpha, beta) is the squared
    Frobenius norm of alpha I + beta tril(A), A the Laplacian on a 50 x 50 grid plus I."""
    A = sp.csc_array(support.laplacian(50) + sp.eye_array(2500))
    plan = padchol.analyze(A)
    a, eye = plan.values(A), plan.values(sp.eye_array(2500, format="csc"))

    @jax.jit
    def f(a, alpha, beta):
        copy = lambda values: padchol.structured_copy(plan, values)
        copied = alpha * copy(eye) + beta * copy(a)
        return jnp.sum(copied**2)

    assert f(a, 2.0, 2.0) == 379600.0
    gradient = jax.grad(f, (1, 2))(a, 2.0, 2.0)
    assert gradient == (60000.0, 319600.0)
    by_entry = jax.grad(f)(jnp.asarray(a), 2.0, 2.0)
    np.testing.assert_array_equal(by_entry, 4.0 * (2.0 * eye + 2.0 * a))


@support.both_precisions
@pytest.mark.parametrize("name", support.MATRICES)
def test_structured_copy(name, precision):
    """Rows 14, 21: the lower triangle of A[perm][:, perm], in the exact pattern of L."""
    A, plan, a = support.case(name)
    copied = padchol.structured_copy(plan, a.astype(precision))
    assert copied.dtype == precision
    indices, indptr = plan.factor_pattern()
    placed = sp.csc_array((np.asarray(copied), indices, indptr), shape=A.shape)
    expected = np.tril(A.toarray()[plan.perm][:, plan.perm]).astype(precision)
    np.testing.assert_array_equal(placed.toarray(), expected)


def test_structured_copy_is_linear():
    """Rows 23, 24: exact in both modes and under vmap: each value goes to one place."""
    _, plan, a = support.case("grid2")
    f = lambda a: padchol.structured_copy(plan, a)
    forward = jax.jacfwd(f)(jnp.asarray(a))
    np.testing.assert_array_equal(forward, jax.jacrev(f)(jnp.asarray(a)))
    np.testing.assert_array_equal(forward @ a, f(a))
    np.testing.assert_array_equal(forward.sum(0), np.ones(plan.nnz))
    np.testing.assert_array_equal(jax.vmap(f)(np.eye(plan.nnz)).T, forward)


traced = jax.jit(lambda plan, M: plan.values(M))


def bcoo(A) -> sparse.BCOO:
    return sparse.BCOO.from_scipy_sparse(A)


def bcsr(A) -> sparse.BCSR:
    return sparse.BCSR.from_bcoo(bcoo(A).sort_indices())


@pytest.mark.parametrize("make", [bcoo, bcsr])
@pytest.mark.parametrize("part", ["full", "lower", "upper"])
def test_jax_sparse_values(make, part):
    """BCOO and BCSR, the whole matrix or one triangle, eagerly and under jit."""
    A, plan, a = support.case("scattered")
    cut = {"full": lambda A: A, "lower": sp.tril, "upper": sp.triu}[part]
    M = make(sp.csr_matrix(cut(A)))
    np.testing.assert_array_equal(plan.values(M), a)
    np.testing.assert_array_equal(traced(plan, M), a)


def with_duplicates(n: int = 6):
    """A path with every entry split in two unequal parts, shuffled: (rows, cols, parts, dense)."""
    A = sp.coo_array(support.path(n))
    rng = np.random.default_rng(0)
    share = rng.uniform(0.2, 0.8, n * n).reshape(n, n)
    share = (share + share.T) / 2
    rows, cols = np.tile(A.row, 2), np.tile(A.col, 2)
    parts = np.concatenate([A.data * share[A.row, A.col], A.data * (1 - share[A.row, A.col])])
    mix = rng.permutation(rows.size)
    return rows[mix], cols[mix], parts[mix], A.toarray()


def test_duplicates_are_summed_and_nothing_is_changed():
    """Rows 9, 10: duplicated, unsorted entries of a scipy matrix; the user's arrays stay."""
    rows, cols, parts, dense = with_duplicates()
    A = sp.coo_array((parts.copy(), (rows.copy(), cols.copy())), shape=dense.shape)
    plan = padchol.analyze(A)
    np.testing.assert_allclose(plan.values(A), dense[plan.rows, plan.cols], rtol=1e-14)
    np.testing.assert_array_equal(A.data, parts)
    np.testing.assert_array_equal(A.row, rows)


def test_gradient_flows_to_each_duplicate():
    """Row 9: of two entries at one place, each gets the gradient of their sum."""
    rows, cols, parts, dense = with_duplicates()
    plan = padchol.analyze((rows, cols, len(dense)))
    index = jnp.asarray(np.stack([rows, cols], 1))

    @jax.jit
    def logdet(parts):
        A = sparse.BCOO((parts, index), shape=dense.shape)
        return padchol.cholesky(plan, plan.values(A)).logdet()

    inverse = np.linalg.inv(dense)
    np.testing.assert_allclose(logdet(parts), np.linalg.slogdet(dense)[1], rtol=1e-12)
    weight = np.where(rows > cols, 2.0, np.where(rows == cols, 1.0, 0.0))
    found = jax.jit(jax.grad(logdet))(jnp.asarray(parts))
    np.testing.assert_allclose(found, weight * inverse[rows, cols], atol=1e-12)


def test_entries_outside_the_pattern():
    """Row 17: refused where they can be seen, naming the entry; NaN where they are traced."""
    plan = padchol.analyze(support.path(5))
    foreign = support.arrow(5, 0)
    with pytest.raises(ValueError, match=r"\(\d, 0\).*which the plan does not have"):
        plan.values(foreign)
    for make in (bcoo, bcsr):
        with pytest.raises(ValueError, match=r"\((\d, 0|0, \d)\).*which the plan does not have"):
            plan.values(make(foreign))
        assert np.isnan(traced(plan, make(foreign))).all()
    with pytest.raises(ValueError, match=r"\(5, 5\).*\(4, 4\)"):
        plan.values(bcoo(support.path(4)))
    with pytest.raises(ValueError, match=r"order 5.*order 4"):
        plan.values(support.path(4))


def test_a_smaller_pattern_gives_zeros():
    """Row 17: where A has no entry its value is 0."""
    plan = padchol.analyze(support.dense(5))
    found = plan.values(support.path(5))
    np.testing.assert_array_equal(found, support.path(5).toarray()[plan.rows, plan.cols])


def test_unsymmetric_values():
    """Row 8: concrete values that are not symmetric are refused, naming the pair."""
    A = support.path(4).tolil()
    A[2, 1] = 9.0
    with pytest.raises(ValueError, match=r"A\[1, 2\].*A\[2, 1\]|A\[2, 1\].*A\[1, 2\]"):
        padchol.analyze(support.path(4)).values(sp.csc_array(A))


def unsymmetric(what):
    """A path of 5 nodes, of which one entry above the diagonal is wrong or missing."""
    A = sp.coo_array(support.path(5))
    at = (A.row == 1) & (A.col == 2)
    if what == "missing":
        return sp.coo_array((A.data[~at], (A.row[~at], A.col[~at])), shape=A.shape)
    return sp.coo_array((np.where(at, A.data * what, A.data), (A.row, A.col)), shape=A.shape)


@pytest.mark.parametrize("make", [bcoo, bcsr])
@pytest.mark.parametrize("what", ["missing", 9.0, -1.0, 1 + 1e-6])
def test_unsymmetric_jax_matrices(make, what):
    """Row D6: refused where they are concrete, naming the entry, and NaN where they are traced."""
    plan = padchol.analyze(support.path(5))
    A = make(unsymmetric(what))
    with pytest.raises(ValueError, match=r"\(1, 2\)" if what == "missing" else r"A\[1, 2\]"):
        plan.values(A)
    assert np.isnan(traced(plan, A)).all()
    if (
        what == "missing" and make is bcoo
    ):  # the indices of a closed-over matrix are concrete, whatever its values
        with pytest.raises(ValueError, match=r"\(1, 2\)"):
            jax.grad(lambda x: plan.values(A * x).sum())(1.0)


@support.both_precisions
def test_rounding_is_no_lack_of_symmetry(precision):
    eps = float(np.finfo(precision).eps)
    plan, A = padchol.analyze(support.path(5)), unsymmetric(1 + 8 * eps).astype(precision)
    for values in (plan.values, lambda M: traced(plan, M)):
        np.testing.assert_array_equal(values(bcoo(A)), plan.values(A))


def test_not_a_number_above_the_diagonal_is_not_lost():
    plan, A = padchol.analyze(support.path(5)), unsymmetric(np.nan)
    for values in (plan.values, lambda M: traced(plan, M)):
        found = np.asarray(values(bcoo(A)))
        np.testing.assert_array_equal(np.isnan(found), (plan.rows == 2) & (plan.cols == 1))


@pytest.mark.parametrize("lost", [{"n_batch": 1}, {"n_dense": 1}])
def test_batch_and_dense_axes_are_refused(lost):
    """Row D6: with a message that says which they are."""
    A = support.path(5)
    M = sparse.BCOO.fromdense(A.toarray(), **lost)
    plan = padchol.analyze(A)
    for call in (plan.values, lambda M: traced(plan, M), padchol.analyze):
        with pytest.raises(ValueError, match="|".join(f"{k}={v}" for k, v in lost.items())):
            call(M)
    stack = sparse.BCOO.fromdense(jnp.stack([A.toarray()] * 2), n_batch=1)
    with pytest.raises(ValueError, match=r"\(2, 5, 5\)"):
        plan.values(stack)


def test_a_batch_of_values_by_vmap():
    A = support.path(5)
    plan, M = padchol.analyze(A), bcoo(A)
    values = jax.vmap(lambda x: plan.values(sparse.BCOO((x, M.indices), shape=M.shape)))
    found = values(jnp.stack([M.data, 2 * M.data]))
    np.testing.assert_array_equal(found, np.outer([1, 2], plan.values(A)))


def test_products():
    """A x from canonical values, and its gradient in them."""
    A, plan, a = support.case("grid2")
    x = jnp.asarray(support.right_hand_side(plan))
    np.testing.assert_allclose(multiply(plan, a, x), A @ x, rtol=1e-13, atol=1e-13)
    by_a = jax.grad(lambda a: jnp.sum(x * multiply(plan, a, x)))(a)
    weight = np.where(plan.rows == plan.cols, 1, 2)
    pairs = np.sum(np.asarray(x)[plan.rows] * np.asarray(x)[plan.cols], 1)
    np.testing.assert_allclose(by_a, weight * pairs, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "bad",
    [None, "x", ["a"], object(), [[1.0], [1.0, 2.0]], {"a": 1.0}, sp.eye_array(20)],
)
def test_what_is_no_array_of_numbers_is_refused_in_words(bad):
    _, plan, a = support.case("path")
    F = padchol.cholesky(plan, a)
    with pytest.raises((TypeError, ValueError), match="expected values to be an array of numbers"):
        padchol.structured_copy(plan, bad)
    with pytest.raises((TypeError, ValueError), match="expected a right-hand side to be an array"):
        F.solve(bad)

"""Values of a plan from values of its parts, against scipy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental import sparse as jsparse

import padchol
from padchol import assembly

pytestmark = pytest.mark.shapes

TIGHT: dict[str, Any] = dict(rtol=1e-13, atol=1e-13)


def random(m, n, seed=0, density=0.2, form="csc"):
    return sp.random_array((m, n), density=density, rng=np.random.default_rng(seed), format=form)


def symmetric(n, seed=0):
    half = random(n, n, seed)
    return sp.csc_array(half + half.T + sp.eye_array(n))


# ---- sums -------------------------------------------------------------------------------------


def test_a_union_holds_every_part_and_their_combinations():
    A, B = support.laplacian(5), symmetric(25, 1)
    plan = padchol.analyze([A, B])
    combined = plan.values(A) * 2.5 + plan.values(B) * 0.5
    np.testing.assert_allclose(combined, plan.values(2.5 * A + 0.5 * B), **TIGHT)
    assert plan.nnz == sp.tril(abs(A) + abs(B)).nnz


def test_the_union_of_one_is_its_plan():
    A = support.laplacian(4)
    assert padchol.analyze([A]) == padchol.analyze(A)


def test_the_union_of_triangles_and_of_index_tuples():
    A = support.laplacian(4)
    rows, cols = A.nonzero()
    assert padchol.analyze([sp.tril(A), sp.triu(A)], lower=True) == padchol.analyze(A)
    assert padchol.analyze([(rows, cols, 16), sp.eye_array(16)]) == padchol.analyze(A)


def test_unions_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="at least one matrix; got an empty list"):
        padchol.analyze([])
    with pytest.raises(ValueError, match=r"one order; got \[4, 9\]"):
        padchol.analyze([support.laplacian(2), support.laplacian(3)])


@pytest.mark.parametrize("d", [2.0, 3, np.arange(16.0)])
def test_add_diagonal(d):
    A = support.laplacian(4)
    plan = padchol.analyze(A)
    found = jax.jit(lambda plan, a: plan.add_diagonal(a, d))(plan, plan.values(A))
    expected = A + sp.diags_array(np.broadcast_to(np.asarray(d, float), 16))
    np.testing.assert_allclose(found, plan.values(expected), **TIGHT)


def test_the_gradient_of_a_diagonal_is_that_of_the_log_determinant():
    A = support.laplacian(4)
    plan = padchol.analyze(A)
    a = jnp.asarray(plan.values(A))
    value = lambda d: padchol.cholesky(plan, plan.add_diagonal(a, d)).logdet()
    d = np.linspace(0.5, 1.5, 16)
    inverse = np.linalg.inv(A.toarray() + np.diag(d))
    np.testing.assert_allclose(jax.grad(value)(d), np.diag(inverse), rtol=1e-12)
    np.testing.assert_allclose(jax.grad(value)(0.7), np.trace(np.linalg.inv(A + 0.7 * np.eye(16))))


def test_a_diagonal_of_another_length_is_refused():
    plan = padchol.analyze(support.laplacian(4))
    with pytest.raises(ValueError, match=r"shape \(16,\); got \(5,\)"):
        plan.add_diagonal(np.ones(plan.nnz), np.ones(5))


# ---- A^T W A ----------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)  # each is compiled
@given(st.integers(0, 12), st.integers(1, 9), st.integers(0, 99), st.sampled_from(["csc", "coo"]))
def test_gram(m, n, seed, form):
    A = random(m, n, seed, 0.4, form)
    w = np.random.default_rng(seed).uniform(-1, 2, m)
    plan = padchol.analyze(assembly.gram_pattern(A))
    found = assembly.gram(plan, A)(w)
    np.testing.assert_allclose(found, plan.values(A.T @ sp.diags_array(w) @ A), **TIGHT)


def test_gram_of_duplicates_and_of_jax_matrices():
    rows, cols, data = np.array([0, 0, 1, 0]), np.array([1, 1, 0, 0]), np.array([1.0, 2, 3, 4])
    A = sp.coo_array((data, (rows, cols)), shape=(2, 3))
    plan = padchol.analyze(assembly.gram_pattern(A))
    w = np.array([2.0, 5.0])
    expected = plan.values(A.T @ sp.diags_array(w) @ A)
    np.testing.assert_allclose(assembly.gram(plan, A)(w), expected, **TIGHT)
    for B in (jsparse.BCOO.from_scipy_sparse(A), jsparse.BCSR.from_scipy_sparse(A.tocsr())):
        np.testing.assert_allclose(assembly.gram(plan, B)(w), expected, **TIGHT)


def test_gram_in_the_union_with_a_prior_solves_least_squares():
    A, Q = random(40, 16, 3), support.laplacian(4)
    plan = padchol.analyze([assembly.gram_pattern(A), Q])
    product, prior = assembly.gram(plan, A), plan.values(Q)
    y, w = np.random.default_rng(0).normal(size=40), np.linspace(0.5, 2, 40)

    @jax.jit
    def estimate(w, theta):
        F = padchol.cholesky(plan, product(w) + theta * prior)
        return F.solve(A.T.toarray() @ (w * y))

    dense = A.toarray()
    normal = dense.T @ (w[:, None] * dense) + 0.3 * Q.toarray()
    np.testing.assert_allclose(
        estimate(w, 0.3), np.linalg.solve(normal, dense.T @ (w * y)), rtol=1e-11
    )


@pytest.mark.slow
def test_gram_derivatives_in_weights_and_entries():
    A = random(12, 7, 5, 0.4)
    plan = padchol.analyze(assembly.gram_pattern(A))
    product = assembly.gram(plan, A)
    support.check_gradients(lambda w: product(w) ** 2, jnp.linspace(0.5, 2, 12))
    support.check_gradients(lambda d: product(jnp.ones(12), d), jnp.asarray(A.data))
    w = np.random.default_rng(1).uniform(size=(3, 12))
    np.testing.assert_allclose(jax.vmap(product)(w), [product(x) for x in w], **TIGHT)


def test_gram_names_what_does_not_fit():
    A = random(12, 7, 5, 0.4)
    plan = padchol.analyze(sp.eye_array(7))
    with pytest.raises(ValueError, match="pattern is contained in the plan's; got an entry at"):
        assembly.gram(plan, A)
    with pytest.raises(TypeError, match="a matrix with values; got index arrays only"):
        assembly.gram(plan, (np.arange(7), np.arange(7), 7))
    with pytest.raises(ValueError, match=r"A with 7 columns, the plan's order; got \(7, 12\)"):
        assembly.gram(plan, A.T)
    product = assembly.gram(padchol.analyze(assembly.gram_pattern(A)), A)
    with pytest.raises(ValueError, match=r"shape \(12,\); got shape \(7,\)"):
        product(np.ones(7))


# ---- Kronecker products and blocks --------------------------------------------------------------


def test_kron():
    A, B = symmetric(4, 1), symmetric(5, 2)
    plan = padchol.analyze(sp.kron(A, B))
    product = assembly.kron(plan, A, B)
    a, b = 1.5 * A.data, B.data - 0.25
    B2 = sp.csc_array((b, B.indices, B.indptr), shape=B.shape)
    expected = plan.values(sp.kron(1.5 * A, B2))
    np.testing.assert_allclose(jax.jit(lambda a, b: product(a, b))(a, b), expected, **TIGHT)
    support.check_gradients(lambda a: product(a, b), jnp.asarray(a))
    with pytest.raises(ValueError, match="product of order 20, the plan's; got 25"):
        assembly.kron(plan, B, B)


def test_blocks():
    A, B, C = symmetric(4, 1), symmetric(3, 2), random(3, 4, 3, 0.5)
    whole = sp.block_array([[A, C.T], [C, B]])
    plan = padchol.analyze(whole)
    join = assembly.blocks(plan, [[A], [C, B]])
    found = jax.jit(lambda *data: join(*data))(A.data, C.data, B.data)
    np.testing.assert_allclose(found, plan.values(whole), **TIGHT)
    apart = assembly.blocks(plan, [[A], [None, B]])(A.data, B.data)
    np.testing.assert_allclose(apart, plan.values(sp.block_diag([A, B])), **TIGHT)


def test_blocks_name_what_does_not_fit():
    A, C = symmetric(4, 1), random(3, 4, 3, 0.5)
    plan = padchol.analyze(symmetric(7))
    with pytest.raises(ValueError, match=r"lower block triangle; got a block at \(0, 1\)"):
        assembly.blocks(plan, [[A, C.T], [C, None]])
    with pytest.raises(ValueError, match=r"block \(1, 0\) with 4 along axis 1; got \(4, 3\)"):
        assembly.blocks(plan, [[A], [C.T, None]])
    with pytest.raises(ValueError, match=r"order 7 in all, the plan's; got \[4\]"):
        assembly.blocks(plan, [[A]])


def test_each_part_has_its_length():
    """Not only all of them together; at trace time as well."""
    A, B = symmetric(4, 1), symmetric(3, 2)
    join = assembly.blocks(padchol.analyze(sp.block_diag([A, B])), [[A], [None, B]])
    a, b = A.data, B.data
    wanted = r"expected block \(\d, \d\) with \d+ entries; got"
    for wrong in ((a[:-1], np.r_[a[-1], b]), (b, a), (a, b[:, None]), (a[0], b)):
        for call in (join, lambda *x: jax.eval_shape(lambda *x: join(*x), *x)):
            with pytest.raises(ValueError, match=wanted):
                call(*wrong)
    with pytest.raises(ValueError, match=r"2 blocks, at \[\(0, 0\), \(1, 1\)\]; got 3 arrays"):
        join(a, b, b)
    with pytest.raises(ValueError, match=r"got 1 arrays"):
        join(np.concatenate([a, b]))


def test_products_with_vectors_have_their_length():
    A = random(12, 7, 5, 0.4)
    product = assembly.gram(padchol.analyze(assembly.gram_pattern(A)), A)
    x, v = np.arange(7), np.arange(12.0)
    np.testing.assert_allclose(product.times(x), A @ x, **TIGHT)
    np.testing.assert_allclose(product.t_times(v), A.T @ v, **TIGHT)
    for f, length in ((product.times, 7), (product.t_times, 12)):
        wanted = rf"a vector of shape \({length},\); got shape"
        for wrong in ((length + 1,), (length - 1,), (), (length, 1), (1, length), (0,)):
            for call in (f, lambda x, f=f: jax.eval_shape(lambda x: f(x), x)):
                with pytest.raises(ValueError, match=wanted):
                    call(np.ones(wrong))


def test_a_traced_plan_is_refused_by_name():
    A = support.laplacian(3)
    plan = padchol.analyze(assembly.gram_pattern(A))
    with pytest.raises(ValueError, match="a plan that is known when the map is made"):
        jax.jit(lambda plan: assembly.gram(plan, A)(jnp.ones(9)))(plan)


@pytest.mark.parametrize("plan", [None, "plan", sp.eye_array(4)])
def test_what_is_no_plan_is_refused(plan):
    eye = sp.eye_array(4)
    for make in (
        lambda: assembly.gram(plan, eye),
        lambda: assembly.kron(plan, sp.eye_array(2), sp.eye_array(2)),
        lambda: assembly.blocks(plan, [[eye]]),
        lambda: padchol.structured_copy(plan, np.ones(4)),
    ):
        with pytest.raises(TypeError, match="expected a Plan"):
            make()


def test_kronecker_products_are_of_square_matrices():
    plan = padchol.analyze(sp.eye_array(4))
    with pytest.raises(ValueError, match="expected square matrices"):
        assembly.kron(plan, sp.csr_array((2, 3)), sp.eye_array(2))

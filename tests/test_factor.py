"""The Factor: shapes, types, errors, samples, failures, and life as a pytree."""

from __future__ import annotations

from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support

import padchol

pytestmark = [pytest.mark.core, pytest.mark.oldest, pytest.mark.shapes]

# ---- shapes, types, errors --------------------------------------------------------------------


@support.both_precisions
def test_shapes_and_types(precision):
    """Rows 21, 22: every output keeps the precision of the values; integers become the default."""
    _, plan, a = support.case("path")
    F = padchol.cholesky(plan, a.astype(precision))
    n = plan.n
    for shape in ((n,), (n, 1), (n, 3)):
        b = np.ones(shape, precision)
        for method in (F.solve, F.solve_L, F.solve_Lt, F.apply_P, F.apply_Pt):
            assert method(b).shape == shape
            assert method(b).dtype == precision
    for out, shape in (
        (F.logdet(), ()),
        (F.selected_inverse(), (plan.nnz,)),
        (F.marginal_variances(), (n,)),
        (F.sample(jax.random.key(0)), (n,)),
        (F.sample(jax.random.key(0), (3, 1)), (3, 1, n)),
    ):
        assert out.shape == shape
        assert out.dtype == precision
    assert F.info.dtype == jnp.int32
    assert F.info.shape == ()
    assert F.to_csc().dtype == precision


@support.both_precisions
def test_integers_are_promoted(precision):
    """Row 22: integer values and right-hand sides become JAX's default float type."""
    A = sp.csc_array(support.laplacian(3) + sp.eye_array(9)).astype(int)
    plan = padchol.analyze(A)
    a = np.asarray(plan.values(A), int)
    F = padchol.cholesky(plan, a)
    x = F.solve(np.arange(9))
    assert F.values.dtype == x.dtype == precision
    expected = np.linalg.solve(A.toarray(), np.arange(9))
    assert support.relative(x, expected) < support.VALUE_TOLERANCE[precision.name]


def test_mixed_types():
    """Row 22: a right-hand side and values of two float types give the wider one."""
    _, plan, a = support.case("band")
    for left, right in ((np.float32, np.float64), (np.float64, np.float32)):
        x = padchol.cholesky(plan, a.astype(left)).solve(np.ones(plan.n, right))
        assert x.dtype == np.float64


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_wrong_shapes(wrap):
    """Rows 16, 17: expected and got are quoted, eagerly and at trace time."""
    _, plan, a = support.case("band")
    n, nnz = plan.n, plan.nnz
    for shape in ((nnz + 1,), (nnz, 1), ()):
        with pytest.raises(ValueError, match=rf"\({nnz},\).*got shape \({str(shape)[1:-1]}\)"):
            wrap(lambda a: padchol.cholesky(plan, a).info)(np.ones(shape))
        with pytest.raises(ValueError, match=rf"\({nnz},\)"):
            wrap(lambda a: padchol.structured_copy(plan, a))(np.ones(shape))
    F = padchol.cholesky(plan, a)
    for name in ("solve", "solve_L", "solve_Lt", "apply_P", "apply_Pt"):
        method = lambda b, name=name: getattr(F, name)(b)
        for shape in ((n + 1,), (n, 2, 2), (), (1, n)):
            got = str(shape).replace("(", r"\(").replace(")", r"\)")
            with pytest.raises(ValueError, match=rf"\({n},\) or \({n}, k\); got shape {got}"):
                wrap(method)(np.ones(shape))


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_refused_types(wrap):
    """Row 22: complex and half precision are refused, saying which type came."""
    _, plan, a = support.case("band")
    F = padchol.cholesky(plan, a)
    for dtype in (jnp.complex128, jnp.float16):
        with pytest.raises(TypeError, match=f"got dtype {jnp.dtype(dtype)}"):
            wrap(lambda a: padchol.cholesky(plan, a).info)(a.astype(dtype))
        with pytest.raises(TypeError, match=f"got dtype {jnp.dtype(dtype)}"):
            wrap(lambda b: F.solve(b))(np.ones(plan.n, dtype))
    with pytest.raises(TypeError, match=r"expected a Plan.*got ndarray"):
        padchol.cholesky(cast(Any, a), a)


# ---- the factor on the host, and samples ------------------------------------------------------


@pytest.mark.parametrize("name", ["grid2", "disconnected", "one", "empty"])
def test_to_csc(name):
    """L L^T = A[perm][:, perm] on the exact pattern, lower triangular, positive diagonal."""
    A, plan, a = support.case(name)
    L = padchol.cholesky(plan, a).to_csc()
    assert L.nnz == plan.nnz_L
    assert sp.triu(L, 1).nnz == 0
    assert (L.diagonal() > 0).all()
    product = (L @ L.T).toarray()
    np.testing.assert_allclose(product, A.toarray()[plan.perm][:, plan.perm], atol=1e-13)


def test_samples():
    """Mean 0 and covariance A^-1, within five standard errors of 20,000 draws; keys matter."""
    _, plan, a = support.case("path")
    F = padchol.cholesky(plan, a)
    count = 20_000
    x = np.asarray(F.sample(jax.random.key(1), (count // 10, 10))).reshape(count, plan.n)
    covariance = np.linalg.inv(np.asarray(support.symmetric(plan, a)))
    variance = np.diag(covariance)
    assert (np.abs(x.mean(0)) < 5 * np.sqrt(variance / count)).all()
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / count)
    assert (np.abs(x.T @ x / count - covariance) < 5 * error).all()
    one, same, other = (F.sample(jax.random.key(k)) for k in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_no_samples():
    """A shape with a 0 in it gives an empty array of draws."""
    _, plan, a = support.case("path")
    assert padchol.cholesky(plan, a).sample(jax.random.key(1), (0,)).shape == (0, plan.n)


# ---- life as a pytree -------------------------------------------------------------------------


def test_carried_through_scan_cond_and_while():
    """Row 24: a Factor is the carry of scan and while_loop and the result of cond."""
    _, plan, a = support.case("path")
    a = jnp.asarray(a)
    make = lambda scale: padchol.cholesky(plan, scale * a)

    @jax.jit
    def scanned(scales):
        def step(F, scale):
            return make(scale), F.logdet()

        return jax.lax.scan(step, make(1.0), scales)

    last, logdets = scanned(jnp.asarray([2.0, 3.0]))
    expected = float(make(1.0).logdet())
    step = plan.n * np.log(2.0)
    np.testing.assert_allclose(logdets, [expected, expected + step], rtol=1e-12)
    np.testing.assert_allclose(last.logdet(), expected + plan.n * np.log(3.0), rtol=1e-12)

    @jax.jit
    def chosen(flag):
        F = jax.lax.cond(flag, lambda: make(1.0), lambda: make(2.0))
        return F.logdet()

    np.testing.assert_allclose(chosen(True), expected, rtol=1e-12)
    np.testing.assert_allclose(chosen(False), expected + step, rtol=1e-12)

    @jax.jit
    def looped():
        going = lambda carry: carry[0].logdet() < expected + 2.5 * step
        body = lambda carry: (padchol.cholesky(plan, 2.0 * carry[0].values), carry[1] + 1)
        return jax.lax.while_loop(going, body, (make(1.0), 0))

    assert looped()[1] == 3


def test_gradients_through_scan_and_remat():
    """Row 24: reverse mode through a scan that carries a Factor, with and without remat."""
    _, plan, a = support.case("arrow_last")
    b = jnp.ones(plan.n)

    def total(a, wrap):
        def step(F, scale):
            F = padchol.cholesky(plan, F.values * scale)
            return F, jnp.vdot(b, F.solve(b))

        F = padchol.cholesky(plan, a)
        return jnp.sum(jax.lax.scan(wrap(step), F, jnp.asarray([2.0, 3.0]))[1])

    inverse = np.linalg.inv(np.asarray(support.symmetric(plan, a)))
    x = inverse @ np.ones(plan.n)
    weight = np.where(plan.rows == plan.cols, 1, 2)
    expected = -(1 / 2 + 1 / 6) * weight * x[plan.rows] * x[plan.cols]
    for wrap in (lambda f: f, jax.checkpoint):
        found = jax.jit(jax.grad(lambda a, wrap=wrap: total(a, wrap)))(jnp.asarray(a))
        assert support.relative(found, expected) < 1e-11


def test_passed_in_and_out():
    """Row 24: eqx.filter_jit with plan and Factor as arguments, and donated values."""
    _, plan, a = support.case("band")
    make = eqx.filter_jit(padchol.cholesky)
    logdet = eqx.filter_jit(lambda F: F.logdet())
    F = make(plan, jnp.asarray(a))
    expected = np.linalg.slogdet(np.asarray(support.symmetric(plan, a)))[1]
    np.testing.assert_allclose(logdet(F), expected, rtol=1e-12)
    donated = jax.jit(lambda a: padchol.cholesky(plan, a).selected_inverse(), donate_argnums=0)
    kept = donated(jnp.asarray(a))
    np.testing.assert_array_equal(kept, donated(jnp.asarray(a)))
    used = jnp.asarray(a)
    donated(used)
    leaves, structure = jax.tree.flatten(F)
    again = jax.tree.unflatten(structure, leaves)
    np.testing.assert_array_equal(again.logdet(), F.logdet())


def test_a_batch_of_factors_crosses_vmap():
    """Row 24: Factors made under one vmap are used under another."""
    _, plan, a = support.case("band")
    b = np.ones(plan.n)
    batch = jnp.asarray(a) * jnp.asarray([1.0, 2.0])[:, None]
    factors = jax.vmap(lambda a: padchol.cholesky(plan, a))(batch)
    found = jax.vmap(lambda F: F.solve(b))(factors)
    x = padchol.cholesky(plan, a).solve(b)
    assert support.relative(found, jnp.stack([x, x / 2])) < 1e-12

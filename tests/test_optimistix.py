"""Sparse nonlinear least squares and root finding by optimistix's own solvers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp
import support

lx = pytest.importorskip("lineax")
lx = pytest.importorskip("lineax")
optx = pytest.importorskip("optimistix")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

import padchol  # noqa: E402
from padchol.interop.lineax import SparseCholesky  # noqa: E402
from padchol.interop.optimistix import SparseLeastSquares  # noqa: E402

pytestmark = pytest.mark.oldest

n = 30
DIFFERENCE = sp.diags_array([-np.ones(n - 1), np.ones(n - 1)], offsets=[0, 1], shape=(n - 1, n))
PATTERN = sp.csr_array(sp.vstack([sp.eye_array(n), DIFFERENCE]))
SOLVER = SparseLeastSquares(PATTERN)
HESSIAN = SparseCholesky(SOLVER.plan)
ADJOINT = optx.ImplicitAdjoint(linear_solver=HESSIAN)
DATA = np.exp(np.sin(np.arange(n) / 4) + np.random.default_rng(0).normal(scale=0.3, size=n))


def residual(y, data):
    """Counts of mean exp(y), and y smooth: a pytree, as optimistix allows."""
    return {"fit": jnp.exp(y) - data, "smooth": 3 * jnp.sin(y[1:] - y[:-1])}


def objective(y, data):
    return sum(jnp.sum(r**2) for r in residual(y, data).values()) / 2


@pytest.fixture(scope="module")
def expected():
    """scipy's minimum, with the dense Jacobian, and two dense Newton steps: scipy stops early."""
    with jax.enable_x64(True):
        tight = dict.fromkeys(("xtol", "ftol", "gtol"), 1e-15)
        flat = jax.jit(lambda y: jnp.concatenate(jax.tree.leaves(residual(y, DATA))))
        found = scipy.optimize.least_squares(
            flat, np.zeros(n), jax.jit(jax.jacfwd(flat)), **tight
        ).x
        y = found
        for _ in range(2):
            y = y - np.linalg.solve(*derivatives(y)[:2])
        assert support.relative(found, y) < 1e-7
        return y


@jax.jit
def derivatives(y):
    """Hessian and gradient of the objective in y, and the derivative of the gradient in data."""
    slope = jax.grad(objective)
    return jax.jacfwd(slope)(y, DATA), slope(y, DATA), jax.jacfwd(slope, 1)(y, DATA)


def fitted(data, method=None):
    method = method or optx.LevenbergMarquardt(1e-12, 1e-12, linear_solver=SOLVER)
    return optx.least_squares(residual, method, jnp.zeros(n), data, adjoint=ADJOINT).value


# ---- least squares ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", [optx.LevenbergMarquardt, optx.GaussNewton, optx.Dogleg])
def test_least_squares(expected, method):
    """optimistix's own solvers, given a sparse linear solver, reach scipy's minimum; where they
    stop before, they stop there with a dense solver as well (Dogleg, 3e-9)."""
    y = fitted(DATA, method(1e-12, 1e-12, linear_solver=SOLVER))
    dense = fitted(DATA, method(1e-12, 1e-12, linear_solver=lx.QR()))
    assert support.relative(y, expected) < max(1e-9, 2 * support.relative(dense, expected))


def test_sensitivity(expected):
    """dy/d data = -H^-1 C, H and C second derivatives of the objective, in both modes."""
    jacobians = jax.jit(lambda d: (jax.jacfwd(fitted)(d), jax.jacrev(fitted)(d)))(DATA)
    H, _, C = derivatives(expected)
    for found in jacobians:
        assert support.relative(found, -np.linalg.solve(H, C)) < 1e-9


@pytest.mark.slow
def test_second_sensitivity(expected):
    """Against two dense Newton steps from the minimum, which carry two derivatives."""
    direction = np.cos(np.arange(n))

    def dense(data):
        y, slope = jnp.asarray(expected), jax.grad(objective)
        for _ in range(2):
            y = y - jnp.linalg.solve(jax.jacfwd(slope)(y, data), slope(y, data))
        return y

    def second(fit):
        along = lambda s: fit(DATA + s * direction)
        return jax.jit(lambda s: jax.jacfwd(jax.jacfwd(along))(s))(0.0)

    assert support.relative(second(fitted), second(dense)) < 1e-8


@pytest.mark.slow
def test_batches(expected):
    data = jnp.stack([DATA, DATA**0.5])
    found = jax.jit(jax.vmap(fitted))(data)
    assert support.relative(found[0], expected) < 1e-9
    slope = jax.grad(objective)
    step = jnp.linalg.solve(jax.jacfwd(slope)(found[1], data[1]), slope(found[1], data[1]))
    assert support.relative(found[1], found[1] - step) < 1e-9


# ---- root finding -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", [optx.Newton, optx.Chord])
def test_newton_on_the_gradient(expected, method):
    """The Hessian is sparse, symmetric, and known by its products."""

    def root(data):
        found = optx.root_find(
            jax.grad(objective),
            method(1e-12, 1e-12, linear_solver=HESSIAN),
            jnp.asarray(expected) + 0.02,
            data,
            adjoint=ADJOINT,
            tags=frozenset({lx.symmetric_tag}),
        )
        return found.value

    y, slope = jax.jit(lambda d: jax.jvp(root, (d,), (jnp.ones(n),)))(jnp.asarray(DATA))
    assert support.relative(y, expected) < 1e-10
    H, _, C = derivatives(expected)
    assert support.relative(slope, -np.linalg.solve(H, C).sum(1)) < 1e-9


def test_newton_on_a_pytree(expected):
    """y and its equations as trees of arrays, that flatten to the rows of the plan."""
    apart = lambda y: {"first": y[: n // 3], "rest": (y[n // 3 :].reshape(2, -1),)}
    whole = lambda tree: jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)])

    def root(data):
        found = optx.root_find(
            lambda tree, data: apart(jax.grad(objective)(whole(tree), data)),
            optx.Newton(1e-12, 1e-12, linear_solver=HESSIAN),
            apart(jnp.asarray(expected) + 0.02),
            data,
            adjoint=ADJOINT,
            tags=frozenset({lx.symmetric_tag}),
        )
        return whole(found.value)

    y, slope = jax.jit(lambda d: jax.jvp(root, (d,), (jnp.ones(n),)))(jnp.asarray(DATA))
    assert support.relative(y, expected) < 1e-10
    H, _, C = derivatives(expected)
    assert support.relative(slope, -np.linalg.solve(H, C).sum(1)) < 1e-9


# ---- the linear solver by itself --------------------------------------------------------------


def matrix(seed=0, scale=1.0):
    """A with the pattern, its columns scaled from 1 to `scale`."""
    A = PATTERN.copy()
    A.data = np.random.default_rng(seed).normal(size=A.data.size)
    return A.toarray() * np.logspace(0, np.log10(scale), n)


def solved(M, b, solver=SOLVER):
    return lx.linear_solve(lx.MatrixLinearOperator(jnp.asarray(M)), b, solver, throw=False)


@support.both_precisions
def test_linear_least_squares(precision):
    M, b = matrix().astype(precision), support.random_like(np.ones(2 * n - 1), 1).astype(precision)
    found = solved(M, b)
    assert found.value.dtype == precision
    tolerance = support.VALUE_TOLERANCE[precision.name]
    assert support.relative(found.value, np.linalg.lstsq(M, b)[0]) < tolerance


def test_the_correction_makes_up_for_the_normal_equations():
    """Columns of 1 to 1e-6: cond(J) about 1e7, its square 1e14; the error is that of QR."""
    M, b = matrix(scale=1e-6), support.random_like(np.ones(2 * n - 1), 1)
    x = np.linalg.lstsq(M / np.linalg.norm(M, axis=0), b)[0] / np.linalg.norm(M, axis=0)
    assert np.linalg.cond(M) > 1e6
    assert np.max(np.abs(solved(M, b).value / x - 1)) < 1e-7


@pytest.mark.slow
def test_derivatives_of_the_linear_solve():
    """In entries and right-hand side, residual not zero: the rule needs the transposed solve."""
    M, D = jnp.asarray(matrix()), jnp.asarray(matrix(1))
    b = jnp.asarray(support.random_like(np.ones(2 * n - 1), 1))

    def sparse(t):
        return solved(M + t * D, b * (1 + t)).value

    def dense(t):
        A = M + t * D
        return jnp.linalg.solve(A.T @ A, A.T @ (b * (1 + t)))

    both = lambda f: jax.jit(lambda t: (jax.jacfwd(f)(t), jax.jacrev(jax.jacfwd(f))(t)))(0.1)
    for found, wanted in zip(both(sparse), both(dense), strict=True):
        assert support.relative(found, wanted) < 1e-9


def test_damped():
    """[J; D] x = [b; c], as Levenberg-Marquardt makes it."""
    M, d = matrix(), np.linspace(0.5, 2, n)
    both = np.concatenate([M, np.diag(d)])
    b = support.random_like(np.ones(3 * n - 1), 1)
    assert support.relative(solved(both, b).value, np.linalg.lstsq(both, b)[0]) < 1e-11


@pytest.mark.parametrize("damage", ["outside", "not diagonal", "rank", "nan"])
def test_an_operator_that_the_pattern_does_not_hold(damage):
    M = np.concatenate([matrix(), np.eye(n)]) if damage == "not diagonal" else matrix()
    at = {"outside": (0, 5), "not diagonal": (-1, 0), "nan": (0, 0)}.get(damage)
    if at is None:
        M[:, 3] = 0
    else:
        M[at] = np.nan if damage == "nan" else 1e-5
    found = solved(M, np.ones(len(M)))
    assert found.result == lx.RESULTS.singular
    assert np.isnan(found.value).all()


def test_equal_patterns_are_equal_solvers():
    again = SparseLeastSquares(7 * PATTERN.tocoo())
    assert again == SOLVER
    assert hash(again) == hash(SOLVER)
    assert again != SparseLeastSquares(PATTERN, order="natural")
    twice = sp.vstack([PATTERN, PATTERN]).tocoo()
    twice = sp.coo_array(
        (twice.data, (twice.coords[0] % (2 * n - 1), twice.coords[1])), (2 * n - 1, n)
    )
    assert twice.nnz == 2 * PATTERN.nnz
    assert SparseLeastSquares(twice) == SOLVER  # entries given twice are one


def test_what_does_not_fit_is_named():
    with pytest.raises(
        ValueError, match=r"shape \(59, 30\), or \(89, 30\) with a diagonal below; got"
    ):
        solved(np.eye(n), np.ones(n))
    with pytest.raises(TypeError, match=r"expected a scipy.sparse matrix"):
        SparseLeastSquares(np.eye(3))
    assert isinstance(SOLVER.plan, padchol.Plan)

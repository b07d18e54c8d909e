"""PyTensor operations against dense ones, in both backends."""

import os
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support
from scipy import stats

import padchol

pytensor = pytest.importorskip("pytensor", reason="needs the extra pymc")
pm = pytest.importorskip("pymc", reason="needs the extra pymc")
pt: Any = pytest.importorskip("pytensor.tensor")

from pytensor.gradient import verify_grad  # noqa: E402

from padchol.interop import pytensor as ours  # noqa: E402
from padchol.interop import routines  # noqa: E402
from padchol.interop.operation import Operation  # noqa: E402

pytestmark = pytest.mark.oldest

PLAIN = pytensor.compile.mode.Mode("py", "fast_run")  # rewrites, and no C compiler
n = 12
A = support.grid(3, 4)
PLAN = padchol.analyze(A)
VALUES = PLAN.values(A)
EYE = PLAN.values(sp.csc_array(sp.eye_array(n)))
RNG = np.random.default_rng(3)
B, Z, X, W = (RNG.normal(size=s) for s in ((n, 2), n, (2, n), VALUES.size))
LOC = np.linspace(-1, 1, n)


def symbols():
    return (
        pt.vector("a", dtype="float64"),
        pt.matrix("b", dtype="float64"),
        pt.vector("z", dtype="float64"),
    )


def everything(a, b, z):
    """One scalar in which every operation takes part."""
    return (
        ours.logdet(PLAN, a)
        + pt.sum(ours.solve(PLAN, a, b) ** 3)
        + pt.sum(W * ours.selected_inverse(PLAN, a))
        + pt.sum(LOC * ours.unwhiten(PLAN, a, z))
        + pt.sum(ours.gmrf_logp(PLAN, a, X * b[0, 0], z))
    )


def dense_everything(a, b, z):
    dense = support.symmetric(PLAN, a)
    inverse = jnp.linalg.inv(dense)
    L = jnp.linalg.cholesky(dense[PLAN.perm][:, PLAN.perm])
    colored = jax.scipy.linalg.solve_triangular(L, z, lower=True, trans=1)
    apart = X * b[0, 0] - z
    logdet = jnp.linalg.slogdet(dense)[1]
    square = jnp.einsum("ki,ij,kj->k", apart, dense, apart)
    return (
        logdet
        + jnp.sum((inverse @ b) ** 3)
        + jnp.sum(W * inverse[PLAN.rows, PLAN.cols])
        + jnp.sum(LOC * jnp.zeros(n).at[PLAN.perm].set(colored))
        + jnp.sum(logdet - n * jnp.log(2 * jnp.pi) - square) / 2
    )


def value_gradient_and_curvature(mode):
    """The scalar, its gradient, and the gradient of the latter's product with directions."""
    inputs = symbols()
    value = everything(*inputs)
    gradients = pt.grad(value, list(inputs))
    along = sum(pt.sum(g * random(g_shape)) for g, g_shape in zip(gradients, SHAPES, strict=True))
    return pytensor.function(inputs, [value, *gradients, *pt.grad(along, list(inputs))], mode=mode)


SHAPES = [VALUES.shape, B.shape, Z.shape]


def random(shape):
    return np.random.default_rng(4).normal(size=shape)


def test_values():
    dense = A.toarray()
    found = pytensor.function(
        [],
        [
            ours.logdet(PLAN, VALUES),
            ours.solve(PLAN, VALUES, B),
            ours.solve(PLAN, VALUES, Z),
            ours.selected_inverse(PLAN, VALUES),
            ours.gmrf_logp(PLAN, VALUES, X, LOC),
            ours.gmrf_logp(PLAN, VALUES, Z),
            ours.unwhiten(PLAN, VALUES, np.eye(n)),
        ],
        mode=PLAIN,
    )()
    inverse = np.linalg.inv(dense)
    normal = stats.multivariate_normal
    expected = [
        np.linalg.slogdet(dense)[1],
        inverse @ B,
        inverse @ Z,
        inverse[PLAN.rows, PLAN.cols],
        normal(LOC, inverse).logpdf(X),
        normal(np.zeros(n), inverse).logpdf(Z),
    ]
    for one, wanted in zip(found, expected, strict=False):
        np.testing.assert_allclose(one, wanted, rtol=1e-11)
    np.testing.assert_allclose(found[-1] @ found[-1].T, inverse, atol=1e-12)


@pytest.mark.slow
def test_gradients_and_their_gradients_in_both_backends():
    arguments = (VALUES, B, Z)
    expected_gradients = jax.grad(dense_everything, (0, 1, 2))
    directions = tuple(random(shape) for shape in SHAPES)
    gradients, curvature = jax.jvp(expected_gradients, arguments, directions)
    expected = [dense_everything(*arguments), *gradients, *curvature]
    plain = value_gradient_and_curvature(PLAIN)(*arguments)
    for one, wanted in zip(plain, expected, strict=True):
        assert support.relative(one, wanted) < 1e-10
    for one, wanted in zip(value_gradient_and_curvature("JAX")(*arguments), plain, strict=True):
        assert support.relative(one, wanted) < 1e-12


def test_the_default_linker():
    a = pt.vector("a", dtype="float64")
    value = ours.logdet(PLAN, a)
    found = pytensor.function([a], [value, pt.grad(value, a)])(VALUES)
    gradient = np.linalg.inv(A.toarray())[PLAN.rows, PLAN.cols] * np.where(EYE, 1, 2)
    np.testing.assert_allclose(found[0], np.linalg.slogdet(A.toarray())[1], rtol=1e-12)
    np.testing.assert_allclose(found[1], gradient, rtol=1e-10)


def test_hessian_of_the_log_determinant():
    a, v = pt.vector("a", dtype="float64"), pt.vector("v", dtype="float64")
    gradient = pt.grad(ours.logdet(PLAN, a), a)
    product = pytensor.function([a, v], pt.grad(gradient @ v, a), mode=PLAIN)
    found = np.stack([product(VALUES, row) for row in np.eye(VALUES.size)])
    expected = jax.hessian(lambda a: jnp.linalg.slogdet(support.symmetric(PLAN, a))[1])(VALUES)
    np.testing.assert_allclose(found, expected, atol=1e-11)


def test_finite_differences():
    def f(a, b):
        return ours.logdet(PLAN, a) + pt.sum(ours.solve(PLAN, a, b))

    verify_grad(f, [np.asarray(VALUES), Z], rng=np.random.default_rng(0), mode=PLAIN)


def test_one_factorisation_serves_a_graph():
    inputs = symbols()
    value = everything(*inputs)
    f = pytensor.function(inputs, [value, *pt.grad(value, list(inputs))], mode=PLAIN)
    ops = [getattr(node.op, "core_op", node.op) for node in f.maker.fgraph.toposort()]
    made = [op.routine for op in ops if isinstance(op, Operation)]
    assert made.count(routines.FACTORISE) == 1


def test_batches():
    values = np.stack([VALUES, 2 * VALUES + EYE, -VALUES])
    a = pt.matrix("a", dtype="float64")
    outputs = [ours.logdet(PLAN, a), ours.solve(PLAN, a, Z), ours.gmrf_logp(PLAN, a, LOC)]
    outputs.append(pt.grad(pt.sum(outputs[0][:2]) + pt.sum(outputs[1][:2]), a))
    found = pytensor.function([a], outputs, mode=PLAIN)(values)
    in_jax = pytensor.function([a], outputs[:2], mode="JAX")(values)
    for i in range(2):
        dense = np.asarray(support.symmetric(PLAN, values[i]))
        inverse = np.linalg.inv(dense)
        normal = stats.multivariate_normal(np.zeros(n), inverse)
        for outcome in (found, in_jax):
            np.testing.assert_allclose(outcome[0][i], np.linalg.slogdet(dense)[1], rtol=1e-12)
            np.testing.assert_allclose(outcome[1][i], inverse @ Z, rtol=1e-10)
        np.testing.assert_allclose(found[2][i], normal.logpdf(LOC), rtol=1e-12)
        weight = np.where(PLAN.rows == PLAN.cols, 1, 2)
        solved = np.outer(inverse @ np.ones(n), inverse @ Z)
        by_solve = (solved + solved.T)[PLAN.rows, PLAN.cols] * weight / 2
        by_logdet = inverse[PLAN.rows, PLAN.cols] * weight
        np.testing.assert_allclose(found[3][i], by_logdet - by_solve, atol=1e-11)
    for outcome in (*found[:3], *in_jax):
        assert np.isnan(outcome[2]).all()


@support.both_precisions
def test_the_precision_is_that_of_the_inputs(precision):
    """Float64 with x64 off as well, and no setting is changed."""
    before = jax.config.jax_enable_x64
    expected = np.linalg.slogdet(A.toarray())[1]
    for dtype, tolerance in (("float64", 1e-13), ("float32", 1e-6)):
        found = ours.logdet(PLAN, VALUES.astype(dtype)).eval(mode=PLAIN)
        assert found.dtype == dtype
        assert abs(found / expected - 1) < tolerance
    mixed = ours.solve(PLAN, VALUES.astype("float32"), Z)
    assert mixed.dtype == "float64"
    assert jax.config.jax_enable_x64 == before


def test_operations_of_equal_plans_are_equal_and_pickle():
    one = ours.logdet(PLAN, VALUES).owner.op
    other = ours.logdet(padchol.analyze(A), VALUES).owner.op
    carried = pickle.loads(pickle.dumps(one))
    assert one == other == carried
    assert hash(one) == hash(other) == hash(carried)
    assert one != ours.logdet(padchol.analyze(A, order="natural"), VALUES).owner.op
    assert str(one) == "padchol.logdet"


def test_a_forked_process_is_told_so(monkeypatch):
    """Where JAX would hang without a word."""
    a = pt.vector("a", dtype="float64")
    f = pytensor.function([a], ours.logdet(PLAN, a), mode=PLAIN)
    f(VALUES)
    here = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: here + 1)
    with pytest.raises(RuntimeError, match="mp_ctx='forkserver'"):
        f(VALUES)


def test_nothing_at_all():
    empty = padchol.analyze(sp.csc_array((0, 0)))
    assert ours.logdet(empty, np.zeros(0)).eval(mode=PLAIN) == 0
    assert ours.solve(empty, np.zeros(0), np.zeros(0)).eval(mode=PLAIN).shape == (0,)


def test_failure_is_never_a_number():
    a = pt.vector("a", dtype="float64")
    logdet, solved = ours.logdet(PLAN, a), ours.solve(PLAN, a, Z)
    density = ours.gmrf_logp(PLAN, a, LOC)
    outputs = [logdet, solved, density, *(pt.grad(pt.sum(x), a) for x in (logdet, solved, density))]
    for x in pytensor.function([a], outputs, mode=PLAIN)(-VALUES):
        assert np.isnan(x).all()
    assert np.isnan(pm.draw(ours.GMRF.dist(PLAN, -VALUES), mode=PLAIN)).all()


def test_what_does_not_fit_is_named():
    with pytest.raises(TypeError, match=r"expected a Plan, .*; got csc_array"):
        ours.logdet(A, VALUES)
    with pytest.raises(ValueError, match=r"values of shape \(29,\), .*; got shape \(3,\)"):
        ours.logdet(PLAN, np.ones(3))
    with pytest.raises(ValueError, match=r"shape \(12,\) or \(12, k\); got shape \(5,\)"):
        ours.solve(PLAN, VALUES, np.ones(5))
    with pytest.raises(ValueError, match=r"x of shape \(\.\.\., 12\); got shape \(3,\)"):
        ours.gmrf_logp(PLAN, VALUES, np.ones(3))
    with pytest.raises(ValueError, match=r"loc of shape \(\.\.\., 12\); got shape \(3,\)"):
        ours.GMRF.dist(PLAN, VALUES, np.ones(3))
    numbers = ours.solve(PLAN, VALUES, np.arange(12))  # as floatX
    np.testing.assert_allclose(A @ numbers.eval(mode=PLAIN), np.arange(12), atol=1e-10)
    with pytest.raises(TypeError, match="got dtype complex128"):
        ours.logdet(PLAN, 1j * VALUES)
    unknown = pt.vector("a", dtype="float64")
    with pytest.raises(ValueError, match=r"expected values of shape \(29,\)"):
        ours.logdet(PLAN, unknown).eval({unknown: np.ones(3)}, mode=PLAIN)

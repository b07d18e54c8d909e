"""The product that lineax tests its own solvers with, for the sparse one.

Operators, with and without a state that was made before, under derivatives, batches, and what is
composed of them: each beside the same transformation of a dense solve by `lx.Cholesky`.
"""

from __future__ import annotations

import numpy as np
import pytest
import support

lx = pytest.importorskip("lineax")

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from lineax_operators import (  # noqa: E402
    POSITIVE,
    PROBED,
    SOLVERS,
    SPARSE,
    A,
    B,
    N,
    check,
    composed,
    dense,
    dense_solving,
    direction,
    mixed,
    multiplied,
    negated,
    of_jacobian,
    of_matrix,
    of_sparse,
    shifted,
    solving,
)

import padchol  # noqa: E402
from padchol.interop.lineax import SparseCholesky  # noqa: E402


def slow(*arguments):
    return pytest.param(*arguments, marks=pytest.mark.slow)


WITH_THE_OTHER = [slow("vector", True), slow("operator", True), slow("both", False)]
some_operators = pytest.mark.parametrize(
    "make", [of_sparse, slow(shifted), slow(of_jacobian)], ids=lambda make: make.__name__
)
with_and_without_state = pytest.mark.parametrize(
    "use_state", [False, slow(True)], ids=["", "state"]
)


# ---- solving ---------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [of_sparse, of_jacobian, slow(shifted)])
@with_and_without_state
@support.both_precisions
def test_solve(make, use_state, precision):
    a, b = jnp.asarray(A, precision), jnp.asarray(B, precision)
    x = eqx.filter_jit(solving(make, use_state))(a, b)
    assert x.dtype == precision
    expected = np.linalg.solve(dense(A), B)
    assert support.relative(x, expected) < support.VALUE_TOLERANCE[precision.name]


def test_pytrees():
    """What the operator takes and gives may be a tree of arrays of several shapes."""
    tree = lambda v: {"first": v[:2], "rest": (v[2], v[3:].reshape(3, 1))}
    flat = lambda t: jnp.concatenate([t["first"], t["rest"][0][None], t["rest"][1].ravel()])

    def solve(a, b):
        operator = lx.FunctionLinearOperator(
            lambda t: tree(dense(a) @ flat(t)), jax.eval_shape(tree, b), POSITIVE
        )
        return flat(lx.linear_solve(operator, tree(b), PROBED).value)

    a, b = jnp.asarray(A), jnp.asarray(B)
    arguments = (a, b), (direction(1, a.shape), direction(2, N))
    found = jax.jit(lambda: jax.jvp(solve, *arguments))()
    for x, y in zip(found, jax.jvp(dense_solving, *arguments), strict=True):
        assert support.relative(x, y) < 1e-11


def test_throw():
    """As with lineax's solvers: by default a failure raises, and the tangent of a failed solve
    raises even with `throw=False`."""
    loud = eqx.filter_jit(solving(of_sparse))
    assert np.isfinite(loud(jnp.asarray(A), jnp.asarray(B))).all()
    with pytest.raises(Exception, match="non-finite"):
        loud(-jnp.asarray(A), jnp.asarray(B))
    quiet = lambda solver, make: (
        lambda a: lx.linear_solve(make(a, POSITIVE), jnp.asarray(B), solver, throw=False).value
    )
    a, da = -jnp.asarray(A), direction(1, A.shape)
    for solve in (quiet(SPARSE, of_sparse), quiet(lx.Cholesky(), of_matrix)):
        with pytest.raises(Exception, match="non-finite"):
            jax.jvp(solve, (a,), (da,))


# ---- derivatives -----------------------------------------------------------------------------


@some_operators
@pytest.mark.parametrize(
    ("of", "use_state"),
    [("vector", False), ("operator", False), ("both", True), *WITH_THE_OTHER],
)
def test_jvp(make, use_state, of):
    a, b, da, db = jnp.asarray(A), jnp.asarray(B), direction(1, A.shape), direction(2, N)
    along = {
        "vector": lambda f, _: jax.jvp(lambda b: f(a, b), (b,), (db,)),
        "operator": lambda f, _: jax.jvp(lambda a: f(a, b), (a,), (da,)),
        "both": lambda f, _: jax.jvp(f, (a, b), (da, db)),
    }
    check(along[of], make, use_state)


@some_operators
@with_and_without_state
def test_vjp(make, use_state):
    a, b, c = jnp.asarray(A), jnp.asarray(B), direction(3, N)
    check(lambda f, _: jax.vjp(f, a, b)[1](c), make, use_state)


@pytest.mark.parametrize("make", [negated, multiplied, shifted, of_jacobian, mixed, composed])
@pytest.mark.slow
def test_jvp_of_a_composed_operator(make):
    """The tangent is an operator of the same make, as `eqx.filter_jvp` gives it."""
    a, da = jnp.asarray(A), direction(1, A.shape)
    operator, tangent = eqx.filter_jvp(lambda a: make(a, POSITIVE), (a,), (da,))
    solve = lambda operator: lx.linear_solve(operator, jnp.asarray(B), SOLVERS[make]).value
    found = eqx.filter_jit(eqx.filter_jvp)(solve, (operator,), (tangent,))
    expected = jax.jvp(lambda a: dense_solving(a, jnp.asarray(B)), (a,), (da,))
    for x, y in zip(found, expected, strict=True):
        assert support.relative(x, y) < 1e-11


MOVED = ("a", "b", "da", "db", "a b", "a da", "a db", "b da", "b db")
MOVED += ("a b da", "a b db", "b da db", "a b da db")


@pytest.mark.parametrize(
    "moved",
    [names if names in ("a", "a b da db") else slow(names) for names in MOVED],
)
@pytest.mark.parametrize(
    ("make", "use_state"),
    [(of_sparse, False), slow(of_sparse, True), slow(of_jacobian, False)],
)
def test_jvp_of_jvp(make, use_state, moved):
    """The derivative of (a, b, da, db) to (A^-1 b, its derivative along (da, db)), with respect to
    those that are named."""
    at = {"a": jnp.asarray(A), "b": jnp.asarray(B)}
    at |= {"da": direction(1, A.shape), "db": direction(2, N)}
    tangents = {name: direction(10 + k, at[name].shape) for k, name in enumerate(moved.split())}

    def twice(f, _):
        def once(some):
            now = at | some
            return jax.jvp(f, (now["a"], now["b"]), (now["da"], now["db"]))

        return jax.jvp(once, ({name: at[name] for name in tangents},), (tangents,))

    check(twice, make, use_state, tolerance=1e-10)


@with_and_without_state
def test_linear_transpose(use_state):
    a, b, c = jnp.asarray(A), jnp.asarray(B), direction(3, N)
    check(lambda f, _: jax.linear_transpose(lambda b: f(a, b), b)(c), use_state=use_state)


def test_options_reach_nothing_and_have_no_derivative():
    """lineax allows none of an option, whatever the solver."""
    a, b = jnp.asarray(A), jnp.asarray(B)

    def solve(t):
        options = {"unknown": t}
        return lx.linear_solve(of_sparse(a, POSITIVE), b, SPARSE, options=options).value

    assert support.relative(solve(jnp.ones(3)), np.linalg.solve(dense(A), B)) < 1e-12
    with pytest.raises(RuntimeError, match="cannot be autodifferentiated"):
        jax.jvp(solve, (jnp.ones(3),), (jnp.ones(3),))


# ---- batches ---------------------------------------------------------------------------------

AXES = {"operator": (0, None), "vector": (None, 0), "both": (0, 0)}


def batches(axes):
    a = jnp.asarray(A) * jnp.array([1.0, 2.0, 0.5])[:, None] if axes[0] == 0 else jnp.asarray(A)
    b = direction(4, (3, N)) if axes[1] == 0 else jnp.asarray(B)
    return a, b


@some_operators
@pytest.mark.parametrize(
    ("over", "use_state"),
    [("vector", False), ("operator", False), ("both", True), *WITH_THE_OTHER],
)
def test_vmap(make, use_state, over):
    check(lambda f, vmap: vmap(f, AXES[over])(*batches(AXES[over])), make, use_state)


@some_operators
def test_vmap_of_vmap(make):
    a, b = batches((0, 0))
    check(lambda f, vmap: vmap(vmap(f, (None, 0)), (0, None))(a, b), make)


@pytest.mark.parametrize("make", [of_sparse, slow(of_jacobian)])
@pytest.mark.parametrize(
    ("over", "use_state"),
    [("both", False), slow("operator", False), slow("vector", False), slow("both", True)],
)
@pytest.mark.parametrize("jvp_first", [True, False], ids=["vmap of jvp", "jvp of vmap"])
def test_vmap_and_jvp(make, over, use_state, jvp_first):
    a, b = batches(AXES[over])
    tangents = direction(5, a.shape), direction(6, b.shape)

    def transformation(f, vmap):
        if not jvp_first:
            return jax.jvp(vmap(f, AXES[over]), (a, b), tangents)
        one = lambda a, b, da, db: jax.jvp(f, (a, b), (da, db))
        return vmap(one, AXES[over] * 2)(a, b, *tangents)

    check(transformation, make, use_state)


@pytest.mark.parametrize("over", ["operator", slow("vector"), slow("both")])
@pytest.mark.parametrize("grad_first", [True, False], ids=["vmap of grad", "grad of vmap"])
def test_vmap_and_grad(over, grad_first):
    a, b = batches(AXES[over])

    def transformation(f, vmap):
        total = lambda a, b: jnp.sum(f(a, b) ** 2)
        if grad_first:
            return vmap(jax.grad(total, (0, 1)), AXES[over])(a, b)
        return jax.grad(lambda a, b: jnp.sum(vmap(total, AXES[over])(a, b)), (0, 1))(a, b)

    check(transformation)


def test_equinox_transformations():
    """`filter_vmap` makes states and solves with them; `filter_jit` takes operators, solvers and
    states as arguments."""
    a, b = batches((0, 0))
    operators = eqx.filter_vmap(lambda a: of_sparse(a, POSITIVE))(a)
    states = eqx.filter_vmap(lambda op: SPARSE.init(op, {}))(operators)

    @eqx.filter_jit
    def solve(operators, b, solver, states):
        one = lambda op, b, state: lx.linear_solve(op, b, solver, state=state).value
        return eqx.filter_vmap(one)(operators, b, states)

    found = solve(operators, b, SPARSE, states)
    expected = np.stack([np.linalg.solve(dense(x), y) for x, y in zip(a, b, strict=True)])
    assert support.relative(found, expected) < 1e-12


# ---- within other solvers and operators ------------------------------------------------------


@pytest.mark.parametrize("shape", ["tall", slow("wide")])
def test_within_normal_equations(shape):
    """`lx.Normal` of the solver, with the plan of J^T J or J J^T: least squares, or least norm."""
    J = np.random.default_rng(8).normal(size=(9, 4)) * (np.arange(9)[:, None] % 4 <= np.arange(4))
    J = J if shape == "tall" else J.T
    gram = J.T @ J if shape == "tall" else J @ J.T
    solver = lx.Normal(SparseCholesky(padchol.analyze(support.sp.csc_array(gram))))
    b, dJ, db = (direction(k, size) for k, size in ((9, len(J)), (10, J.shape), (11, len(J))))

    def solve(solver):
        return lambda J, b: lx.linear_solve(lx.MatrixLinearOperator(J), b, solver).value

    found = jax.jit(lambda: jax.jvp(solve(solver), (J, b), (dJ, db)))()
    expected = jax.jvp(solve(lx.Normal(lx.Cholesky())), (jnp.asarray(J), b), (dJ, db))
    for x, y in zip(found, expected, strict=True):
        assert support.relative(x, y) < 1e-9


@pytest.mark.skipif(not hasattr(lx, "invert"), reason="lineax has `invert` from 0.1.1 on")
def test_inverse_operator():
    a, b, db = jnp.asarray(A), jnp.asarray(B), direction(2, N)

    @jax.jit
    def found():
        inverse = lx.invert(of_sparse(a, POSITIVE), SPARSE)
        assert lx.is_positive_semidefinite(inverse)
        return jax.jvp(inverse.mv, (b,), (db,))

    expected = np.linalg.solve(dense(A), np.stack([B, db], 1)).T
    assert support.relative(jnp.stack(found()), expected) < 1e-12

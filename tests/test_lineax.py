"""The lineax operator and solver against dense matrices."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import support

lx = pytest.importorskip("lineax")

import equinox as eqx  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

import padchol  # noqa: E402
from padchol.interop.lineax import SparseCholesky, SparseOperator  # noqa: E402

pytestmark = pytest.mark.oldest

SOLVER = SparseCholesky()
TAGS = {
    "symmetric": lx.symmetric_tag,
    "diagonal": lx.diagonal_tag,
    "tridiagonal": lx.tridiagonal_tag,
    "unit_diagonal": lx.unit_diagonal_tag,
    "lower_triangular": lx.lower_triangular_tag,
    "upper_triangular": lx.upper_triangular_tag,
    "positive_semidefinite": lx.positive_semidefinite_tag,
    "negative_semidefinite": lx.negative_semidefinite_tag,
}


@pytest.fixture(scope="module")
def case():
    """(dense A, plan, canonical values, a vector)"""
    A, plan, a = support.case("band", merged=True)
    return A.toarray(), plan, a, support.right_hand_side(plan, columns=1)[:, 0]


@pytest.fixture(scope="module")
def small():
    """The same, of one front: it compiles fast."""
    A, plan, a = support.case("arrow_last", merged=True)
    return A.toarray(), plan, a, support.right_hand_side(plan, columns=1)[:, 0]


@eqx.filter_jit
def solved(operator, b, solver=SOLVER, options=None):
    return lx.linear_solve(operator, b, solver, options=options, throw=False)


def solve(plan, a, b):
    return lx.linear_solve(SparseOperator(plan, a), b, solver=SOLVER).value


def dense_solve(plan, a, b):
    return jnp.linalg.solve(support.symmetric(plan, a), b)


def function(M):
    """The operator of a dense matrix, of which lineax sees products only."""
    structure = jax.ShapeDtypeStruct(M.shape[1:], M.dtype)
    return lx.FunctionLinearOperator(lambda x: jnp.asarray(M) @ x, structure)


# ---- solving ----------------------------------------------------------------------------------


def test_sums_scaled_and_negated(small):
    """(2 A - (-A)) / 4 + 3 I, of which the identity has no pattern of its own."""
    dense, plan, a, b = small
    op = SparseOperator(plan, a)
    eye = lx.DiagonalLinearOperator(jnp.full(plan.n, 3.0))
    operator = (2.0 * op - (-op)) / 4.0 + eye
    found = lx.linear_solve(operator, b, SOLVER).value
    np.testing.assert_allclose(found, np.linalg.solve(0.75 * dense + 3 * np.eye(plan.n), b))


def test_bands_of_a_pattern_that_is_not_known(case):
    """Under jit only the counts of entries and rows are: what they cannot show is denied."""
    _, plan, a, _ = case
    diagonal = padchol.analyze(sp.eye_array(3, format="csc"))
    seen = []

    @jax.jit
    def traced(plan, a):
        op = SparseOperator(plan, a)
        seen.append([op.within(below) for below in (0, 1, plan.n - 1)])
        return a

    traced(plan, a)
    traced(diagonal, np.ones(3))
    assert seen == [[False, False, True], [True, True, True]]


@support.both_precisions
def test_solve(precision):
    A, plan, a = support.case("scattered")
    b = support.right_hand_side(plan, precision, 1)[:, 0]
    x = solve(plan, a.astype(precision), b)
    assert x.dtype == precision
    tolerance = support.VALUE_TOLERANCE[precision.name]
    assert support.relative(x, np.linalg.solve(A.toarray(), b)) < tolerance


@pytest.mark.slow
def test_second_derivatives(small):
    """jacrev(jacfwd) and jacfwd(jacrev), in values and vector together."""
    _, plan, a, b = small
    t = jnp.array([0.1, -0.2])
    modes = (lambda f: jax.jacrev(jax.jacfwd(f)), lambda f: jax.jacfwd(jax.jacrev(f)))

    def along(solve):
        curve = lambda t: solve(plan, a * (1 + t[0] * a), b * (1 + t[1] * b) + t[0])
        return jax.jit(lambda t: [mode(curve)(t) for mode in modes])(t)

    for found, expected in zip(along(solve), along(dense_solve), strict=True):
        assert found.shape == (plan.n, 2, 2)
        assert support.relative(found, expected) < 1e-11


def test_the_gradient_of_an_operator(small):
    """It is an operator, and so a pair of entries counts twice."""
    _, plan, a, b = small
    total = lambda operator: jnp.sum(lx.linear_solve(operator, b, SOLVER).value)
    gradient = jax.jit(jax.grad(total))(SparseOperator(plan, a))
    expected = jax.grad(lambda a: jnp.sum(dense_solve(plan, a, b)))(jnp.asarray(a))
    assert support.relative(gradient.a, expected) < 1e-12


def test_batching(small):
    _, plan, a, b = small
    values, vectors = jnp.stack([a, 3 * a]), jnp.stack([b, b**2])
    support.check_batching(lambda a, b: solve(plan, a, b), values, vectors, 1e-12)


def test_batches_of_operators(small):
    """An operator's only leaf is its values: operators are made, stacked and mapped by vmap."""
    _, plan, a, b = small
    operators = eqx.filter_vmap(lambda a: SparseOperator(plan, a))(jnp.stack([a, 2 * a]))
    assert [leaf.shape for leaf in jax.tree.leaves(operators)] == [(2, plan.nnz)]
    expected = dense_solve(plan, a, b)
    for mapped in (jax.vmap, eqx.filter_vmap):
        found = mapped(lambda op: lx.linear_solve(op, b, SOLVER).value)(operators)
        assert support.relative(found, jnp.stack([expected, expected / 2])) < 1e-12


@pytest.mark.parametrize("n", [0, 1])
def test_smallest(n):
    plan = support.case(["empty", "one"][n])[1]
    operator = SparseOperator(plan, np.full(n, 2.5))
    assert operator.as_matrix().shape == (n, n)
    np.testing.assert_allclose(solved(operator, jnp.ones(n)).value, np.full(n, 0.4))


def test_a_state_serves_many_vectors(case):
    dense, plan, a, b = case
    operator = SparseOperator(plan, a)
    state = SOLVER.init(operator, {})
    x = lx.linear_solve(operator, b, SOLVER, state=state).value
    assert support.relative(x, np.linalg.solve(dense, b)) < 1e-12
    for turned, _ in (SOLVER.transpose(state, {}), SOLVER.conj(state, {})):
        assert eqx.tree_equal(turned, SOLVER.init(operator.T, {}))


# ---- the plan ---------------------------------------------------------------------------------


def test_equal_plans_compile_once(case):
    _, plan, a, b = case
    traces = []

    @jax.jit
    def f(operator):
        traces.append(1)
        return lx.linear_solve(operator, b, SOLVER).value

    again = copy.deepcopy(plan)
    assert again is not plan
    np.testing.assert_array_equal(f(SparseOperator(plan, a)), f(SparseOperator(again, a)))
    assert len(traces) == 1
    assert hash(SparseCholesky(plan)) == hash(SparseCholesky(again))


def test_a_plan_as_an_argument(small):
    """Inside jit a plan that was passed in is traced, and works and differentiates all the same."""
    _, plan, a, b = small
    f = jax.jit(jax.value_and_grad(lambda a, plan: jnp.sum(solve(plan, a, b))))
    g = jax.value_and_grad(lambda a: jnp.sum(dense_solve(plan, a, b)))
    (x, dx), (y, dy) = f(jnp.asarray(a), plan), g(jnp.asarray(a))
    assert support.relative(x, y) < 1e-12
    assert support.relative(dx, dy) < 1e-11


# ---- the operator -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["band", "diagonal", "path", "one"])
def test_operator(name):
    A, plan, a = support.case(name)
    dense, operator = A.toarray(), SparseOperator(plan, a)
    x = support.random_like(np.ones(plan.n), 3)
    np.testing.assert_allclose(operator.mv(jnp.asarray(x)), dense @ x, atol=1e-13)
    for same in (operator, operator.T, lx.linearise(operator), lx.materialise(operator)):
        np.testing.assert_array_equal(same.as_matrix(), dense)
    np.testing.assert_array_equal(lx.conj(operator).as_matrix(), dense)
    np.testing.assert_array_equal(lx.diagonal(operator), np.diag(dense))
    for found, k in zip(lx.tridiagonal(operator), (0, -1, 1), strict=True):
        np.testing.assert_array_equal(found, np.diag(dense, k))
    assert (operator.in_size(), operator.out_size()) == dense.shape
    expected = {
        "symmetric": True,
        "positive_semidefinite": True,
        "negative_semidefinite": False,
        "unit_diagonal": False,
        "diagonal": name in ("diagonal", "one"),
        "tridiagonal": name != "band",
        "lower_triangular": name in ("diagonal", "one"),
        "upper_triangular": name in ("diagonal", "one"),
    }
    assert asked(operator) == expected


def asked(operator):
    """What lineax's questions about an operator get."""
    return {
        name: getattr(lx, ("has_" if name == "unit_diagonal" else "is_") + name)(operator)
        for name in TAGS
    }


@pytest.mark.parametrize("name", TAGS)
def test_tags(case, name):
    _, plan, a, _ = case
    for tags in (TAGS[name], (TAGS[name],), frozenset([TAGS[name]])):
        found = asked(SparseOperator(plan, a, tags))
        assert found[name]
        assert found == asked(lx.TaggedLinearOperator(SparseOperator(plan, a, ()), TAGS[name])) or (
            name == "diagonal"  # as lineax's own operators: tagged by hand it is not triangular
        )
    bare = SparseOperator(plan, a, ())
    assert asked(bare) == dict.fromkeys(TAGS, False) | {"symmetric": True}


@pytest.mark.slow
def test_sums_multiples_and_tags(case):
    """What lineax builds of sparse and diagonal operators is factored as one sparse matrix."""
    dense, plan, a, b = case
    op, eye = SparseOperator(plan, a), np.eye(plan.n)
    I = lx.IdentityLinearOperator(op.in_structure())
    D = lx.DiagonalLinearOperator(jnp.arange(1.0, plan.n + 1))
    tagged = lx.TaggedLinearOperator
    negative = tagged(SparseOperator(plan, -a), lx.negative_semidefinite_tag)
    cases = [
        (op + 3 * op, 4 * dense),
        (-op, -dense),
        (-(op / 2 + op), -1.5 * dense),
        (negative, -dense),
        (op + jnp.float64(0.5) * I, dense + eye / 2),
        (tagged(op + D, lx.positive_semidefinite_tag), dense + np.diag(np.arange(1, plan.n + 1))),
        (tagged(op, lx.symmetric_tag), dense),
        (op - op / 2, dense / 2),
        (op / 2 - op, -dense / 2),
    ]

    @eqx.filter_jit
    def all_of(operators):
        return [lx.linear_solve(operator, b, SOLVER).value for operator in operators]

    for x, (_, matrix) in zip(all_of([op for op, _ in cases]), cases, strict=True):
        assert support.relative(x, np.linalg.solve(matrix, b)) < 1e-11


def test_lineax_solvers_take_the_operator(case):
    dense, plan, a, b = case
    op, expected = SparseOperator(plan, a), np.linalg.solve(dense, b)
    auto = lx.AutoLinearSolver(well_posed=True)
    assert isinstance(auto.select_solver(op), lx.Cholesky)
    line, line_plan, line_a = support.case("path")
    assert isinstance(auto.select_solver(SparseOperator(line_plan, line_a)), lx.Tridiagonal)
    plain = solved(op, b, lx.CG(1e-11, 1e-11))
    for found in (solved(op, b, auto), solved(op, b, lx.LU()), plain):
        assert support.relative(found.value, expected) < 1e-9
    x = solved(SparseOperator(line_plan, line_a), jnp.ones(line_plan.n), auto).value
    assert support.relative(x, np.linalg.solve(line.toarray(), np.ones(line_plan.n))) < 1e-12


@pytest.mark.skipif(not hasattr(lx, "invert"), reason="lineax has `invert` from 0.1.1 on")
def test_as_a_preconditioner(case):
    """Conjugate gradients that are given the exact inverse are done after a step or two."""
    dense, plan, a, b = case
    op = SparseOperator(plan, a)
    plain = solved(op, b, lx.CG(1e-11, 1e-11))
    helped = solved(op, b, lx.CG(1e-11, 1e-11), {"preconditioner": lx.invert(op, SOLVER)})
    assert support.relative(helped.value, np.linalg.solve(dense, b)) < 1e-9
    assert int(helped.stats["num_steps"]) <= 2 < int(plain.stats["num_steps"])


# ---- operators known by their products --------------------------------------------------------


def test_any_operator_on_the_pattern(case):
    dense, plan, a, b = case
    solver, M = SparseCholesky(plan), jnp.asarray(dense)
    potential = lambda x: x @ M @ x / 2 + jnp.sum(x)
    operators = [
        lx.JacobianLinearOperator(lambda x, _: jax.grad(potential)(x), jnp.ones(plan.n)),
        lx.MatrixLinearOperator(M, lx.positive_semidefinite_tag),
        SparseOperator(plan, a) + function(0 * dense),
        lx.TaggedLinearOperator(function(-dense), lx.negative_semidefinite_tag),
    ]
    solve_all = jax.jit(lambda: [lx.linear_solve(op, b, solver).value for op in operators])
    expected = np.linalg.solve(dense, b)
    for sign, x in zip((1, 1, 1, -1), solve_all(), strict=True):
        assert support.relative(x, sign * expected) < 1e-12


def test_the_derivative_of_a_solve_with_a_function(case):
    dense, plan, _, b = case
    solver = SparseCholesky(plan)

    def f(t, solver):
        operator = lx.FunctionLinearOperator(
            lambda x: (1 + t) * (jnp.asarray(dense) @ x), jax.ShapeDtypeStruct((plan.n,), b.dtype)
        )
        return lx.linear_solve(operator, b, solver).value[3]

    x = np.linalg.solve(dense, b)[3]
    value, slope = jax.jit(jax.value_and_grad(lambda t: f(t, solver)))(0.5)
    np.testing.assert_allclose([value, slope], [x / 1.5, -x / 1.5**2], rtol=1e-11)


@pytest.mark.parametrize("damage", ["outside", "not symmetric", "not definite", "nan"])
def test_an_operator_that_the_plan_does_not_hold(case, damage):
    dense, plan, _, b = case
    M = dense.copy()
    M[0, 2] += 1e-6 if damage == "outside" else 0
    M[2, 0] += 1e-6 if damage == "outside" else 0
    M[0, 1] += 1e-6 if damage == "not symmetric" else 0
    M[3, 3] -= 100 if damage == "not definite" else 0
    M[3, 3] = np.nan if damage == "nan" else M[3, 3]
    assert dense[0, 2] == 0 != dense[0, 1]
    found = solved(lx.MatrixLinearOperator(jnp.asarray(M)), b, SparseCholesky(plan))
    assert found.result == lx.RESULTS.singular
    assert np.isnan(found.value).all()


# ---- failures and errors ----------------------------------------------------------------------


def test_failure(case):
    _, plan, a, b = case
    found = solved(SparseOperator(plan, -a), b)
    assert found.result == lx.RESULTS.singular
    assert np.isnan(found.value).all()
    with pytest.raises(Exception, match="positive definiteness"):
        lx.linear_solve(SparseOperator(plan, -a), b, SOLVER)
    found = solved(SparseOperator(plan, a), b * np.where(np.arange(plan.n) == 2, np.nan, 1))
    assert found.result == lx.RESULTS.nonfinite_input


def test_failure_in_a_batch(small):
    """Of one operator, the other is as it was."""
    _, plan, a, b = small
    values = jnp.stack([jnp.asarray(a), -jnp.asarray(a)])
    found = jax.vmap(lambda a: solved(SparseOperator(plan, a), b))(values)
    kinds = jax.vmap(lambda r: r == lx.RESULTS.singular)(found.result)
    np.testing.assert_array_equal(kinds, [False, True])
    assert np.isnan(found.value[1]).all()
    assert support.relative(found.value[0], dense_solve(plan, a, b)) < 1e-12


def test_what_does_not_fit_is_named(case):
    dense, plan, a, b = case
    other = support.case("path")[1]
    op = SparseOperator(plan, a)
    with pytest.raises(TypeError, match="expected a Plan, as made by padchol"):
        SparseOperator("plan", a)  # pyright: ignore
    with pytest.raises(ValueError, match=rf"expected values of shape \({plan.nnz},\)"):
        SparseOperator(plan, a[1:])
    with pytest.raises(TypeError, match="complex is not supported"):
        SparseOperator(plan, a * 1j)
    with pytest.raises(ValueError, match="structures do not match"):
        lx.linear_solve(op, b[1:], SOLVER)
    with pytest.raises(TypeError, match=r"a padchol SparseOperator, or sums.*got Function"):
        lx.linear_solve(function(dense), b, SOLVER)
    with pytest.raises(TypeError, match=r"a padchol SparseOperator, or sums.*got Diagonal"):
        lx.linear_solve(lx.DiagonalLinearOperator(jnp.ones(plan.n)), b, SOLVER)
    with pytest.raises(ValueError, match=r"operator on arrays of shape \(20,\); got"):
        lx.linear_solve(function(dense), b, SparseCholesky(other))
    with pytest.raises(ValueError, match=r"operator on arrays of shape \(26,\); got"):
        lx.linear_solve(function(dense[:20]), b[:20], SparseCholesky(plan))
    rival = padchol.analyze(support.grid(13, 2))
    sum_ = op + SparseOperator(rival, np.ones(rival.nnz))
    with pytest.raises(ValueError, match="expected SparseOperators of one plan"):
        lx.linear_solve(sum_, b, SOLVER)
    with pytest.raises(TypeError, match="a plan that is not traced"):
        jax.jit(SparseCholesky)(plan)

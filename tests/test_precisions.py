"""Precisions of the usual models against their definitions, and their fields against dense ones."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support
from precisions_oracle import adjacency, check_null
from scipy import stats

import padchol
from padchol import precisions
from padchol.gmrf import GMRF, IntrinsicGMRF

RNG = np.random.default_rng(0)


def test_kronecker():
    time, space = precisions.rw1(4), precisions.icar(adjacency())
    Q = precisions.kronecker(time, space)
    expected = np.kron(time.matrix(1.5).toarray(), space.matrix(2.0).toarray())
    np.testing.assert_allclose(Q.matrix((1.5,), (2.0,)).toarray(), expected, atol=1e-12)
    check_null(Q, (1.5,), (2.0,))
    proper = precisions.kronecker(precisions.ar1(3), precisions.rw1(4))
    check_null(proper, (1.0, 0.5), (2.0,))
    plan = padchol.analyze(proper.pattern)
    a = proper.on(plan)((1.0, 0.5), (2.0,))
    np.testing.assert_allclose(a, plan.values(proper.matrix((1.0, 0.5), (2.0,))), rtol=1e-14)


def test_independent_fields_and_sums_share_a_plan():
    walk, noise = precisions.rw1(5), precisions.ar1(5)
    both = precisions.independent(walk, precisions.bym2(adjacency()), noise)
    parameters = ((1.5,), (2.0, 0.3), (2.0, 0.5))
    dense = both.matrix(*parameters).toarray()
    np.testing.assert_allclose(dense[:5, :5], walk.matrix(1.5).toarray())
    np.testing.assert_allclose(dense[-5:, -5:], noise.matrix(2.0, 0.5).toarray())
    check_null(both, *parameters)
    plan = padchol.analyze([walk.pattern, noise.pattern])
    total = walk.on(plan)(1.5) + noise.on(plan)(2.0, 0.5)
    expected = walk.matrix(1.5) + noise.matrix(2.0, 0.5)
    np.testing.assert_allclose(total, plan.values(expected), rtol=1e-14)


def test_grouped_fields_take_one_precision():
    space, time = precisions.icar(adjacency()), precisions.ar(3, 2)
    Q = precisions.grouped(space, time)
    expected = np.kron(time.matrix(1.0, 0.5, -0.2).toarray(), space.matrix(2.0).toarray())
    np.testing.assert_allclose(Q.matrix(2.0, 0.5, -0.2).toarray(), expected, atol=1e-12)
    assert Q.names == ("tau", "psi1 between", "psi2 between")
    check_null(Q, 2.0, 0.5, -0.2)
    line = precisions.mesh.line(range(4), 1.0, margin=0.0)  # its tau comes second
    Q = precisions.grouped(precisions.ar1(2), line.matern(1))
    expected = np.kron(line.matern(1).matrix(0.2, 1.0).toarray(), np.array([[2, -1], [-1, 2]]))
    np.testing.assert_allclose(Q.matrix(1.5, 0.5, 0.2).toarray(), expected, atol=1e-12)
    with pytest.raises(ValueError, match=r"a parameter tau.* got parameters \('tau1', 'tau2'"):
        precisions.grouped(space, precisions.correlated(1))


def test_replicated_fields_share_their_parameters():
    bym2, walk = precisions.bym2(adjacency()), precisions.rw2(5)
    for Q, parameters in ((walk, (2.0,)), (bym2, (2.0, 0.3)), (precisions.ar1(4), (2.0, 0.5))):
        copies = precisions.replicated(Q, 3)
        expected = np.kron(np.eye(3), Q.matrix(*parameters).toarray())
        np.testing.assert_array_equal(copies.matrix(*parameters).toarray(), expected)
        assert copies.names == Q.names
        if Q.rank_deficiency:
            check_null(copies, *parameters)
    copies, x = precisions.replicated(walk, 3), RNG.normal(size=(3, 5))
    values = copies.on(padchol.analyze(copies.pattern))
    found = jax.jit(lambda tau: values.field(tau).log_prob(x.reshape(-1)))(2.0)
    eigenvalues = np.linalg.eigvalsh(walk.matrix(2.0).toarray())[2:]
    square = sum(each @ walk.matrix(2.0) @ each for each in x)
    expected = 3 * np.log(eigenvalues / (2 * np.pi)).sum() / 2 - square / 2
    np.testing.assert_allclose(found, expected, rtol=1e-11)
    with pytest.raises(ValueError, match="at least one copy of the field; got 0"):
        precisions.replicated(walk, 0)


@pytest.mark.slow
def test_density_and_gradient_of_a_proper_field():
    n = 12
    Q = precisions.ar1(n)
    values, x = Q.on(padchol.analyze(Q.pattern)), RNG.normal(size=n)
    assert isinstance(values.field(2.0, 0.7), GMRF)

    @jax.jit
    def density(p):
        return values.field(p[0], p[1], loc=0.3).log_prob(x)

    sigma = np.linalg.inv(Q.matrix(2.0, 0.7).toarray())
    expected = stats.multivariate_normal(np.full(n, 0.3), sigma).logpdf(x)
    np.testing.assert_allclose(density(jnp.array([2.0, 0.7])), expected, rtol=1e-11)
    support.check_gradients(density, jnp.array([2.0, 0.7]), order=1)


def test_density_of_an_intrinsic_field_is_that_of_its_increments():
    """On the increments, which are normal and independent, up to the Jacobian sqrt(n)."""
    n, tau = 8, 2.0
    Q = precisions.rw1(n)
    field = Q.on(padchol.analyze(Q.pattern)).field(tau)
    assert isinstance(field, IntrinsicGMRF)
    x = RNG.normal(size=n)
    steps = stats.norm(0, 1 / np.sqrt(tau)).logpdf(np.diff(x)).sum()
    np.testing.assert_allclose(field.log_prob(x), steps + np.log(n) / 2, rtol=1e-12)


FAMILIES = {  # each with parameters inside its domain
    "rw2": (lambda: precisions.rw2(6, positions=[0, 1, 3, 4, 6, 7], scaled=True), (2.0,)),
    "ar": (lambda: precisions.ar(6, 3), (2.0, 0.5, -0.3, 0.7)),
    "correlated": (lambda: precisions.correlated(2, 3), (4.0, 1.0, 0.5, 0.5, -0.3, 0.8)),
    "bym2": (lambda: precisions.bym2(adjacency()), (2.0, 0.3)),
    "replicated": (lambda: precisions.replicated(precisions.leroux(adjacency()), 2), (2.0, 0.3)),
    "grouped": (lambda: precisions.grouped(precisions.rw1(4), precisions.ar1(3)), (2.0, 0.3)),
    "matern": (lambda: precisions.mesh.line(range(9), 1.0, margin=3.0).matern(), (0.5, 2.0)),
}


@support.float32_slowly
@pytest.mark.parametrize("name", FAMILIES)
def test_values_and_their_derivatives(name, precision):
    """Values on a plan are those of the matrix, in the type of the parameters; derivatives of every
    order agree with finite differences."""
    build, parameters = FAMILIES[name]
    Q, p = build(), jnp.array(parameters, precision)
    values = Q.on(padchol.analyze(Q.pattern))
    found = jax.jit(lambda p: values(*p))(p)
    assert found.dtype == precision
    size = 1e-14 if precision == "float64" else 1e-6
    expected = values.plan.values(Q.matrix(*parameters))
    np.testing.assert_allclose(found, expected, atol=size * abs(expected).max())
    if precision == "float64":
        w = jnp.asarray(RNG.normal(size=found.size))
        support.check_gradients(lambda p: w @ values(*p), p)
        assert values(*p.astype(jnp.float32)).dtype == jnp.float32


def test_parameters_are_counted_and_patterns_checked():
    Q = precisions.ar1(4)
    with pytest.raises(TypeError, match=r"the parameters \('tau', 'rho'\); got 1"):
        Q.matrix(1.0)
    with pytest.raises(TypeError, match=r"the parameters \('tau', 'rho'\); got 3"):
        Q.on(padchol.analyze(Q.pattern))(1.0, 0.5, 0.5)
    with pytest.raises(ValueError, match="pattern is contained in the plan's"):
        Q.on(padchol.analyze(sp.eye_array(4).tocsc()))


# ---- parameters outside of their domain --------------------------------------------------------

ON_LINE = sp.csc_array(support.graph_laplacian(support.path(5)))
BAD = {
    "rw1": (lambda: precisions.rw1(5), [(0.0,), (-1.0,), (np.nan,), (np.inf,)]),
    "rw2": (lambda: precisions.rw2(6), [(0.0,), (-1.0,)]),
    "seasonal": (lambda: precisions.seasonal(6, 3), [(0.0,), (-1.0,)]),
    "icar": (lambda: precisions.icar(adjacency()), [(0.0,), (-1.0,)]),
    "ar1": (lambda: precisions.ar1(5), [(1.0, 1.0), (1.0, -1.0), (1.0, 1.5), (-1.0, 1.5), (0, 0)]),
    "ar": (lambda: precisions.ar(5, 2), [(1.0, 1.0, 0.0), (1.0, 0.5, -1.5), (0.0, 0.5, 0.5)]),
    "iid": (lambda: precisions.iid(3), [(0.0,), (-1.0,)]),
    "correlated": (
        lambda: precisions.correlated(2),
        [(1.0, 1.0, 1.0), (1.0, 1.0, -1.5), (0.0, 1.0, 0.5), (1.0, -1.0, 0.5)],
    ),
    "replicated": (lambda: precisions.replicated(precisions.ar1(3), 2), [(1.0, 1.5)]),
    "grouped": (
        lambda: precisions.grouped(precisions.ar1(3), precisions.ar1(2)),
        [(1.0, 1.5, 0.5), (1.0, 0.5, 1.5), (-1.0, 0.5, 0.5)],
    ),
    "mesh": (
        lambda: precisions.mesh.line([0, 1], 0.25, margin=0.0).matern(1),
        [(0.0, 1.0), (2.0, 1.0), (1.01, 1.0), (0.5, -1.0)],
    ),
    "proper_car": (
        lambda: precisions.proper_car(adjacency()),
        [(1.0, 1.0), (1.0, -1.0), (1.0, 1.2), (1.0, -1.01), (-1.0, 0.5), (1.0, np.nan)],
    ),
    "leroux": (
        lambda: precisions.leroux(adjacency()),
        [(1.0, 1.0), (1.0, -0.1), (1.0, 1.5), (-1.0, 1.5), (0.0, 0.5)],
    ),
    "bym2": (
        lambda: precisions.bym2(adjacency()),
        [(1.0, 1.0), (1.0, -0.1), (1.0, 1.5), (-1.0, 0.5), (0.0, 0.5)],
    ),
    "matern": (
        lambda: precisions.matern(sp.eye_array(5), ON_LINE),
        [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (1.0, -1.0)],
    ),
    "kronecker": (
        lambda: precisions.kronecker(precisions.ar1(2), precisions.ar1(3)),
        [((1.0, 1.5), (1.0, -1.5)), ((-1.0, 0.5), (-1.0, 0.5))],
    ),
    "independent": (
        lambda: precisions.independent(precisions.ar1(2), precisions.ar1(3)),
        [((1.0, 0.5), (1.0, 1.5))],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_parameters_outside_of_their_domain(name):
    """An error where they are known; NaN where traced, their derivatives as well."""
    build, cases = BAD[name]
    Q = build()
    values = Q.on(padchol.analyze(Q.pattern))
    traced = jax.jit(jax.value_and_grad(lambda p: jnp.sum(values(*p) ** 2)))
    for parameters in cases:
        with pytest.raises(ValueError, match=r"expected .* [<>]=? .*; got"):
            values(*parameters)
        with pytest.raises(ValueError, match=r"expected .* [<>]=? .*; got"):
            Q.matrix(*parameters)
        with pytest.raises(ValueError, match=r"expected .* [<>]=? .*; got"):
            jax.jit(lambda x, p=parameters: x * values(*p).sum())(1.0)
        found, slope = traced(jax.tree.map(float, parameters))
        assert np.isnan(found)
        assert np.isnan(jax.tree.leaves(slope)).any()


@pytest.mark.parametrize("name", ["proper_car", "ar1", "leroux"])
def test_fields_outside_of_their_domain_have_no_density(name):
    build, cases = BAD[name]
    Q = build()
    values, x = Q.on(padchol.analyze(Q.pattern)), np.zeros(Q.n)
    density = jax.jit(lambda tau, other: values.field(tau, other).log_prob(x))
    assert np.isnan([density(*map(float, each)) for each in cases]).all()
    assert np.isfinite(density(1.0, 0.5))


def test_parameters_are_numbers():
    Q = precisions.rw1(4)
    with pytest.raises(ValueError, match=r"expected tau a number; got shape \(3,\)"):
        Q.on(padchol.analyze(Q.pattern))(np.ones(3))


def test_a_domain_of_ones_own():
    parts, domain = [sp.eye_array(3)], {"s": precisions.Interval(1, 2)}
    Q = precisions.combination(parts, lambda s: (s,), ("s",), domain=domain)
    with pytest.raises(ValueError, match="expected 1 < s < 2; got 3"):
        Q.matrix(3.0)
    np.testing.assert_allclose(Q.matrix(1.5).toarray(), 1.5 * np.eye(3))


@pytest.mark.parametrize("other", [None, 1.0, sp.eye_array(3)])
def test_joint_fields_are_of_precisions(other):
    Q = precisions.rw1(4)
    for make in (
        lambda: precisions.kronecker(Q, other),
        lambda: precisions.grouped(Q, other),
        lambda: precisions.independent(other, Q),
        lambda: precisions.replicated(other, 2),
    ):
        with pytest.raises(TypeError, match="expected precisions as"):
            make()


def test_a_fraction_is_no_number_of_values():
    with pytest.raises(TypeError, match="integer"):
        precisions.iid(cast(Any, 2.5))

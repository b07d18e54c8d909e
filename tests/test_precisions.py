"""Precisions of the usual models against their definitions, and their fields against dense ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support
from scipy import stats

import padchol
from padchol import precisions
from padchol.gmrf import GMRF, IntrinsicGMRF

RNG = np.random.default_rng(0)


def two_components():
    """A grid, a path, and (for `islands`) an area alone."""
    return sp.block_diag([(support.grid(3, 4) != 0).astype(float), support.path(4) != 0], "csr")


def adjacency(islands=False):
    W = sp.csr_array(two_components().astype(float))
    W.setdiag(0)
    W.eliminate_zeros()
    return sp.block_diag([W, sp.csr_array((1, 1))], "csr") if islands else W


def laplacian(W):
    W = W.toarray()
    return np.diag(W.sum(1)) - W


def check_null(Q, *parameters):
    """The basis given is that of the zero eigenvalues: orthogonal to Q, and of their number."""
    dense, N = Q.matrix(*parameters).toarray(), np.asarray(Q.null(*parameters))
    values = np.linalg.eigvalsh(dense)
    assert np.sum(values < 1e-10 * values.max()) == N.shape[1] == Q.rank_deficiency
    assert np.linalg.matrix_rank(N) == N.shape[1]
    np.testing.assert_allclose(dense @ N, 0, atol=1e-12 * values.max())
    assert abs(np.linalg.det(Q.constraints @ N)) > 1e-12


def difference(n, order):
    return np.diff(np.eye(n), order, axis=0)


@pytest.mark.parametrize("order", [1, 2])
def test_random_walks(order):
    n, build = 9, (precisions.rw1, precisions.rw2)[order - 1]
    D = difference(n, order)
    np.testing.assert_allclose(build(n).matrix(2.5).toarray(), 2.5 * D.T @ D, atol=1e-12)
    check_null(build(n), 2.5)
    D = np.linalg.matrix_power(np.roll(np.eye(n), 1, 1) - np.eye(n), order)
    np.testing.assert_allclose(
        build(n, cyclic=True).matrix(2.5).toarray(), 2.5 * D.T @ D, atol=1e-12
    )
    check_null(build(n, cyclic=True), 2.5)


def test_a_walk_over_uneven_positions():
    at = np.cumsum(RNG.uniform(0.2, 2.0, 7))
    Q = precisions.rw1(7, positions=at)
    D = difference(7, 1)
    expected = 1.7 * D.T @ np.diag(1 / np.diff(at)) @ D
    np.testing.assert_allclose(Q.matrix(1.7).toarray(), expected, rtol=1e-12)
    check_null(Q, 1.7)


@pytest.mark.parametrize("n", [1, 2, 6])
def test_autoregression_has_its_correlations(n):
    lag = abs(np.subtract.outer(np.arange(n), np.arange(n)))
    found = np.linalg.inv(precisions.ar1(n).matrix(2.0, 0.7).toarray())
    np.testing.assert_allclose(found, 0.7**lag / 2.0, rtol=1e-12)
    assert precisions.ar1(n).rank_deficiency == 0


def test_seasonal():
    n, m = 14, 4
    S = np.array([np.convolve(np.eye(n)[k], np.ones(m))[m - 1 : n] for k in range(n)]).T
    Q = precisions.seasonal(n, m)
    np.testing.assert_allclose(Q.matrix(3.0).toarray(), 3.0 * S.T @ S, atol=1e-12)
    check_null(Q, 3.0)
    assert Q.rank_deficiency == m - 1


def test_areas():
    W = adjacency(islands=True)
    n = W.shape[0]
    icar = precisions.icar(W)
    np.testing.assert_allclose(icar.matrix(2.0).toarray(), 2 * laplacian(W), atol=1e-14)
    assert icar.rank_deficiency == 3
    check_null(icar, 2.0)
    leroux = precisions.leroux(W).matrix(2.0, 0.9).toarray()
    np.testing.assert_allclose(leroux, 2 * (0.1 * np.eye(n) + 0.9 * laplacian(W)), atol=1e-14)
    W = adjacency()
    proper = precisions.proper_car(W).matrix(2.0, 0.9).toarray()
    np.testing.assert_allclose(proper, 2 * (np.diag(W.sum(1)) - 0.9 * W.toarray()), atol=1e-14)
    assert np.linalg.eigvalsh(proper).min() > 0


def test_the_scaled_laplacian_has_generalised_variance_one_on_each_component():
    scaled, null = precisions.scaled_laplacian(adjacency(islands=True))
    dense = scaled.toarray()
    assert null.shape == (17, 2)
    for part in (slice(0, 12), slice(12, 16)):
        inverse = np.linalg.pinv(dense[part, part])
        np.testing.assert_allclose(np.mean(np.log(np.diag(inverse))), 0, atol=1e-12)
    np.testing.assert_allclose(dense[16], np.eye(17)[16])


@pytest.mark.slow
def test_bym2_is_the_joint_law_of_its_parts():
    """(b, u) given that u sums to zero on each component, from the definition of b."""
    W, tau, phi = adjacency(islands=True), 2.0, 0.6
    Q, n = precisions.bym2(W), 17
    check_null(Q, tau, phi)
    covariance_u = np.linalg.pinv(precisions.scaled_laplacian(W)[0].toarray())
    both = np.sqrt(phi / tau) * covariance_u
    covariance_b = ((1 - phi) * np.eye(n) + phi * covariance_u) / tau
    plan = padchol.analyze(Q.pattern)

    @jax.jit
    def found(values, tau, phi, key):
        field = values.field(tau, phi)
        return field.log_determinant(), field.marginal_variances(), field.sample(key, (50_000,))

    logdet, variances, draws = found(Q.on(plan), tau, phi, jax.random.key(0))
    eigenvalues = np.linalg.eigvalsh(precisions.scaled_laplacian(W)[0].toarray())
    expected = n * np.log(tau / (1 - phi)) + np.log(eigenvalues[2:]).sum()
    np.testing.assert_allclose(logdet, expected, rtol=1e-11)
    covariance = np.block([[covariance_b, both], [both, covariance_u]])
    np.testing.assert_allclose(variances, np.diag(covariance), rtol=1e-10)
    np.testing.assert_allclose(np.cov(np.asarray(draws).T), covariance, atol=0.06)
    slope = jax.grad(lambda t: Q.on(plan).field(t, phi).log_determinant())(tau)
    np.testing.assert_allclose(slope, n / tau, rtol=1e-10)


def test_matern_on_a_line_has_the_exponential_correlation():
    """nu = 1/2 in one dimension: corr exp(-kappa h), away from the ends."""
    n, h = 400, 0.05
    C = h * sp.eye_array(n)
    G = precisions.rw1(n).matrix(1 / h)
    kappa, tau = precisions.matern_parameters(2.0, 0.7, dimension=1, alpha=1)
    Q = precisions.matern(C, G, 1).matrix(kappa, tau).toarray()
    covariance = np.linalg.inv(Q)
    middle = covariance[200, 200:230]
    expected = 0.49 * np.exp(-float(kappa) * h * np.arange(30))
    np.testing.assert_allclose(middle, expected, rtol=2e-3)


def test_matern_of_order_two():
    """Against the definition, and the marginal deviation asked for, on a fine grid."""
    k, h = 40, 0.25
    line = precisions.rw1(k).matrix(1.0)
    eye = sp.eye_array(k)
    C, G = h**2 * sp.eye_array(k * k), sp.csr_array(sp.kron(line, eye) + sp.kron(eye, line))
    kappa, tau = (float(x) for x in precisions.matern_parameters(2.5, 0.7))
    Q = precisions.matern(C, G).matrix(kappa, tau).toarray()
    K = kappa**2 * C.toarray() + G.toarray()
    np.testing.assert_allclose(Q, tau**2 * K @ K / h**2, atol=1e-10 * abs(Q).max())
    centre = np.ravel_multi_index((20, 20), (k, k))
    deviation = np.sqrt(np.linalg.solve(Q, np.eye(k * k)[centre])[centre])
    np.testing.assert_allclose(deviation, 0.7, rtol=0.02)


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


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: precisions.rw1(1), "n >= 2; got 1"),
        (lambda: precisions.rw2(4, cyclic=True), "n >= 5; got 4"),
        (lambda: precisions.rw1(3, positions=[0, 2, 1]), "3 increasing positions"),
        (lambda: precisions.seasonal(5, 6), "a period from 2 to n = 5; got 6"),
        (lambda: precisions.icar(sp.eye_array(3)), "no area next to itself"),
        (lambda: precisions.icar(sp.csr_array(np.triu(np.ones((3, 3)), 1))), "symmetric weights"),
        (lambda: precisions.icar(-adjacency()), "weights that are not negative"),
        (lambda: precisions.icar(np.ones((2, 3))), "square adjacency matrix"),
        (lambda: precisions.matern(sp.eye_array(3), sp.eye_array(4)), "of one order"),
        (lambda: precisions.matern(sp.eye_array(3), sp.eye_array(3), 3), "alpha 1 or 2; got 3"),
        (lambda: precisions.matern_parameters(1.0, 1.0, 2, 1), "alpha > dimension / 2"),
    ],
)
def test_what_does_not_fit_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_parameters_are_counted_and_patterns_checked():
    Q = precisions.ar1(4)
    with pytest.raises(TypeError, match=r"the parameters \('tau', 'rho'\); got 1"):
        Q.matrix(1.0)
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


def test_areas_without_neighbours():
    W = adjacency(islands=True)
    with pytest.raises(ValueError, match=r"a neighbour of every area.* got none of 1 areas, 16"):
        precisions.proper_car(W)
    with pytest.raises(ValueError, match=r"got none of 7 areas, 0, 1, 2, 3, 4, \.\.\."):
        precisions.proper_car(sp.csr_array((7, 7)))
    dense = precisions.leroux(W).matrix(2.0, 0.9).toarray()
    np.testing.assert_allclose(dense[16, 16], 2 * (1 - 0.9))


def test_the_limits_of_the_domain_that_belong_to_it():
    np.testing.assert_allclose(
        precisions.leroux(adjacency()).matrix(2.0, 0.0).toarray(), 2 * np.eye(16)
    )
    iid = precisions.bym2(adjacency()).matrix(2.0, 0.0).toarray()
    np.testing.assert_allclose(iid[:16], 2 * np.eye(16, 32))


def test_matern_parameters_outside_of_their_domain():
    for reach, sigma in ((0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (1.0, -1.0), (np.nan, 1.0)):
        with pytest.raises(ValueError, match=r"expected (reach|sigma) > 0, finite; got"):
            precisions.matern_parameters(reach, sigma)
        assert np.isnan(jax.jit(precisions.matern_parameters)(reach, sigma)[1])
    kappa, _ = precisions.matern_parameters(np.array([1.0, 2.0]), 1.0)
    np.testing.assert_allclose(kappa, np.sqrt(8) / np.array([1, 2]))


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

"""Matern fields on meshes against exact covariances, and ranges that a mesh is too coarse for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import scipy.special
import support
from precisions_oracle import scattered_mesh

import padchol
from padchol import assembly, precisions
from padchol.precisions import mesh
from padchol.precisions.mesh import simplicial

RNG = np.random.default_rng(0)
SQUARE = np.array([[0.0, 0.0], [1.0, 0.5]])


def exact(distance, kappa, nu):
    """The Matern correlation."""
    d = np.maximum(kappa * distance, 1e-9)
    return d**nu * scipy.special.kv(nu, d) / (2 ** (nu - 1) * scipy.special.gamma(nu))


@pytest.mark.parametrize(
    ("dimension", "alpha", "spacing", "close"),
    [(1, 1, 0.02, 0.03), (1, 2, 0.05, 0.01), (2, 2, 0.06, 0.02)],
)
def test_a_field_has_the_matern_covariance(dimension, alpha, spacing, close):
    """At points and nodes, away from the border, for a range of 1 and a deviation of 0.7."""
    build, bounds = (mesh.line, [0.0, 0.6]) if dimension == 1 else (mesh.rectangle, SQUARE * 0.6)
    m = build(bounds, spacing, margin=1.2)
    Q = m.matern(alpha, shortest_range=1.0)
    kappa, tau = precisions.matern_parameters(1.0, 0.7, m.dimension, alpha)
    points = RNG.uniform(0, 0.3, (8, dimension))
    B = m.projector(points).toarray()
    covariance = B @ np.linalg.solve(Q.matrix(kappa, tau).toarray(), B.T)
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    expected = 0.49 * exact(distance, float(kappa), alpha - dimension / 2)
    np.testing.assert_allclose(covariance, expected, atol=close)


@pytest.mark.parametrize(("dimension", "alpha"), [(1, 1), (1, 2), (2, 2)])
def test_the_coarsest_mesh_that_passes_has_the_deviation_to_seven_percent(dimension, alpha):
    """At nodes and between them, the margin as coarse as it gets by default."""
    build, bounds = (mesh.line, [0.0, 2.0]) if dimension == 1 else (mesh.rectangle, SQUARE * 2)
    edges = simplicial.EDGES_IN_A_RANGE[dimension, alpha]
    m = build(bounds, 1 / edges / np.sqrt(dimension), margin=1.5)
    Q = m.matern(alpha, shortest_range=1.0)
    kappa, tau = precisions.matern_parameters(1.0, 1.0, dimension, alpha)
    inner = m.simplices[m.inner]
    between = [m.nodes[inner].mean(1), m.nodes[inner[:, :2]].mean(1), m.nodes[inner[:, 1:]].mean(1)]
    points = np.concatenate([m.nodes[np.unique(inner)], *between[: 2 * dimension - 1]])
    B = m.projector(points).toarray()
    variance = np.sum(B.T * np.linalg.solve(Q.matrix(kappa, tau).toarray(), B.T), 0)
    error = abs(np.sqrt(variance) - 1).max()
    assert 0.03 < error < 0.07


def test_a_margin_takes_the_border_away():
    """Of a range's width; half of it leaves 14 % and 32 %. Coarser steps outwards cost little."""

    def variances(margin, growth):
        m = mesh.rectangle(SQUARE * 2, 0.1, margin=margin, growth=growth)
        Q = m.matern().matrix(*precisions.matern_parameters(1.0, 1.0)).toarray()
        inside = ((m.nodes > -1e-9) & (m.nodes < SQUARE[1] * 2 + 1e-9)).all(1)
        v = np.diag(np.linalg.inv(Q))[inside].reshape(21, 11)
        return m.n, v

    nodes, even = variances(1.0, 1.0)
    level = even[10, 5]
    assert even.max() < 1.03 * level
    fewer, graded = variances(1.0, 1.5)
    assert fewer < 0.5 * nodes
    np.testing.assert_allclose(graded, even, rtol=0.025)
    _, half = variances(0.5, 1.0)
    np.testing.assert_allclose([half[10, 0] / level, half[0, 0] / level], [1.14, 1.32], atol=0.02)


def test_a_mesh_refuses_ranges_that_it_is_too_coarse_for():
    m = mesh.rectangle(SQUARE, 0.25, margin=1.0)  # edges of 0.354, but up to 0.8 in the margin
    np.testing.assert_allclose(m.shortest_range(), np.sqrt(2))
    m.check(np.sqrt(2))
    with pytest.raises(
        ValueError, match=r"edges of at most 1\.4 / 4.* 0\.353553, .* from 1\.41421"
    ):
        m.matern(shortest_range=1.4)
    values = m.matern(shortest_range=1.5).on(padchol.analyze(m.matern().pattern))
    sums = jax.jit(lambda r: values(*precisions.matern_parameters(r, 1.0)).sum())
    assert np.isfinite(sums(1.5))
    assert np.isnan(sums(1.3))
    kappa, tau = precisions.matern_parameters(1.3, 1.0)
    with pytest.raises(ValueError, match=r"0 < kappa < 2: a range of 1\.41421, which edges up to"):
        values(kappa, tau)
    line = mesh.line([0, 1], 0.1, margin=0.0)
    np.testing.assert_allclose([line.shortest_range(1), line.shortest_range(2)], [0.8, 0.4])
    with pytest.raises(ValueError, match="at most nan / 4"):
        m.check(np.nan)
    with pytest.raises(ValueError, match=r"alpha > dimension / 2; got alpha 1 in 2"):
        m.check(3.0, alpha=1)
    unchecked = m.matern(alpha=1).matrix(5.0, 1.0).toarray()
    np.testing.assert_allclose(unchecked, 25 * m.C.toarray() + m.G.toarray(), rtol=1e-13)


@pytest.mark.slow
@support.both_precisions
def test_a_field_on_a_mesh_given_observations(precision):
    """The whole way: mesh, projection, plan, and the posterior mean against kriging."""
    at = RNG.uniform(SQUARE[0], SQUARE[1], (6, 2))
    m = mesh.rectangle(SQUARE, 0.25, margin=0.5)
    Q, B = m.matern(shortest_range=1.5), m.projector(at)
    values = Q.on(padchol.analyze([Q.pattern, assembly.gram_pattern(B)]))
    y = at.sum(1).astype(precision)

    @jax.jit
    def posterior(theta):
        field = values.field(*precisions.matern_parameters(*jnp.exp(theta)))
        return field.condition(B, y, 100.0).mean

    theta = np.log([2.0, 0.7]).astype(precision)
    found = posterior(theta)
    assert found.dtype == precision
    kappa, tau = precisions.matern_parameters(2.0, 0.7)
    covariance = np.linalg.inv(Q.matrix(kappa, tau).toarray().astype(float)) @ B.T
    mean = covariance @ np.linalg.solve(B @ covariance + 0.01 * np.eye(6), at.sum(1))
    np.testing.assert_allclose(found, mean, atol=1e-9 if precision == "float64" else 2e-3)
    if precision == "float64":
        support.check_gradients(lambda t: posterior(t)[::9], jnp.asarray(theta), order=1)


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
    """Against the definition, on a mesh of random triangles."""
    m = scattered_mesh()
    kappa, tau = 1.7, 0.4
    Q = precisions.matern(m.C, m.G).matrix(kappa, tau).toarray()
    K = kappa**2 * m.C.toarray() + m.G.toarray()
    expected = tau**2 * K @ np.diag(1 / m.areas) @ K
    np.testing.assert_allclose(Q, expected, atol=1e-12 * abs(Q).max())


def test_matern_parameters_outside_of_their_domain():
    for reach, sigma in ((0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (1.0, -1.0), (np.nan, 1.0)):
        with pytest.raises(ValueError, match=r"expected (reach|sigma) > 0, finite; got"):
            precisions.matern_parameters(reach, sigma)
        assert np.isnan(jax.jit(precisions.matern_parameters)(reach, sigma)[1])
    kappa, _ = precisions.matern_parameters(np.array([1.0, 2.0]), 1.0)
    np.testing.assert_allclose(kappa, np.sqrt(8) / np.array([1, 2]))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: precisions.matern(sp.eye_array(3), sp.eye_array(4)), "of one order"),
        (lambda: precisions.matern(sp.eye_array(3), sp.eye_array(3), 3), "alpha 1 or 2; got 3"),
        (
            lambda: precisions.matern(sp.diags_array([1.0, 0.0, 2.0]), sp.eye_array(3)),
            r"positive row sums of C; got 0\.0 in 1",
        ),
        (lambda: precisions.matern_parameters(1.0, 1.0, 2, 1), "alpha > dimension / 2"),
    ],
)
def test_what_has_no_matern_field_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()

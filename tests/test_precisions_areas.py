"""Precisions of areas against their definitions: ICAR, CAR, Leroux, BYM2, and their scale."""

import jax
import numpy as np
import pytest
import scipy.sparse as sp
from precisions_oracle import adjacency, check_null, generalised_variance, laplacian

import padchol
from padchol import precisions


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
    W = adjacency(islands=True)
    scaled, null = precisions.scaled_laplacian(W)
    dense = scaled.toarray()
    assert null.shape == (17, 2)
    for part in (slice(0, 12), slice(12, 16)):
        np.testing.assert_allclose(generalised_variance(dense[part, part]), 1, rtol=1e-12)
        plain = laplacian(W)[part, part]
        factor = dense[part, part][plain != 0] / plain[plain != 0]
        np.testing.assert_allclose(factor, factor[0], rtol=1e-12)
    np.testing.assert_allclose(dense[16], np.eye(17)[16])
    icar = precisions.icar(W, scaled=True)
    np.testing.assert_allclose(icar.matrix(2.0).toarray(), 2 * dense, rtol=1e-14)
    check_null(icar, 2.0)


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


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: precisions.icar(sp.eye_array(3)), "no area next to itself"),
        (lambda: precisions.icar(sp.csr_array(np.triu(np.ones((3, 3)), 1))), "symmetric weights"),
        (lambda: precisions.icar(-adjacency()), "weights that are not negative"),
        (lambda: precisions.icar(np.ones((2, 3))), "square adjacency matrix"),
        (lambda: precisions.icar(adjacency() * np.inf), "finite weights; got NaN or infinity"),
    ],
)
def test_what_is_no_adjacency_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


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


@pytest.mark.parametrize("name", ["icar", "proper_car", "leroux", "bym2"])
def test_the_matrix_of_the_caller_is_left_alone(name):
    """One of floats by rows, unsorted, with a duplicate and a zero."""
    data, indices = np.array([1, 0.5, 0, 0.5, 1, 1, 1, 1]), np.array([1, 3, 2, 3, 0, 3, 2, 0])
    W = sp.csr_array((data, indices, np.array([0, 4, 5, 6, 8])), shape=(4, 4))
    before = [x.copy() for x in (W.data, W.indices, W.indptr)]
    getattr(precisions, name)(W)
    for x, y in zip(before, (W.data, W.indices, W.indptr), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("W", [None, "W", object(), [[1.0], [1.0, 2.0]], np.ones(3)])
def test_what_is_no_matrix_of_weights_is_refused(W):
    with pytest.raises((TypeError, ValueError), match="expected an adjacency matrix"):
        precisions.icar(W)

"""Independent and correlated random effects."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import support

import padchol
from padchol import precisions

THREE = (4.0, 1.0, 0.25, 0.5, -0.3, 0.8)  # tau1, tau2, tau3, rho21, rho31, rho32


def test_independent_values():
    np.testing.assert_allclose(precisions.iid(3).matrix(2.5).toarray(), 2.5 * np.eye(3))
    assert precisions.iid(3).rank_deficiency == 0


def test_two_correlated_effects():
    """Intercepts of variance 1 / 4, slopes of variance 4, correlation -0.6, group by group."""
    covariance = np.array([[0.25, -0.6 * 0.5 * 2], [-0.6 * 0.5 * 2, 4.0]])
    Q = precisions.correlated(3, 2)
    expected = np.kron(np.eye(3), np.linalg.inv(covariance))
    np.testing.assert_allclose(Q.matrix(4.0, 0.25, -0.6).toarray(), expected, rtol=1e-12)
    assert Q.names == ("tau1", "tau2", "rho21")
    one = precisions.correlated(4, 1).matrix(2.0).toarray()
    np.testing.assert_allclose(one, 2 * np.eye(4))


def test_partial_correlations_are_those_of_the_effects():
    """rho32 is the correlation of effects 2 and 3 once 1 is known, the last from a precision."""
    R = np.asarray(precisions.correlation_matrix(*THREE[3:]))
    np.testing.assert_allclose(np.diag(R), 1, rtol=1e-14)
    np.testing.assert_allclose(R[0, 1:], [0.5, -0.3], rtol=1e-14)
    left = R[1:, 1:] - np.outer(R[1:, 0], R[0, 1:])
    np.testing.assert_allclose(left[0, 1] / np.sqrt(left[0, 0] * left[1, 1]), 0.8, rtol=1e-13)
    S = np.diag(np.array(THREE[:3]) ** -0.5)
    Q = precisions.correlated(2, 3).matrix(*THREE).toarray()
    np.testing.assert_allclose(Q @ np.kron(np.eye(2), S @ R @ S), np.eye(6), atol=1e-12)
    four = np.asarray(precisions.correlation_matrix(0.9, -0.9, 0.9, 0.9, -0.9, 0.9))
    assert np.linalg.eigvalsh(four).min() > 0
    last = np.linalg.inv(four)
    np.testing.assert_allclose(-last[2, 3] / np.sqrt(last[2, 2] * last[3, 3]), 0.9, rtol=1e-10)


@support.both_precisions
def test_density_of_correlated_effects(precision):
    Q, n = precisions.correlated(4, 3), 12
    values = Q.on(padchol.analyze(Q.pattern))
    x = np.random.default_rng(0).normal(size=n).astype(precision)
    density = jax.jit(lambda p: values.field(*p).log_prob(x))
    found = density(jnp.array(THREE, precision))
    assert found.dtype == precision
    S = np.diag(np.array(THREE[:3]) ** -0.5)
    R = np.asarray(precisions.correlation_matrix(*THREE[3:]), float)
    groups = x.reshape(4, 3).astype(float)
    size = np.linalg.slogdet(2 * np.pi * S @ R @ S)[1]
    expected = -0.5 * sum(g @ np.linalg.solve(S @ R @ S, g) + size for g in groups)
    np.testing.assert_allclose(found, expected, rtol=support.VALUE_TOLERANCE[precision.name])
    if precision == "float64":
        assert np.isnan(density(jnp.array([*THREE[:5], 1.0])))


def test_effects_that_do_not_exist():
    with pytest.raises(ValueError, match="n >= 1; got 0"):
        precisions.iid(0)
    with pytest.raises(ValueError, match="got n = 3, k = 0"):
        precisions.correlated(3, 0)
    with pytest.raises(ValueError, match="expected -1 < rho21 < 1; got 1"):
        precisions.correlated(3).matrix(1.0, 1.0, 1.0)
    with pytest.raises(TypeError, match=r"k \(k - 1\) / 2 partial correlations; got 2"):
        precisions.correlation_matrix(0.1, 0.2)

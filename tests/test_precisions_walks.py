"""Random walks, seasonal effects and autoregressions against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from precisions_oracle import check_null, generalised_variance
from scipy.interpolate import CubicSpline

import padchol
from padchol import precisions
from padchol.precisions import scaling

RNG = np.random.default_rng(0)
UNEVEN = np.cumsum(RNG.uniform(0.2, 2.0, 9))


def difference(n, order):
    return np.diff(np.eye(n), order, axis=0)


@pytest.mark.parametrize("order", [1, 2])
def test_random_walks(order):
    n, build = 9, (precisions.rw1, precisions.rw2)[order - 1]
    D = difference(n, order)
    np.testing.assert_allclose(build(n).matrix(2.5).toarray(), 2.5 * D.T @ D, atol=1e-12)
    check_null(build(n), 2.5)
    D = np.linalg.matrix_power(np.roll(np.eye(n), 1, 1) - np.eye(n), order)
    Q = build(n, cyclic=True)
    np.testing.assert_allclose(Q.matrix(2.5).toarray(), 2.5 * D.T @ D, atol=1e-12)
    check_null(Q, 2.5)
    assert Q.rank_deficiency == 1
    even = build(n, positions=np.arange(n) - 3.0).matrix(2.5).toarray()
    np.testing.assert_allclose(even, build(n).matrix(2.5).toarray(), rtol=1e-13)


def test_a_walk_over_uneven_positions():
    Q = precisions.rw1(9, positions=UNEVEN)
    D = difference(9, 1)
    expected = 1.7 * D.T @ np.diag(1 / np.diff(UNEVEN)) @ D
    np.testing.assert_allclose(Q.matrix(1.7).toarray(), expected, rtol=1e-12)
    check_null(Q, 1.7)


def test_a_second_order_walk_over_uneven_positions():
    """Against a quadratic form written out, for which straight lines are free."""
    Q, s = precisions.rw2(9, positions=UNEVEN), UNEVEN
    expected = np.zeros((9, 9))
    for i in range(1, 8):
        before, after = s[i] - s[i - 1], s[i + 1] - s[i]
        bend = np.zeros(9)
        bend[i - 1 : i + 2] = 1 / before, -1 / before - 1 / after, 1 / after
        expected += 1.7 * np.outer(bend, bend) * 2 / (before + after)
    np.testing.assert_allclose(Q.matrix(1.7).toarray(), expected, atol=1e-12 * expected.max())
    check_null(Q, 1.7)
    np.testing.assert_allclose(Q.matrix(1.0) @ (3 - 2 * s), 0, atol=1e-11)
    longer = precisions.rw2(9, positions=4 * s).matrix(1.7).toarray()
    np.testing.assert_allclose(longer, expected / 4**3, atol=1e-12 * expected.max())


def test_a_second_order_walk_interpolates_as_a_natural_cubic_spline_does():
    """The mean between values known at few positions: Wiener's process integrated, at its limit."""
    s = np.sort(np.append(RNG.uniform(0, 1, 395), np.linspace(0, 1, 6)))
    known = np.searchsorted(s, np.linspace(0, 1, 6))
    hidden = np.setdiff1d(np.arange(s.size), known)
    y = np.array([0.0, 1.0, -1.0, 0.5, 2.0, 0.0])
    Q = precisions.rw2(s.size, positions=s).matrix(1.0).toarray()
    mean = -np.linalg.solve(Q[np.ix_(hidden, hidden)], Q[np.ix_(hidden, known)] @ y)
    spline = CubicSpline(s[known], y, bc_type="natural")(s[hidden])
    np.testing.assert_allclose(mean, spline, atol=2e-3)


def test_seasonal():
    n, m = 14, 4
    S = np.array([np.convolve(np.eye(n)[k], np.ones(m))[m - 1 : n] for k in range(n)]).T
    Q = precisions.seasonal(n, m)
    np.testing.assert_allclose(Q.matrix(3.0).toarray(), 3.0 * S.T @ S, atol=1e-12)
    check_null(Q, 3.0)
    assert Q.rank_deficiency == m - 1


# ---- scaled ------------------------------------------------------------------------------------

SCALED = {
    "rw1": (precisions.rw1, (9,), {}),
    "rw1 uneven": (precisions.rw1, (9,), {"positions": UNEVEN}),
    "rw1 cyclic": (precisions.rw1, (9,), {"cyclic": True}),
    "rw2": (precisions.rw2, (9,), {}),
    "rw2 uneven": (precisions.rw2, (9,), {"positions": UNEVEN}),
    "rw2 cyclic": (precisions.rw2, (9,), {"cyclic": True}),
    "seasonal": (precisions.seasonal, (14, 4), {}),
}


@pytest.mark.parametrize("name", SCALED)
def test_scaled_walks_have_generalised_variance_one(name):
    build, arguments, options = SCALED[name]
    plain, Q = build(*arguments, **options), build(*arguments, **options, scaled=True)
    scale = generalised_variance(plain.matrix(1.0).toarray())
    expected = 2.5 * scale * plain.matrix(1.0).toarray()
    np.testing.assert_allclose(Q.matrix(2.5).toarray(), expected, rtol=1e-9, atol=1e-12)
    check_null(Q, 2.5)


def test_scales_by_a_sparse_factorisation_are_those_of_the_dense_inverse(monkeypatch):
    two = sp.block_diag([precisions.rw2(7).matrix(1.0), precisions.rw2(9).matrix(3.0)], "csc")
    null = scipy.linalg.block_diag(*(precisions.rw2(n).constraints.T for n in (7, 9)))
    dense = precisions.scaled_precision(two, null).toarray()
    for part in (slice(0, 7), slice(7, 16)):
        np.testing.assert_allclose(generalised_variance(dense[part, part]), 1, rtol=1e-9)
    monkeypatch.setattr(scaling, "DENSE", 1)
    np.testing.assert_allclose(
        precisions.scaled_precision(two, null).toarray(), dense, rtol=1e-8, atol=1e-12
    )


@pytest.mark.parametrize(
    ("Q", "null"),
    [
        (precisions.rw2(20).matrix(1.0), np.ones((20, 1))),  # of two dimensions
        (precisions.rw1(20).matrix(1.0), np.arange(20.0)[:, None]),
        (-precisions.rw1(20).matrix(1.0), np.ones((20, 1))),
        (sp.csc_array((3, 3)), np.ones((3, 1))),
    ],
)
def test_what_has_no_scale_is_refused(Q, null):
    with pytest.raises(ValueError, match="a basis of its whole null space"):
        precisions.scaled_precision(Q, null)


# ---- autoregressions ---------------------------------------------------------------------------


def autocovariances(phi, innovation, n):
    """gamma_0, ..., gamma_{n-1} from the equations of Yule and Walker."""
    p = len(phi)
    A, b = np.eye(p + 1), np.zeros(p + 1)
    for k in range(p + 1):
        for j in range(p):
            A[k, abs(k - j - 1)] -= phi[j]
    b[0] = 1 / innovation
    gamma = list(np.linalg.solve(A, b))
    while len(gamma) < n:
        gamma.append(phi @ gamma[: -p - 1 : -1])
    return np.array(gamma)


@pytest.mark.parametrize("psi", [(0.7,), (0.5, -0.8), (0.9, -0.3, 0.4, -0.6)])
def test_autoregression_has_its_autocovariances(psi):
    tau, p = 2.0, len(psi)
    phi, innovation = precisions.ar_parameters(tau, *psi)
    gamma = autocovariances(np.asarray(phi), innovation, 12)
    np.testing.assert_allclose(gamma[0], 1 / tau, rtol=1e-12)
    for m in range(1, p + 1):  # a partial autocorrelation is the last coefficient of a predictor
        last = np.linalg.solve(scipy.linalg.toeplitz(gamma[:m]), gamma[1 : m + 1])[-1]
        np.testing.assert_allclose(last, psi[m - 1], rtol=1e-10)
    assert abs(np.roots([1, *-np.asarray(phi)])).max() < 1
    for n in (1, 2, p + 1, 12):
        Q = precisions.ar(n, p).matrix(tau, *psi).toarray()
        covariance = scipy.linalg.toeplitz(gamma[:n])
        np.testing.assert_allclose(Q @ covariance, np.eye(n), atol=1e-10)
        outside = abs(np.subtract.outer(np.arange(n), np.arange(n))) > p
        assert (Q[outside] == 0).all()
        assert precisions.ar(n, p).rank_deficiency == 0


@pytest.mark.parametrize("n", [1, 2, 6])
def test_autoregression_of_order_one(n):
    lag = abs(np.subtract.outer(np.arange(n), np.arange(n)))
    Q = precisions.ar1(n).matrix(2.0, 0.7).toarray()
    np.testing.assert_allclose(np.linalg.inv(Q), 0.7**lag / 2.0, rtol=1e-12)
    np.testing.assert_array_equal(precisions.ar(n, 1).matrix(2.0, 0.7).toarray(), Q)
    assert precisions.ar1(n).names == ("tau", "rho")


def test_autoregression_under_jit_and_vmap():
    Q = precisions.ar(7, 2)
    values = Q.on(padchol.analyze(Q.pattern))
    psi = jnp.array([[0.5, -0.3], [0.9, 0.2], [1.2, 0.0]])
    found = jax.jit(jax.vmap(lambda p: values(2.0, *p)))(psi)
    for row, each in zip(found[:2], psi[:2], strict=True):
        np.testing.assert_allclose(row, values.plan.values(Q.matrix(2.0, *each)), rtol=1e-13)
    assert np.isnan(found[2]).all()
    with pytest.raises(ValueError, match="expected -1 < psi2 < 1; got 1"):
        precisions.ar_parameters(1.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: precisions.rw1(1), "n >= 2; got 1"),
        (lambda: precisions.rw2(4, cyclic=True), "n >= 5; got 4"),
        (
            lambda: precisions.rw1(3, positions=[0, 2, 1]),
            "3 increasing positions; got 2 and then 1",
        ),
        (lambda: precisions.rw2(3, positions=[0, 1, 1]), "got 1 and then 1, numbers 1 and 2"),
        (lambda: precisions.rw2(3, positions=[0, 1]), r"3 increasing positions.* shape \(2,\)"),
        (lambda: precisions.rw2(3, positions=[0, 1, np.inf]), "3 increasing positions, all finite"),
        (lambda: precisions.rw2(5, positions=range(5), cyclic=True), "walk that is not cyclic"),
        (lambda: precisions.seasonal(5, 6), "a period from 2 to n = 5; got 6"),
        (lambda: precisions.ar(0, 1), "got n = 0, p = 1"),
        (lambda: precisions.ar(5, 0), "got n = 5, p = 0"),
        (lambda: precisions.scaled_precision(np.eye(3), np.ones((2, 1))), r"\(3, 3\) and \(2, 1\)"),
    ],
)
def test_walks_that_do_not_exist(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("precision", ["float32"], indirect=True)
def test_uneven_walks_in_float32(precision):
    """Log determinants by dense algebra in double precision; the constructor sees no null space."""
    Q = precisions.rw2(9, positions=UNEVEN, scaled=True)
    values = Q.on(padchol.analyze(Q.pattern))
    found = jax.jit(lambda tau: values.field(tau).log_determinant())(1.7)
    assert found.dtype == precision
    eigenvalues = np.linalg.eigvalsh(Q.matrix(1.7).toarray().astype(float))
    np.testing.assert_allclose(found, np.log(eigenvalues[2:]).sum(), atol=2e-3)


def test_density_of_an_autoregression():
    Q = precisions.ar(6, 2)
    values, x = Q.on(padchol.analyze(Q.pattern)), RNG.normal(size=6)
    phi, innovation = precisions.ar_parameters(2.0, 0.5, -0.3)
    covariance = scipy.linalg.toeplitz(autocovariances(np.asarray(phi), innovation, 6))
    expected = -0.5 * (
        x @ np.linalg.solve(covariance, x)
        + np.linalg.slogdet(covariance)[1]
        + 6 * np.log(2 * np.pi)
    )
    found = jax.jit(lambda p: values.field(*p).log_prob(x))(jnp.array([2.0, 0.5, -0.3]))
    np.testing.assert_allclose(found, expected, rtol=1e-11)

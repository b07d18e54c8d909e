"""The parts of additive models: coordinates, determinants, formulas, predictions, bad input."""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

pytest.importorskip("pandas", reason="additive models take data frames")
import pandas

from padchol import likelihoods, mixed, splines
from padchol.splines import families
from padchol.splines.bases import BSplines, Cyclic, Effects, Natural
from padchol.splines.centring import Centred, centred_null, centring
from padchol.splines.determinant import log_determinant
from padchol.splines.formula import split
from padchol.splines.mixtures import upper_tail
from padchol.splines.restricted import climb
from padchol.splines.smooths import Smooth
from padchol.splines.tensor import Tensor, rowwise

RNG = np.random.default_rng(4)
m = 120
X, Z = RNG.uniform(0, 2, (2, m))
BASES = {
    "ps": lambda x: BSplines(x, 9),
    "ps of order 1": lambda x: BSplines(x, 7, order=1),
    "cp": lambda x: Cyclic(x, 8),
    "cr": lambda x: Natural(x, 7),
}
every_basis = pytest.mark.parametrize("name", BASES)


def frame() -> pandas.DataFrame:
    rng = np.random.default_rng(6)
    n = 90
    x, z = rng.uniform(0, 1, (2, n))
    f = np.array(["u", "v"])[rng.integers(0, 2, n)]
    y = np.sin(5 * x) + 0.5 * z + 0.3 * (f == "v") + 0.3 * rng.normal(size=n)
    return pandas.DataFrame({"x": x, "z": z, "f": f, "y": y, "count": rng.poisson(np.exp(y))})


@functools.cache
def fitted() -> splines.AdditiveFit:
    return splines.additive("y ~ f + s(x, k=7) + s(z, by=f, k=5)", frame()).fit()


# ---- bases and coordinates --------------------------------------------------------------------


@every_basis
def test_the_penalty_does_not_see_the_null_space_and_nothing_else(name):
    basis = BASES[name](X)
    D, N = basis.root().toarray(), basis.null()
    np.testing.assert_allclose(D @ N, 0, atol=1e-10 * np.abs(D).max())
    assert np.linalg.matrix_rank(D) == basis.size - N.shape[1]
    np.testing.assert_allclose(N.T @ N, np.eye(N.shape[1]), atol=1e-12)


def test_a_circle_closes_where_it_is_said_to():
    basis = Cyclic(np.arange(24.0), 8, ends=(0, 24))
    np.testing.assert_allclose(*basis.design([0.0, 24.0]).toarray())
    assert split("y ~ s(h, bs='cp', ends=c(0, 24))").smooths[0].ends == (0, 24)


def test_natural_splines_and_their_penalty():
    """f'' is zero at the ends, and |D beta|^2 its integral's square."""
    basis = BASES["cr"](X)
    beta = RNG.normal(size=basis.size)
    x = np.linspace(basis.low, basis.high, 20_001)
    h = x[1] - x[0]
    bends = np.diff(basis.design(x) @ beta, 2) / h**2
    assert np.abs(bends[[0, -1]]).max() < 1e-2 * np.abs(bends).max()
    np.testing.assert_allclose(np.sum(bends**2) * h, np.sum((basis.root() @ beta) ** 2), rtol=1e-5)
    values = RNG.normal(size=basis.size)
    at_knots = np.linalg.solve(basis.measure().toarray(), values)
    np.testing.assert_allclose(basis.design(basis.knots) @ at_knots, values, atol=1e-10)


@every_basis
def test_functions_go_on_beyond_the_data(name):
    basis = BASES[name](X)
    ends = np.array([basis.low, basis.high])
    beyond = basis.design(ends + np.array([-0.5, 0.5])).toarray()
    if name == "cp":
        inside = basis.design(ends[::-1] + np.array([-0.5, 0.5])).toarray()
        np.testing.assert_allclose(beyond, inside, atol=1e-12)
        return
    slope = (basis.design(ends + 1e-6) - basis.design(ends - 1e-6)).toarray() / 2e-6
    at = basis.design(ends).toarray()
    np.testing.assert_allclose(beyond, at + slope * [[-0.5], [0.5]], atol=0.05)


@pytest.mark.parametrize("tiny", [False, True])
def test_centring_is_exact_sparse_and_well_conditioned(tiny):
    c = RNG.uniform(0.5, 2, 12)
    if tiny:
        c[[0, 3, 4, 11]] = [1e-9, 0.0, 1e-5, 1e-12]
    Z = centring(c)
    np.testing.assert_allclose(c @ Z, 0, atol=1e-15)
    assert np.diff(Z.indptr).max() == 2
    assert np.linalg.cond(Z.toarray()) < 30
    N = np.vander(np.arange(12.0), 2)
    inner = centred_null(N, c, Z)
    assert inner.shape == (11, 1)
    np.testing.assert_allclose(c @ (Z @ inner), 0, atol=1e-10)
    with pytest.raises(ValueError, match="sum to zero"):
        centring(np.zeros(3))


def test_rowwise_products():
    A, B = RNG.normal(size=(2, 5, 3))
    A[A < 0.2] = 0
    expected = np.einsum("ij,ik->ijk", A, B).reshape(5, -1)
    np.testing.assert_allclose(rowwise(A, B).toarray(), expected)


SMOOTHS = {
    "ps": lambda: Smooth("s", BASES["ps"](X), X),
    "cr, selected": lambda: Smooth("s", BASES["cr"](X), X, select=True),
    "cp": lambda: Smooth("s", BASES["cp"](X), X),
    "by": lambda: Smooth("s", BASES["ps"](X), X, Z, centred=False),
    "re": lambda: Smooth("s", Effects(6), (np.arange(m) % 6, np.ones(m)), centred=False),
    "te": lambda: Smooth("te", Tensor([BSplines(X, 5), Cyclic(Z, 5)]), (X, Z)),
    "ti": lambda: Smooth(
        "ti",
        Tensor([Centred(BSplines(X, 5), X), Centred(Natural(Z, 4), Z)]),
        (X, Z),
        centred=False,
    ),
}


@pytest.mark.parametrize("name", SMOOTHS)
def test_determinants_are_those_in_orthonormal_coordinates(name):
    """As mgcv has them: coefficients P beta, the constraint absorbed by an orthonormal basis."""
    smooth = SMOOTHS[name]()
    if smooth.centred:
        np.testing.assert_allclose(smooth.columns.sum(0), 0, atol=1e-9)
    P = (smooth.basis.measure() @ smooth.Z).toarray()
    R = np.linalg.qr(P, mode="r")  # gamma to orthonormal coordinates
    inverse = np.linalg.inv(R)
    for smoothing in RNG.lognormal(0, 2, (3, len(smooth.roots))):
        S = sum(a * (D.T @ D).toarray() for a, D in zip(smoothing, smooth.roots, strict=True))
        values = np.linalg.eigvalsh(inverse.T @ S @ inverse)
        left = smooth.size - smooth.null.shape[1]
        expected = np.log(values[-left:]).sum() + 2 * np.log(np.abs(np.diag(R))).sum()
        found = smooth.times @ np.log(smooth.table @ smoothing) + smooth.constant
        np.testing.assert_allclose(found, expected, atol=1e-6)
        np.testing.assert_allclose(S @ smooth.null, 0, atol=1e-8 * np.abs(S).max())


def test_determinants_do_not_depend_on_coordinates():
    """log|det K| grows by 2 log|T| under beta = T gamma, as log|H| does."""
    D, T = RNG.normal(size=(4, 6)), RNG.normal(size=(6, 6))
    N = scipy.linalg.null_space(D)
    before = log_determinant(D.T @ D, N, np.eye(6))
    after = log_determinant(T.T @ D.T @ D @ T, np.linalg.solve(T, N), T.T @ T)
    np.testing.assert_allclose(after - before, 2 * np.linalg.slogdet(T)[1])


# ---- tails ------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [0.01, 1.0, 3.0, 40.0, 300.0])
def test_tails_of_sums_are_chi_squared_where_they_are(q):
    found = upper_tail(np.array([1.0, 1 - 1e-10]), np.array([1.0, 0.5]), q)
    np.testing.assert_allclose(found, scipy.stats.chi2.sf(q, 1.5), rtol=1e-6)
    found = upper_tail(np.array([1.0, 1 - 1e-10, -4 * q / 50]), np.array([3.0, 1.0, 50.0]))
    np.testing.assert_allclose(found, scipy.stats.f.sf(q, 4, 50), rtol=1e-6)
    assert upper_tail(np.array([2.0]), np.array([3.0]), q) == scipy.stats.chi2.sf(q / 2, 3)


def test_tails_of_sums_of_any_sign():
    weights = np.array([1.0, 0.5, -0.7])
    drawn = np.random.default_rng(0).normal(size=(400_000, 3)) ** 2 @ weights
    for q in (-3.0, -0.5, 0.0, 0.3, 2.0, 6.0):
        np.testing.assert_allclose(
            upper_tail(weights, np.ones(3), q), np.mean(drawn > q), atol=4e-3
        )


def test_tails_of_sums_beyond_what_can_occur():
    one = np.ones(2)
    for q in (-1.0, 1.0):
        assert upper_tail(np.array([1.0, 0.5]), one, -abs(q)) == 1.0
        assert upper_tail(np.array([-1.0, -0.5]), one, abs(q)) == 0.0
        assert upper_tail(0 * one, one, q) == upper_tail(one, 0 * one, q) == float(q < 0)


# ---- formulas ---------------------------------------------------------------------------------


def test_formulas_are_taken_apart():
    text = "log(y) ~ a*b + s(x, k=20) - 1 + te(x, `my z`, k=c(4, 6), np=FALSE) + offset(log(n))"
    parts = split(text + " + s(g, bs='re') + s(x, by=f)")
    assert (parts.left, parts.fixed, parts.offsets) == ("log(y)", "a*b - 1", ("log(n)",))
    labels = [call.label for call in parts.smooths]
    assert labels == ["s(x)", "te(x,my z)", "s(g)", "s(x)"]
    assert parts.smooths[1].k == (4, 6)
    assert parts.smooths[1].bs == ("ps", "ps")
    assert not parts.smooths[1].points
    assert parts.smooths[3].by == "f"


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("s(x)", "one ~"),
        ("y ~ ", "terms after"),
        ("y ~ z:s(x)", "by=z"),
        ("y ~ z - s(x)", "joined by"),
        ("y ~ s(x, z)", "te"),
        ("y ~ te(x)", "two variables"),
        ("y ~ s(log(x))", "computed in the data"),
        ("y ~ s(x, bs='tp')", "one of ps, cp, cr, re"),
        ("y ~ s(x, knots=3)", "knots"),
        ("y ~ s(x, k=2.5)", "whole numbers k"),
        ("y ~ te(x, z, k=(3, 4, 5))", "2 values of k"),
        ("y ~ t2(x, z)", "s, te or ti"),
        ("y ~ s(x) + s(x)", "once"),
        ("y ~ s(x, bs='cp', ends=3)", "ends="),
        ("y ~ s(x", "parentheses"),
        ("y ~ s(x) + (1 | f)", r"s\(g, bs='re'\).*got '\(1 \| f\)'"),
        ("y ~ s(x) +", "a term after each sign"),
        ("y ~ s(x, k=)", r"cannot read 's\(x, k=\)'"),
        ("y ~ te(x, x)", r"names of different columns in 'te\(x, x\)'"),
        ("y ~ s()", r"names of different columns in 's\(\)'"),
        ("y ~ s(x, k=n)", r"cannot read 'n' in 's\(x, k=n\)'"),
    ],
)
def test_formulas_that_cannot_be_read_say_why(formula, message):
    with pytest.raises(ValueError, match=message):
        split(formula)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("y ~ s(x) + te(x, z)", "ti"),
        ("y ~ x + s(x)", "not identifiable"),
        ("y ~ s(nothing)", "nothing"),
        ("y ~ z + I(2 * z) + s(x)", r"it is 2 z\nLeave them out of the formula$"),
        ("y ~ s(f)", "numbers in the column 'f'"),
        ("y ~ s(x, k=3)", r"cannot make s\(x\): expected k of 4 or more for B-splines; got 3"),
        ("y ~ s(x, bs='cr', k=500)", "distinct values"),
        ("y ~ te(x, z, bs=('ps', 're'))", "term of their own"),
        ("C(f) ~ s(x)", "expected one response; .* has 2 columns"),
        (
            "y ~ s(one)",
            r"cannot make s\(one\): expected values of x that differ",
        ),
        ("y ~ s(x, bs='cp', k=2)", "a cyclic smooth with a penalty of order 1 or more"),
    ],
)
def test_models_that_cannot_be_made_say_why(formula, message):
    with pytest.raises(ValueError, match=message):
        splines.additive(formula, frame().assign(one=1.0))


def test_designs_of_smooths_of_several_kinds():
    """A covariate scales its smooth; an interaction sums to zero over each of its variables."""
    data = frame()
    model = splines.additive("y ~ s(x, by=z, k=5)", data)
    start, size = model.starts[0], model.terms[0].smooth.size
    by = lambda data: model.design(data).toarray()[:, start : start + size]
    np.testing.assert_allclose(by(data.assign(z=3 * data.z)), 3 * by(data), rtol=1e-12)
    model = splines.additive("y ~ s(x, k=5) + s(z, k=5) + ti(x, z, k=4)", data)
    start, size = model.starts[2], model.terms[2].smooth.size
    assert size == 3 * 3
    x, z = np.meshgrid(data.x, data.z, indexing="ij")
    pairs = pandas.DataFrame({"x": x.ravel(), "z": z.ravel()})
    columns = model.design(pairs).toarray()[:, start : start + size].reshape(90, 90, size)
    assert np.abs(columns).max() > 0.01
    for axis in (0, 1):
        np.testing.assert_allclose(columns.sum(axis), 0, atol=1e-10)


def test_levels_that_a_model_has_not_seen():
    data = frame()
    model = splines.additive("y ~ s(x, k=7) + s(f, bs='re')", data)
    assert model.terms[1].coefficient_names == ["s(f)[u]", "s(f)[v]"]
    known, new = model.design(data[:3]).toarray(), data[:3].assign(f="w")
    with pytest.raises(ValueError, match=r"levels of f that the model knows; got .*w"):
        model.design(new)
    zero = model.design(new, new_levels="zero").toarray()
    np.testing.assert_array_equal(zero[:, -2:], 0)
    np.testing.assert_array_equal(zero[:, :-2], known[:, :-2])
    with pytest.raises(ValueError, match="new_levels 'error' or 'zero'; got 'drop'"):
        model.design(new, new_levels="drop")
    model = splines.additive("y ~ s(x, by=f, k=5)", data)
    with pytest.raises(ValueError, match="levels of f that the model knows"):
        model.design(new)


def test_responses_of_labels_and_of_formulas():
    data = frame()
    model = splines.additive("f ~ s(x)", data, "binomial")
    np.testing.assert_array_equal(model.observed.y, data["f"] == "v")
    assert "response f: 'v' is success (1), 'u' is not (0)" in model.notes
    model = splines.additive("log(count + 1) ~ s(x)", data)
    np.testing.assert_allclose(model.observed.y, np.log1p(data["count"]))


def test_families_of_ones_own():
    data, own = frame(), lambda y: likelihoods.poisson(y)
    model = splines.additive("count ~ s(x)", data, own)
    assert splines.additive("count ~ s(x)", data, cast(Any, model.family)).family is model.family
    np.testing.assert_allclose(model.family.mean(np.array([0.0, 1.0]), ()), np.exp([0.0, 1.0]))
    surviving = lambda y, event: likelihoods.weibull(y, event, 1.0)
    assert np.isnan(families.family_of(surviving).mean(np.zeros(2), ())).all()


@pytest.mark.parametrize(
    ("name", "theta"),
    [("poisson", ()), ("gamma", (1.0,)), ("negative_binomial", (1.7,)), ("gaussian", (1.0,))],
)
def test_unit_deviances_are_of_likelihoods(name, theta):
    """Twice what the log density lacks of that of the mean that fits best."""
    family, y = families.family_of(name), np.array([1.0, 2.0, 5.0])
    mu = np.array([0.7, 2.5, 3.0])
    link = (lambda mu: mu) if name == "gaussian" else np.log
    log_density = family.make(y, np.ones(3), theta)
    expected = 2 * (log_density(jnp.asarray(link(y))) - log_density(jnp.asarray(link(mu))))
    assert family.deviance is not None
    np.testing.assert_allclose(family.deviance(y, mu, theta), expected, rtol=1e-10)
    np.testing.assert_allclose(family.mean(link(mu), theta), mu)


def test_bad_arguments_say_what_was_expected():
    data = frame()
    counts = splines.additive("count ~ s(x)", data, "poisson")
    assert counts.family is splines.additive("count ~ s(x)", data, likelihoods.poisson).family
    with pytest.raises(ValueError, match=r"families gaussian, .*, student_t; got 'Poisson'"):
        splines.additive("y ~ s(x)", data, "Poisson")
    for wrong in (3, mixed.families.poisson, mixed.families.poisson()):
        with pytest.raises(TypeError, match=r"expected a family such as padchol\.likelihoods"):
            splines.additive("y ~ s(x)", data, cast(Any, wrong))
    with pytest.raises(ValueError, match=r"weights a column.s name, .* got shape \(3,\)"):
        splines.additive("y ~ s(x)", data, weights=np.ones(3))
    for family, response, message in [
        ("poisson", data.y - 9, r"counts 0, 1, 2, \.\.\. as response of poisson; got -.* in row 0"),
        ("gamma", data["count"] * 0, "numbers > 0 as response of gamma; got 0 in row 0"),
        ("binomial", data["count"] + 2, "between 0 and the trials as response of binomial"),
        ("beta", data["count"] + 2, "proportions between 0 and 1 as response of beta"),
        ("gaussian", 1.0, "a response that varies; got 1 in every row"),
        ("poisson", 0, "whose mean a finite predictor has; got the mean 0"),
        ("binomial", 1, "whose mean a finite predictor has; got the mean 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            splines.additive("y ~ s(x)", data.assign(y=response), family)
    halves = data.assign(count=data["count"] / 2)
    assert "not whole" in splines.additive("count ~ s(x)", halves, "poisson").notes[0]
    with pytest.raises(ValueError, match=r"family binomial and no columns; got poisson and \(\)"):
        splines.additive("count | y ~ s(x)", data, likelihoods.poisson)
    with pytest.raises(ValueError, match="weights >= 0"):
        splines.additive("y ~ s(x)", data, weights=-np.ones(len(data)))
    model = splines.additive("y ~ s(x)", data)
    with pytest.raises(ValueError, match="1 smoothing and 0 other"):
        model.evaluate([0.0, 1.0])
    with pytest.raises(TypeError, match=r"a formula as text, 'y ~ \.\.\.'; got int"):
        splines.additive(cast(Any, 3), data)
    few = np.zeros(len(data))
    few[:2] = 1
    with pytest.raises(ValueError, match=r"more than 2 rows of positive weight.* got 2"):
        splines.additive("y ~ s(x)", data, weights=few)
    missing = data.assign(x=data.x.where(data.x > 0.1))
    notes = splines.additive("y ~ s(x)", missing).notes
    assert "left out" in notes[0]


def test_trials_stand_in_the_formula_or_in_a_column():
    data = frame().assign(n=lambda d: d["count"] + 2, failures=2)
    models = [
        splines.additive(f"{left} ~ s(x)", data, likelihoods.binomial, *columns)
        for left, columns in (
            ("count", ("n",)), ("count | n", ()), ("cbind(count, failures)", ()),
            ("cbind(count, n - count)", ()),
        )
    ]  # fmt: skip
    for model in models:
        np.testing.assert_array_equal(model.observed.columns[0], data["n"])
        np.testing.assert_array_equal(model.observed.y, data["count"])


# ---- fits -------------------------------------------------------------------------------------


def test_a_fit_says_what_it_found():
    fit, data = fitted(), frame()
    assert fit.smooths == ["s(x)", "s(z):fu", "s(z):fv"]
    assert fit.names[:2] == ["Intercept", "f[T.v]"]
    assert len(fit.names) == fit.coefficients.size == 2 + 6 + 4 + 4
    shown = repr(fit)
    assert repr(fit.model) == f"AdditiveModel({fit.model.formula!r}, gaussian, 90 rows)"
    for text in ("s(z):fv", "Ref.df", "-REML", "deviance explained", "dispersion", "n = 90"):
        assert text in shown
    np.testing.assert_allclose(fit.residuals("response"), data.y - fit.fitted)
    np.testing.assert_allclose(np.sum(fit.residuals() ** 2), fit.deviance)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.covariance))[:2], columns_se(fit), rtol=1e-8)
    total = fit.edf_total
    np.testing.assert_allclose(total, 2 + sum(fit.edf.values()), rtol=1e-8)
    assert fit.aic == -2 * fit.loglik + 2 * (total + 1)


def columns_se(fit):
    return [test.se for test in fit.test_columns().values()]


@pytest.mark.slow
def test_pearson_residuals():
    """sqrt(w / V(mu)) (y - mu), as residuals(., "pearson") of R's mgcv has them"""
    data = frame().assign(n=lambda d: d["count"] + 2, w=np.linspace(0.5, 2, 90))
    for left, family, V, times in [
        ("y", "gaussian", lambda mu: 1, data.w),
        ("count", "poisson", lambda mu: mu, data.w),
        ("count | n", "binomial", lambda mu: mu * (1 - mu), data.w * data.n),
    ]:
        fit = splines.additive(f"{left} ~ s(x, k=6)", data, family, weights="w").fit()
        wanted = fit.residuals("response") * np.sqrt(times / V(fit.fitted))
        np.testing.assert_allclose(fit.residuals("pearson"), wanted, rtol=1e-10)
    with pytest.raises(ValueError, match="'deviance', 'response' or 'pearson'"):
        fit.residuals("working")


def test_smooths_sum_to_zero_and_add_up():
    fit, data = fitted(), frame()
    parts = [fit.predict(terms=name) for name in ("Intercept", "f[T.v]", *fit.smooths)]
    np.testing.assert_allclose(np.sum(parts, 0), fit.linear_predictor, atol=1e-10)
    np.testing.assert_allclose(np.sum(fit.smooth("s(x)", x=data.x).fit), 0, atol=1e-8)
    curve = fit.smooth("s(z):fu")
    assert (curve.lower < curve.fit).all()
    assert curve.x.shape == curve.fit.shape == (100,)
    assert (fit.smooth("s(z):fu", with_mean=True).se > 0).all()
    with pytest.raises(KeyError, match="no smooth"):
        fit.smooth("s(w)")


def test_predictions_refuse_what_they_do_not_know():
    fit = fitted()
    new = frame()[:3].drop(columns="y")
    assert fit.predict(new).shape == (3,)
    assert fit.predict(new[:0]).shape == fit.predict(new[:0], se=True).se.shape == (0,)
    with pytest.raises(ValueError, match="levels of f"):
        fit.predict(new.assign(f="w"))
    with pytest.raises(ValueError, match=r"columns \['z'\]"):
        fit.predict(new.drop(columns="z"))
    with pytest.raises(ValueError, match="'link' or 'response'"):
        fit.predict(new, type="terms")
    with pytest.raises(ValueError, match="probability"):
        fit.predict(new, interval=95)
    with pytest.raises(ValueError, match=r"x of shape \(3,\) for s\(x\); got \(3, 2\)"):
        fit.smooth("s(x)", np.ones((3, 2)))


def test_predictions_have_the_offset_of_their_rows():
    data = frame().assign(o=np.linspace(-1, 1, 90))
    named, given, written = (
        splines.additive(f"y ~ s(x, k=7){more}", data, offset=offset).fit()
        for more, offset in (("", "o"), ("", data["o"]), (" + offset(o)", None))
    )
    new = data[5:9]
    wanted = written.predict(new)
    np.testing.assert_allclose(written.predict()[5:9], wanted, rtol=1e-9)
    np.testing.assert_allclose(named.predict(new), wanted, rtol=1e-9)
    np.testing.assert_allclose(given.predict(new, offset=new["o"]), wanted, rtol=1e-9)
    np.testing.assert_allclose(named.predict(new, offset=0) + new["o"], wanted, rtol=1e-9)
    with pytest.raises(ValueError, match=r"offset=\.\.\.\); the model had an array"):
        given.predict(new)
    with pytest.raises(ValueError, match=r"columns \['o'\]"):
        named.predict(new.drop(columns="o"))


def test_every_smooth_is_drawn():
    plt = pytest.importorskip("matplotlib.pyplot")
    fit = fitted()
    axes = fit.plot(residuals=True)
    assert [axis.get_title()[:6] for axis in axes[:3]] == ["s(x), ", "s(z):f", "s(z):f"]
    with pytest.raises(ValueError, match="3 axes"):
        fit.plot(axes[:2])
    with pytest.raises(KeyError, match="no smooth 's\\(q\\)'"):
        fit.plot(smooths=["s(q)"])
    plt.close("all")


@pytest.mark.slow
def test_smooths_of_two_variables_and_random_effects_are_drawn():
    """A map, and effects against normal quantiles; more variables have no picture."""
    plt = pytest.importorskip("matplotlib.pyplot")
    data = frame().assign(u=lambda d: np.cos(9 * d.x + d.z))
    formula = "y ~ te(x, z, k=4) + s(f, bs='re') + ti(x, z, u, k=4)"
    fit = splines.additive(formula, data).fit()
    _, panels = plt.subplots(1, 4)
    names = ["te(x,z)", "s(f)", "ti(x,z,u)"]
    assert fit.smooths == names
    surface, effects, none, unused = fit.plot(panels)
    assert (surface.get_xlabel(), surface.get_ylabel()) == ("x", "z")
    assert surface.get_title() == f"te(x,z), edf {fit.edf['te(x,z)']:.2f}"
    (points,) = effects.get_lines()
    np.testing.assert_array_equal(points.get_ydata(), np.sort(fit.smooth("s(f)").fit))
    np.testing.assert_allclose(points.get_xdata(), scipy.stats.norm.ppf([0.25, 0.75]))
    assert none.get_title() == "ti(x,z,u): no picture of more than two variables"
    assert not unused.get_visible()
    curve = fit.smooth("te(x,z)", points=400)
    assert curve.x.shape == (400, 2)
    columns = slice(fit.model.starts[0], fit.model.starts[0] + fit.model.terms[0].smooth.size)
    at = pandas.DataFrame({"x": curve.x[:, 0], "z": curve.x[:, 1], "f": "u", "u": 0.0})
    B = fit.model.design(at).toarray()[:, columns]
    np.testing.assert_allclose(curve.fit, B @ fit.coefficients[columns], atol=1e-10)
    plt.close("all")


def dense_restricted(model, rho, y):
    """By the covariance of y, from the design of the model and its penalties."""
    B = model.design(model.data).toarray()
    p = B.shape[1]
    S, free, k = np.zeros((p, p)), [np.eye(p)[:, :2]], 0
    for term, start in zip(model.terms, model.starts, strict=False):
        where = slice(start, start + term.smooth.size)
        for D in term.smooth.roots:
            S[where, where] += np.exp(rho[k]) * (D.T @ D).toarray()
            k += 1
        free.append(np.eye(p)[:, where] @ term.smooth.null)
    N = np.hstack(free)
    G = scipy.linalg.null_space(N.T)
    H = B.T @ B + S
    beta = np.linalg.solve(H, B.T @ y)
    left = y.size - N.shape[1]
    phi = (np.sum((y - B @ beta) ** 2) + beta @ S @ beta) / left
    logs = np.linalg.slogdet(G.T @ S @ G)[1] - np.linalg.slogdet(H)[1]
    return (logs - left * (np.log(2 * np.pi * phi) + 1)) / 2


def test_the_restricted_likelihood_and_its_slopes():
    """Against dense algebra, up to the constant of the coordinates; slopes by differences."""
    model = fitted().model
    at = jnp.asarray([0.3, 1.2, -0.5])
    y = np.asarray(model.observed.y)
    found, slope = climb(at, model.restricted, model.observed, model._begin())
    apart = float(found.log_restricted) - dense_restricted(model, at, y)
    for j in range(3):
        step = 1e-5 * np.eye(3)[j]
        ends = [dense_restricted(model, at + s * step, y) for s in (-1, 1)]
        np.testing.assert_allclose(slope[j], (ends[1] - ends[0]) / 2e-5, atol=1e-6)
    moved = model.evaluate(at + 0.7)
    np.testing.assert_allclose(
        moved.log_restricted, dense_restricted(model, at + 0.7, y) + apart, atol=1e-8
    )


@pytest.mark.slow
def test_counts_are_differentiable_in_data_weights_and_smoothing():
    """Through the mode of the Laplace approximation, twice."""
    model = splines.additive("count ~ s(x, k=6) + s(z, k=5)", frame(), likelihoods.poisson)

    def value(z, w, offset):
        data = model.observed._replace(weights=w, offset=offset)
        return model.restricted.log_restricted(z, data)

    z, w, offset = jnp.asarray([0.5, 1.0]), model.observed.weights, model.observed.offset
    slopes = jax.jit(jax.grad(value, (0, 1, 2)))(z, w, offset)
    curvature = jax.jit(jax.hessian(value))(z, w, offset)
    run = jax.jit(value)
    for k, point in enumerate((z, w, offset)):
        step = np.zeros(point.size)
        step[1] = 1e-4
        args = [[z, w, offset] for _ in range(2)]
        args[0][k], args[1][k] = point - step, point + step
        ends = [run(*each) for each in args]
        np.testing.assert_allclose(slopes[k][1], (ends[1] - ends[0]) / 2e-4, rtol=1e-5)
    ends = [jax.jit(jax.grad(value))(z + s * jnp.array([1e-4, 0]), w, offset) for s in (-1, 1)]
    np.testing.assert_allclose(curvature[0], (ends[1] - ends[0]) / 2e-4, rtol=1e-5)


LONG = pytest.mark.release


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["beta", *(pytest.param(k, marks=LONG) for k in ("student_t", "weibull", "other"))]
)
def test_other_families(kind):
    """Parameters estimated where the family has some; without derivatives nothing is assumed."""
    rng = np.random.default_rng(5)
    data = frame()
    mean = 1 / (1 + np.exp(-np.sin(5 * data.x)))
    data["share"] = rng.beta(8 * mean, 8 * (1 - mean))
    data["time"], data["event"] = rng.exponential(np.exp(-np.sin(5 * data.x))), 1.0
    call = {
        "beta": ("share ~ s(x)", likelihoods.beta),
        "student_t": ("y ~ s(x)", likelihoods.student_t),
        "weibull": ("time ~ s(x)", likelihoods.weibull, "event"),
        "other": ("count ~ s(x)", lambda y: likelihoods.negative_binomial(y, 5.0)),
    }[kind]
    fit = splines.additive(call[0], data, *call[1:]).fit()
    assert np.isfinite(fit.reml)
    assert 1.5 < fit.edf["s(x)"] < 9
    if kind == "beta":
        assert 5 < fit.parameters["precision"] < 12
    if kind == "weibull":
        assert 0.7 < fit.parameters["shape"] < 1.4
    assert "s(x)" in str(fit)

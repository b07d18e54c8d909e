"""Formulas: what they mean, what is said of the data, and what cannot be read.

Right values by R 4.2 with lme4 1.1.31 on `DATA`, written in R as the same expressions of i.
"""

import numpy as np
import pytest
from formula_data import DATA, FLAG, MISSING_CELL, I, N, X

from padchol import likelihoods, mixed

pandas = pytest.importorskip("pandas")
pytest.importorskip("formulaic", reason="formulas need formulaic")

pytestmark = pytest.mark.oldest


def terms(read):
    return [(term.name, term.columns, term.group.labels.size) for term in read.random]


# ---- right values -------------------------------------------------------------------------------


def test_colons_in_labels_do_not_merge_levels():
    """lmer(z ~ x + (1 | code), code = i %% 4). R's site:sub merges two of the four: 214.312."""
    fit = mixed.linear("z ~ x + (1 | site:sub)", DATA).fit()
    assert fit.converged
    assert fit.deviance == pytest.approx(192.970357447, abs=1e-6)
    assert fit.effects["site:sub"].shape == (4, 1)
    assert len(set(fit.labels("site:sub"))) == 4


def test_a_missing_cell_of_an_interaction():
    """lmer(y ~ a * b + (1 | g), REML = FALSE), glmer(k ~ a * b + (1 | g), family = poisson): R
    drops aw:bq with a message; here it is an error unless asked for."""
    message = r"column 5 \(a\[T.w\]:b\[T.q\]\) depends on those before it: it is zero in every row"
    with pytest.raises(ValueError, match=message):
        mixed.linear("y ~ a * b + (1 | g)", MISSING_CELL)
    with pytest.raises(ValueError, match="or say drop=True"):
        mixed.generalized("k ~ a * b + (1 | g)", MISSING_CELL, likelihoods.poisson)
    fit = mixed.linear("y ~ a * b + (1 | g)", MISSING_CELL, drop=True).fit()
    assert fit.names == ("Intercept", "a[T.v]", "a[T.w]", "b[T.q]", "a[T.v]:b[T.q]")
    assert fit.deviance == pytest.approx(123.026489656, abs=1e-6)
    beta = [1.231919104243, 0.401260655972, 0.127611732662, 0.319560694390, -0.699768169893]
    np.testing.assert_allclose(fit.beta, beta, atol=1e-6)
    errors = [0.395063233571, 0.329428887377, 0.329428887377, 0.329428887377, 0.465882800366]
    np.testing.assert_allclose(fit.standard_errors, errors, rtol=1e-3)
    assert "rank deficient: 1 column dropped: a[T.w]:b[T.q]" in fit.notes[0]
    assert f"note: {fit.notes[0]}" in str(fit)


@pytest.mark.slow
def test_a_missing_cell_in_a_generalised_model():
    model = mixed.generalized("k ~ a * b + (1 | g)", MISSING_CELL, likelihoods.poisson, drop=True)
    fit = model.fit()
    assert model.notes == fit.notes
    assert fit.deviance == pytest.approx(141.816361488, abs=2e-4)  # found 1e-4 below
    # each cell has 26 counts in all, and contrasts of cells do not depend on the groups; R's
    # Hessian by differences gives 0.27504 and 0.38897
    errors = np.sqrt([2 / 26, 2 / 26, 2 / 26, 4 / 26])
    np.testing.assert_allclose(fit.standard_errors[1:], errors, rtol=1e-4)


@pytest.mark.slow
def test_two_labels_as_a_response():
    """glmer(factor(yn) ~ x + (1 | g), family = binomial)"""
    fit = mixed.generalized("yn ~ x + (1 | g)", DATA, likelihoods.binomial).fit()
    assert fit.deviance == pytest.approx(78.7760598013, abs=1e-4)
    np.testing.assert_allclose(fit.beta, [-0.071426682099, 0.780614053984], atol=2e-3)
    assert "note: response yn: 'yes' is success (1), 'no' is not (0)" in str(fit)


def test_booleans_are_factors():
    """lmer(y ~ 0 + flag + x:flag + (0 + flag | g), REML = FALSE)"""
    fit = mixed.linear("y ~ 0 + flag + x:flag + (0 + flag | g)", DATA).fit()
    assert fit.names == ("flag[False]", "flag[True]", "x:flag[False]", "x:flag[True]")
    assert fit.deviance == pytest.approx(138.990726293, abs=1e-5)
    beta = [1.442526488379, 1.437973592714, 0.166018484549, -0.251615608038]
    np.testing.assert_allclose(fit.beta, beta, atol=1e-4)
    deviations = np.sqrt(np.diag(fit.random_covariance("g")))
    np.testing.assert_allclose(deviations, [0.9353019466, 0.5294775963], atol=1e-3)


def test_unused_levels_are_dropped_and_named():
    """lmer(z ~ f + (1 | code), REML = FALSE), f with a level that does not occur"""
    fit = mixed.linear("z ~ f + (1 | site:sub)", DATA).fit()
    assert fit.names == ("Intercept", "f[T.mid]", "f[T.hi]")
    assert fit.deviance == pytest.approx(193.038038577, abs=1e-6)
    np.testing.assert_allclose(fit.beta, [2.4616994514, 0.1183853299, 0.0813765711], atol=1e-5)
    assert fit.notes == ("levels of f that do not occur in the rows used: none",)
    read = mixed.frame("z ~ x + (x | f)", DATA)
    assert read.random[0].group.labels.tolist() == ["lo", "mid", "hi"]
    assert read.notes == fit.notes


# ---- the frame ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "names", "random"),
    [
        ("y ~ x + (x | g) - 1", ("x",), [("g", ("Intercept", "x"), 5)]),
        ("y ~ 0 + (1 | g)", (), [("g", ("Intercept",), 5)]),
        ("y ~ 1 + (1 | g:h:flag)", ("Intercept",), [("g:h:flag", ("Intercept",), 20)]),
        ("y ~ flag + (1 | x)", ("Intercept", "flag[T.True]"), [("x", ("Intercept",), N)]),
        (
            "y ~ `two x` + (`two x` || g)",
            ("Intercept", "two x"),
            [("(1 | g)", ("Intercept",), 5), ("(0 + `two x` | g)", ("two x",), 5)],
        ),
        (
            "y ~ I(x ** 2) + log(x + 2) + scale(k) + (1 | site/sub)",
            None,
            [("site", ("Intercept",), 2), ("site:sub", ("Intercept",), 4)],
        ),
        ("np.log(k + 1) ~ C(g) + (0 + a | h)", None, [("h", ("a[u]", "a[v]", "a[w]"), 4)]),
    ],
)
def test_terms_and_names(formula, names, random):
    read = mixed.frame(formula, DATA)
    assert terms(read) == random
    assert names is None or read.names == names
    assert read.notes == ()
    assert read.X.shape == (N, len(read.names))


def test_names_with_dots_quotes_and_signs():
    table = DATA.rename(columns={"x": "Sepal.Length", "g": "a/b: c|d", "y": "my (y)"})
    read = mixed.frame(
        "`my (y)` ~ Sepal.Length + exp(`Sepal.Length`) + (Sepal.Length | `a/b: c|d`/h)", table
    )
    np.testing.assert_array_equal(read.y, DATA.y)
    np.testing.assert_array_equal(read.X[:, 1:], np.stack([X, np.exp(X)], 1))
    columns = ("Intercept", "Sepal.Length")
    assert terms(read) == [("a/b: c|d", columns, 5), ("a/b: c|d:h", columns, 20)]
    with pytest.raises(ValueError, match=r"expected `Sepal\.Length` in backquotes"):
        mixed.frame("`my (y)` ~ log(Sepal.Length)", table)


def test_terms_of_one_group_are_named_by_their_text():
    model = mixed.linear("y ~ x + (x || g) + (1 | h)", DATA)
    assert model.effects.names == ("(1 | g)[Intercept]", "(0 + x | g)[x]", "h[Intercept]")


def test_rows_with_missing_values_are_counted():
    table = DATA.set_index(pandas.Index(np.zeros(N)))  # labels of rows do not matter
    table.iloc[:3, table.columns.get_loc("x")] = np.nan
    table["group"] = [None if i < 2 or i == 9 else f"{i % 7}" for i in range(N)]
    table["n"] = pandas.array([None if i == 20 else 3 for i in range(N)], dtype="Int64")
    table["lost"] = ["once" if i == 1 else "often" if i % 2 else "other" for i in range(N)]
    before = table.copy(deep=True)
    read = mixed.frame("y ~ poly(x, 2) + lost + (1 | group)", table, ["n"])
    assert read.notes == (
        "5 of 60 rows left out for missing values: group (3), n (1), x (3)",
        "levels of lost that do not occur in the rows used: once",
    )
    kept = np.delete(I, [0, 1, 2, 9, 20])
    np.testing.assert_array_equal(read.y, DATA.y[kept])
    assert len(read.random[0].group) == len(read.data) == 55
    pandas.testing.assert_frame_equal(table, before)
    table["none"] = np.nan
    message = r"each of the 60 rows misses some: group \(3\), none \(60\)"
    with pytest.raises(ValueError, match=message):
        mixed.linear("y ~ none + (1 | group)", table)
    with pytest.raises(ValueError, match="expected rows in the data; got none"):
        mixed.linear("y ~ x + (1 | group)", table[:0])


def test_columns_of_any_type():
    table = pandas.DataFrame(
        {
            "y": DATA.y.astype(object),
            "x": pandas.array(np.round(8 * X), dtype="Int64"),
            "flag": pandas.array(FLAG, dtype="boolean"),
            "single": X.astype("float32"),
            "labels": [["a", 1, True, "1"][i % 4] for i in range(N)],
            "yes": pandas.array(DATA.yn, dtype="string"),
        }
    )
    read = mixed.frame("y ~ x + flag + single + labels + (x | labels)", table)
    np.testing.assert_array_equal(read.y, DATA.y)
    np.testing.assert_array_equal(read.X[:, read.names.index("x")], np.round(8 * X))
    np.testing.assert_array_equal(read.X[:, read.names.index("flag[T.True]")], FLAG)
    assert read.X.shape == (N, 7)
    assert read.random[0].group.labels.size == 4
    np.testing.assert_array_equal(mixed.frame("yes ~ x", table).y, DATA.yn == "yes")


def test_rank_of_a_random_term():
    message = r"expected \(x \+ `two x` \| g\) of full column rank"
    with pytest.raises(ValueError, match=message):
        mixed.frame("y ~ x + (x + `two x` | g)", DATA)
    read = mixed.frame("y ~ x + (x + `two x` | g)", DATA, drop=True)
    assert terms(read) == [("g", ("Intercept", "x"), 5)]
    assert "two x (it is 3 Intercept + 2 x)" in read.notes[0]


def test_a_shifted_covariate_in_small_units_is_no_rank_deficiency():
    table = DATA.assign(far=1e5 + 1e-6 * X, other=1e-6 * (np.sin(I) + 1e5))
    read = mixed.frame("y ~ far + other + (far | g)", table)
    assert read.X.shape == (N, 3)
    assert read.notes == ()


def test_terms_that_the_data_cannot_tell_apart():
    table = DATA.assign(same=DATA.g.map(str) + "!")
    for formula in ("y ~ (x | g) + (1 | g)", "y ~ (1 | g) + (1 | same)"):
        (note,) = mixed.frame(formula, table).notes
        assert "both have Intercept for the same groups of rows" in note

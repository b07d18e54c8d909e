"""Responses of labels, what does not fit, and what comes with a later version."""

import re
from typing import Any, cast

import numpy as np
import pytest
from formula_data import DATA, FLAG, I, N

from padchol import likelihoods, mixed
from padchol.mixed.formula import split

pandas = pytest.importorskip("pandas")
pytest.importorskip("formulaic", reason="formulas need formulaic")

# ---- responses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (DATA.yn, DATA.yn == "yes"),
        (pandas.Categorical(DATA.yn, ["yes", "no"]), DATA.yn == "no"),
        (pandas.Categorical(DATA.yn, ["never", "no", "yes"]), DATA.yn == "yes"),
        (pandas.Categorical(["yes"] * N, ["no", "yes"]), np.ones(N)),
        (pandas.Categorical(I % 2 + 1), I % 2),
        (FLAG, FLAG),
        (pandas.array(FLAG, dtype="boolean"), FLAG),
        (FLAG.astype(object), FLAG),
    ],
)
def test_success_is_the_second_label(response, expected):
    read = mixed.frame("hit ~ x + (1 | g)", DATA.assign(hit=response))
    np.testing.assert_array_equal(read.y, expected)


def test_labels_that_are_no_response():
    with pytest.raises(ValueError, match=r"two levels in the response 'a'; got 3: 'u', 'v', 'w'"):
        mixed.generalized("a ~ x + (1 | g)", DATA, likelihoods.binomial)
    with pytest.raises(ValueError, match=r"two levels in the response 'one'; got 1: 'no'"):
        mixed.generalized("one ~ x + (1 | g)", DATA.assign(one="no"), likelihoods.binomial)
    for make in (
        lambda: mixed.linear("yn ~ x + (1 | g)", DATA),
        lambda: mixed.generalized("yn ~ x + (1 | g)", DATA, likelihoods.poisson),
    ):
        with pytest.raises(ValueError, match="expected numbers in the response 'yn'; got labels"):
            make()


# ---- what does not fit --------------------------------------------------------------------------

TROUBLE = DATA.assign(
    infinite=np.where(I == 3, np.inf, 1.0),
    constant="u",
    when=pandas.date_range("2020-01-01", periods=N),
    complex=1j * I,
)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("infinite ~ x + (1 | g)", "finite values of infinite; got inf in 1 of the 60 rows"),
        ("y ~ infinite + (1 | g)", "finite values of infinite; got inf"),
        ("y ~ x + (infinite | g)", "finite values of infinite; got inf"),
        ("y ~ log(k) + (1 | g)", r"finite values of log\(k\); got -inf in 12 of"),
        ("log(k) ~ x + (1 | g)", r"finite values of log\(k\); got -inf"),
        ("y ~ constant + x", "two levels or more of the factor constant; got only 'u'"),
        ("y ~ C(constant) + x", r"the term C\(constant\)"),
        ("y ~ x + (1 | constant)", r"two levels or more in the group constant; got only \['u'\]"),
        ("y ~ x + (0 | g)", "columns before the bar; got none"),
        ("y ~ when", r"numbers or labels in the column 'when'; got datetime64.*\.dt\.days"),
        ("y ~ complex", "numbers or labels in the column 'complex'; got complex128"),
        ("when ~ x", "numbers in the column 'when'"),
        ("y ~ age + (1 | herd)", r"expected columns \['herd'\] in the data"),
        ("y ~ age + (1 | g)", r"expected columns \['age'\] in the data"),
        ("y ~ poly(age, 2)", r"expected columns \['age'\] in the data"),
        ("y ~ log(`my age`)", r"expected columns \['my age'\] in the data"),
        ("y ~ toep(k | g)", r"unknown structure 'toep' in 'toep\(k \| g\)': there are \(x \| g\)"),
        ("y ~ factor(a)", "unknown function 'factor'.*C.x. makes a factor"),
        ("y ~ log(a)", r"cannot evaluate 'log\(a\)'"),
        ("y ~ 2 * x", "cannot read"),
        ("y ~ I(x +)", "cannot read"),
        ("y ~ x > 3", "cannot read"),
        ("C(a) ~ x", "expected one response"),
        ("y ~ x + `two x` + (1 | g)", r"column 2 \(two x\) depends on .* it is 3 Intercept \+ 2 x"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_does_not_fit_is_named(formula, message):
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)) as error:
        mixed.linear(formula, TROUBLE)
    assert "\x1b" not in str(error.value)  # no colours of a terminal


def test_data_of_another_kind():
    with pytest.raises(TypeError, match=r"pandas DataFrame: pandas.DataFrame\(data\); got .*dict"):
        mixed.linear("y ~ x + (1 | g)", {"y": [1.0], "x": [1.0], "g": [1]})
    foreign = type("DataFrame", (), {"__module__": "polars.dataframe.frame"})
    with pytest.raises(TypeError, match=r"DataFrame: data.to_pandas\(\); got polars.DataFrame"):
        mixed.linear("y ~ x + (1 | g)", foreign())
    with pytest.raises(TypeError, match="a formula as text"):
        mixed.linear(DATA, "y ~ x + (1 | g)")
    twice = pandas.concat([DATA, DATA[["x"]]], axis=1)
    with pytest.raises(ValueError, match=r"one column of each name in the data; .* \['x'\]"):
        mixed.linear("y ~ x + (1 | g)", twice)
    assert mixed.frame("y ~ k + (1 | g)", twice).names == ("Intercept", "k")


def test_arguments_that_are_refused():
    assert split("y ~ offset + `offset(a)` + (1 | g)")[1] == "offset + `offset(a)`"
    with pytest.raises(ValueError, match=r"expected columns \['w'\] in the data"):
        mixed.linear("y ~ x + (1 | g)", DATA, weights="w")
    with pytest.raises(ValueError, match=r"expected offset a column's name, or a number for each"):
        mixed.linear("y ~ x + (1 | g)", DATA, offset=np.ones(3))
    with pytest.raises(ValueError, match=r"a number for each of the 60 rows .* float: 'u'"):
        mixed.linear("y ~ x + (1 | g)", DATA, offset=list(DATA["a"]))
    with pytest.raises(ValueError, match="weights with the index of the data"):
        mixed.linear("y ~ x + (1 | g)", DATA, weights=DATA["x"].sort_values())
    with pytest.raises(ValueError, match=r"that are positive and finite; got 0\.0 in row 0"):
        mixed.linear("y ~ x + (1 | g)", DATA, weights=np.zeros(len(DATA)))
    with pytest.raises(ValueError, match="a response without trials in a linear model"):
        mixed.linear("y | k ~ x + (1 | g)", DATA)
    with pytest.raises(TypeError, match=r"unknown options \['REML'\]; there are reml"):
        mixed.linear("y ~ x + (1 | g)", DATA, REML=True)
    with pytest.raises(TypeError, match=r"a likelihood such as padchol\.likelihoods\.poisson"):
        mixed.generalized("k ~ x + (1 | g)", DATA, cast(Any, 3.5))
    with pytest.raises(TypeError, match="a formula '~ x' as text for zero; got bool"):
        mixed.generalized("k ~ x + (1 | g)", DATA, "poisson", zero=cast(Any, True))
    with pytest.raises(ValueError, match="numbers in the column 'a'"):
        mixed.generalized("k ~ x + (1 | g)", DATA, likelihoods.binomial, "a")


@pytest.mark.parametrize(
    "formula", ["cbind(yn ~ x, one) ~ x", "cbind(x | 1, one) ~ x", "x ~ x + (a ~ x || g)"]
)
def test_a_formula_within_a_formula(formula):
    with pytest.raises(ValueError, match="expected one side of a formula, without ~ and"):
        mixed.frame(formula, DATA)


def test_contrasts_that_are_none():
    """formulaic looks for the columns of a vector: an IndexError of its own."""
    with pytest.raises(ValueError, match="cannot evaluate"):
        mixed.frame("C(1, x) ~ x + (1 | g)", DATA)

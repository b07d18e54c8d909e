"""The text of a formula taken apart."""

import pytest

from padchol.mixed.syntax import factors, split

pytest.importorskip("formulaic", reason="formulas need formulaic")


@pytest.mark.parametrize(
    ("formula", "left", "fixed", "bars"),
    [
        ("y ~ x + (x|g) - 1", "y", "x - 1", [("x", "g")]),
        ("y ~ (x|g) - 1", "y", "-1", [("x", "g")]),
        ("y ~ (1|g) -1 + x", "y", "-1 + x", [("1", "g")]),
        ("y ~ 0 + x + (1|g)", "y", "0 + x", [("1", "g")]),
        ("y ~ x - -1 + (x - 1|g)", "y", "x + 1", [("x - 1", "g")]),
        ("y~x-z+(1|g)-w", "y", "x - z - w", [("1", "g")]),
        ("y ~ ((1|g)) + (x + (1|h))", "y", "x", [("1", "g"), ("1", "h")]),
        ("y ~\n  x\n + (1 +\n x | a\n / b)", "y", "x", [("1 + x", "a"), ("1 + x", "a:b")]),
        ("`a ~ b` ~ `x|z` + (`x + 1` | `g/h`)", "`a ~ b`", "`x|z`", [("`x + 1`", "`g/h`")]),
        ("y ~ I((x > 0) | (z > 0)) + (1|g)", "y", "I((x > 0) | (z > 0))", [("1", "g")]),
        ("y ~ C(f, levels=['a|b', ')']) + (1|g)", "y", "C(f, levels=['a|b', ')'])", [("1", "g")]),
        ("y ~ (1 | a:b / c)", "y", "1", [("1", "a:b"), ("1", "a:b:c")]),
        ("y ~ (1 | `a b`/`c:d`)", "y", "1", [("1", "`a b`"), ("1", "`a b`:`c:d`")]),
        ("y ~ (0 + x + `my z` || g)", "y", "1", [("0 + x", "g"), ("0 + `my z`", "g")]),
        ("y ~ ({x + 1} || g)", "y", "1", [("1", "g"), ("0 + {x + 1}", "g")]),
        ("y ~ 1", "y", "1", []),
    ],
)
def test_formulas_are_taken_apart(formula, left, fixed, bars):
    assert split(formula) == (left, fixed, bars, (), (), ())


@pytest.mark.parametrize(
    ("formula", "offsets", "trials"),
    [
        ("y ~ x + offset(log(e)) - offset(o) + (1 | g)", ("log(e)", "-(o)"), ()),
        ("y ~ offset(a + b)", ("a + b",), ()),
        ("s | n ~ x + (1 | g)", (), ("n",)),
        ("s | (n + m) ~ x", (), ("(n + m)",)),
        ("cbind(s, n - s) ~ x", (), ("s", "n - s")),
    ],
)
def test_offsets_and_trials(formula, offsets, trials):
    found = split(formula)
    assert (found.offsets, found.trials) == (offsets, trials)
    assert "offset" not in found.fixed


def test_structured_terms():
    found = split("y ~ x + ar1(t | g) + matern(a + b | `my g`:h) + ar1 + (1 | g)")
    assert found.structured == (("ar1", "t", "g"), ("matern", "a + b", "`my g`:h"))
    assert (found.fixed, found.bars) == ("x + ar1", [("1", "g")])


def test_names_of_a_group():
    assert factors("`a:b` : c.d:`e f`") == ["a:b", "c.d", "e f"]


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("y ~", "terms after the ~"),
        ("y ~ x +", "a term after the last sign"),
        ("y ~ x ~ z", "with one ~"),
        (" ~ x", "with one ~"),
        ("y ~ x - (1|g)", r"got '- \(1\|g\)', and a plus sign is all"),
        ("y ~ x * (1|g)", r"got 'x \* \(1\|g\)'"),
        ("y ~ (x | g | h)", r"a term \(x \| g\)"),
        ("y ~ (x | (g | h))", r"a term \(x \| g\)"),
        ("y ~ (1 | g + h)", r"joined by : or / .* got 'g \+ h'"),
        ("y ~ (1 | my g)", "other names in backquotes"),
        ("y ~ (1 | C(g))", "every column counts as a factor"),
        ("y ~ x) + (1 | g", "matching parentheses"),
        ("y ~ [x)", "matching parentheses"),
        ("y ~ `x", "matching quotes"),
        ("y ~ I(x^2)", r"powers written as \*\*"),
        ("y ~ . + (1 | g)", "'.' for all others is not supported"),
        ("cbind(s) ~ x", r"expected cbind\(successes, failures\); got 'cbind\(s\)'"),
        ("s | n | m ~ x", "expected 'successes | trials'; got 's | n | m'"),
        ("y ~ 2 * offset(o)", r"expected offset\(...\) as a summand of the right side"),
        ("y - o ~ x", r"arithmetic of the response inside I\(...\); got 'y - o'"),
        ("y^2 ~ x", r"arithmetic of the response inside I\(...\)"),
    ],
)
def test_what_cannot_be_read_is_named(formula, message):
    with pytest.raises(ValueError, match=message):
        split(formula)

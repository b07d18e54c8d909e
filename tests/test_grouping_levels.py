"""Row 41: levels of grouping factors, one code for each label, whatever its characters and type."""

import numpy as np
import pytest

from padchol import mixed
from padchol.mixed.levels import Levels
from padchol.mixed.terms import Labels, tables


def objects(*values):
    found = np.empty(len(values), object)
    found[:] = values
    return found


@pytest.mark.parametrize(
    ("group", "labels"),
    [
        (np.array([3, 1, 3, 2]), [1, 2, 3]),
        (np.array([2.5, -1.0, 2.5]), [-1.0, 2.5]),
        (np.array([True, False, True]), [False, True]),
        (np.array(["b", "a:b", "b", ""]), ["", "a:b", "b"]),
        (np.array(["2020-02-01", "2020-01-01"], "datetime64[D]"), None),
        (objects("1", 1, True, 1.0, "1"), [True, 1, "1"]),  # by type where types do not compare
        (objects(("a", "b"), ("a",), ("a", "b")), [("a",), ("a", "b")]),
        (objects(2, 10, 9), [2, 9, 10]),
    ],
)
def test_labels_of_any_type(group, labels):
    levels = Levels.of(group)
    assert len(levels) == group.size
    for row, label in enumerate(group):
        assert levels[row] == label
        for other in range(group.size):
            alike = label == group[other] and isinstance(label, bool) == isinstance(
                group[other], bool
            )
            assert (levels.codes[row] == levels.codes[other]) == alike
    if labels is not None:
        assert levels.labels.tolist() == labels
    assert Levels.of(levels) is levels


def test_pairs_are_compared_by_codes():
    """Two labels with a colon that joined give the same text; 60 rows with random colons."""
    a, b = np.array(["s0", "s0:a", "s0", "s0:a"]), np.array(["a:b", "b", "b", "a:b"])
    pairs = Levels.pairs([Levels.of(a), Levels.of(b)])
    assert pairs.labels.tolist() == ["s0:'a:b'", "s0:b", "'s0:a':'a:b'", "'s0:a':b"]
    np.testing.assert_array_equal(pairs.codes, [0, 3, 1, 2])
    rng = np.random.default_rng(2)
    parts = [rng.choice(["", ":", "x", "x:", ":x", "'x", "'", "1"], 60) for _ in range(3)]
    triples = Levels.pairs([Levels.of(part) for part in parts])
    rows = list(zip(*parts, strict=True))
    assert triples.labels.size == len(set(rows)) == len(set(triples.labels.tolist()))
    for code in range(triples.labels.size):
        assert len({row for row, c in zip(rows, triples.codes, strict=True) if c == code}) == 1


def test_pairs_of_several_types():
    mixed_types = Levels.of(objects(1, "1", 1, "1"))
    pairs = Levels.pairs([mixed_types, Levels.of(np.array([0.5, 0.5, 2.0, 2.0]))])
    assert pairs.labels.tolist() == ["1:0.5", "1:2.0", "'1':0.5", "'1':2.0"]


def test_the_same_partition_under_other_labels():
    one, other = Levels.of(np.array([5, 1, 5, 2])), Levels.of(np.array(["a", "z", "a", "b"]))
    assert one.same_partition(other)
    assert not one.same_partition(Levels.of(np.array([5, 1, 5, 1])))


@pytest.mark.parametrize(
    ("group", "row"),
    [
        (np.array([1.0, np.nan]), 1),
        (objects("a", None), 1),
        (objects(float("nan"), "a"), 0),
        (np.array(["2020-01-01", "NaT"], "datetime64[D]"), 1),
    ],
)
def test_missing_labels_are_named(group, row):
    with pytest.raises(ValueError, match=f"without missing values in g; row {row} has none"):
        tables(2, [mixed.Random(np.ones(2), group, "g")])


def test_labels_that_do_not_fit():
    with pytest.raises(ValueError, match=r"labels \(n,\) in g; got shape \(2, 2\)"):
        Levels.of(np.ones((2, 2)), "g")
    with pytest.raises(ValueError, match="labels that can be compared in g"):
        Levels.of(objects([1], [2]), "g")
    with pytest.raises(ValueError, match=r"group of shape \(3,\); got \(3, 1\) and \(2,\)"):
        tables(3, [mixed.Random(np.ones(3), [1, 2], "g")])
    with pytest.raises(ValueError, match="a name for each of the 1 columns"):
        tables(2, [mixed.Random(np.ones(2), [1, 2], "g", ("a", "b"))])


def test_categoricals():
    """The order of the categories, without those that do not occur; missing ones are named."""
    pandas = pytest.importorskip("pandas")
    group = pandas.Categorical(["lo", "hi", "lo"], ["none", "lo", "hi"])
    for given in (group, pandas.Series(group), pandas.Series(group).set_axis([7, 7, 7])):
        levels = Levels.of(given)
        assert levels.labels.tolist() == ["lo", "hi"]
        assert levels.codes.tolist() == [0, 1, 0]
        assert levels.unused == ("none",)
    with pytest.raises(ValueError, match="row 1 has none"):
        Levels.of(pandas.Categorical(["a", None]))
    cut = pandas.cut(pandas.Series([0.5, 1.5, 0.7]), [0, 1, 2, 3])
    assert Levels.of(cut).codes.tolist() == [0, 1, 0]
    missing = pandas.Series([1, None], dtype="Int64")
    with pytest.raises(ValueError, match="row 1 has none"):
        Levels.of(missing)


def test_labels_are_compared_by_what_they_are():
    """So that a program made for one model never hands out the labels of another."""
    one, same = Labels(np.array([1, 2])), Labels(np.array([1, 2]))
    assert one == same
    assert hash(one) == hash(same)
    assert one != Labels(np.array([1, 3]))
    assert Labels(np.array(["a"])) != Labels(np.array(["b"]))
    pandas = pytest.importorskip("pandas")
    assert Labels(objects(pandas.NA)) != Labels(objects(1))  # whose comparison is no answer


def test_levels_as_a_sequence_of_the_labels_of_rows():
    group = np.array(["b", "a", "b"])
    levels = Levels.of(group, "g")
    assert [*levels] == group.tolist()
    assert (len(levels), levels[1]) == (3, "a")
    np.testing.assert_array_equal(np.asarray(levels), group)

"""Columns that depend on others: found in any units and at any shift, and named."""

import numpy as np
import pytest

from padchol import likelihoods, mixed
from padchol.mixed.fixed import full_rank, rank

pytestmark = pytest.mark.core

RNG = np.random.default_rng(8)
N = 40
Z = RNG.normal(size=(N, 4))
ONE = np.ones(N)


def names(X):
    return tuple("1abcdefghij"[: X.shape[1]])


@pytest.mark.parametrize("seed", range(20))
def test_independent_columns_stay_in_any_units_and_at_any_shift(seed):
    rng = np.random.default_rng(seed)
    shift, scale = rng.uniform(-1e5, 1e5, 4), 10 ** rng.uniform(-6, 6, 4)
    for moved in ((Z + shift) * scale, Z * scale + shift):
        X = np.column_stack([ONE, moved])
        found = rank(X, names(X))
        assert found.kept == [0, 1, 2, 3, 4]
        assert not found.dependent


@pytest.mark.parametrize("seed", range(20))
def test_dependent_columns_are_found_in_any_units_and_at_any_shift(seed):
    """The last is a combination of the others in other units, and still is with 15 digits."""
    rng = np.random.default_rng(seed)
    shift, scale = rng.uniform(-1e5, 1e5, 4), 10 ** rng.uniform(-6, 6, 4)
    moved = (Z + shift) * scale
    last = 10 ** rng.uniform(-6, 6) * (rng.normal() + moved @ (rng.normal(size=4) / scale))
    for column in (last, np.array([float(f"{value:.15g}") for value in last])):
        X = np.column_stack([ONE, moved, column])
        found = rank(X, names(X))
        assert [d.column for d in found.dependent] == [5]
        with pytest.raises(ValueError, match=r"column 5 \(e\) depends on those before it: it is "):
            full_rank(X, names(X))


def test_powers_of_a_year_are_columns_of_their_own():
    year = np.arange(1990.0, 2021.0)
    X = year[:, None] ** np.arange(4)
    assert rank(X, names(X)).kept == [0, 1, 2, 3]
    shifted = (year - 2005)[:, None] ** np.arange(4)
    assert rank(shifted, names(shifted)).kept == [0, 1, 2, 3]


def test_the_words():
    a, b = Z[:, 0], Z[:, 1]
    X = np.column_stack([ONE, a, b, 3 + 0.5 * a - b, 0 * a, 7 * ONE])
    found = rank(X, names(X))
    assert [d.column for d in found.dependent] == [3, 4, 5]
    words = ["it is 3 1 + 0.5 a - b", "it is zero in every row", "it is 7 1"]
    assert [d.words for d in found.dependent] == words
    kept, (note,) = full_rank(X, names(X), drop=True)
    assert kept == [0, 1, 2]
    assert note == "X is rank deficient: 3 columns dropped: " + ", ".join(
        f"{name} ({each})" for name, each in zip("cde", words, strict=True)
    )
    eight = RNG.normal(size=(40, 8))
    (of_all,) = rank(np.column_stack([eight, eight.sum(1)]), names(eight[:, :1]) * 9).dependent
    assert of_all.words.startswith("it is a combination of ")
    wide = np.column_stack([Z, Z @ RNG.normal(size=(4, 5))])
    with pytest.raises(ValueError, match="5 of its 9 columns depend on others") as error:
        full_rank(wide, names(wide))
    assert "drop=True" in str(error.value)


def test_more_columns_than_rows():
    kept, notes = full_rank(Z[:3], names(Z), drop=True)
    assert kept == [0, 1, 2]
    assert "1 column dropped" in notes[0]
    assert full_rank(np.zeros((3, 0)), ()) == ([], [])


def test_nearly_dependent_columns_are_kept_with_a_remark():
    a = Z[:, 0]
    X = np.column_stack([ONE, a, (2 * a + 3).astype("float32")])
    kept, (note,) = full_rank(X, names(X))
    assert kept == [0, 1, 2]
    assert "b is close to a combination of the columns before it" in note


def test_both_models_say_which():
    X = np.column_stack([ONE, Z[:, 0], 2 * Z[:, 0] - 1])
    random = [mixed.Random(ONE, np.arange(N) % 4, "g")]
    message = r"column 2 \(w\) depends on those before it: it is -c \+ 2 x"
    with pytest.raises(ValueError, match=message):
        mixed.LinearMixedModel(Z[:, 1], X, random, names=("c", "x", "w"))
    terms = likelihoods.poisson(np.ones(N))
    with pytest.raises(ValueError, match=message):
        mixed.GeneralizedLinearMixedModel(terms, X, random, names=("c", "x", "w"))

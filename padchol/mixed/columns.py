"""Columns of the data that a formula names, and the matrices that formulaic makes of them.

What R does is done here where formulaic does otherwise: levels that do not occur are dropped, a
factor of one level is an error, and a boolean is a factor with the levels False and True. A row
that is complete in the data stays in the model: a value that the formula itself makes NaN or
infinite, log(0), is an error.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from padchol.mixed.levels import Levels
from padchol.mixed.variables import parsed, without_colours

# What formulaic, and the Python of a formula, may raise besides formulaic's own errors.
FAILURES = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError)


class Matrix(NamedTuple):
    """values (n, p), the names of its columns, and formulaic's way to them."""

    values: np.ndarray
    names: tuple[str, ...]
    spec: Any = None
    kept: tuple[int, ...] | None = None  # of the columns that it makes; None: all


def check_data(data: Any, needed: Iterable[str]) -> None:
    """That the data are a pandas DataFrame with one column of each name."""
    import pandas

    if not isinstance(data, pandas.DataFrame):
        kind = f"{type(data).__module__.partition('.')[0]}.{type(data).__name__}"
        ways = {
            "builtins.dict": ": pandas.DataFrame(data)",
            "polars.LazyFrame": "",
            "polars.DataFrame": ": data.to_pandas()",
            "pyarrow.Table": ": data.to_pandas()",
        }
        raise TypeError(f"expected data as a pandas DataFrame{ways.get(kind, '')}; got {kind}")
    needed = sorted(set(needed))
    absent = [name for name in needed if name not in data.columns]
    if absent:
        raise ValueError(f"expected columns {absent} in the data; got {list(data.columns)}")
    twice = [name for name in needed if list(data.columns).count(name) > 1]
    if twice:
        raise ValueError(f"expected one column of each name in the data; got several of {twice}")


def complete(data: Any, needed: Iterable[str]) -> tuple[Any, list[str]]:
    """The rows in which no needed column is missing, and in words how many were left out."""
    missing = {name: data[name].isna().to_numpy() for name in sorted(set(needed))}
    lost = np.any([np.zeros(len(data), bool), *missing.values()], axis=0)
    if not len(data):
        raise ValueError("expected rows in the data; got none")
    where = ", ".join(f"{name} ({m.sum()})" for name, m in missing.items() if m.any())
    if lost.all():
        raise ValueError(
            f"expected rows without missing values; each of the {len(data)} rows misses some: "
            f"{where}"
        )
    if not lost.any():
        return data, []
    return data[~lost], [f"{lost.sum()} of {len(data)} rows left out for missing values: {where}"]


def usable(used: Any, data: Any, alone: set[str], inside: set[str]) -> tuple[Any, list[str]]:
    """The columns of the rows used, as numbers and factors without unused levels, and in words
    which levels of the data have no row there.

    Raises `ValueError` for a factor with one level, and for what is neither number nor label.
    """
    import pandas

    found, notes = {}, []
    for name in sorted(alone | inside):
        column = plain(used[name])
        if column.dtype == bool and name not in inside:
            column = pandas.Series(pandas.Categorical(column))
        if has_labels(column):
            notes += unused_levels(name, Levels.of(used[name], name), data)
        if isinstance(column.dtype, pandas.CategoricalDtype):
            column = column.cat.remove_unused_categories()
        if name in alone:
            _check_covariate(name, column)
        found[name] = column
    return pandas.DataFrame(found, index=pandas.RangeIndex(len(used))), notes


def plain(column: Any) -> Any:
    """The column in a type of numpy's where it holds numbers or booleans; labels of several types
    as a categorical. The index is counted anew."""
    import pandas
    from pandas.api import types

    column = column.reset_index(drop=True)
    if isinstance(column.dtype, pandas.CategoricalDtype):
        return column
    if column.dtype == object:
        kinds = {type(value) for value in column}
        if all(issubclass(kind, (bool, np.bool_)) for kind in kinds):
            return column.astype(bool)
        real = (numbers.Real, np.number)
        if all(issubclass(k, real) or k.__name__ == "Decimal" for k in kinds) and kinds:
            return column.astype(float)
        if not all(issubclass(kind, str) for kind in kinds):
            levels = Levels.of(column.to_numpy(), str(column.name))
            return pandas.Series(pandas.Categorical.from_codes(levels.codes, levels.texts()))
        return column
    if types.is_bool_dtype(column.dtype):
        return pandas.Series(column.to_numpy(bool))
    if types.is_numeric_dtype(column.dtype) and not isinstance(column.dtype, np.dtype):
        return pandas.Series(column.to_numpy(float))
    return column


def numbers_of(data: Any, name: str) -> np.ndarray:
    """The column as finite numbers (n,)."""
    column = plain(data[name])
    if column.dtype != bool and not _is_number(column):
        raise ValueError(f"expected numbers in the column {name!r}; got {_shown(column)}")
    return _finite(Matrix(np.asarray(column, float)[:, None], (name,)), data).values[:, 0]


def given_numbers(values: Any, what: str, data: Any) -> np.ndarray:
    """An argument that has a number for each row of the data (n,).

    Raises `ValueError` for anything else, and for a Series that counts its rows otherwise than the
    data do: whether its order or its index is meant, it does not say.
    """
    import pandas

    if isinstance(values, pandas.Series) and not values.index.equals(data.index):
        raise ValueError(
            f"expected {what} with the index of the data; got a Series with another one. "
            "to_numpy() takes its values in their order, a column of the data by their index"
        )
    expected = (
        f"expected {what} a column's name, or a number for each of the {len(data)} rows of the data"
    )
    try:
        found = np.asarray(values, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected}; {error}") from None
    if found.shape != (len(data),):
        raise ValueError(f"{expected}; got shape {found.shape}")
    return found


def design(text: str, data: Any) -> Matrix:
    """The matrix of one side of a formula. Raises `ValueError` for values that are not finite, for
    what cannot be evaluated, and for a term that would leave no column."""
    import formulaic
    from formulaic.errors import FormulaicError

    parsed(text)
    try:
        made: Any = formulaic.model_matrix(text, data, context={}, na_action="ignore")
    except (FormulaicError, *FAILURES) as error:
        raise ValueError(f"cannot evaluate {text!r}: {without_colours(error)}") from None
    for term, at in made.model_spec.term_indices.items():
        if not at:
            raise ValueError(f"expected columns of X for the term {term}; it has one level only")
    names = tuple(str(name) for name in made.columns)
    return _finite(Matrix(np.asarray(made, float), names, made.model_spec), data)


def design_again(matrix: Matrix, data: Any) -> np.ndarray:
    """The columns of a matrix for the rows of other data: the same levels, the same knots."""
    from formulaic.errors import FormulaicError

    try:
        made = matrix.spec.get_model_matrix(data, context={}, na_action="ignore")
    except (FormulaicError, *FAILURES) as error:
        what = ", ".join(matrix.names)
        raise ValueError(f"cannot evaluate {what}: {without_colours(error)}") from None
    values = np.asarray(made, float)
    values = values if matrix.kept is None else values[:, matrix.kept]
    return _finite(Matrix(values, matrix.names), data).values


def one_column(text: str, data: Any, what: str) -> Matrix:
    """The values of one expression, as Python reads it."""
    found = design(f"0 + I({text})", data)
    if found.values.shape[1] != 1:
        raise ValueError(f"expected one number a row for {what}; got {found.values.shape[1]}")
    return found


def unused_levels(name: str, levels: Levels, data: Any) -> list[str]:
    """In words, which levels of the data, or of the categorical, do not occur in the rows used."""
    unused = list(levels.unused)
    if not hasattr(data[name], "cat") and len(data) > len(levels):
        used = set(levels.labels.tolist())
        before = Levels.of(data[name].dropna(), name).labels.tolist()
        unused = [label for label in before if label not in used]
    if not unused:
        return []
    return [f"levels of {name} that do not occur in the rows used: {listed(map(str, unused))}"]


def listed(names: Iterable[str], most: int = 8) -> str:
    """The names joined by commas, the first of them where there are many."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _check_covariate(name: str, column: Any) -> None:
    if has_labels(column):
        levels = column.unique()
        if len(levels) < 2:
            raise ValueError(
                f"expected two levels or more of the factor {name}; got only {levels[0]!r} "
                f"in the {len(column)} rows used"
            )
    elif column.dtype != bool and not _is_number(column):
        raise ValueError(
            f"expected numbers or labels in the column {name!r}; got {column.dtype}"
            + (": make numbers of it, (t - t.min()).dt.days" if column.dtype.kind in "mM" else "")
        )


def has_labels(column: Any) -> bool:
    """Whether the column, as `plain` gives it, holds labels."""
    import pandas

    text = pandas.api.types.is_string_dtype(column)
    return text or isinstance(column.dtype, pandas.CategoricalDtype)


def _is_number(column: Any) -> bool:
    return isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf"


def _shown(column: Any) -> str:
    return f"{column.dtype}, {listed((repr(v) for v in column.unique()[:4]), 3)}"


def _finite(matrix: Matrix, data: Any) -> Matrix:
    bad = ~np.isfinite(matrix.values)
    if not bad.any():
        return matrix
    k = int(np.argmax(bad.any(0)))
    row = int(np.argmax(bad[:, k]))
    raise ValueError(
        f"expected finite values of {matrix.names[k]}; got {matrix.values[row, k]} in "
        f"{bad[:, k].sum()} of the {len(data)} rows used, first in row {row} of them"
    )


def two_levels(column: Any, name: str) -> tuple[np.ndarray, tuple[Any, Any]]:
    """(0 or 1 for each row, the two labels); the second level, as sorted or as in the categorical,
    is 1, as in R's binomial. Raises `ValueError` for one level or more than two."""
    levels = Levels.of(column, name)
    pair = levels.labels.tolist()
    if len(pair) == 1 and len(levels.unused) == 1:  # a categorical of two, one of which occurs
        pair = list(column.cat.categories)
    if len(pair) != 2:
        raise ValueError(
            f"expected numbers or two levels in the response {name!r}; got {len(pair)}: "
            f"{listed(map(repr, pair))}"
        )
    success = np.array([label == pair[1] for label in levels.labels], float)
    return success[levels.codes], (pair[0], pair[1])

"""Formulas with random-effects terms, as lme4 writes them: y ~ x + (1 | g) + (x | g).

    (x | g)     an intercept and a slope on x for each level of g, correlated; no intercept if x
                says 0 or -1
    (x || g)    the same without correlations: a term for each term of x
    (x | g:h)   for each pair of levels of g and h that occurs
    (x | g / h) is (x | g) + (x | g:h)
    ar1(t | g), ou(t | g), cs(f | g), matern(x + y | g)     see `padchol.mixed.structures`
    offset(o)   a known summand of the linear predictor
    s | n ~     successes in n trials, or cbind(s, f): successes and failures
    `my x`      a name that is no plain word

The fixed part, and what stands before a bar, is read by formulaic: products a:b and a * b, powers
(a + b)**2, factors C(x), Python such as I(x ** 2), log(x), np.sqrt(x). Strings, categoricals
(ordered ones too) and booleans are factors, in treatment coding against their first level.

A term is named by its group, or, where several terms have the same group, by its own text:
"y ~ (1 | g) + (0 + x | g)" has the terms "(1 | g)" and "(0 + x | g)". A parameter is named by its
term and column of x: `g[x]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from padchol.mixed import columns as read
from padchol.mixed.columns import Matrix
from padchol.mixed.fixed import kept_columns
from padchol.mixed.levels import Levels
from padchol.mixed.positions import check_precision, positions_text, structured_term
from padchol.mixed.reading import Grouping, Reading, known_levels, total, with_given
from padchol.mixed.syntax import factors, one_sided, spaced, split
from padchol.mixed.terms import Random
from padchol.mixed.variables import all_named, response_column

__all__ = ["Frame", "frame", "split"]


class Frame(NamedTuple):
    """What a formula makes of the data."""

    y: np.ndarray
    X: np.ndarray
    names: tuple[str, ...]
    random: list[Random]
    data: Any  # the rows used
    notes: tuple[str, ...]  # in words: rows and columns left out, levels, what is success
    weights: np.ndarray | None
    offset: np.ndarray | None
    trials: np.ndarray | None
    parts: dict[str, Matrix]  # of the further one-sided formulas
    reading: Reading  # how other data are read


def frame(
    formula: str,
    data: Any,
    columns: Sequence[str] = (),
    *,
    drop: bool = False,
    labels: bool = True,
    weights: Any = None,
    offset: Any = None,
    parts: dict[str, str] | None = None,
    precision: dict[str, Any] | None = None,
) -> Frame:
    """y (n,), X (n, p) and the random-effects terms of a formula. Needs formulaic.

    data: a pandas DataFrame, which is not changed. Rows with missing values in what the formula
    names, or in further `columns`, are left out. weights and offset: names of columns, or arrays
    with a number for each row of the data; offsets in the formula are added. parts: further
    formulas `~ x` of fixed effects, by a name for messages. precision: structures of the levels of
    groups, by the name of the group. Columns that depend on those before
    them are an error, or dropped if `drop`. A response of two labels becomes 0 and 1, the second
    label being 1, if `labels`. `notes` says what was left out. Raises `ValueError` for what cannot
    be read, naming the part, `TypeError` for data of another kind.
    """
    text = split(formula)
    further = {what: one_sided(each, what) for what, each in (parts or {}).items()}
    every = [group for _, group in text.bars] + [group for *_, group in text.structured]
    groups = sorted({name for group in every for name in factors(group)})
    check_precision(precision, text.bars)
    read.check_data(data, [*groups, *columns])
    data, beside = with_given(data, weights=weights, offset=offset)
    response = response_column(text.left)
    left = [*([] if response else [f"0 + {text.left}"]), *(f"0 + I({e})" for e in text.trials)]
    right = [text.fixed, *further.values(), *(f"0 + I({each})" for each in text.offsets)]
    right += [inner for inner, _ in text.bars]
    right += [positions_text(kind, inner) for kind, inner, _ in text.structured]
    of_left, of_right = all_named(left, data), all_named(right, data)
    alone, inside = of_left[0] | of_right[0], of_left[1] | of_right[1]
    needed = {*alone, *inside, *groups, *columns, *beside.values()}
    needed |= {response} if response else set()
    read.check_data(data, needed)
    used, notes = read.complete(data, needed)
    table, more = read.usable(used, data, alone, inside)
    notes += more
    y, more = _response(text.left, response, used, table, labels)
    notes += more
    whole = read.design(text.fixed, table)
    X, more = kept_columns(whole, drop=drop)
    also = {}
    for what, each in further.items():
        also[what], some = kept_columns(read.design(each, table), drop=drop, what=what)
        more += some
    random, grouping, last = _random_terms(text.bars, used, data, table, drop, precision or {})
    for each in text.structured:
        levels, own, more = _levels(used, data, each[2], least=1)
        term, how = structured_term(*each, levels, own, used, table)
        random, grouping, last = [*random, term], [*grouping, how], [*last, *more]
    notes = dict.fromkeys([*notes, *more, *last])  # each once
    offsets = [read.one_column(each, table, "the offset") for each in text.offsets]
    reading = Reading(
        spaced(formula),
        X, tuple(grouping), also, tuple(offsets), of_right[0] | of_right[1],
        beside.get("offset"), known_levels(table),
    )  # fmt: skip
    given = {what: read.numbers_of(used, name) for what, name in beside.items()}
    return Frame(
        y, X.values, X.names, random, used, tuple(notes),
        weights=given.get("weights"),
        offset=total([*(each.values[:, 0] for each in offsets), given.get("offset")]),
        trials=total([read.one_column(e, table, "the trials").values[:, 0] for e in text.trials]),
        parts=also, reading=reading,
    )  # fmt: skip


def _response(
    left: str, name: str | None, used: Any, table: Any, labels: bool
) -> tuple[np.ndarray, list[str]]:
    """y, and in words which label is success."""
    if name is None:
        y = read.design(f"0 + {left}", table)
        if y.values.shape[1] != 1:
            raise ValueError(f"expected one response; {left!r} has {y.values.shape[1]} columns")
        return y.values[:, 0], []
    column = read.plain(used[name])
    if not read.has_labels(column):
        return read.numbers_of(used, name), []
    if not labels:
        raise ValueError(
            f"expected numbers in the response {name!r}; got labels such as {column.iloc[0]!r}. A "
            "response of two labels is for padchol.mixed.generalized and the family binomial"
        )
    y, (failure, success) = read.two_levels(column, name)
    return y, [f"response {name}: {success!r} is success (1), {failure!r} is not (0)"]


def _random_terms(
    bars: list[tuple[str, str]], used: Any, data: Any, table: Any, drop: bool, precision: Any
) -> tuple[list[Random], list[Grouping], list[str]]:
    """The terms, how each is read, and what there is to say of them."""
    notes: list[str] = []
    levels: dict[str, tuple[Levels, list[Levels]]] = {}
    for _, group in bars:
        if group not in levels:
            whole_group, parts, more = _levels(used, data, group)
            levels[group] = whole_group, parts
            notes += more
    terms, read_by = [], []
    for inner, group in bars:
        text = f"({inner} | {':'.join(factors(group))})"
        whole = read.design(inner, table)
        if not whole.names:
            raise ValueError(f"expected columns before the bar; got none in {text}")
        x, more = kept_columns(whole, drop=drop, what=text)
        notes += more
        alone = [other for _, other in bars].count(group) == 1
        name = ":".join(factors(group)) if alone else text
        whole_group, parts = levels[group]
        structure = precision.get(":".join(factors(group)))
        terms.append(Random(x.values, whole_group, name, x.names, structure))
        read_by.append(Grouping.of(x, factors(group), whole_group, parts, structure))
    return terms, read_by, notes + _not_told_apart(terms)


def _levels(
    used: Any, data: Any, group: str, least: int = 2
) -> tuple[Levels, list[Levels], list[str]]:
    """The levels of a group, a:b being the pairs that occur, and those of a and b."""
    parts, notes = [], []
    for name in factors(group):
        parts.append(Levels.of(used[name], name))
        notes += read.unused_levels(name, parts[-1], data)
    levels = parts[0] if len(parts) == 1 else Levels.pairs(parts)
    if levels.labels.size < least:
        raise ValueError(
            f"expected two levels or more in the group {spaced(group)}; got only "
            f"{levels.labels.tolist()}, whose variance cannot be estimated"
        )
    return levels, parts, notes


def _not_told_apart(terms: list[Random]) -> list[str]:
    """In words, which terms have the same columns for the same levels."""
    notes = []
    for k, one in enumerate(terms):
        for other in terms[:k]:
            both = [name for name in one.columns if name in other.columns]
            if both and one.group.same_partition(other.group):
                notes.append(
                    f"{other.name} and {one.name} both have {', '.join(both)} for the same groups "
                    "of rows: the data determine only the sum of the two variances"
                )
    return notes

"""The rows of a model's data, its weights, offset and response."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from padchol.mixed import columns as read
from padchol.mixed.variables import named, response_column
from padchol.splines.families import Family
from padchol.splines.formula import Parts


class Extra(NamedTuple):
    weights: np.ndarray
    offset: np.ndarray


def used_rows(
    parts: Parts, data: Any, columns: tuple[str, ...], weights: Any, offset: Any
) -> tuple[Any, list[str], Extra]:
    """The rows without missing values, what is to be said of them, and weights and offset there."""
    read.check_data(data, columns)
    data = data.copy(deep=False)
    extra = {}
    for what, given in (("weights", weights), ("offset", offset)):
        name = given if isinstance(given, str) else f"({what})"
        if given is not None and not isinstance(given, str):
            data[name] = read.given_numbers(given, what, data)
        extra[what] = None if given is None else name
    response = response_column(parts.left)
    needed = {*columns, *filter(None, extra.values())} | ({response} if response else set())
    left = [] if response else [f"0 + {parts.left}"]
    trials = [f"0 + I({each})" for each in parts.trials]
    for text in (*left, *trials, parts.fixed, *parts.offsets):
        needed = needed.union(*named(text, data))
    for call in parts.smooths:
        needed |= {*call.variables} | ({call.by} if call.by else set())
    read.check_data(data, needed)
    used, notes = read.complete(data, needed)
    found = Extra(
        np.ones(len(used)) if weights is None else read.numbers_of(used, str(extra["weights"])),
        np.zeros(len(used)) if offset is None else read.numbers_of(used, str(extra["offset"])),
    )
    return used, notes, found


def columns_of(
    parts: Parts, used: Any, family: Family, columns: tuple[str, ...]
) -> tuple[np.ndarray, ...]:
    """What the family is called with beside the response: the columns, or the trials of the left
    side."""
    if not parts.trials:
        return tuple(read.numbers_of(used, name) for name in columns)
    if family.name != "binomial" or columns:
        raise ValueError(
            "expected successes | trials with the family binomial and no columns; got "
            f"{family.name} and {columns}"
        )
    plain = used.reset_index(drop=True)
    trials = [read.one_column(each, plain, "the trials").values[:, 0] for each in parts.trials]
    return (np.sum(trials, 0),)


def response_of(left: str, used: Any, family: Family) -> tuple[np.ndarray, list[str]]:
    name = response_column(left)
    if name is None:
        plain = used.reset_index(drop=True)
        y = read.design(f"0 + {left}", plain).values
        if y.shape[1] != 1:
            raise ValueError(f"expected one response; {left!r} has {y.shape[1]} columns")
        return y[:, 0], []
    column = read.plain(used[name])
    if read.has_labels(column) and family.name == "binomial":
        y, (failure, success) = read.two_levels(column, name)
        return y, [f"response {name}: {success!r} is success (1), {failure!r} is not (0)"]
    return read.numbers_of(used, name), []

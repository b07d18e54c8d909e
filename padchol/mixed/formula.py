"""Formulas with random-effects terms: y ~ x + (1 | g) + (x | g).

The terms in parentheses are read here; what is left, and what stands before a bar, is read by
formulaic. `(x | g)` has an intercept unless it says 0 or -1; `(x || g)` is the same without
correlations, one term for each term of x; `g:h` are the pairs of levels, `g/h` is g and g:h.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from padchol.mixed.terms import Random


class Frame(NamedTuple):
    """What a formula makes of the data."""

    y: np.ndarray
    X: np.ndarray
    names: tuple[str, ...]
    random: list[Random]
    data: Any  # the rows used


def frame(formula: str, data: Any, columns: Sequence[str] = ()) -> Frame:
    """y (n,), X (n, p) and the random-effects terms of a formula; rows with missing values in what
    it names, or in further `columns`, are left out. data: a pandas DataFrame. Needs formulaic.
    Raises `ValueError` for what cannot be read, naming the part."""
    import formulaic

    read: Any = formulaic.Formula
    left, fixed, bars = split(formula)
    needed = set(columns) | set(read(f"{left} ~ {fixed}").required_variables)
    for inner, group in bars:
        needed |= set(read(inner).required_variables)
        needed |= set(_factors(group))
    absent = sorted(name for name in needed if name not in data.columns)
    if absent:
        raise ValueError(f"expected columns {absent} in the data; got {list(data.columns)}")
    used = data.dropna(subset=sorted(needed))
    parts = formulaic.model_matrix(f"{left} ~ {fixed}", used)
    y = np.asarray(parts.lhs, float)
    if y.shape != (len(used), 1):
        raise ValueError(f"expected one response; {left!r} has {y.shape[1]} columns")
    random = []
    for inner, group in bars:
        x = formulaic.model_matrix(inner, used)
        names = tuple(str(name) for name in x.columns)
        random.append(Random(np.asarray(x, float), _levels(used, group), group, names))
    X = parts.rhs
    return Frame(y[:, 0], np.asarray(X, float), tuple(map(str, X.columns)), random, used)


def split(formula: str) -> tuple[str, str, list[tuple[str, str]]]:
    """(left side, fixed part, [(inner, group), ...]): the bars, with `||` and `/` written out."""
    left, tilde, right = formula.partition("~")
    if not tilde or not left.strip():
        raise ValueError(f"expected a formula 'y ~ ...'; got {formula!r}")
    fixed, bars = [], []
    for piece in _summands(right, formula):
        if "|" not in piece:
            fixed.append(piece)
        elif piece.startswith("(") and piece.endswith(")") and _closes_last(piece):
            bars += _written_out(piece[1:-1], piece)
        else:
            raise ValueError(f"expected a term (x | g) in parentheses; got {piece!r}")
    return left.strip(), " + ".join(fixed) or "1", bars


def _summands(text: str, formula: str) -> list[str]:
    """What stands between the plus signs outside parentheses."""
    depth, pieces = 0, [""]
    for c in text:
        depth += (c == "(") - (c == ")")
        if depth < 0:
            break
        if c == "+" and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += c
    if depth:
        raise ValueError(f"expected matching parentheses; got {formula!r}")
    return [piece.strip() for piece in pieces if piece.strip()]


def _closes_last(piece: str) -> bool:
    """Whether the parenthesis that opens the piece is the one that closes it."""
    depth = 0
    for k, c in enumerate(piece):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return k == len(piece) - 1
    return False


def _written_out(text: str, piece: str) -> list[tuple[str, str]]:
    apart = "||" in text
    inner, _, group = (part.strip() for part in text.partition("||" if apart else "|"))
    if not inner or not group or "|" in group:
        raise ValueError(f"expected a term (x | g); got {piece!r}")
    names = [name.strip() for name in group.split("/")]
    groups = [":".join(names[: k + 1]) for k in range(len(names))]
    inners = _separate(inner) if apart else [inner]
    return [(each, group) for group in groups for each in inners]


def _separate(inner: str) -> list[str]:
    """One formula for each term of the inner one."""
    import formulaic

    read: Any = formulaic.Formula
    found = [str(term) for term in read(inner)]
    return ["1" if term == "1" else f"0 + {term}" for term in found]


def _factors(group: str) -> list[str]:
    return [name.strip() for name in group.split(":")]


def _levels(data: Any, group: str) -> np.ndarray:
    """The label of each row's level; pairs are joined by a colon."""
    columns = [data[name].to_numpy() for name in _factors(group)]
    if len(columns) == 1:
        return columns[0].astype(str) if columns[0].dtype == object else np.asarray(columns[0])
    return np.array([":".join(map(str, row)) for row in zip(*columns, strict=True)])

"""Structured terms of formulas: ar1(t | g) and the like, with their positions and levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from padchol.mixed import columns as read
from padchol.mixed.levels import Levels, key_of
from padchol.mixed.reading import Grouping, bare
from padchol.mixed.structures import KINDS
from padchol.mixed.syntax import factors, unquoted
from padchol.mixed.terms import Random


def positions_text(kind: str, inner: str) -> str:
    """What formulaic reads for the positions: one expression, or coordinates."""
    return f"0 + {inner}" if kind in ("matern", "cs") else f"0 + I({inner})"


def structured_term(
    kind: str,
    inner: str,
    group: str,
    levels: Levels,
    parts: Sequence[Levels],
    used: Any,
    table: Any,
) -> tuple[Random, Grouping]:
    """The term, and how other data are read. parts: the levels of each factor of the group."""
    name = f"{kind}({inner} | {group})"
    ones = read.design("1", table)
    if kind == "cs":
        column = unquoted(inner)
        if column not in used.columns:
            raise ValueError(f"expected the name of a column in {name}; got {inner!r}")
        at: Any = Levels.of(used[column], column)
        positions: Any = column
        places = {key_of(label): k for k, label in enumerate(at.labels.tolist())}
        structure = KINDS[kind](at)
    else:
        made = read.design(positions_text(kind, inner), table)
        if kind != "matern" and made.values.shape[1] != 1:
            raise ValueError(f"expected one number a row as positions in {name}; got labels")
        values = made.values if kind == "matern" else made.values[:, 0]
        structure, positions = KINDS[kind](values), bare(made)
        places = {key: k for k, key in enumerate(_all(kind, made.values))}
    how = Grouping.of(ones, factors(group), levels, parts)
    how = how._replace(positions=positions, places=places)
    return Random(ones.values, levels, name, ones.names, structure), how


def _all(kind: str, values: np.ndarray) -> list[tuple[float, ...]]:
    """All positions of a series or field, in their order."""
    if kind == "ar1":
        t = values[:, 0]
        return [(float(x),) for x in np.arange(t.min(), t.max() + 1)]
    return [tuple(row) for row in np.unique(values, axis=0).tolist()]


def check_precision(precision: Any, bars: list[tuple[str, str]]) -> None:
    """Raises `ValueError` for a precision whose group has no term, or one with slopes."""
    groups = {":".join(factors(group)): inner for inner, group in bars}
    for name in precision or {}:
        if groups.get(name) != "1":
            raise ValueError(
                f"expected precisions for groups of terms (1 | g); got one for {name!r}, and the "
                f"terms {[f'({inner} | {group})' for group, inner in groups.items()]}"
            )

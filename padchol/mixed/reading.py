"""How a formula read its data, so that other data are read alike: for predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from padchol.mixed import columns as read
from padchol.mixed.columns import Matrix
from padchol.mixed.levels import Levels, key_of

GIVEN = "{}="  # the column of an array that was given as an argument


class Rows(NamedTuple):
    """Rows of the model: X, and of each term x and the codes of its levels, -1 for a new one."""

    X: Float[np.ndarray, "n p"]
    random: list[tuple[Float[np.ndarray, "n p_i"], Int[np.ndarray, " n"]]]
    offset: Float[np.ndarray, " n"] | float
    parts: dict[str, Float[np.ndarray, "n p"]]


class Grouping(NamedTuple):
    """A term (x | a:b): how x is made, the columns a and b, and the code of each pair of levels."""

    x: Matrix
    factors: tuple[str, ...]
    levels: tuple[dict[Any, int], ...]  # of each factor: label to code
    codes: dict[tuple[int, ...], int]  # of a combination of those
    positions: Matrix | str | None = None  # of a structured term: numbers, or a column of labels
    places: Mapping[Any, int] = MappingProxyType({})  # of each; levels are pairs (group, place)

    @classmethod
    def of(
        cls,
        x: Matrix,
        names: Sequence[str],
        whole: Levels,
        parts: Sequence[Levels],
        structure: Any = None,
    ) -> Grouping:
        """structure: a precision with labels of its own, whose order the levels then have."""
        labels = getattr(structure, "labels", None)
        if labels is not None:
            known = {key_of(v): k for k, v in enumerate(np.asarray(labels).tolist())}
            return cls(bare(x), tuple(names), (known,), {(k,): k for k in known.values()})
        levels = tuple({key_of(v): k for k, v in enumerate(part.labels)} for part in parts)
        if len(parts) == 1:
            return cls(bare(x), tuple(names), levels, {(k,): k for k in range(whole.labels.size)})
        stacked = np.stack([part.codes for part in parts], 1)
        rows, first = np.unique(stacked, axis=0, return_index=True)
        codes = {
            tuple(row.tolist()): int(whole.codes[k]) for row, k in zip(rows, first, strict=True)
        }
        return cls(bare(x), tuple(names), levels, codes)

    def code(self, data: Any, table: Any) -> Int[np.ndarray, " n"]:
        """The code of the level of each row, -1 where the model has none."""
        group = self._of_group(data)
        if self.positions is None:
            return group
        if isinstance(self.positions, str):
            keys = [key_of(v) for v in Levels.of(data[self.positions], self.positions)]
        else:
            keys = [tuple(row) for row in read.design_again(self.positions, table).tolist()]
        place = np.array([self.places.get(key, -1) for key in keys], int)
        return np.where((group < 0) | (place < 0), -1, group * len(self.places) + place)

    def _of_group(self, data: Any) -> Int[np.ndarray, " n"]:
        parts = []
        for name, known in zip(self.factors, self.levels, strict=True):
            found = Levels.of(data[name], name)
            of_label = [known.get(key_of(label), -1) for label in found.labels]
            parts.append(np.array(of_label, int)[found.codes])
        rows = zip(*(part.tolist() for part in parts), strict=True)
        return np.array([self.codes.get(row, -1) for row in rows], int)


class Reading:
    """Everything that is needed to read other data as the model's own were.

    Compared by what it says, so that models of one formula and the same levels share programs.
    """

    def __init__(
        self,
        formula: str,
        X: Matrix,
        random: Sequence[Grouping],
        parts: dict[str, Matrix],
        offsets: Sequence[Matrix],
        names: set[str],
        offset: str | None,
        levels: dict[str, list[Any]],
    ):
        self.X, self.random, self.parts, self.offsets = bare(X), tuple(random), parts, offsets
        self.formula = formula
        self.names = names  # of columns of the data
        self.offset = offset  # the column of the argument `offset`
        self.levels = levels  # of each factor among the columns
        self.parts = {what: bare(each) for what, each in parts.items()}
        self.offsets = tuple(bare(each) for each in offsets)
        numbers = [g.positions for g in random if isinstance(g.positions, Matrix)]
        made = (self.X, *self.offsets, *self.parts.values(), *(g.x for g in random), *numbers)
        states = [(m.names, m.kept, f"{m.spec.transform_state}") for m in made]
        groups = [(g.factors, g.levels, g.codes, g.places) for g in random]
        self._key = repr((formula, states, groups, sorted(parts), offset, levels))

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Reading) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def rows(self, data: Any, *, random: bool = True) -> Rows:
        """The rows of other data. Raises `ValueError` for columns that are not there, missing
        values, levels of a fixed effect that the model does not know, and numbers that are not
        finite."""
        groups = {name for each in self.random for name in each.factors} if random else set()
        needed = {*self.names, *groups, *([self.offset] if self.offset else [])}
        if self.offset == GIVEN.format("offset"):
            raise ValueError(
                "expected the offset of the rows to predict; the model had an array. Name a column "
                "as the model's offset, or say offset(...) in its formula"
            )
        read.check_data(data, needed)
        missing = [name for name in sorted(needed) if data[name].isna().any()]
        if missing:
            raise ValueError(f"expected rows without missing values; got some in {missing}")
        table = self._table(data, sorted(self.names))
        again = read.design_again
        offset = [again(each, table)[:, 0] for each in self.offsets]
        offset += [read.numbers_of(data, self.offset)] if self.offset else []
        terms = (
            [(again(each.x, table), each.code(data, table)) for each in self.random]
            if random
            else []
        )
        parts = {what: again(each, table) for what, each in self.parts.items()}
        return Rows(again(self.X, table), terms, total(offset) if offset else 0.0, parts)

    def _table(self, data: Any, names: list[str]) -> Any:
        import pandas

        found = {}
        for name in names:
            column = read.plain(data[name])
            if name in self.levels:
                known = self.levels[name]
                text = column.astype(object)
                new = [v for v in dict.fromkeys(text) if v not in known]
                if new:
                    raise ValueError(
                        f"expected levels of {name} among {read.listed(map(repr, known))}; got "
                        f"{read.listed(map(repr, new))}"
                    )
                column = pandas.Series(pandas.Categorical(text, categories=known))
            elif read.has_labels(column) and len(column):
                raise ValueError(
                    f"expected numbers in the column {name!r}, as in the model's data; got labels "
                    f"such as {column.iloc[0]!r}"
                )
            found[name] = column
        return pandas.DataFrame(found, index=pandas.RangeIndex(len(data)))


def bare(matrix: Matrix) -> Matrix:
    """The way to a matrix, without its values."""
    return matrix._replace(values=matrix.values[:0])


def known_levels(table: Any) -> dict[str, list[Any]]:
    """The levels of each factor of a table that `columns.usable` made."""
    return {
        name: Levels.of(table[name], name).labels.tolist()
        for name in table.columns
        if read.has_labels(table[name])
    }


def with_given(data: Any, **given: Any) -> tuple[Any, dict[str, str]]:
    """The data, with columns for arguments that are arrays; and the column of each argument.

    Raises `ValueError` for an array that has not a number for each row.
    """
    names, added = {}, {}
    for what, each in given.items():
        if each is None:
            continue
        if isinstance(each, str):
            names[what] = each
            continue
        names[what] = GIVEN.format(what)
        added[names[what]] = read.given_numbers(each, what, data)
    return data.assign(**added) if added else data, names


def total(parts: Sequence[Any]) -> Any:
    """The sum of arrays, without those that are None; None where all are."""
    some = [part for part in parts if part is not None]
    return sum(some[1:], some[0]) if some else None

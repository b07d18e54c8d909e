"""Levels of a grouping factor: an integer code for each row, and a label for each code.

Two rows share a level if and only if their labels are equal, whatever characters or types these
have: pairs of factors are compared by their codes, never by joined text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int


class Levels:
    """codes (n,) of labels (levels,). As a sequence or an array, it is the label of each row.

    Levels that no row has are left out. `unused` are their labels, if any.
    """

    def __init__(self, codes: Any, labels: Any, unused: Sequence[Any] = ()):
        self.codes: Int[np.ndarray, " n"] = np.asarray(codes)
        self.labels: np.ndarray = labels
        self.unused = tuple(unused)

    @classmethod
    def of(cls, group: Any, name: str = "the group") -> Levels:
        """The levels of labels (n,): in the order of a pandas categorical, otherwise sorted.

        Raises `ValueError` for more dimensions than one, and for labels that are missing (None,
        NaN) or cannot be compared (lists). O(n log n).
        """
        if isinstance(group, Levels):
            return group
        if hasattr(group, "cat"):  # a categorical Series
            group = group.cat
        if hasattr(group, "categories") and hasattr(group, "codes"):
            return cls._of_categories(np.asarray(group.codes), group.categories, name)
        values = np.asarray(group)
        if values.ndim != 1:
            raise ValueError(f"expected labels (n,) in {name}; got shape {values.shape}")
        if values.dtype == object:
            return cls._of_objects(values, name)
        missing = values != values  # NaN and NaT alone differ from themselves
        if missing.any():
            raise _missing(name, int(np.argmax(missing)))
        labels, codes = np.unique(values, return_inverse=True)
        return cls(codes, labels)

    @classmethod
    def _of_categories(cls, codes: np.ndarray, categories: Any, name: str) -> Levels:
        if (codes < 0).any():
            raise _missing(name, int(np.argmax(codes < 0)))
        labels = _objects(categories) if categories.dtype == object else np.asarray(categories)
        used, found = np.unique(codes, return_inverse=True)
        return cls(found, labels[used], list(np.delete(labels, used)))

    @classmethod
    def _of_objects(cls, values: np.ndarray, name: str) -> Levels:
        """Labels of any types. True and 1, equal in Python, are two labels; 1 and 1.0 are one."""
        seen: dict[Any, int] = {}
        first = np.empty(values.size, int)
        try:
            for row, label in enumerate(values):
                if label is None or not _equal(label, label):
                    raise _missing(name, row)
                first[row] = seen.setdefault(key_of(label), len(seen))
        except TypeError as error:
            raise ValueError(f"expected labels that can be compared in {name}; {error}") from None
        labels = [label for _, label in seen]
        order = _sorted(labels)
        place = np.empty(len(order), int)
        place[order] = np.arange(len(order))
        return cls(place[first], _objects([labels[k] for k in order]))

    @classmethod
    def pairs(cls, parts: Sequence[Levels]) -> Levels:
        """The combinations of the levels that occur, sorted by the first factor, then the next.

        Labels are joined by a colon as in R; a label that holds a colon stands in quotes, so that
        no two are alike.
        """
        codes = np.zeros(parts[0].codes.size, int)
        rows = np.zeros(1, int)  # one row of each combination so far
        for part in parts:
            both = codes * part.labels.size + part.codes
            _, rows, codes = np.unique(both, return_index=True, return_inverse=True)
        shown = [part.texts() for part in parts]
        joined = [
            ":".join(text[part.codes[row]] for text, part in zip(shown, parts, strict=True))
            for row in rows
        ]
        return cls(codes, _objects(joined))

    def texts(self) -> list[str]:
        """A text for each label, no two alike and none with a bare colon."""
        plain = [str(label) for label in self.labels]
        alike = len(set(plain)) < len(plain)
        return [
            repr(label.item() if isinstance(label, np.generic) else label)
            if alike or ":" in text or text[:1] in {"'", '"'}
            else text
            for label, text in zip(self.labels, plain, strict=True)
        ]

    def same_partition(self, other: Levels) -> bool:
        """Whether both put the same rows together."""
        return np.array_equal(_by_appearance(self.codes), _by_appearance(other.codes))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy
        return np.asarray(self.labels[self.codes], dtype)

    def __len__(self) -> int:
        return self.codes.size

    def __getitem__(self, row: Any) -> Any:
        return self.labels[self.codes[row]]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.labels[self.codes])


def _by_appearance(codes: np.ndarray) -> np.ndarray:
    """The codes counted anew in the order in which they appear."""
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _objects(values: Any) -> np.ndarray:
    """(k,) of objects, tuples among them kept whole."""
    values = list(values)
    found = np.empty(len(values), object)
    found[:] = values
    return found


def key_of(label: Any) -> tuple[bool, Any]:
    """What tells labels apart: True and 1, equal in Python, are two."""
    return isinstance(label, (bool, np.bool_)), label


def _equal(a: Any, b: Any) -> bool:
    """a == b; false where that is no answer (pandas.NA), true where it is many (arrays)."""
    try:
        return bool(a == b)
    except TypeError:
        return False
    except ValueError:
        return True


def _sorted(labels: list[Any]) -> list[int]:
    """The order of the labels; those of types that do not compare by type, then as text."""
    at = range(len(labels))
    try:
        return sorted(at, key=lambda k: labels[k])
    except TypeError:
        return sorted(at, key=lambda k: (type(labels[k]).__name__, str(labels[k])))


def _missing(name: str, row: int) -> ValueError:
    return ValueError(f"expected labels without missing values in {name}; row {row} has none")

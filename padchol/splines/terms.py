"""Smooth terms of a formula on data: their variables read, their bases chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from padchol.mixed import columns as read
from padchol.mixed.levels import Levels
from padchol.splines.bases import Basis, BSplines, Cyclic, Effects, Natural
from padchol.splines.centring import Centred
from padchol.splines.formula import Call
from padchol.splines.smooths import Smooth
from padchol.splines.tensor import Tensor

FUNCTIONS, OF_MARGINS = 10, 5  # k where none is given, of s and of each margin, as in mgcv
ORDER = 2  # of penalties on differences


class SmoothTerm:
    """One smooth, and how its design is made of data. A term with a factor `by` makes one for each
    of its levels, see `terms_of`."""

    def __init__(self, call: Call, used: Any, select: bool, level: Any = None, levels: Any = None):
        self.call, self.level, self.levels = call, level, levels
        self.label = call.label
        if call.by is not None:
            self.label += f":{call.by}" + ("" if levels is None else str(level))
        self.effects = _Codes(call.variables, used) if call.bs == ("re",) else None
        x = self._x(used)
        self.seen: tuple[np.ndarray, ...] = (
            () if self.effects else ((x,) if call.kind == "s" else x)
        )  # columns of the data
        by = self._by(used)
        constant = by is None or levels is not None or np.ptp(by) == 0
        centred = constant and call.kind != "ti" and self.effects is None
        try:
            basis = self._basis(x)
            self.smooth = Smooth(self.label, basis, x, by, centred=centred, select=select)
        except ValueError as error:
            raise ValueError(f"cannot make {self.label}: {error}") from None

    @property
    def variables(self) -> set[str]:
        """Columns of the data."""
        return {*self.call.variables} | ({self.call.by} if self.call.by is not None else set())

    @property
    def coefficient_names(self) -> list[str]:
        if self.effects is not None:
            return [f"{self.label}[{name}]" for name in self.effects.names]
        return [f"{self.label}[{j}]" for j in range(self.smooth.size)]

    def design(self, data: Any, unknown: bool = False) -> sp.csr_array:
        """(m, size) of data; unknown: whether levels of random effects may be new, to be zero."""
        if self.effects is not None and not unknown:
            self.effects.check(data)
        return self.smooth.rows(self._x(data), self._by(data))

    def _x(self, data: Any) -> Any:
        if self.effects is not None:
            return self.effects(data)
        found = tuple(read.numbers_of(data, name) for name in self.call.variables)
        return found[0] if self.call.kind == "s" else found

    def _by(self, data: Any) -> np.ndarray | None:
        if self.call.by is None:
            return None
        if self.levels is None:
            return read.numbers_of(data, self.call.by)
        codes = codes_of(data[self.call.by], self.levels, self.call.by)
        if (codes < 0).any():
            new = data[self.call.by].iloc[int(np.argmax(codes < 0))]
            raise ValueError(
                f"expected levels of {self.call.by} that the model knows, "
                f"{read.listed(map(str, self.levels))}; got {new!r}"
            )
        return (codes == self.levels.index(self.level)).astype(float)

    def _basis(self, x: Any) -> Basis:
        call = self.call
        if self.effects is not None:
            return Effects(len(self.effects.names))
        if call.kind == "s":
            return _one(x, call.bs[0], call.k[0] or FUNCTIONS, call.m[0], call.ends)
        margins = [
            _one(v, bs, k or OF_MARGINS, m)
            for v, bs, k, m in zip(x, call.bs, call.k, call.m, strict=True)
        ]
        if call.kind == "ti":
            margins = [Centred(basis, v) for basis, v in zip(margins, x, strict=True)]
        return Tensor(margins, call.points)


def terms_of(call: Call, used: Any, select: bool) -> list[SmoothTerm]:
    """The term, or one for each level of its factor `by`: of an ordered one for all but the first,
    to stand beside the term without `by`."""
    if call.by is None:
        return [SmoothTerm(call, used, select)]
    column = read.plain(used[call.by])
    if not is_factor(column):
        return [SmoothTerm(call, used, select)]
    labels = Levels.of(column, call.by).labels.tolist()
    ordered = bool(getattr(column.dtype, "ordered", False))
    return [SmoothTerm(call, used, select, level, labels) for level in labels[ordered:]]


def is_factor(column: Any) -> bool:
    return read.has_labels(column) or column.dtype == bool


def codes_of(column: Any, labels: list[Any], name: str) -> np.ndarray:
    """The place of each label among those given, -1 where it is not there."""
    found = Levels.of(column, name)
    place = {label: k for k, label in enumerate(labels)}
    return np.array([place.get(label, -1) for label in found.labels.tolist()], int)[found.codes]


def _one(x: np.ndarray, bs: str, k: int, m: int | None, ends: Any = None) -> Basis:
    if bs == "re":
        raise ValueError("expected random effects as a term of their own, s(g, bs='re')")
    if not np.ptp(x) > 0:
        raise ValueError("expected values of x that differ")
    if bs == "cr":
        return Natural(x, k)
    order = ORDER if m is None else m
    return Cyclic(x, k, order=order, ends=ends) if bs == "cp" else BSplines(x, k, order=order)


class _Codes:
    """Codes of the combinations of some factors that occur, and the product of the numbers among
    the columns."""

    def __init__(self, variables: tuple[str, ...], used: Any):
        self.variables = variables
        self.labels = {
            name: Levels.of(read.plain(used[name]), name).labels.tolist()
            for name in variables
            if is_factor(read.plain(used[name]))
        }
        parts = [self._codes(used, name) for name in self.labels]
        stacked = np.stack(parts, 1) if parts else np.zeros((len(used), 0), int)
        self.occurring, _ = np.unique(stacked, axis=0, return_inverse=True)
        self.place = {tuple(row): k for k, row in enumerate(self.occurring.tolist())}
        self.names = [
            ":".join(str(labels[c]) for labels, c in zip(self.labels.values(), row, strict=True))
            or ":".join(variables)
            for row in self.occurring.tolist()
        ]

    def __call__(self, data: Any) -> tuple[np.ndarray, np.ndarray]:
        """(codes (m,), -1 for what is new, values (m,))"""
        parts = [self._codes(data, name) for name in self.labels]
        stacked = np.stack(parts, 1) if parts else np.zeros((len(data), 0), int)
        rows, at = np.unique(stacked, axis=0, return_inverse=True)
        codes = np.array([self.place.get(tuple(row), -1) for row in rows.tolist()], int)[at.ravel()]
        numbers = [read.numbers_of(data, v) for v in self.variables if v not in self.labels]
        return codes, np.prod([np.ones(len(data)), *numbers], axis=0)

    def check(self, data: Any) -> None:
        codes, _ = self(data)
        if (codes < 0).any():
            row = data.iloc[int(np.argmax(codes < 0))]
            raise ValueError(
                f"expected levels of {':'.join(self.labels)} that the model knows; got "
                f"{':'.join(str(row[name]) for name in self.labels)}. Say new_levels='zero' to "
                "predict with an effect of zero"
            )

    def _codes(self, data: Any, name: str) -> np.ndarray:
        return codes_of(read.plain(data[name]), self.labels[name], name)

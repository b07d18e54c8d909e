"""Which columns of X depend on those before them, and how.

A column x_j counts as dependent if it is a combination of earlier ones, x_j = sum_k c_k x_k, to
within the rounding of these numbers:

    |x_j - sum_k c_k x_k|  <=  ROUNDING eps (|x_j| + sum_k |c_k| |x_k|)

A change of units multiplies both sides, and shifting a column changes the right side only as far
as the shift costs digits of the data: so a covariate of 1e5 + 1e-6 z is a column of its own. As in
R (whose tolerance is 1e-7 of |x_j|, which refuses that covariate) it is the later column that goes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from padchol.mixed.columns import Matrix, listed

EPS = float(np.finfo(float).eps)
ROUNDING = 64.0  # of 1,500 random dependencies computed in doubles, or written with 15 digits, none
# left more than 6.2; of as many independent sets of columns shifted by up to 1e5 none less than 3e4
CLOSE = 1e-6  # of the spread of a column left by those before it: worth a remark
SMALL = 1e-9  # of the largest summand: left out of the words for a dependency


class Dependency(NamedTuple):
    """A column that depends on earlier ones."""

    column: int
    words: str


class Rank(NamedTuple):
    """The columns kept, those that depend on them, and those that nearly do."""

    kept: list[int]
    dependent: list[Dependency]
    close: list[int]


def rank(X: Float[np.ndarray, "n p"], names: tuple[str, ...]) -> Rank:
    """Columns in their order, each against those kept before it: by Gram-Schmidt done twice, which
    leaves residuals right to rounding (Giraud, Langou & Rozloznik 2005, Comput. Math. Appl. 50).
    O(n p^2)."""
    n, p = X.shape
    Q, R = np.zeros((n, min(n, p))), np.zeros((min(n, p), p))
    largest = np.max(np.abs(X), axis=0, initial=0)
    unit = np.where(largest > 0, largest, 1.0)
    kept, dependent, close = [], [], []
    sizes = np.linalg.norm(X / unit, axis=0)
    for j in range(p):
        k = len(kept)
        rest = X[:, j] / unit[j]
        for _ in range(2):
            part = Q[:, :k].T @ rest
            rest = rest - Q[:, :k] @ part
            R[:k, j] += part
        left = np.linalg.norm(rest)
        c = np.linalg.solve(R[:k, kept], R[:k, j])
        noise = EPS * (sizes[j] + np.abs(c) @ sizes[kept])
        if k == n or left <= ROUNDING * noise:
            summands = tuple(names[i] for i in kept)
            words = _words(c * sizes[kept], c * unit[j] / unit[kept], summands)
            dependent.append(Dependency(j, words))
            continue
        spread = np.linalg.norm(X[:, j] / unit[j] - np.mean(X[:, j] / unit[j]))
        if k and left < CLOSE * spread:
            close.append(j)
        Q[:, k], R[k, j] = rest / left, left
        kept.append(j)
    return Rank(kept, dependent, close)


def full_rank(
    X: Float[np.ndarray, "n p"],
    names: tuple[str, ...],
    *,
    drop: bool = False,
    what: str = "X",
    hint: str = ", or say drop=True to have them dropped, as R does",
) -> tuple[list[int], list[str]]:
    """(columns to keep, what there is to say). Dependent columns are dropped and named where `drop`
    is true; otherwise they are a `ValueError` that says which depends on which, and ends in the
    hint."""
    found = rank(X, names)
    notes = [
        f"{what}: {names[j]} is close to a combination of the columns before it (it differs by "
        f"less than {CLOSE:.0e} of its spread), and its coefficient is hardly determined"
        for j in found.close
    ]
    if not found.dependent:
        return found.kept, notes
    if not drop:
        raise ValueError(f"{_refusal(found, names, what)}\nLeave them out of the formula{hint}")
    count = len(found.dependent)
    dropped = listed((f"{names[d.column]} ({d.words})" for d in found.dependent), 20)
    notes.insert(
        0, f"{what} is rank deficient: {count} column{'s' * (count > 1)} dropped: {dropped}"
    )
    return found.kept, notes


def kept_columns(whole: Matrix, *, drop: bool = False, what: str = "X") -> tuple[Matrix, list[str]]:
    """The matrix without its dependent columns, see `full_rank`, and what there is to say."""
    kept, notes = full_rank(whole.values, whole.names, drop=drop, what=what)
    names = tuple(whole.names[k] for k in kept)
    return Matrix(whole.values[:, kept], names, whole.spec, tuple(kept)), notes


def require_full_rank(X: Float[np.ndarray, "n p"], names: tuple[str, ...]) -> None:
    """Raises `ValueError` for X with more columns than rows, or columns that depend on others."""
    if X.shape[1] > X.shape[0]:
        raise ValueError(f"expected no more columns of X than rows; got shape {X.shape}")
    found = rank(X, names)
    if found.dependent:
        raise ValueError(_refusal(found, names, "X"))


def _refusal(found: Rank, names: tuple[str, ...], what: str) -> str:
    count = len(found.dependent)
    columns = [
        f"column {d.column} ({names[d.column]}) depends on those before it: {d.words}"
        for d in found.dependent
    ]
    total = len(found.kept) + count
    return (
        f"expected {what} of full column rank; {count} of its {total} columns "
        + (f"{'depend' if count > 1 else 'depends'} on others\n" + "\n".join(columns[:8]))
        + (f"\nand {count - 8} more" if count > 8 else "")
    )


def _words(sizes: np.ndarray, c: np.ndarray, names: tuple[str, ...]) -> str:
    """The combination in words: 0.5 x + 3 z. sizes: of its summands."""
    large = np.flatnonzero(np.abs(sizes) > SMALL * np.max(np.abs(sizes), initial=0)).tolist()
    if not large:
        return "it is zero in every row"
    if len(large) > 6:
        return f"it is a combination of {listed([names[k] for k in large], 6)}"
    summands = [f"{'-' if c[k] < 0 else '+'} {_number(abs(c[k]))}{names[k]}" for k in large]
    text = " ".join(summands).removeprefix("+ ")
    return "it is " + (f"-{text[2:]}" if text.startswith("- ") else text)


def _number(value: float) -> str:
    return "" if f"{value:.6g}" == "1" else f"{value:.6g} "

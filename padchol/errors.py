"""Errors, with what was expected, what came, and what to try."""

from __future__ import annotations

from typing import Any

NOT_POSITIVE_DEFINITE = (
    "padchol: the matrix is not positive definite (Factor.info holds 1 + the index of the first "
    "pivot that is not positive). Check its values for NaN, that it is symmetric, and whether it "
    "is singular: adding a small multiple of the identity often tells."
)


class NotPositiveDefiniteError(ValueError):
    """A pivot was not positive. `index`: its row in the user's numbering. `pivot`: its value."""

    def __init__(self, index: int, pivot: float):
        self.index, self.pivot = index, pivot
        super().__init__(
            f"expected a positive definite matrix; got pivot {pivot:.6g} at row {index} (user's "
            "numbering). Check the values for NaN, that the matrix is symmetric, and whether it is "
            "singular: adding a small multiple of the identity often tells."
        )


class PlanFileError(ValueError):
    """A file that does not hold a plan of this version, or is damaged."""


def check_type(x: Any, kind: type | tuple[type, ...], expected: str) -> None:
    """Raise `TypeError` for what is not of the kind, saying in words what was expected."""
    if not isinstance(x, kind):
        raise TypeError(f"expected {expected}; got {type(x).__name__}")

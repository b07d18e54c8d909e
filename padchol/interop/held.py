"""Plans and other host-side tables inside the pytrees of other libraries.

Those differentiate, batch and stack whatever leaves they find. Index tables must not be leaves
there: they are held as static data, compared and hashed by a digest of their contents.
"""

from __future__ import annotations

import hashlib
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from padchol.plan import Plan

T = TypeVar("T")


class Held(Generic[T]):
    """A value as static data: equal, and of equal hash, where the names are equal."""

    def __init__(self, value: T, name: str):
        self.value = value
        self.name = name

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and self.name == other.name

    def __repr__(self) -> str:
        return repr(self.value)


def hold(plan: Plan) -> tuple[Plan | None, Held[Plan] | None]:
    """(a plan as a pytree, a plan as static data): one of them is None.

    A plan that is itself traced, as an argument of a jitted function, cannot be static.
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"expected a Plan, as made by padchol.analyze; got {type(plan).__name__}")
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(plan)):
        return plan, None
    return None, Held(plan, plan.fingerprint)


def held_plan(traced: Plan | None, held: Held[Plan] | None) -> Plan:
    """The plan that `hold` was given."""
    if traced is not None:
        return traced
    assert held is not None
    return held.value


def digest(*parts: Any) -> str:
    """A name for host arrays and numbers: SHA-256 of types, shapes and contents."""
    found = hashlib.sha256()
    for part in parts:
        array = np.asarray(part)
        found.update(f"{array.dtype}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()

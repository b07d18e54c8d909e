"""Where the parameters of a model may lie: an error where they are known, NaN where traced."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from padchol.numeric.values import poisoned, real_array


class Interval(NamedTuple):
    """low < x < high, or low <= x < high where it is closed below. reason: errors end with it."""

    low: float
    high: float
    closed: bool = False
    reason: str = ""

    def holds(self, x: Any) -> Any:
        """Whether x lies in it."""
        return ((x >= self.low) if self.closed else (x > self.low)) & (x < self.high)

    def said_of(self, name: str) -> str:
        """In words, for messages about the parameter of that name."""
        if math.isinf(self.high):
            return f"{name} {'>=' if self.closed else '>'} {self.low:g}, finite{self.reason}"
        return f"{self.low:g} {'<=' if self.closed else '<'} {name} < {self.high:g}{self.reason}"


POSITIVE = Interval(0, math.inf)
CORRELATION = Interval(-1, 1)
PROPORTION = Interval(0, 1, closed=True)  # of one: that is left to the limit of the model
Domain = Mapping[str, Interval]


def within(domain: Domain, names: Sequence[str], parameters: Sequence[Any]) -> list[Array]:
    """The parameters as numbers, checked: `TypeError` for another count, `ValueError` for another
    shape and for what is known and lies outside; NaN, derivatives too, for what is traced."""
    if len(parameters) != len(names):
        raise TypeError(f"expected the parameters {tuple(names)}; got {len(parameters)} of them")
    found = [one_within(domain.get(n), n, x) for n, x in zip(names, parameters, strict=True)]
    for name, x in zip(names, found, strict=True):
        if x.shape != ():
            raise ValueError(f"expected {name} a number; got shape {x.shape}: jax.vmap takes many")
    return found


def one_within(interval: Interval | None, name: str, x: Any) -> Array:
    """One parameter, or an array of them; see `within`."""
    known = not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(x))
    if interval is not None and known and not np.all(interval.holds(np.asarray(x))):
        raise ValueError(f"expected {interval.said_of(name)}; got {x}")
    x = real_array(x, name)
    return x if interval is None or known else poisoned(x, interval.holds(x))

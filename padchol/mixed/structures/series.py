"""Series within the levels of a group: autoregressions and Ornstein-Uhlenbeck processes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array

from padchol.analysis import analyze
from padchol.mixed.levels import Levels
from padchol.mixed.structures.structure import Levelled, Structure, numbers, within

LONGEST = 100_000  # positions of a series, from its first to its last


class Ar1(NamedTuple):
    """Whole numbers t (n,)."""

    t: Any

    def over(self, group: Levels, name: str) -> Levelled:
        """The structure over the levels of the grouping factor of a term."""
        t = numbers(self.t, len(group), f"positions of ar1 in {name}")
        if not np.array_equal(t, np.round(t)):
            raise ValueError(
                f"expected whole numbers as positions of ar1 in {name}; got "
                f"{t[t != np.round(t)][0]} (ou takes any)"
            )
        first, last = int(t.min()), int(t.max())
        if last - first >= LONGEST:
            raise ValueError(
                f"expected at most {LONGEST} positions of ar1 in {name}; got {first} to {last}"
            )
        at = np.arange(first, last + 1)
        levels, plan, where = _chain(group, at, t.astype(int) - first)
        made = (np.ones(at.size - 1), where)
        return Levelled(
            levels, Structure(plan, made, np.zeros(1), _ar1, ("rho",), ("correlation",))
        )


class Ou(NamedTuple):
    """Any numbers t (n,)."""

    t: Any

    def over(self, group: Levels, name: str) -> Levelled:
        """The structure over the levels of the grouping factor of a term."""
        t = numbers(self.t, len(group), f"positions of ou in {name}")
        at, code = np.unique(t, return_inverse=True)
        levels, plan, where = _chain(group, at, code)
        gaps = np.diff(at)
        first = np.full(1, np.log(np.mean(gaps)) if gaps.size else 0.0)
        return Levelled(levels, Structure(plan, (gaps, where), first, _ou, ("range",), ("scale",)))


def _chain(group: Levels, at: np.ndarray, code: np.ndarray) -> tuple[Levels, Any, np.ndarray]:
    """The levels, the plan of a tridiagonal matrix for each level of the group, and the place of
    each of its values among those of one: k on the diagonal, k - 1 beside it."""
    k = at.size
    beside: Any = [0, 1, -1]
    one = sp.diags_array([np.ones(k), np.ones(k - 1), np.ones(k - 1)], offsets=beside)
    # Another format would keep small blocks dense, zeros and all.
    plan = analyze(sp.kron(sp.eye_array(group.labels.size), one, format="coo"))
    rows, cols = np.asarray(plan.rows), np.asarray(plan.cols)
    where = np.where(rows == cols, cols % k, k + cols % k)
    return within(group, code, [f"{x:g}" for x in at]), plan, where


def _ar1(rho: Array, ones: Array, where: Array) -> Array:
    """Correlation tanh(rho) between neighbours."""
    return _tridiagonal(jnp.tanh(rho[0]) * jnp.asarray(ones), where)


def _ou(rho: Array, gaps: Array, where: Array) -> Array:
    """Correlation exp(-gap / exp(rho))."""
    return _tridiagonal(jnp.exp(-jnp.asarray(gaps) / jnp.exp(rho[0])), where)


def _tridiagonal(r: Array, where: Array) -> Array:
    """The precision of a chain of variance one and correlations r between neighbours: 1 + sum of
    r^2 / (1 - r^2) over both neighbours on the diagonal, -r / (1 - r^2) beside it."""
    left = 1 - r**2
    more = r**2 / left
    diagonal = 1 + jnp.concatenate([more, jnp.zeros(1)]) + jnp.concatenate([jnp.zeros(1), more])
    return jnp.concatenate([diagonal, -r / left])[jnp.asarray(where)]

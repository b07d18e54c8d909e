"""Orderings of one pattern, carried as far as their fronts, and the cheapest of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from padchol.symbolic import amalgamation, ordering
from padchol.symbolic.column_counts import RowSubtrees
from padchol.symbolic.costs import CostModel
from padchol.symbolic.exact import counted_supernodes
from padchol.symbolic.pattern import Pattern
from padchol.symbolic.postorder import path_sums
from padchol.symbolic.schedule import Schedule, schedule
from padchol.symbolic.shards import Cut, cut
from padchol.symbolic.supernodes import Supernodes

# Plans are alike whose predicted costs, and entries, differ by less than this: measured times leave
# the prices by more (experiment 22). Of plans alike the one of the lowest tree is chosen.
ALIKE_COST, ALIKE_FILL = 1.03, 1.05


class Candidate(NamedTuple):
    """An ordering carried as far as its fronts, whose rows are only counted."""

    name: str
    perm: np.ndarray  # as the ordering gave it
    free: bool  # whether columns may be moved where L keeps its entries
    counted: Supernodes
    subtrees: RowSubtrees
    post: np.ndarray  # place in `perm` of each column of the supernodes
    group: np.ndarray  # of the relaxed supernodes
    relaxed: Supernodes

    @property
    def nnz_L(self) -> int:
        return self.counted.entries

    @property
    def height(self) -> int:
        """Columns of the supernodes on the longest path to a root."""
        return int(path_sums(self.counted.parent, self.counted.width).max(initial=0))

    def cut(self, model: CostModel, shards: int) -> Cut:
        """The tree of its fronts for so many shards, by predicted nanoseconds of each front."""
        prices = model.predicted(self.relaxed.width, self.relaxed.below)
        return cut(self.relaxed.parent, prices, shards)


def candidate(pattern: Pattern, order: Any, model: CostModel, tell: Callable) -> Candidate:
    """The symbolic pipeline of one ordering, up to its fronts."""
    name = order if isinstance(order, str) else "given"
    tell(f"{name} ordering of {pattern.n:,} columns")
    if name in ordering.NAMED:
        perm = ordering.NAMED[name](pattern)
    elif isinstance(order, str):
        raise ValueError(
            f"expected order to be one of {sorted([*ordering.NAMED, 'auto'])} or a permutation; "
            f"got {order!r}"
        )
    else:
        perm = ordering.given(order, pattern.n)
    free = name not in ("natural", "given")
    tell(f"{name}: elimination tree and supernodes")
    counted, subtrees, post = counted_supernodes(pattern, perm, reorder=free)
    group = amalgamation.groups(counted, model)
    relaxed, _ = amalgamation.merged(counted, group, model.widest)
    return Candidate(name, perm, free, counted, subtrees, post, group, relaxed)


def tried_orderings(
    pattern: Pattern, names: list, model: CostModel, shards: int, tell: Callable
) -> list[Candidate]:
    """The candidates of these orderings, less those that are not worth their time after the first.

    Warns where minimum degree is left out because it would be hopeless.
    """
    tried: list[Candidate] = []
    for name in names:
        if not (tried and _needless(name, tried[0], pattern, model, shards)):
            tried.append(candidate(pattern, name, model, tell))
    if names == ["metis", "mmd"] and ordering.dissection_pays(
        pattern.n, tried[0].cut(model, 1).longest
    ):
        tried.append(candidate(pattern, "nd", model, tell))
    return tried


def _needless(name: str, first: Candidate, pattern: Pattern, model: CostModel, shards: int) -> bool:
    """Whether an ordering need not be tried after the first."""
    if name == "nd":  # the height of the tree counts besides where its branches run side by side
        one_by_one = not model.levels and shards == 1
        if not (one_by_one and first.name == "mmd"):
            return False
        return ordering.dissection_useless(pattern, first.nnz_L, first.cut(model, 1).longest)
    width = first.counted.width
    widest = int(width.max(initial=0))
    if first.name == "metis" and ordering.dissection_suffices(pattern.n, widest):
        return True
    seconds = ordering.degree_hopeless(first.nnz_L)
    if seconds:
        warnings.warn(_enormous(first, seconds), stacklevel=5)
    return seconds > 0


def _enormous(first: Candidate, seconds: float) -> str:
    size, work = first.nnz_L, first.counted.flops
    return (
        f"order='auto' left out minimum degree, which would take about {seconds:.0f} s: this graph "
        f"has no small separators. Under order={first.name!r} L has {size:,} entries "
        f"({8 * size / 1e9:.1f} GB in float64) and a factorisation {work:.1e} flops. order='mmd' "
        "insists, and may fill in half as much; an iterative method may serve better"
    )


def cheapest(candidates: list[Candidate], model: CostModel, shards: int) -> Candidate:
    """The ordering of the least predicted cost, front by front, or one alike of a lower tree."""
    if len(candidates) == 1:
        return candidates[0]
    prices = np.array([c.cut(model, shards).longest for c in candidates])
    entries = np.array([c.nnz_L for c in candidates])
    alike = prices <= ALIKE_COST * prices.min()
    alike &= entries <= ALIKE_FILL * entries[alike].min()
    found = min(np.flatnonzero(alike), key=lambda c: (candidates[c].height, prices[c]))
    return candidates[found]


def cheapest_in_levels(candidates: list[Candidate], model: CostModel) -> tuple[Candidate, Schedule]:
    """The ordering of the least predicted cost, and its schedule."""
    scheduled = [schedule([(c.relaxed, c.relaxed.parent.size)], model) for c in candidates]
    best = min(range(len(candidates)), key=lambda c: scheduled[c].cost)
    return candidates[best], scheduled[best]

"""The tree cut into subtrees, one set for each shard, and a top: many devices, one matrix.

Proportional mapping by splitting: Geist & Ng (1989), Int. J. Parallel Programming 18(4), 291-314.
Starting from the roots, the dearest subtree is opened, its root moved to the top, until the
subtrees can be dealt out evenly; of all the cuts met on the way, the one that is predicted to be
done first is taken. Every shard has the whole top as well: it is swept by each of them alike.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np

from padchol.symbolic.postorder import path_sums, subtree_sums, to_roots
from padchol.symbolic.supernodes import Supernodes, ramp

EVEN = 16  # subtrees a shard, at which dealing them out can hardly become more even
ROUNDING = 1e-9  # of sums of costs
TOP = -1


class Cut(NamedTuple):
    """shard (S,): of each supernode, or TOP. load (shards,), top: predicted costs."""

    shard: np.ndarray
    load: np.ndarray
    top: float

    @property
    def longest(self) -> float:
        """Until all is done, where the top comes after the last subtree."""
        return float(self.load.max(initial=0.0)) + self.top

    @property
    def speedup(self) -> float:
        """Over one shard."""
        return (float(self.load.sum()) + self.top) / self.longest if self.longest else 1.0


def cut(parent: np.ndarray, cost: np.ndarray, shards: int) -> Cut:
    """The best cut for so many shards, up to the cost of a small subtree: those below 1 / (EVEN
    shards) of the whole are taken to fill gaps. Needs parent[s] > s."""
    S = parent.size
    if shards == 1:
        return Cut(np.zeros(S, np.int64), np.array([cost.sum()]), 0.0)
    whole = subtree_sums(parent, cost)
    roots = np.flatnonzero(parent < 0)
    total = float(whole[roots].sum())
    small = total / (EVEN * shards)
    large = np.flatnonzero(whole > small)  # of subtrees that may be opened: none in smaller ones
    large = large[np.argsort(parent[large], kind="stable")]
    start = np.append(0, np.cumsum(np.bincount(parent[large] + 1, minlength=S + 1)))
    heap: list[tuple[float, int]] = []
    opened, top, best = [], 0.0, (np.inf, 0)
    least = float(path_sums(parent, cost).max(initial=0.0)) * (1 + ROUNDING)  # of any cut
    s = -1  # above all roots
    while True:
        for c in large[start[s + 1] : start[s + 2]].tolist():
            heapq.heappush(heap, (-float(whole[c]), c))
        even = top + (total - top) / shards
        if max(even, least) >= best[0]:  # neither of which ever falls
            break
        if (
            top - (heap[0][0] if heap else 0.0) < best[0]
        ):  # or else it is no better however the rest is dealt out
            longest = max(top + max(_dealt([-x for x, _ in heap], shards)), even)
            if longest < best[0]:
                best = (longest, len(opened))
        if not heap:
            break
        _, s = heapq.heappop(heap)
        opened.append(s)
        top += cost[s]
    return _cut(parent, cost, whole, np.array(opened[: best[1]], np.int64), shards)


def _cut(parent, cost, whole, opened, shards: int) -> Cut:
    """The cut with these supernodes as its top."""
    shard = np.zeros(parent.size, np.int64)
    shard[opened] = TOP
    in_top = np.append(shard == TOP, True)  # and what is above every root
    roots = np.flatnonzero(in_top[parent] & ~in_top[:-1])
    roots = roots[np.argsort(-whole[roots], kind="stable")]
    loads = [(0.0, s) for s in range(shards)]  # a heap: the least loaded is the first
    owner = []
    for price in whole[roots].tolist():
        least, s = loads[0]
        owner.append(s)
        heapq.heapreplace(loads, (least + price, s))
    shard[roots] = owner
    root = np.where(in_top[parent], np.arange(parent.size), parent)
    to_roots(root, np.flatnonzero(~in_top[:-1]))
    shard = np.where(in_top[:-1], TOP, shard[root])
    load = np.array([x for x, _ in sorted(loads, key=lambda each: each[1])])
    return Cut(shard, load, float(cost[opened].sum()))


def _dealt(costs: list[float], shards: int) -> list[float]:
    """Loads after the dearest goes to the least loaded, one after the other."""
    load = [0.0] * shards
    for cost in sorted(costs, reverse=True):
        heapq.heapreplace(load, load[0] + cost)
    return load


class Part(NamedTuple):
    """What one shard knows: its own supernodes, then empty ones, so that the top begins at the same
    place in every shard, then the top.

    top        the first supernode of the top
    columns    of each column, its number in the whole
    entries    which canonical entries of A are in these columns
    i, k       where they are, counted in these columns
    """

    nodes: Supernodes
    top: int
    columns: np.ndarray
    entries: np.ndarray
    i: np.ndarray
    k: np.ndarray


def sequence(shard: np.ndarray) -> np.ndarray:
    """The supernodes shard after shard, the top behind them."""
    return np.argsort(np.where(shard == TOP, shard.max(initial=0) + 1, shard), kind="stable")


def parts(
    nodes: Supernodes, shard: np.ndarray, shards: int, i: np.ndarray, k: np.ndarray
) -> list[Part]:
    """The parts of supernodes that follow one another as in `sequence`. One shard is the whole, and
    has no top."""
    if shards == 1:
        every = np.arange(int(nodes.first[-1]))
        return [Part(nodes, nodes.parent.size, every, np.arange(i.size), i, k)]
    own = [np.flatnonzero(shard == s) for s in range(shards)]
    top = np.flatnonzero(shard == TOP)
    before = max(x.size for x in own)
    return [_part(nodes, x, top, before, i, k) for x in own]


def _part(
    nodes: Supernodes, own: np.ndarray, top: np.ndarray, before: int, i: np.ndarray, k: np.ndarray
) -> Part:
    s = np.concatenate([own, top])
    columns = np.repeat(nodes.first[s], nodes.width[s]) + ramp(nodes.width[s])
    number = np.full(nodes.parent.size + 1, -1)  # of each supernode, here; the last: of none
    number[own], number[top] = np.arange(own.size), before + np.arange(top.size)
    column = np.full(int(nodes.first[-1]), -1)
    column[columns] = np.arange(columns.size)
    below = nodes.below[s]
    rows = column[nodes.rows[np.repeat(nodes.row_ptr[s], below) + ramp(below)]]

    def with_empty(x, filled):
        return np.concatenate([x[: own.size], [filled] * (before - own.size), x[own.size :]])

    width = with_empty(nodes.width[s], 0)
    first, row_ptr = (np.append(0, np.cumsum(x)) for x in (width, with_empty(below, 0)))
    parent = with_empty(number[nodes.parent[s]], -1)
    entries = np.flatnonzero(column[k] >= 0)
    here = Supernodes(first.astype(int), parent.astype(int), row_ptr.astype(int), rows)
    return Part(here, before, columns, entries, column[i[entries]], column[k[entries]])

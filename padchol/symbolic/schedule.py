"""Bins, rounds and chunks: which fronts are factored together, and in which order.

A *bin* is a padded shape (W, M). A *round* runs through the bins one after the other, small fronts
first, and in each bin through the fronts whose descendants are done by then, be it in the same
round or in the same bin: a tree of 31 levels takes 4 or 5 rounds. Fronts of one bin and round that
do not wait for each other form a *group*; it is filled up to whole *chunks* of C fronts, so that a
chunk is one contiguous slice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padchol.symbolic.costs import CostModel, padded_shape
from padchol.symbolic.etree import heights
from padchol.symbolic.supernodes import Supernodes, ramp

MAX_BINS = 12  # one front kernel per bin: the size of the traced program and of its compilation
BIN_PAYS = 0.01  # of the whole cost: a bin that saves less is not worth compiling (18)
MAX_DOUBLINGS = 9  # at most 512 fronts a chunk
ROUNDS = 4  # assumed while bins are chosen: 1 to 6 on the suite (tests/bench/NOTES.md, 13)


class Bin(NamedTuple):
    """One padded shape: W pivot columns, M rows below, C fronts a chunk."""

    W: int
    M: int
    C: int
    fronts: np.ndarray  # (chunks * C,): supernode of each place, -1 where a place is padding
    chunk_ptr: np.ndarray  # (rounds + 1,): chunks of round r are chunk_ptr[r] .. chunk_ptr[r + 1]

    @property
    def chunks(self) -> int:
        return int(self.chunk_ptr[-1])


class Schedule(NamedTuple):
    levels: int  # of the tree: one more than its height
    rounds: int
    bins: list[Bin]
    cost: float  # predicted nanoseconds of one factorisation


def rounds(parent: np.ndarray, bin_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round of each front, and its turn in its bin and round; both are the earliest possible.

    A front comes in the round of its latest child, or one later where the child's bin comes after
    its own. Needs parent[s] > s.
    """
    found, turn = [0] * parent.size, [0] * parent.size
    bins = bin_of.tolist()
    for s, p in enumerate(parent.tolist()):
        if p < 0:
            continue
        same = bins[s] == bins[p]
        earliest = (found[s] + (bins[s] > bins[p]), turn[s] + 1 if same else 0)
        if earliest > (found[p], turn[p]):
            found[p], turn[p] = earliest
    return np.asarray(found, np.int64), np.asarray(turn, np.int64)


def schedule(nodes: Supernodes, model: CostModel) -> Schedule:
    """Bins, rounds and chunks of an assembly tree, at the least predicted cost."""
    level = heights(nodes.parent)
    levels = int(level.max(initial=-1)) + 1
    if levels == 0:
        return Schedule(0, 0, [], 0.0)
    bin_of, shapes = _choose_bins(nodes, level, levels, model)
    when, turn = rounds(nodes.parent, bin_of)
    count = int(when.max()) + 1
    bins, price = [], 0.0
    for b, (W, M) in enumerate(shapes):
        members = np.flatnonzero(bin_of == b)
        members = members[np.lexsort((turn[members], when[members]))]
        last = when[members] * (int(turn.max()) + 1) + turn[members]
        _, sizes = np.unique(last, return_counts=True)
        C, cost = _chunk_size(sizes[None], np.array([W]), np.array([M]), model)
        bins.append(_fill(int(W), int(M), int(C[0]), members, sizes, when[members], count))
        price += float(cost[0]) + model.per_loop * count
    return Schedule(levels, count, bins, price)


def _fill(W: int, M: int, C: int, members, sizes, when, count: int) -> Bin:
    """Lay the members out in whole chunks per group, and count the chunks up to each round."""
    chunks = -(-sizes // C)
    start = np.concatenate([[0], np.cumsum(chunks)])
    slot = np.repeat(start[:-1] * C, sizes) + ramp(sizes)
    fronts = np.full(int(start[-1]) * C, -1, np.int64)
    fronts[slot] = members
    ends = np.searchsorted(when, np.arange(count + 1))  # members before each round
    chunk_ptr = np.append(slot // C, start[-1])[ends]
    return Bin(W, M, C, fronts, chunk_ptr)


def _chunk_size(counts: np.ndarray, W: np.ndarray, M: np.ndarray, model: CostModel):
    """Best chunk size and cost for K bins: counts (K, groups), W, M (K,) -> C (K,), cost (K,)."""
    front, step = model.front(W, M), model.step(W)
    best_C, best = np.ones(W.size, np.int64), counts.sum(1) * (step + front)
    for doublings in range(1, MAX_DOUBLINGS + 1):
        C = 1 << doublings
        fits = np.flatnonzero(model.chunk_entries >= C * (W + M) ** 2)
        if not fits.size:
            break
        chunks = ((counts[fits] + C - 1) >> doublings).sum(1)
        cost = chunks * (step[fits] + C * front[fits])
        better = cost < best[fits]
        best_C[fits[better]], best[fits[better]] = C, cost[better]
    return best_C, best


def _choose_bins(nodes: Supernodes, level: np.ndarray, levels: int, model: CostModel):
    """Agglomerate padded shapes until at most MAX_BINS are left and each of them pays.

    Levels stand for groups here. Returns the bin of each supernode and the shapes, in the order of
    the mean level: the rounds are then few.
    """
    exact = np.stack(padded_shape(nodes.width, nodes.below), 1)
    shapes, label = np.unique(exact, axis=0, return_inverse=True)
    label = label.reshape(-1)
    K = len(shapes)
    counts = np.zeros((K, levels), np.int64)
    np.add.at(counts, (label, level), 1)
    alive = np.ones(K, bool)
    into = np.arange(K)
    gain = np.full((K, K), -np.inf)  # gain[a, b]: what merging saves
    loops = ROUNDS * model.per_loop
    cost = _chunk_size(counts, shapes[:, 0], shapes[:, 1], model)[1] + loops

    def refresh(a: int, others: np.ndarray):
        shape = np.maximum(shapes[others], shapes[a])
        merged = _chunk_size(counts[others] + counts[a], shape[:, 0], shape[:, 1], model)[1]
        gain[a, others] = gain[others, a] = cost[others] + cost[a] - merged - loops

    for a in range(1, K):
        refresh(a, np.arange(a))
    while alive.sum() > 1:
        a, b = np.unravel_index(np.argmax(gain), gain.shape)
        if gain[a, b] <= -BIN_PAYS * cost[alive].sum() and alive.sum() <= MAX_BINS:
            break
        shapes[a] = np.maximum(shapes[a], shapes[b])
        counts[a] += counts[b]
        alive[b], into[into == b] = False, a
        gain[b], gain[:, b] = -np.inf, -np.inf
        shape = shapes[a : a + 1]
        cost[a] = _chunk_size(counts[a : a + 1], shape[:, 0], shape[:, 1], model)[1][0] + loops
        refresh(int(a), np.flatnonzero(alive & (np.arange(K) != a)))
    kept = np.flatnonzero(alive)
    mean = counts[kept] @ np.arange(levels) / counts[kept].sum(1)
    kept = kept[np.argsort(mean, kind="stable")]
    final = np.full(K, -1)
    final[kept] = np.arange(kept.size)
    return final[into[label]], shapes[kept]

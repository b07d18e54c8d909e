"""Levels, bins and chunks: which fronts are factored together, and in which order.

A *level* holds fronts whose children are all in lower levels. A *bin* is a padded shape (W, M)
shared by fronts of every level; within a bin, fronts are ordered by level, and each (level, bin)
group is filled up to whole *chunks* of C fronts, so that a chunk is one contiguous slice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padchol.symbolic.costs import CostModel, padded_shape
from padchol.symbolic.supernodes import Supernodes

MAX_BINS = 12  # one front kernel per bin: the size of the traced program and of its compilation


class Bin(NamedTuple):
    """One padded shape: W pivot columns, M rows below, C fronts a chunk."""

    W: int
    M: int
    C: int
    fronts: np.ndarray  # (chunks * C,): supernode of each place, -1 where a place is padding
    chunk_ptr: np.ndarray  # (levels + 1,): chunks of level l are chunk_ptr[l] .. chunk_ptr[l + 1]

    @property
    def chunks(self) -> int:
        return int(self.chunk_ptr[-1])


class Schedule(NamedTuple):
    levels: int
    bins: list[Bin]
    cost: float  # predicted nanoseconds of one factorisation


def heights(parent: np.ndarray) -> np.ndarray:
    """level (S,): 0 at a leaf, else one more than the highest child. Needs parent[s] > s."""
    level = [0] * parent.size
    for s, p in enumerate(parent.tolist()):
        if p >= 0 and level[p] <= level[s]:
            level[p] = level[s] + 1
    return np.asarray(level, np.int64)


def schedule(nodes: Supernodes, model: CostModel) -> Schedule:
    """Levels, bins and chunks of an assembly tree, at the least predicted cost."""
    level = heights(nodes.parent)
    levels = int(level.max(initial=-1)) + 1
    if levels == 0:
        return Schedule(0, [], 0.0)
    label, shapes, price = _choose_bins(nodes, level, levels, model)
    bins = []
    for b, (W, M) in enumerate(shapes):
        members = np.flatnonzero(label == b)
        members = members[np.argsort(level[members], kind="stable")]
        counts = np.bincount(level[members], minlength=levels)
        C, _ = _chunk_size(counts[None], np.array([W]), np.array([M]), model)
        bins.append(_fill(int(W), int(M), int(C[0]), members, counts))
    return Schedule(levels, bins, price)


def _fill(W: int, M: int, C: int, members: np.ndarray, counts: np.ndarray) -> Bin:
    """Lay the members out in whole chunks per level."""
    chunks = -(-counts // C)
    chunk_ptr = np.concatenate([[0], np.cumsum(chunks)])
    fronts = np.full(int(chunk_ptr[-1]) * C, -1, np.int64)
    before = np.concatenate([[0], np.cumsum(counts)])[:-1]
    within = np.arange(members.size) - np.repeat(before, counts)
    fronts[np.repeat(chunk_ptr[:-1] * C, counts) + within] = members
    return Bin(W, M, C, fronts, chunk_ptr)


def _chunk_size(counts: np.ndarray, W: np.ndarray, M: np.ndarray, model: CostModel):
    """Best chunk size and cost for K bins: counts (K, levels), W, M (K,) -> C (K,), cost (K,)."""
    best_C = np.ones(W.size, np.int64)
    best = np.full(W.size, np.inf)
    front, step = model.front(W, M), model.step(W)
    C = 1
    while C <= 512:
        chunks = (-(-counts // C)).sum(1)
        cost = chunks * (step + C * front) + model.per_level_bin * counts.shape[1]
        fits = (C == 1) | (model.chunk_entries >= C * (W + M) ** 2)
        better = fits & (cost < best)
        best_C[better], best[better] = C, cost[better]
        C *= 2
    return best_C, best


def _choose_bins(nodes: Supernodes, level: np.ndarray, levels: int, model: CostModel):
    """Agglomerate padded shapes until at most MAX_BINS are left and no merger pays.

    Returns label (S,), the shapes, and the predicted cost.
    """
    exact = np.stack(padded_shape(nodes.width, nodes.below), 1)
    shapes, label = np.unique(exact, axis=0, return_inverse=True)
    label = label.reshape(-1)
    K = len(shapes)
    counts = np.zeros((K, levels), np.int64)
    np.add.at(counts, (label, level), 1)
    cost = _chunk_size(counts, shapes[:, 0], shapes[:, 1], model)[1]
    alive = np.ones(K, bool)
    into = np.arange(K)
    gain = np.full((K, K), -np.inf)  # gain[a, b]: what merging saves

    def refresh(a: int):
        others = np.flatnonzero(alive & (np.arange(K) != a))
        shape = np.maximum(shapes[others], shapes[a])
        merged = _chunk_size(counts[others] + counts[a], shape[:, 0], shape[:, 1], model)[1]
        gain[a], gain[:, a] = -np.inf, -np.inf
        gain[a, others] = gain[others, a] = cost[others] + cost[a] - merged

    for a in range(K):
        refresh(a)
    while alive.sum() > 1:
        a, b = np.unravel_index(np.argmax(gain), gain.shape)
        if gain[a, b] <= 0 and alive.sum() <= MAX_BINS:
            break
        shapes[a] = np.maximum(shapes[a], shapes[b])
        counts[a] += counts[b]
        alive[b], into[into == b] = False, a
        gain[b], gain[:, b] = -np.inf, -np.inf
        cost[a] = _chunk_size(counts[a : a + 1], shapes[a : a + 1, 0], shapes[a : a + 1, 1], model)[
            1
        ][0]
        refresh(int(a))
    kept = np.flatnonzero(alive)
    final = np.full(K, -1)
    final[kept] = np.arange(kept.size)
    return final[into[label]], shapes[kept], float(cost[kept].sum())

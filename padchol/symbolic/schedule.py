"""Which supernodes an accelerator factors together, and in which order.

A *stage* is one padded shape: W pivot columns, M rows below. Stages follow one another, each with
shapes no smaller than the one before. A supernode goes to the first stage that holds it and that
does not come before those of its children. A stage has *trips* of C places each, one contiguous
slice, filled with supernodes whose children are done. Every kernel is launched once a trip: the
number of trips, which grows like the height of the tree, is what a sweep costs while matrices are
small. It is the least possible: of what is ready, what is farthest from the root goes first (Hu
1961, Operations Research 9(6), 841-848).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from padchol.symbolic.costs import CostModel, padded_shape
from padchol.symbolic.supernodes import Supernodes, begins

STAGE_PAYS = 0.05  # of the whole cost: a stage that saves less is not worth compiling
SHAPES = 200  # distinct shapes from which stages are chosen; more are taken together
PLACES = 1 << 24  # entries of the fronts of one trip, a quarter of a gigabyte in the working memory


class Stage(NamedTuple):
    """One padded shape: W pivot columns, M rows below, C places a trip."""

    W: int
    M: int
    C: int
    nodes: np.ndarray  # (shards, trips * C): the supernode of each place, -1 where it is padding

    @property
    def places(self) -> int:
        return self.nodes.shape[1]

    @property
    def trips(self) -> int:
        return self.places // self.C


class Schedule(NamedTuple):
    stages: list[Stage]
    top: int  # the first stage of the top
    cost: float  # predicted nanoseconds of a factorisation of so many matrices as a trip is for

    def predicted(self, model: CostModel) -> float:
        """Nanoseconds of one factorisation."""
        one = replace(model, batch=1)
        return sum(
            stage.trips * (one.trip + stage.C * float(one.padded(*np.array([stage.W, stage.M]))))
            for stage in self.stages
        )


def schedule(shards: Sequence[tuple[Supernodes, int]], model: CostModel) -> Schedule:
    """Stages and trips of an assembly tree, at the least predicted cost.

    shards: of each its supernodes, of which empty ones are left out, and the first of the top,
    which is the same in all of them. Shards take their own parts side by side, in stages of their
    own.
    """
    nodes, top = shards[0]
    below = _best([_Forest(nodes, np.arange(top)) for nodes, top in shards], model)
    above = _best([_Forest(nodes, np.arange(top, nodes.parent.size))], model)
    repeated = [x._replace(nodes=np.repeat(x.nodes, len(shards), 0)) for x in above.stages]
    return Schedule(below.stages + repeated, len(below.stages), below.cost + above.cost)


class _Forest:
    """Some of the supernodes of a tree, those that have pivots; parents outside are none."""

    def __init__(self, nodes: Supernodes, members: np.ndarray):
        self.members = members[nodes.width[members] > 0]
        place = np.full(nodes.parent.size + 1, -1)
        place[self.members] = np.arange(self.members.size)
        self.parent = place[nodes.parent[self.members]]
        w, m = nodes.width[self.members], nodes.below[self.members]
        self.shape = np.stack(padded_shape(w, m), 1)


def _best(shards: Sequence[_Forest], model: CostModel) -> Schedule:
    """The cheapest stages for forests that are taken side by side."""
    shape = np.concatenate([forest.shape for forest in shards])
    if not shape.size:
        return Schedule([], 0, 0.0)
    distinct, of_node, count = _distinct(shape)
    largest = np.maximum.accumulate(distinct)  # what holds all shapes so far
    ends = np.cumsum([forest.members.size for forest in shards])
    of_node = np.split(of_node, ends[:-1])
    best = None
    for cuts in _partitions(model.padded(*largest.T), count, model.stages):
        stage_of = [np.searchsorted(cuts, each) for each in of_node]
        found = _scheduled(shards, largest[cuts], stage_of, model)
        if best is None or found.cost < best.cost * (1 - STAGE_PAYS):
            best = found
    assert best is not None
    return best


def _distinct(shape: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct shapes, small ones first; which of them each supernode has; how many have it."""
    found, of_node, count = np.unique(shape, axis=0, return_inverse=True, return_counts=True)
    order = np.lexsort((found[:, 0], found.sum(1)))
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    found, count, of_node = found[order], count[order], place[of_node.reshape(-1)]
    group = np.arange(order.size) * SHAPES // max(order.size, SHAPES)
    first = np.flatnonzero(begins(group))
    return np.maximum.reduceat(found, first), group[of_node], np.add.reduceat(count, first)


def _partitions(price: np.ndarray, count: np.ndarray, most: int):
    """For 1, 2, .., `most` stages, the last shape of each stage, so that padding costs the least.

    price, count: of a place that holds the shapes so far, and how many supernodes have each shape.
    Dynamic programming: best[b] with k stages is the least over a of best[a] with k - 1 stages and
    the supernodes behind a at the price of b.
    """
    size = price.size
    before = np.append(0, np.cumsum(count))
    best = before[1:] * price
    choices: list[np.ndarray] = []
    for _ in range(min(most, size)):
        cuts = [size - 1]
        for choice in reversed(choices):
            cuts.append(int(choice[cuts[-1]]))
        yield np.array(cuts[::-1])
        a, b = np.arange(size)[:, None], np.arange(size)
        both = np.where(a < b, best[:, None] + (before[b + 1] - before[a + 1]) * price, np.inf)
        choices.append(np.argmin(both, 0))
        best = both[choices[-1], b]


def _scheduled(
    shards: Sequence[_Forest], shapes: np.ndarray, stage_of: Sequence[np.ndarray], model: CostModel
) -> Schedule:
    """The schedule of stages of these shapes; stage_of: the first that holds each supernode."""
    stage_of = [stages(x.parent, first) for x, first in zip(shards, stage_of, strict=True)]
    depth = [depths(x.parent, stage) for x, stage in zip(shards, stage_of, strict=True)]
    every = list(zip(shards, stage_of, depth, strict=True))
    found, cost = [], 0.0
    for s, (W, M) in enumerate(shapes.tolist()):
        deep = [np.bincount(depth[stage == s]) for _, stage, depth in every]
        if any(count.size for count in deep):
            most = max(count.size for count in deep)
            counts = np.array([np.pad(count, (0, most - count.size)) for count in deep])
            C, price = _places(counts, W, M, model)
            listed = [_listed(x, depth, np.flatnonzero(of == s), C) for x, of, depth in every]
            size = max(x.size for x in listed)
            padded = [np.pad(x, (0, size - x.size), constant_values=-1) for x in listed]
            found.append(Stage(W, M, C, np.array(padded)))
            cost += price
    return Schedule(found, len(found), cost)


def _listed(forest: _Forest, depth: np.ndarray, members: np.ndarray, C: int) -> np.ndarray:
    """The supernode at each place of the trips."""
    found = trips(forest.parent, depth, members, C).ravel()
    return np.where(found >= 0, forest.members[found], -1)


def stages(parent: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The stage of each supernode: the first that holds it, or one of its children's. Needs
    parent[s] > s."""
    stage = first.tolist()
    for s, p in enumerate(parent.tolist()):
        if p >= 0 and stage[s] > stage[p]:
            stage[p] = stage[s]
    return np.asarray(stage, np.int64)


def depths(parent: np.ndarray, stage: np.ndarray) -> np.ndarray:
    """How many ancestors of each supernode share its stage."""
    depth = [0] * parent.size
    of, above = stage.tolist(), parent.tolist()
    for s in reversed(range(parent.size)):
        p = above[s]
        if p >= 0 and of[p] == of[s]:
            depth[s] = depth[p] + 1
    return np.asarray(depth, np.int64)


def trips(parent: np.ndarray, depth: np.ndarray, members: np.ndarray, C: int) -> np.ndarray:
    """(trips, C): the supernodes of each trip of one stage, -1 where a place is padding."""
    waits = dict.fromkeys(members.tolist(), 0)  # for so many children
    for p in parent[members].tolist():
        if p in waits:
            waits[p] += 1
    ready = [(-int(depth[s]), s) for s, children in waits.items() if not children]
    heapq.heapify(ready)
    found = []
    while ready:
        now = [heapq.heappop(ready)[1] for _ in range(min(C, len(ready)))]
        found.append(now + [-1] * (C - len(now)))
        for p in parent[now].tolist():
            if p in waits:
                waits[p] -= 1
                if not waits[p]:
                    heapq.heappush(ready, (-int(depth[p]), p))
    return np.array(found, np.int64).reshape(-1, C)


def _places(count: np.ndarray, W: int, M: int, model: CostModel) -> tuple[int, float]:
    """The best number of places a trip for so many supernodes of each depth, in each shard, and the
    cost of the stage. Hu's number of trips: what is deeper than d, and then d + 1 trips for the
    rest."""
    most = max(1, min(int(count.sum(1).max()), model.places, PLACES // (W + M) ** 2))
    tried = np.unique(np.append(most, 1 << np.arange(most.bit_length())))
    tried = tried[tried <= most]
    deeper = np.cumsum(count[:, ::-1], 1)[:, ::-1].max(0)  # of at least this depth
    needed = (np.arange(deeper.size) + -(-deeper // tried[:, None])).max(1)
    cost = needed * (model.trip + tried * float(model.padded(np.array(W), np.array(M))))
    best = int(np.argmin(cost))
    return int(tried[best]), float(cost[best])

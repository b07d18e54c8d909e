"""Which supernodes an accelerator factors together, and in which order.

A *stage* is one padded shape: W pivot columns, M rows below. Stages follow one another, each with
shapes no smaller than the one before. A supernode goes to the first stage that holds it and that
does not come before those of its children. Within a stage the supernodes of one height are
independent; they fill whole *trips* of C places each, so that a trip is one contiguous slice. Every
kernel is launched once a trip: the number of trips, which grows like the height of the tree, is
what a sweep costs while matrices are small.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from padchol.symbolic.costs import CostModel, padded_shape
from padchol.symbolic.postorder import heights
from padchol.symbolic.supernodes import Supernodes, begins, ramp

STAGE_PAYS = 0.05  # of the whole cost: a stage that saves less is not worth compiling
SHAPES = 200  # distinct shapes from which stages are chosen; more are taken together
PLACES = 1 << 24  # entries of the fronts of one trip, a quarter of a gigabyte in the working memory


class Stage(NamedTuple):
    """One padded shape: W pivot columns, M rows below, C places a trip."""

    W: int
    M: int
    C: int
    nodes: np.ndarray  # (trips * C,): the supernode of each place, -1 where a place is padding

    @property
    def trips(self) -> int:
        return self.nodes.size // self.C


class Schedule(NamedTuple):
    stages: list[Stage]
    cost: float  # predicted nanoseconds of a factorisation of so many matrices as a trip is for

    def predicted(self, model: CostModel) -> float:
        """Nanoseconds of one factorisation."""
        one = replace(model, batch=1)
        return sum(
            stage.trips * (one.trip + stage.C * float(one.padded(*np.array([stage.W, stage.M]))))
            for stage in self.stages
        )


def schedule(nodes: Supernodes, model: CostModel) -> Schedule:
    """Stages and trips of an assembly tree, at the least predicted cost."""
    if not nodes.parent.size:
        return Schedule([], 0.0)
    shape = np.stack(padded_shape(nodes.width, nodes.below), 1)
    distinct, of_node, count = _distinct(shape)
    largest = np.maximum.accumulate(distinct)  # what holds all shapes so far
    best = None
    for cuts in _partitions(model.padded(*largest.T), count, model.stages):
        stage_of = np.searchsorted(cuts, of_node)
        found = _scheduled(nodes, largest[cuts], stage_of, model)
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
    for k in range(min(most, size)):
        cuts = [size - 1]
        for choice in reversed(choices):
            cuts.append(int(choice[cuts[-1]]))
        yield np.array(cuts[::-1])
        a, b = np.arange(size)[:, None], np.arange(size)
        both = np.where(a < b, best[:, None] + (before[b + 1] - before[a + 1]) * price, np.inf)
        choices.append(np.argmin(both, 0))
        best = both[choices[-1], b]
        if k + 2 > size or not np.isfinite(best[-1]):
            return


def _scheduled(nodes: Supernodes, shapes: np.ndarray, stage_of: np.ndarray, model: CostModel):
    """The schedule of stages of these shapes; stage_of: the first that holds each supernode."""
    stage_of, turn = turns(nodes.parent, stage_of)
    stages, cost = [], 0.0
    for s, (W, M) in enumerate(shapes.tolist()):
        members = np.flatnonzero(stage_of == s)
        if not members.size:
            continue
        members = members[np.argsort(turn[members], kind="stable")]
        sizes = np.bincount(turn[members])
        C, price = _places(sizes, W, M, model)
        start = np.append(0, np.cumsum(-(-sizes // C)))
        filled = np.full(int(start[-1]) * C, -1, np.int64)
        filled[np.repeat(start[:-1] * C, sizes) + ramp(sizes)] = members
        stages.append(Stage(W, M, C, filled))
        cost += price
    return Schedule(stages, cost)


def turns(parent: np.ndarray, stage_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The stage of each supernode, none before those of its children, and its height above those of
    its descendants that share it. Needs parent[s] > s."""
    stage, turn = stage_of.tolist(), [0] * parent.size
    for s, p in enumerate(parent.tolist()):
        if p < 0:
            continue
        if stage[s] > stage[p]:
            stage[p], turn[p] = stage[s], turn[s] + 1
        elif stage[s] == stage[p]:
            turn[p] = max(turn[p], turn[s] + 1)
    return np.asarray(stage, np.int64), np.asarray(turn, np.int64)


def _places(sizes: np.ndarray, W: int, M: int, model: CostModel) -> tuple[int, float]:
    """The best number of places a trip for groups of these sizes, and the cost of the stage."""
    most = max(1, min(int(sizes.max()), model.places, PLACES // (W + M) ** 2))
    tried = np.unique(np.append(most, 1 << np.arange(most.bit_length())))
    tried = tried[tried <= most]
    trips = (-(-sizes // tried[:, None])).sum(1)
    cost = trips * (model.trip + tried * float(model.padded(np.array(W), np.array(M))))
    best = int(np.argmin(cost))
    return int(tried[best]), float(cost[best])


def levels(nodes: Supernodes) -> int:
    """Of the tree: one more than its height."""
    return int(heights(nodes.parent).max(initial=-1)) + 1

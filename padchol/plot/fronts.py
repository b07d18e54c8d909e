"""The fronts of a plan, read back from its tables for drawing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padchol.plan import Plan
from padchol.symbolic import unfold
from padchol.symbolic.layout import rounded
from padchol.symbolic.supernodes import column_flops


class Fronts(NamedTuple):
    """The fronts of a plan, children before parents; see `symbolic.unfold.Fronts`."""

    parent: np.ndarray  # (F,), -1 at a root
    level: np.ndarray  # (F,)
    pivots: list[np.ndarray]  # plan positions of the pivot columns
    below: list[np.ndarray]  # plan positions of the rows below
    flops: np.ndarray  # (F,): sum of squared column lengths, relaxation zeros counted
    padded_flops: np.ndarray  # (F,): the same as it is padded, to whole quads or to a stage

    @property
    def order(self) -> np.ndarray:
        """(F,): pivots and rows below of each front."""
        return np.array([p.size + r.size for p, r in zip(self.pivots, self.below, strict=True)])


def fronts(plan: Plan) -> Fronts:
    """Read the fronts back from the plan's tables."""
    pivots, below, parent, level = unfold.fronts(plan.layout, plan.table)
    w, m = (np.array([x.size for x in each], np.int64) for each in (pivots, below))
    W, M = _stages(plan) if plan.layout.in_levels else (rounded(w), rounded(m))
    flops = column_flops(w, m), column_flops(W, M)
    return Fronts(parent, level, pivots, below, *flops)


def _stages(plan: Plan) -> np.ndarray:
    """The padded shape of each front, (2, F): that of its stage."""
    layout, levels = plan.layout, plan.layout.levels
    counts = np.zeros((layout.shards, len(levels.stages)), np.int64)  # of real fronts
    for shard, table in enumerate(unfold.of_shards(layout, plan.table)):
        for s, rows in enumerate(unfold.stage_rows(layout, table)):
            counts[shard, s] = (rows[:, : levels.stages[s].W] < plan.n).any(1).sum()
    below, top = counts[:, : levels.top], counts[0, levels.top :]  # all shards have the top
    number = np.arange(len(levels.stages))
    stage = np.append(np.tile(number[: levels.top], layout.shards), number[levels.top :])
    shapes = np.array([[s.W, s.M] for s in levels.stages], np.int64).reshape(-1, 2)
    return np.repeat(shapes[stage], np.append(below.ravel(), top), 0).T

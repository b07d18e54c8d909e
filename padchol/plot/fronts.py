"""The fronts of a plan, read back from its tables for drawing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padchol.plan import Plan
from padchol.report import padded_front_flops
from padchol.symbolic.unfold import front_levels, front_parents, front_rows


class Fronts(NamedTuple):
    """The fronts of a plan, bin by bin, padding places left out."""

    parent: np.ndarray  # (F,), -1 at a root
    level: np.ndarray  # (F,)
    pivots: list[np.ndarray]  # plan positions of the pivot columns
    below: list[np.ndarray]  # plan positions of the rows below
    padded_flops: np.ndarray  # (F,): `flops` of the padded front

    @property
    def order(self) -> np.ndarray:
        """(F,): pivots and rows below of each front."""
        return np.array([p.size + r.size for p, r in zip(self.pivots, self.below, strict=True)])

    @property
    def flops(self) -> np.ndarray:
        """(F,): sum of squared column lengths of each front, relaxation zeros counted."""
        w, D = np.array([p.size for p in self.pivots], float), self.order.astype(float)
        return w * D * D - D * w * (w - 1) + (w - 1) * w * (2 * w - 1) / 6


def fronts(plan: Plan) -> Fronts:
    """Read the fronts back from the plan's tables."""
    pivots, below = [], []
    for bin, rows in zip(plan.layout.bins, front_rows(plan.layout, plan.table), strict=True):
        for row in rows:
            pivots.append(np.sort(row[: bin.W][row[: bin.W] < plan.n]))
            below.append(np.sort(row[bin.W :][row[bin.W :] < plan.n]))
    real = np.array([p.size > 0 for p in pivots], bool)
    parent = front_parents(plan.layout, plan.table)
    level = front_levels(parent)
    number = np.append(np.where(real, np.cumsum(real) - 1, -1), -1)
    kept = np.flatnonzero(real)
    padded = [np.full(b.fronts, padded_front_flops(b.W, b.M)) for b in plan.layout.bins]
    return Fronts(
        number[parent[kept]],
        level[kept],
        [pivots[f] for f in kept],
        [below[f] for f in kept],
        np.concatenate([np.zeros(0), *padded])[kept],
    )

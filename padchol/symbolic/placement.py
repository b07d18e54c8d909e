"""Placement: where each front, pivot and row lies in the panel storage and the pivot storage."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padchol.symbolic.layout import BLOCK
from padchol.symbolic.schedule import Schedule
from padchol.symbolic.supernodes import Supernodes


class Placement(NamedTuple):
    """Where each supernode sits. (S,) arrays, except the two ends."""

    bin: np.ndarray
    place: np.ndarray  # in its bin
    W: np.ndarray  # padded shape and chunk size of its bin
    M: np.ndarray
    C: np.ndarray
    panel: np.ndarray  # where its panel starts in the panel storage
    pivot: np.ndarray  # where its pivot rows start in the pivot storage
    panel_end: int  # length of the panel storage, trash and tail included
    pivot_end: int

    def row_start(self, nodes: Supernodes, s: np.ndarray, i: np.ndarray) -> np.ndarray:
        """Where row i starts in the panel of s. Every i must be a pivot of s or in rows[s]."""
        return self.panel[s] + nodes.place(s, i, self.W) * self.W[s]

    def pivot_row(self, nodes: Supernodes, i: np.ndarray) -> np.ndarray:
        """Row of pivot i in the pivot storage."""
        s = nodes.of_column[i]
        return self.pivot[s] + i - nodes.first[s]


def placement(nodes: Supernodes, plan: Schedule) -> Placement:
    S = nodes.parent.size
    bin_of, place = np.full(S, -1), np.full(S, -1)
    panel, pivot = np.zeros(S, np.int64), np.zeros(S, np.int64)
    panel_at, pivot_at = BLOCK, 1
    for b, bin in enumerate(plan.bins):
        real = np.flatnonzero(bin.fronts >= 0)
        s = bin.fronts[real]
        bin_of[s], place[s] = b, real
        entries = (bin.W + bin.M) * bin.W
        panel[s] = panel_at + real * entries
        pivot[s] = pivot_at + real * bin.W
        panel_at += bin.fronts.size * entries
        pivot_at += bin.fronts.size * bin.W
    shapes = np.array([(bin.W, bin.M, bin.C) for bin in plan.bins], np.int64).reshape(-1, 3)
    W, M, C = shapes[bin_of].T
    return Placement(bin_of, place, W, M, C, panel, pivot, panel_at + BLOCK, pivot_at)

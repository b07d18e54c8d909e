"""Placement: the bin, place and step of every front, and the slots of its messages."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padchol.symbolic.layout import ZEROS, fits_int32
from padchol.symbolic.schedule import Bin, Schedule
from padchol.symbolic.slots import allocate
from padchol.symbolic.supernodes import Supernodes


class Geometry(NamedTuple):
    """Where each supernode sits: its bin and its place there; and each step of the sweeps."""

    bin_of: np.ndarray  # (S,)
    place: np.ndarray  # (S,)
    W: np.ndarray  # (bins,)
    M: np.ndarray
    C: np.ndarray
    step: list[np.ndarray]  # per bin (chunks,): position in the order of execution

    def chunk(self, s: np.ndarray) -> np.ndarray:
        return self.place[s] // self.C[self.bin_of[s]]

    def lane(self, s: np.ndarray) -> np.ndarray:
        return self.place[s] % self.C[self.bin_of[s]]

    def padded_place(self, nodes: Supernodes, s: np.ndarray, i: np.ndarray) -> np.ndarray:
        """Place of row i in the padded front of s."""
        exact = nodes.place(s, i)
        width = nodes.width[s]
        return np.where(exact < width, exact, exact - width + self.W[self.bin_of[s]])


def geometry(nodes: Supernodes, plan: Schedule) -> Geometry:
    S = nodes.parent.size
    bin_of, place = np.full(S, -1), np.full(S, -1)
    for b, bin in enumerate(plan.bins):
        real = bin.fronts >= 0
        bin_of[bin.fronts[real]] = b
        place[bin.fronts[real]] = np.flatnonzero(real)
    steps, now = [np.empty(bin.chunks, np.int64) for bin in plan.bins], 0
    for level in range(plan.levels):
        for b, bin in enumerate(plan.bins):
            start, stop = bin.chunk_ptr[level : level + 2]
            steps[b][start:stop] = now + np.arange(stop - start)
            now += int(stop - start)
    W, M, C = (np.array([getattr(bin, f) for bin in plan.bins], np.int64) for f in "WMC")
    return Geometry(bin_of, place, W, M, C, steps)


def relaxed_places(nodes: Supernodes, plan: Schedule, where: Geometry) -> np.ndarray:
    """(n,): row of each column (relaxed order) in the pivot rows of all bins stacked."""
    base = np.concatenate([[0], np.cumsum([bin.fronts.size * bin.W for bin in plan.bins])])
    s = nodes.of_column
    offset = np.arange(s.size) - nodes.first[s]
    b = where.bin_of[s]
    return base[b] + where.place[s] * where.W[b] + offset


def message_slots(nodes: Supernodes, plan: Schedule, where: Geometry):
    """Chunk addresses of the four kinds of message, per bin, and the length of each buffer.

    "up2" and "up1": matrix and vector messages to the parent; "down2" and "down1": to children.
    """
    steps = sum(bin.chunks for bin in plan.bins)
    child = np.flatnonzero(nodes.parent >= 0)
    step_of = np.zeros(nodes.parent.size, np.int64)
    for b in range(len(plan.bins)):
        mine = where.bin_of == b
        step_of[mine] = where.step[b][where.chunk(np.flatnonzero(mine))]
    last_up, last_down = np.arange(steps), np.arange(steps)
    np.maximum.at(last_up, step_of[child], step_of[nodes.parent[child]])
    np.maximum.at(  # the down sweep runs the same steps backwards
        last_down, steps - 1 - step_of[nodes.parent[child]], steps - 1 - step_of[child]
    )
    reads = {"up": np.zeros(steps, bool), "down": np.zeros(steps, bool)}
    reads["up"][step_of[child]] = True
    reads["down"][step_of[nodes.parent[child]]] = True
    slots: dict[str, list[np.ndarray]] = {}
    ends: dict[str, int] = {}
    for direction, last in (("up", last_up), ("down", last_down)):
        for rank in (2, 1):
            size = np.zeros(steps, np.int64)
            for b, bin in enumerate(plan.bins):
                size[where.step[b]] = bin.C * _message_size(bin, direction, rank)
            if direction == "down":
                has_children = np.isin(where.bin_of[nodes.parent[child]], np.arange(len(plan.bins)))
                parents = np.unique(where.bin_of[nodes.parent[child]][has_children])
                for b in range(len(plan.bins)):
                    if b not in parents:
                        size[where.step[b]] = 0
                address, end = allocate(size[::-1], last, ZEROS)
                address = address[::-1]
            else:
                address, end = allocate(size, last, ZEROS)
            name = f"{direction}{rank}"
            fits_int32(end, f"message buffer {name}")
            slots[name] = [address[where.step[b]] for b in range(len(plan.bins))]
            ends[name] = end
    return slots, ends


def _message_size(bin: Bin, direction: str, rank: int) -> int:
    """Elements (or rows) of one front's message."""
    if direction == "up":
        return bin.M**rank
    D = bin.W + bin.M
    return D if rank == 1 else D * bin.W + bin.M**2

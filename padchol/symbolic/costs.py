"""The cost model: nanoseconds of padded fronts and of steps.

Every constant was measured on 2 cores of an AVX-512 server, float64, jaxlib 0.10.2
(tests/bench/NOTES.md says how); only their ratios matter to a plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from padchol.symbolic.layout import BLOCK, rounded

# Padded sizes a front may have: multiples of 4 (half a cache line of doubles) while small, and
# steps that grow with the size, so that the candidates for bins stay few.
SIZES = np.r_[0:32:4, 32:64:8, 64:128:16, 128:256:32, 256:512:64, 512:1024:128, 1024:2048:256]
LARGE = 512  # step beyond the list


def padded(size: np.ndarray | int) -> np.ndarray:
    """The smallest padded size that holds `size`."""
    size = np.asarray(size, np.int64)
    listed = SIZES[np.minimum(np.searchsorted(SIZES, size), SIZES.size - 1)]
    return np.where(size <= SIZES[-1], listed, -(-size // LARGE) * LARGE)


def padded_shape(w: np.ndarray | int, m: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
    """The smallest padded front of w pivots and m rows below: none, or at least a block of them."""
    return padded(w), np.where(np.asarray(m) > 0, np.maximum(padded(m), BLOCK), 0)


def front_flops(W: np.ndarray, M: np.ndarray) -> np.ndarray:
    """Flops of one padded front as they are done: both triangles, and the inverse of the pivots."""
    return 2 * W**3 + 2 * W * W * M + 2 * W * M * M


@dataclass(frozen=True)
class CostModel:
    """Prices in nanoseconds: of fronts in exact sizes, as a CPU takes them, then of chunks."""

    chunks: bool = False  # by which of them fronts are merged and orderings chosen
    per_tiled_front: float = 300.0  # its tables and loops, in a factorisation and a gradient (21)
    per_tiled_entry: float = 2.0  # each of the w (w + m) entries of a panel: in, out, and in solves
    per_tiled_moved: float = 1.4  # each of the m^2 entries of an update, of which half are moved
    tiled_flops: float = 10.0  # per ns
    per_front: float = 30.0  # index tables, loop share of one front
    per_column_block: float = 30.0  # eliminating 8 columns of one matrix in a batch
    per_entry: float = 8.5  # zeroing, reading, writing: each of the D W entries of a panel
    per_update: float = 0.1  # writing and reading one of the M^2 entries of an update
    per_moved: float = 3.5  # extend-add in blocks: one of the M^2 / 2 entries of a triangle
    per_single: float = 1.5  # extend-add of small updates: one of the entries of their triangles
    flops: float = 110.0  # GEMM flops per ns
    per_step: float = 300.0  # one trip of a chunk loop
    per_step_block: float = 2_300.0  # and per 8 pivot columns in it: kernel launches in sequence
    per_loop: float = 1_000.0  # one empty chunk loop: a bin in a round
    chunk_entries: int = 32_768  # entries of one chunk of fronts: a quarter of a megabyte
    entries_up_to: int = 12  # rows of updates that move entry by entry (experiment 18)
    widest: int = 256  # pivot columns of a front; wider supernodes are cut into chains

    def front(self, W: np.ndarray, M: np.ndarray) -> np.ndarray:
        """One padded front, its share of a batched step; without the move of its update."""
        W, M = np.asarray(W, float), np.asarray(M, float)
        arithmetic = self.per_column_block * W / 8 + front_flops(W, M) / self.flops
        return self.per_front + arithmetic + self.per_entry * W * (W + M) + self.per_update * M * M

    def tiled(self, w: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Fronts as a CPU takes them: in whole quads, one by one, each with its move."""
        w, m = (rounded(np.asarray(x, float)) for x in (w, m))
        entries = self.per_tiled_entry * w * (w + m) + self.per_tiled_moved * m * m
        return self.per_tiled_front + entries + front_flops(w, m) / self.tiled_flops

    def moved(self, m: np.ndarray | int) -> np.ndarray:
        """Moving the triangle of an update of m rows into the panels of the ancestors."""
        m = np.asarray(m)
        blocks, entries = self.per_moved * m * (m + BLOCK) / 2, self.per_single * m * (m + 1) / 2
        return np.where(m <= self.entries_up_to, entries, blocks)

    def step(self, w: np.ndarray) -> np.ndarray:
        """What a trip of the chunk loop costs besides its fronts."""
        return self.per_step + self.per_step_block * np.ceil(np.asarray(w) / 8)

    def front_prices(self, w: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Fronts of w pivots and m rows, each with its move, in the form that the plan is for."""
        return self.in_chunks(w, m) if self.chunks else self.tiled(w, m)

    def in_chunks(self, w: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Fronts of w pivots and m rows, each with its move."""
        return self.front(*padded_shape(w, m)) + self.moved(m)

    def front_price(self) -> Callable[[int, int], float]:
        """The same of one front, as a function that remembers."""
        remembered: dict[tuple[int, int], float] = {}

        def price(w: int, m: int) -> float:
            key = (w, m)
            if key not in remembered:
                remembered[key] = float(self.front_prices(np.asarray(w), np.asarray(m)))
            return remembered[key]

        return price

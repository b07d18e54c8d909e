"""The cost model: nanoseconds of padded fronts, steps and hand-overs.

Every constant was measured on 2 cores of an AVX-512 server, float64, jaxlib 0.10.2
(tests/bench/NOTES.md says how); only their ratios matter to a plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Padded sizes a front may have: multiples of 8 (the pivot kernel's columns, a vector register), and
# of 32 from 64 on, because hand-over blocks are 32 wide there. Steps grow with the size, so that
# the candidates for bins stay few.
SIZES = np.r_[0:32:8, 32:64:16, 64:192:32, 192:512:64, 512:1024:128, 1024:2048:256, 2048:4097:512]


def padded(size: np.ndarray | int) -> np.ndarray:
    """The smallest padded size that holds `size`; beyond the list, the next multiple of 1024."""
    size = np.asarray(size, np.int64)
    listed = SIZES[np.minimum(np.searchsorted(SIZES, size), SIZES.size - 1)]
    return np.where(size <= SIZES[-1], listed, -(-size // 1024) * 1024)


@dataclass(frozen=True)
class CostModel:
    """Prices in nanoseconds."""

    per_front: float = 100.0  # index tables, loop share of one front
    per_column_block: float = 230.0  # eliminating 8 columns of one matrix in a batch
    per_entry: float = 2.7  # zeroing, slicing, writing: each of the D W + M^2 entries of a front
    per_moved: float = 3.3  # extend-add: one of the m^2 / 2 entries of an update's triangle
    flops: float = 80.0  # GEMM flops per ns
    per_step: float = 1_000.0  # one trip of a chunk loop
    per_step_block: float = 8_000.0  # and per 8 pivot columns in it: kernel launches in sequence
    per_level_bin: float = 600.0  # one empty chunk loop
    chunk_entries: int = 32_768  # entries of one chunk of fronts: a quarter of a megabyte
    widest: int = 256  # pivot columns of a front; wider supernodes are cut into chains

    def handover(self, m: np.ndarray | int) -> np.ndarray | float:
        """Moving one m x m update into the parent's front."""
        return self.per_front + self.per_moved * m * (m + 8) / 2

    def front(self, w: np.ndarray, m: np.ndarray) -> np.ndarray:
        """One padded front of w pivot columns and m rows below, its share of a batched step."""
        w, m = np.asarray(w, float), np.asarray(m, float)
        flops = 2 * w**3 + 2 * w * w * m + 2 * w * m * m
        entries = w * (w + m) + m * m
        launches = self.per_front + self.per_column_block * np.ceil(w / 8)
        return launches + flops / self.flops + self.per_entry * entries

    def step(self, w: np.ndarray) -> np.ndarray:
        """What a trip of the chunk loop costs besides its fronts."""
        return self.per_step + self.per_step_block * np.ceil(np.asarray(w) / 8)

    def front_price(self, widest: int, tallest: int) -> Callable[[int, int], float]:
        """`front` of the padded shape, as a fast scalar function with remembered values."""
        del widest, tallest
        remembered: dict[tuple[int, int], float] = {}

        def price(w: int, m: int) -> float:
            key = (w, m)
            if key not in remembered:
                remembered[key] = float(self.front(padded(w), padded(m)))
            return remembered[key]

        return price

"""The cost model: nanoseconds of padded fronts, steps and hand-overs.

Every constant was measured on 2 cores of an AVX-512 server, float64, jaxlib 0.10.2
(tests/bench/NOTES.md says how); only their ratios matter to a plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Padded sizes a front may have. Up to 64 in steps that vector registers like, above in steps that
# keep padding below a fifth; multiples of 32 from 64 on, because hand-over blocks are 32 wide there.
SIZES = np.array(
    [0, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 448, 512]
    + [640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096]
)


def padded(size: np.ndarray | int) -> np.ndarray:
    """The smallest padded size that holds `size`; beyond the list, the next multiple of 1024."""
    size = np.asarray(size, np.int64)
    listed = SIZES[np.minimum(np.searchsorted(SIZES, size), SIZES.size - 1)]
    return np.where(size <= SIZES[-1], listed, -(-size // 1024) * 1024)


@dataclass(frozen=True)
class CostModel:
    """Prices in nanoseconds."""

    per_front: float = 150.0  # index tables, slices, loop share of one front
    per_column_block: float = 300.0  # the 8-column pivot kernel, batched
    per_entry: float = 0.6  # zeroing a front, writing its update: D^2 entries
    per_moved: float = 2.2  # extend-add: one of m^2 entries of an update
    per_step: float = 4_000.0  # one trip of a chunk loop
    per_step_block: float = 2_500.0  # and per 8 pivot columns in it: kernel launches in sequence
    per_level_bin: float = 600.0  # one empty chunk loop
    chunk_entries: int = 65_536  # entries of one chunk of fronts: half a megabyte, in L2

    def handover(self, m: int) -> float:
        """Moving one m x m update into the parent's front."""
        return self.per_front + self.per_moved * m * m

    def front(self, w: np.ndarray, m: np.ndarray) -> np.ndarray:
        """One padded front of w pivot columns and m rows below, its share of a batched step."""
        w, m = np.asarray(w, float), np.asarray(m, float)
        flops = w**3 + 2 * w * w * m + 2 * w * m * m
        rate = np.clip(16.0 + 0.7 * w, 16.0, 90.0)  # GEMM flops per ns, by the contraction's length
        blocks = np.ceil(w / 8)
        entries = self.per_entry * (w + m) ** 2
        return self.per_front + self.per_column_block * blocks + flops / rate + entries

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

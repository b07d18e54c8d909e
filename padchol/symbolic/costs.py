"""The cost model: nanoseconds of a factorisation, by the engine that runs it.

Only the ratios of prices matter to a plan. Those of the CPU were measured on 2 cores of an AVX-512
server, float64, jaxlib 0.10.2 (tests/bench/NOTES.md says how). Those of accelerators follow from
published figures until `python -m padchol fit` has measured them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from padchol.symbolic.layout import Numbers, rounded

# Padded sizes a supernode may have on an accelerator: whole runs of 8, in steps that grow.
SIZES = np.r_[0:64:8, 64:128:16, 128:256:32, 256:512:64, 512:1024:128, 1024:2048:256]
LARGE = 512  # step beyond the list
HALF_WAY = 64  # pivots of a supernode on tiles, between the prices of few and of many (36)


def padded(size: Numbers | int) -> np.ndarray:
    """The smallest padded size that holds `size`."""
    size = np.asarray(size, np.int64)
    listed = SIZES[np.minimum(np.searchsorted(SIZES, size), SIZES.size - 1)]
    return np.where(size <= SIZES[-1], listed, -(-size // LARGE) * LARGE)


def padded_shape(w: Numbers | int, m: Numbers | int) -> tuple[np.ndarray, np.ndarray]:
    """The smallest padded shape of w pivots and m rows below."""
    return padded(w), padded(m)


def front_flops(W: Numbers, M: Numbers) -> Numbers:
    """Flops of one supernode as they are done: both triangles, and the inverse of the pivots."""
    return 2 * W**3 + 2 * W * W * M + 2 * W * M * M


def wide(w: Numbers) -> Numbers:
    """How near a supernode on tiles comes to the rate of a wide one: 0 to 1."""
    return np.asarray(w, float) / (np.asarray(w) + HALF_WAY)


def moved_entries(W: Numbers, M: Numbers) -> Numbers:
    """Entries of one supernode of a batch that are read or written: of its panel twice each, of its
    front once, of its update when it is made and when it is added."""
    return 5 * W * (W + M) + W * M + 6 * M * M


@dataclass(frozen=True)
class CostModel:
    """Prices in nanoseconds.

    Of tiles, supernodes in exact sizes one by one, as a CPU takes them; then of levels, batches of
    padded supernodes, as accelerators take them (`levels`: which of the two the plan is for).
    """

    levels: bool = False
    per_tiled_front: float = 300.0  # its tables and loops, in a factorisation and a gradient (21)
    per_tiled_entry: float = 2.0  # each of the w (w + m) entries of a panel: in, out, and in solves
    per_tiled_moved: float = 1.4  # each of the m^2 entries of an update, of which half are moved
    tiled_flops: float = 10.0  # per ns, of a supernode of few pivots
    wide_flops: float = 40.0  # per ns, of one of many: see `wide` (36)
    per_launch: float = 4_000.0  # of a kernel; 3 to 5 us on an H100
    per_place: float = 200.0  # one supernode of a batch, whatever its size
    bytes: float = 1_500.0  # per ns; half of what an H100 SXM has: 3,350
    batched_flops: float = 3_400.0  # per ns; a tenth of what an H100 SXM has in float64: 34,000
    entry_bytes: int = 8
    batch: float = 4.0  # matrices that a trip is planned for: also, other sweeps do more with one
    stages: int = 6  # shapes; each is compiled by itself, 2 s for a value and gradient (34)
    places: int = 4_096  # supernodes of a trip at most
    widest: int = 256  # pivot columns of a supernode; wider ones are cut into chains

    @classmethod
    def cpu(cls) -> CostModel:
        """Supernodes one by one, as measured."""
        return cls()

    @classmethod
    def gpu(cls) -> CostModel:
        """Levels on an H100 SXM in float64: NVIDIA H100 Tensor Core GPU Architecture (2022),
        table 2; the shares of its figures that small batches reach are estimates."""
        return cls(levels=True)

    @classmethod
    def tpu(cls) -> CostModel:
        """Levels on a TPU v5e in float32: 197 Tflop/s in bfloat16, of which a product in float32
        takes six, and 819 GB/s (Google Cloud, TPU v5e); shares reached as estimated for a GPU."""
        return cls(
            levels=True,
            per_launch=1_500.0,
            bytes=400.0,
            batched_flops=3_300.0,
            entry_bytes=4,
            stages=3,  # 5 s each (34)
            places=8,  # XLA writes the products of a batch out one by one (34)
            widest=128,  # XLA's Cholesky factorisation goes by blocks of 128 (34)
        )

    @classmethod
    def of(cls, platform: str) -> CostModel:
        """That of a platform; any accelerator but a TPU is taken for a GPU."""
        return {"cpu": cls.cpu, "tpu": cls.tpu}.get(platform, cls.gpu)()

    def on(self, platform: str) -> CostModel:
        """These prices, for the engine of that platform."""
        return replace(self, levels=platform != "cpu")

    @property
    def trip(self) -> float:
        """What a trip of a factorisation costs besides its supernodes."""
        return KERNELS * self.per_launch

    def padded(self, W: Numbers, M: Numbers) -> Numbers:
        """One padded supernode as a part of a trip, in each matrix of a batch."""
        W, M = np.asarray(W, float), np.asarray(M, float)
        moved = moved_entries(W, M) * self.entry_bytes / self.bytes
        return self.per_place + self.batch * (moved + front_flops(W, M) / self.batched_flops)

    def tiled(self, w: Numbers, m: Numbers) -> Numbers:
        """Supernodes as a CPU takes them: in whole quads, one by one, each with its move. By these
        supernodes are merged: with the rate of wide ones, which is what they take, too many are,
        and 100^2 takes 5 % longer (36)."""
        return self._tiled(w, m, 0.0)

    def _tiled(self, w: Numbers, m: Numbers, share: Numbers | float) -> Numbers:
        w, m = (rounded(np.asarray(x, float)) for x in (w, m))
        entries = self.per_tiled_entry * w * (w + m) + self.per_tiled_moved * m * m
        flops = (1 - share) / self.tiled_flops + share / self.wide_flops
        return self.per_tiled_front + entries + front_flops(w, m) * flops

    def predicted(self, w: Numbers, m: Numbers) -> Numbers:
        """What supernodes of w pivots and m rows take by themselves."""
        return self.front_prices(w, m) if self.levels else self._tiled(w, m, wide(w))

    def front_prices(self, w: Numbers, m: Numbers) -> Numbers:
        """Supernodes of w pivots and m rows by themselves, in the form that the plan is for."""
        return self.padded(*padded_shape(w, m)) if self.levels else self.tiled(w, m)

    def front_price(self) -> Callable[[int, int], float]:
        """The same of one supernode, as a function that remembers."""
        return functools.cache(lambda w, m: float(self.front_prices(np.asarray(w), np.asarray(m))))


KERNELS = 13  # of a trip of a factorisation, as compiled for an H100 (experiment 34)

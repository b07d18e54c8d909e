"""fit: the constants of the cost model, measured on this machine.

Plans of several grids under several amalgamations are timed, in chunks; the times are explained, by
least squares with weights 1 / time and no negative price, as a sum of counted things. What comes
out is printed as the `CostModel` to put into `padchol/symbolic/costs.py`.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace

import numpy as np

from padchol.cli import peers
from padchol.cli.bench import read as read_matrix
from padchol.symbolic.costs import CostModel, front_flops
from padchol.symbolic.layout import BLOCK
from padchol.symbolic.unfold import read

GRIDS = ("grid2d:20", "grid2d:50", "grid2d:100", "grid2d:180", "grid3d:8", "grid3d:14", "grid3d:20")
# How the model is bent, so that the prices can be told apart: dearer and cheaper memory, dearer and
# cheaper steps, small chunks.
BENT: tuple[dict[str, float], ...] = (
    {},
    {"per_entry": 3.0},
    {"per_entry": 0.3},
    {"per_step": 6.0, "per_step_block": 3.0},
    {"chunk_entries": 0.25},
)
PRICES = (
    "per_call",
    "per_step",
    "per_step_block",
    "per_loop",
    "per_front",
    "per_column_block",
    "per_entry",
    "per_update",
    "per_moved",
    "per_single",
    "flops",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=0.5, help="time spent on each plan")


def counted(plan) -> list[float]:
    """How often each of PRICES is paid in one factorisation."""
    bins = plan.layout.bins
    in_blocks, single = 0.0, 0.0
    for bin in bins:
        m = (read(plan.table, bin.rows).reshape(bin.fronts, bin.M) > 0).sum(1)
        if bin.blocks:
            in_blocks += float(np.sum(m * (m + BLOCK) / 2))
        else:
            single += float(np.sum(m * (m + 1) / 2))
    W, M, C, chunks = (
        np.array([getattr(bin, name) for bin in bins], float) for name in ("W", "M", "C", "chunks")
    )
    fronts = C * chunks
    return [
        1,
        chunks.sum(),
        (chunks * np.ceil(W / 8)).sum(),
        plan.layout.rounds * len(bins),
        fronts.sum(),
        (fronts * W / 8).sum(),
        (fronts * W * (W + M)).sum(),
        (fronts * M * M).sum(),
        in_blocks,
        single,
        (fronts * front_flops(W, M)).sum(),
    ]


def explain(counts: np.ndarray, nanoseconds: np.ndarray) -> tuple[dict[str, float], float]:
    """Prices in nanoseconds, and the typical relative error of what they predict."""
    from scipy.optimize import nnls

    scaled = counts / nanoseconds[:, None]
    size = np.abs(scaled).max(0)
    prices = nnls(scaled / size, np.ones(len(nanoseconds)))[0] / size
    error = float(np.sqrt(np.mean((scaled @ prices - 1) ** 2)))
    return dict(zip(PRICES, prices, strict=True)), error


def main(args: argparse.Namespace) -> int:
    peers.release_blas()
    import jax
    import jax.numpy as jnp

    from padchol.analysis import analyze
    from padchol.numeric import fronts
    from padchol.numeric.factorise import factorise

    jax.config.update("jax_enable_x64", True)
    fronts.TILED = False  # the prices are those of chunks
    model = CostModel()
    counts, times = [], []
    for name in GRIDS:
        A = read_matrix(name)
        for bent in BENT:
            changed = {k: type(getattr(model, k))(getattr(model, k) * f) for k, f in bent.items()}
            plan = analyze(A, costs=replace(model, **changed))
            counts.append(counted(plan))
            plan, a = jax.tree.map(jnp.asarray, plan), jnp.asarray(plan.values(A))
            job = {"factor": lambda plan=plan, a=a: jax.block_until_ready(factorise(plan, a))}
            times.append(1e9 * peers.medians(job, args.seconds)["factor"])
            print(f"{name:<12} {bent!s:<44} {times[-1] / 1e6:8.2f} ms", flush=True)
    prices, error = explain(np.array(counts), np.array(times))
    prices["flops"] = 1 / max(prices["flops"], 1e-3)
    kept = {f.name: prices[f.name] for f in fields(CostModel) if f.name in prices}
    print(f"A call: {prices['per_call'] / 1e3:.0f} us. Typical error: {error:.0%}.")
    print("CostModel(" + ", ".join(f"{k}={v:.3g}" for k, v in kept.items()) + ")")
    return 0

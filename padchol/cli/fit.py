"""fit: the constants of the cost model, measured on this machine.

Plans of several grids under several amalgamations are timed; the times are explained, by least
squares with weights 1 / time and no negative price, as a sum of counted things. A CPU takes
supernodes one by one, other devices take batches of them: each has prices of its own. What comes
out is printed
as the `CostModel` for `padchol.analyze(A, costs=...)`, or for `padchol/symbolic/costs.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np

from padchol.cli import peers
from padchol.cli.bench import read as read_matrix
from padchol.symbolic.costs import KERNELS, CostModel, front_flops, moved_entries, wide
from padchol.symbolic.layout import QUAD
from padchol.symbolic.unfold import front_records

GRIDS = ("grid2d:20", "grid2d:50", "grid2d:100", "grid2d:180", "grid3d:8", "grid3d:14", "grid3d:20")


class Engine(NamedTuple):
    """How fronts are run: what is paid in a factorisation, and how often.

    prices: of a call, then fields of `CostModel`. bent: how the model is bent, so that the prices
    can be told apart.
    """

    prices: tuple[str, ...]
    counted: Callable[..., list[float]]
    bent: tuple[dict[str, float], ...]


def one_by_one(plan) -> list[float]:
    """How often each price is paid where fronts are taken one by one."""
    records = front_records(plan.layout, plan.table).astype(float)
    w = QUAD * records[:, 2]
    m = records[:, 1] - w
    flops, share = front_flops(w, m), wide(w)
    by_rate = ((flops * (1 - share)).sum(), (flops * share).sum())
    return [1, w.size, (w * (w + m)).sum(), (m * m).sum(), *by_rate]


def in_levels(plan) -> list[float]:
    """How often each price is paid where supernodes are taken in batches."""
    W, M, C, trips = np.array(plan.stats["shapes"], float).reshape(-1, 4).T
    places = C * trips
    moved = CostModel().entry_bytes * moved_entries(W, M)
    return [
        1,
        KERNELS * trips.sum(),
        places.sum(),
        (places * moved).sum(),
        (places * front_flops(W, M)).sum(),
    ]


ONE_BY_ONE = Engine(
    (
        "per_call",
        "per_tiled_front",
        "per_tiled_entry",
        "per_tiled_moved",
        "tiled_flops",
        "wide_flops",
    ),
    one_by_one,
    # dearer and cheaper fronts, dearer and cheaper memory, dearer and cheaper arithmetic
    (
        {},
        {"per_tiled_front": 10.0},
        {"per_tiled_front": 0.1},
        {"per_tiled_entry": 4.0, "per_tiled_moved": 0.25},
        {"tiled_flops": 0.2, "wide_flops": 0.2},
        {"tiled_flops": 5.0, "wide_flops": 5.0, "per_tiled_moved": 4.0},
    ),
)
IN_LEVELS = Engine(
    ("per_call", "per_launch", "per_place", "bytes", "batched_flops"),
    in_levels,
    # dearer and cheaper launches, supernodes, memory and arithmetic; few and narrow supernodes
    (
        {},
        {"per_launch": 10.0},
        {"per_launch": 0.1, "per_place": 0.1},
        {"per_place": 10.0},
        {"bytes": 0.2},
        {"batched_flops": 0.2},
        {"widest": 0.125},
    ),
)
# Of which a model holds so much in a nanosecond.
RATES = ("tiled_flops", "wide_flops", "bytes", "batched_flops")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="*",
        default=list(GRIDS),
        help=".npz or .mtx files, grid2d:K or grid3d:K (default: seven grids)",
    )
    parser.add_argument("--seconds", type=float, default=0.5, help="time spent on each plan")
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "gpu", "tpu"),
        default="auto",
        help="whose prices: cpu takes supernodes one by one, gpu and tpu in batches, as a CPU can, "
        "too, to see what it takes (default: the platform of JAX's default device)",
    )


def explain(engine: Engine, counts, nanoseconds) -> tuple[dict[str, float], float]:
    """Prices in nanoseconds, and the typical relative error of what they predict.

    What was never paid for has no price, and stays as it is in the model.
    """
    from scipy.optimize import nnls

    scaled = np.asarray(counts, float) / np.asarray(nanoseconds, float)[:, None]
    size = np.abs(scaled).max(0)
    paid = size > 0
    prices = np.zeros(size.size)
    prices[paid] = nnls(scaled[:, paid] / size[paid], np.ones(len(scaled)))[0] / size[paid]
    error = float(np.sqrt(np.mean((scaled @ prices - 1) ** 2)))
    named = zip(engine.prices, prices.tolist(), paid, strict=True)
    found = {name: price for name, price, real in named if real}
    return {k: 1 / max(v, 1e-6) if k in RATES else v for k, v in found.items()}, error


def measured(engine: Engine, names: list[str], device: Any, seconds: float) -> tuple[list, list]:
    """Counts and nanoseconds of a factorisation of every matrix under every bent model."""
    import jax
    import jax.numpy as jnp

    from padchol.analysis import analyze
    from padchol.numeric.factorise import factorise

    model, counts, times = CostModel.of(device), [], []
    for name in names:
        A = read_matrix(name)
        for bent in engine.bent:
            changed = {k: type(getattr(model, k))(getattr(model, k) * f) for k, f in bent.items()}
            plan = analyze(A, costs=replace(model, **changed), device=device)
            counts.append(engine.counted(plan))
            plan, a = jax.tree.map(jnp.asarray, plan), jnp.asarray(plan.values(A))
            a = a.astype(f"float{8 * model.entry_bytes}")
            job = {"factor": lambda plan=plan, a=a: jax.block_until_ready(factorise(plan, a))}
            times.append(1e9 * peers.medians(job, seconds)["factor"])
            print(f"{name:<12} {bent!s:<52} {times[-1] / 1e6:8.2f} ms", flush=True)
    return counts, times


def _text(x: float | bool) -> str:
    return f"{x:.3g}" if isinstance(x, float) else repr(x)


def main(args: argparse.Namespace) -> int:
    peers.release_blas()
    import jax

    jax.config.update("jax_enable_x64", True)
    device = jax.default_backend() if args.device == "auto" else args.device
    device = device if device in ("cpu", "tpu") else "gpu"
    engine = ONE_BY_ONE if device == "cpu" else IN_LEVELS
    counts, times = measured(engine, args.files, device, args.seconds)
    prices, error = explain(engine, counts, times)
    fixed = {f.name: getattr(CostModel.of(device), f.name) for f in fields(CostModel)}
    fixed = {name: x for name, x in fixed.items() if x != getattr(CostModel(), name)}
    kept = {k: v for k, v in (fixed | prices).items() if k != "per_call"}
    print(f"A call: {prices['per_call'] / 1e3:.0f} us. Typical error: {error:.0%}.")
    print("CostModel(" + ", ".join(f"{k}={_text(v)}" for k, v in kept.items()) + ")")
    return 0

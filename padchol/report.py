"""The counted facts of a plan, and its printed report."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from padchol.facts import SIZE
from padchol.symbolic.layout import Layout, rounded
from padchol.symbolic.postorder import heights
from padchol.symbolic.supernodes import Supernodes, column_flops

if TYPE_CHECKING:
    from padchol.plan import Plan
    from padchol.symbolic.shards import Cut


def counted(
    name: str,
    exact: Supernodes,
    relaxed: Supernodes,
    cost: float,
    layout: Layout,
    arrays: dict[str, np.ndarray],
    started: float,
) -> dict[str, Any]:
    """Facts of an analysis; flops are those of the factorisation, multiply and add as two.

    Padded: as the engine of the plan does them, a CPU in whole quads, supernode by supernode (one
    bin), other devices in a few shapes (bins).
    """
    shapes = [[b.W, b.M, b.C, b.trips] for b in layout.levels.stages] if layout.in_levels else []
    if layout.in_levels:
        W, M, C, trips = np.array(shapes, np.int64).reshape(-1, 4).T
        repeats = C * trips * np.where(np.arange(C.size) < layout.levels.top, layout.shards, 1)
        W, M = np.repeat(W, repeats), np.repeat(M, repeats)
    else:
        W, M = rounded(relaxed.width), rounded(relaxed.below)
    return {
        "nnz_L": exact.entries,
        "flops": exact.flops,
        "padded_flops": float(column_flops(W, M).sum()),
        "padded_entries": int(np.sum(W * (W + 1) // 2 + W * M)),
        "levels": int(heights(relaxed.parent).max(initial=-1)) + 1,
        "engine": "levels" if layout.in_levels else "tiles",
        "trips": sum(shape[3] for shape in shapes) if layout.in_levels else int(relaxed.width.size),
        "bins": len(shapes) or 1,
        "shapes": shapes,
        "supernodes": int(exact.parent.size),
        "fronts": int(relaxed.width.size),
        "bytes": int(sum(array.nbytes for array in arrays.values())) + 4 * SIZE,
        "cost": cost,
        "ordering": name,
        "seconds": time.perf_counter() - started,
    }


def shares(dealt: Cut, speedups: dict[int, float]) -> dict[str, Any]:
    """Facts of the shards: what each has of the predicted cost, and what the top has, which all of
    them sweep; how much faster so many shards are predicted to be."""
    total = max(float(dealt.load.sum()) + dealt.top, 1e-300)
    return {
        "shards": int(dealt.load.size),
        "shares": [round(float(x) / total, 4) for x in dealt.load],
        "top_share": round(dealt.top / total, 4),
        "speedups": {str(k): round(x, 2) for k, x in speedups.items()},
    }


def report(plan: Plan) -> str:
    """The report that `print(plan)` shows."""
    f = plan.stats
    full = 2 * plan.nnz - plan.n
    fill = plan.nnz_L / max(plan.nnz, 1)
    rows = [
        ("order n", f"{plan.n:,}"),
        ("nnz(A)", f"{full:,} (lower triangle {plan.nnz:,})"),
        ("nnz(L)", f"{plan.nnz_L:,} (fill ratio {fill:.2f})"),
        ("flops", f"{f['flops']:.3g}"),
        ("levels", f"{f['levels']}"),
        ("bins", f"{f['bins']} holding {f['fronts']:,} fronts" + _trips(f)),
        (
            "padding efficiency",
            f"entries {plan.nnz_L / max(f['padded_entries'], 1):.0%}, "
            f"flops {f['flops'] / max(f['padded_flops'], 1):.0%}",
        ),
        ("shards", _shards(f)),
        ("tables", f"{f['bytes']:,} bytes"),
        ("ordering", f["ordering"] + _took(f["seconds"])),
        ("fingerprint", plan.fingerprint[:16]),
    ]
    return "padchol plan\n" + "\n".join(f"  {name:<19}{value}" for name, value in rows)


def _trips(f: dict[str, Any]) -> str:
    """How many batches they are taken in, where they are."""
    return f" in {f['trips']:,} trips" if f["engine"] == "levels" else ""


def _shards(f: dict[str, Any]) -> str:
    """What each has of the cost, and what more of them would bring."""
    own = ""
    if f["shards"] > 1:
        each = ", ".join(f"{share:.0%}" for share in f["shares"])
        own = f" with {each} of the cost, the top {f['top_share']:.0%}"
    brings = ", ".join(f"{k}: {x:.1f}" for k, x in f["speedups"].items())
    return f"{f['shards']}{own} (predicted speed-up of {brings})"


def _took(seconds: float) -> str:
    """The time of an analysis, where the plan did not come out of a JAX function."""
    return "" if math.isnan(seconds) else f" ({seconds:.3f} s)"

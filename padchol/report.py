"""The counted facts of a plan, and its printed report."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from padchol.facts import SIZE
from padchol.symbolic.layout import Layout, rounded
from padchol.symbolic.postorder import heights
from padchol.symbolic.supernodes import Supernodes, ramp

if TYPE_CHECKING:
    from padchol.plan import Plan


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
    w, m = exact.width, exact.below
    size = np.repeat(w + m, w) - ramp(w)
    nnz_L = int(size.sum())
    shapes = [[b.W, b.M, b.C, b.trips] for b in layout.levels.stages] if layout.in_levels else []
    if layout.in_levels:
        W, M, C, trips = np.array(shapes, np.int64).reshape(-1, 4).T
        W, M = np.repeat(W, C * trips), np.repeat(M, C * trips)
    else:
        W, M = rounded(relaxed.width), rounded(relaxed.below)
    return {
        "nnz_L": nnz_L,
        "flops": float(np.sum(size.astype(float) ** 2)),
        "padded_flops": float(padded_front_flops(W, M).sum()),
        "padded_entries": int(np.sum(W * (W + 1) // 2 + W * M)),
        "levels": int(heights(relaxed.parent).max(initial=-1)) + 1,
        "engine": "levels" if layout.in_levels else "tiles",
        "trips": sum(shape[3] for shape in shapes) if layout.in_levels else int(relaxed.width.size),
        "bins": len(shapes) or 1,
        "shapes": shapes,
        "supernodes": int(w.size),
        "fronts": int(relaxed.width.size),
        "bytes": int(sum(array.nbytes for array in arrays.values())) + 4 * SIZE,
        "cost": cost,
        "ordering": name,
        "seconds": time.perf_counter() - started,
    }


def padded_front_flops(W: Any, M: Any) -> Any:
    """Flops of padded fronts counted as those of L are: the sum of squared column lengths."""
    w, D = np.asarray(W, float), np.asarray(W, float) + M
    return w * D * D - D * w * (w - 1) + (w - 1) * w * (2 * w - 1) / 6


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
        ("tables", f"{f['bytes']:,} bytes"),
        ("ordering", f["ordering"] + _took(f["seconds"])),
        ("fingerprint", plan.fingerprint[:16]),
    ]
    return "padchol plan\n" + "\n".join(f"  {name:<19}{value}" for name, value in rows)


def _trips(f: dict[str, Any]) -> str:
    """How many batches they are taken in, where they are."""
    return f" in {f['trips']:,} trips" if f["engine"] == "levels" else ""


def _took(seconds: float) -> str:
    """The time of an analysis, where the plan did not come out of a JAX function."""
    return "" if math.isnan(seconds) else f" ({seconds:.3f} s)"

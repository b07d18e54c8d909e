"""Pictures of a plan: A, P A P^T, L with its fill-in and fronts, and the tree by level.

`picture(plan)` is the whole; each panel is a function of a matplotlib `Axes` and the plan.
Matplotlib is imported only when something is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from padchol.plan import Plan
from padchol.plot.fronts import Fronts, fronts
from padchol.plot.spy import spy_factor, spy_matrix, spy_permuted
from padchol.plot.tree import assembly_tree, level_histogram, padding_by_level

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Fronts",
    "assembly_tree",
    "fronts",
    "level_histogram",
    "padding_by_level",
    "picture",
    "spy_factor",
    "spy_matrix",
    "spy_permuted",
]


def picture(plan: Plan) -> Figure:
    """A, P A P^T, L, the assembly tree and its levels, on one page. Needs no display."""
    from matplotlib.figure import Figure

    found = fronts(plan)
    figure = Figure(figsize=(12, 7.6), dpi=130, layout="constrained")
    top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=(1.1, 1)))
    left, middle, right = top.subplots(1, 3)
    spy_matrix(left, plan)
    spy_permuted(middle, plan)
    spy_factor(right, plan, found)
    tree, bars = bottom.subplots(1, 2, width_ratios=(3.2, 1), sharey=True)
    assembly_tree(tree, plan, found)
    level_histogram(bars, plan, found)
    bars.set_ylabel("")
    return figure

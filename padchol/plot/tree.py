"""The assembly tree, its levels, and what padding costs on each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from padchol.plan import Plan
from padchol.plot.fronts import Fronts, fronts
from padchol.plot.style import ENTRY, FILL, LINE, legend, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CROWD = 800  # fronts beyond which the dots of a tree are drawn without edges, and smaller
BARS = 60  # of a level histogram: with more levels than that, neighbours are drawn as one


def assembly_tree(ax: Axes, plan: Plan, found: Fronts | None = None) -> None:
    """The tree of fronts by level: a level needs only the ones below it.

    A dot's area follows the order of its front, its colour the flops spent in it.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LogNorm

    found = found or fronts(plan)
    x, child = _across(found), np.flatnonzero(found.parent >= 0)
    above = found.parent[child]
    ends = np.stack([x[child], found.level[child], x[above], found.level[above]], 1)
    levels = plan.stats["levels"]
    crowded = x.size > CROWD
    largest = 130 * min(BARS / max(levels, 1), 1)
    thin = 0.2 if crowded else 0.6
    ax.add_collection(LineCollection(list(ends.reshape(-1, 2, 2)), colors=LINE, linewidths=thin))
    flops, size = found.flops, found.order / found.order.max(initial=1)
    dots = ax.scatter(
        x,
        found.level,
        s=1 + largest * size**1.5 if crowded else 8 + largest * size,
        c=flops,
        cmap="viridis_r",
        norm=LogNorm(flops.min(), flops.max()) if flops.size else None,
        edgecolors="white",
        linewidths=0.0 if crowded else 0.4,
        zorder=2,
    )
    ax.figure.colorbar(dots, ax=ax, label="flops of a front", pad=0.01, aspect=30)
    ax.margins(x=0.02)
    ax.set(xticks=[], ylabel="level", ylim=(-0.6, levels - 0.4))
    plain(ax)
    ax.set_title(f"assembly tree: fronts {x.size:,}, levels {levels:,}")


def level_histogram(ax: Axes, plan: Plan, found: Fronts | None = None) -> None:
    """Fronts of each level, and the level's share of the flops."""
    found = found or fronts(plan)
    for weights, colour, side in ((None, ENTRY, 0.2), (found.flops, FILL, -0.2)):
        at, total, height = _by_level(plan, found, weights)
        share = total / max(total.sum(), 1)
        ax.barh(at + side * height, share, 0.38 * height, color=colour)
    ax.set(xlabel="share of all", ylabel="level", title="work by level")
    plain(ax)
    legend(ax, {"fronts": ENTRY, "flops": FILL})


def padding_by_level(ax: Axes, plan: Plan, found: Fronts | None = None) -> None:
    """Padding efficiency of each level: the part of its flops that the unpadded fronts need.

    The entries that relaxation has taken in count as needed.
    """
    found = found or fronts(plan)
    at, needed, height = _by_level(plan, found, found.flops)
    _, done, _ = _by_level(plan, found, found.padded_flops)
    ax.barh(at, needed / np.maximum(done, 1), 0.76 * height, color=ENTRY)
    whole = found.flops.sum() / max(found.padded_flops.sum(), 1)
    ax.axvline(whole, color=FILL)
    ax.set(xlim=(0, 1), xlabel="needed flops / padded flops", ylabel="level")
    ax.set_title(f"padding efficiency by level: {whole:.0%} in all")
    plain(ax)


def _by_level(plan: Plan, found: Fronts, weights: np.ndarray | None):
    """Where the bars of the levels stand, the sum of weights of each, and the levels in one."""
    levels = plan.stats["levels"]
    group = max(-(-levels // BARS), 1)
    at = np.arange(-(-levels // group)) * group + 0.5 * (group - 1)
    return at, np.bincount(found.level // group, weights, minlength=at.size), group


def _across(found: Fronts) -> np.ndarray:
    """Horizontal place of each front: leaves side by side in plan order, others over children.

    Parents come on higher levels, so one pass by level, from the leaves, is enough.
    """
    F = found.parent.size
    first = np.array([p[0] for p in found.pivots], np.int64)
    total, children = np.zeros(F), np.zeros(F)
    leaf = np.ones(F, bool)
    leaf[found.parent[found.parent >= 0]] = False
    leaves = np.flatnonzero(leaf)
    x = np.zeros(F)
    x[leaves[np.argsort(first[leaves])]] = np.arange(leaves.size)
    for level in range(int(found.level.max(initial=-1)) + 1):
        here = np.flatnonzero(found.level == level)
        inner = here[children[here] > 0]
        x[inner] = total[inner] / children[inner]
        handing = here[found.parent[here] >= 0]
        np.add.at(total, found.parent[handing], x[handing])
        np.add.at(children, found.parent[handing], 1)
    return x

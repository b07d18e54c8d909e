"""Pictures of a plan: A, P A P^T, L with its fill-in and fronts, and the tree by level.

`picture(plan)` is the whole; each panel is a function of a matplotlib `Axes` and the plan. Patterns
are counted into at most `CELLS` x `CELLS` cells before they are drawn, so that time and size of a
picture follow nnz(L) and the page, not n^2. Matplotlib is imported only when something is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from padchol.plan import Plan
from padchol.symbolic.unfold import front_levels, front_parents, front_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELLS = 480  # cells along a side: about one per pixel of a panel at the size of `picture`
SMALLEST_BOX = 0.008  # of the side of a panel: smaller boxes would be a smear of ink
ENTRY, FILL, FRONT, LINE = "#1b3a5c", "#f0a04b", "#b3243a", "#9aa5b1"
FAINT = 0.5  # opacity of a cell that holds one entry among many places
CROWD = 800  # fronts beyond which the dots of a tree are drawn without edges, and smaller
BARS = 60  # of a level histogram: with more levels than that, neighbours are drawn as one


class Fronts(NamedTuple):
    """The fronts of a plan, bin by bin, padding places left out."""

    parent: np.ndarray  # (F,), -1 at a root
    level: np.ndarray  # (F,)
    pivots: list[np.ndarray]  # plan positions of the pivot columns
    below: list[np.ndarray]  # plan positions of the rows below

    @property
    def order(self) -> np.ndarray:
        """(F,): pivots and rows below of each front."""
        return np.array([p.size + r.size for p, r in zip(self.pivots, self.below, strict=True)])

    @property
    def flops(self) -> np.ndarray:
        """(F,): sum of squared column lengths of each front, relaxation zeros counted."""
        w, D = np.array([p.size for p in self.pivots], float), self.order.astype(float)
        return w * D * D - D * w * (w - 1) + (w - 1) * w * (2 * w - 1) / 6


def fronts(plan: Plan) -> Fronts:
    """Read the fronts back from the plan's tables."""
    pivots, below = [], []
    for bin, rows in zip(plan.layout.bins, front_rows(plan.layout, plan.table), strict=True):
        for row in rows:
            pivots.append(np.sort(row[: bin.W][row[: bin.W] < plan.n]))
            below.append(np.sort(row[bin.W :][row[bin.W :] < plan.n]))
    real = np.array([p.size > 0 for p in pivots], bool)
    parent, level = front_parents(plan.layout, plan.table), front_levels(plan.layout, plan.table)
    number = np.append(np.where(real, np.cumsum(real) - 1, -1), -1)
    kept = np.flatnonzero(real)
    return Fronts(
        number[parent[kept]], level[kept], [pivots[f] for f in kept], [below[f] for f in kept]
    )


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


def spy_matrix(ax: Axes, plan: Plan) -> None:
    """The pattern of A in the user's numbering."""
    _draw_symmetric(ax, plan.n, np.asarray(plan.rows), np.asarray(plan.cols))
    ax.set_title(f"A: n = {plan.n:,}, {2 * plan.nnz - plan.n:,} entries")


def spy_permuted(ax: Axes, plan: Plan) -> None:
    """The pattern of P A P^T, in the plan's order."""
    _draw_symmetric(ax, plan.n, *_permuted(plan))
    ax.set_title(f"P A Pᵀ: {plan.stats['ordering']} ordering")


def spy_factor(ax: Axes, plan: Plan, found: Fronts | None = None) -> None:
    """The pattern of L, fill-in in a second colour, and the fronts as boxes.

    A front is drawn as the blocks of its pivot columns with runs of its rows; boxes too small to
    be told apart are left out. White inside a box is a zero that relaxation has taken in.
    """
    indices, indptr = plan.factor_pattern()
    cols = np.repeat(np.arange(plan.n), np.diff(indptr))
    every, area = _count(plan.n, indices, cols)
    given, _ = _count(plan.n, *_permuted(plan))
    share = np.sqrt(given / np.maximum(every, 1))[..., None]  # of the colour of entries of A
    _show(ax, plan.n, share * _rgb(ENTRY) + (1 - share) * _rgb(FILL), every / area)
    boxes = _boxes(ax, plan.n, found or fronts(plan))
    ax.set_title(f"L: {plan.nnz_L:,} entries, {1 - plan.nnz / max(plan.nnz_L, 1):.0%} fill-in")
    _legend(ax, {"entry of A": ENTRY, "fill-in": FILL} | ({"front": FRONT} if boxes else {}))


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
    _plain(ax)
    ax.set_title(f"assembly tree: fronts {x.size:,}, levels {levels:,}")


def level_histogram(ax: Axes, plan: Plan, found: Fronts | None = None) -> None:
    """Fronts of each level, and the level's share of the flops."""
    found = found or fronts(plan)
    levels = plan.stats["levels"]
    group = max(-(-levels // BARS), 1)
    at = np.arange(-(-levels // group)) * group + 0.5 * (group - 1)
    ones = np.ones(found.level.size)
    for weights, colour, shift in ((ones, ENTRY, 0.2), (found.flops, FILL, -0.2)):
        total = np.bincount(found.level // group, weights, minlength=at.size)
        ax.barh(at + shift * group, total / max(total.sum(), 1), 0.38 * group, color=colour)
    ax.set(xlabel="share of all", ylabel="level", title="work by level")
    _plain(ax)
    _legend(ax, {"fronts": ENTRY, "flops": FILL})


def _permuted(plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Lower entries (i, j) of A[perm][:, perm]."""
    place = np.empty(plan.n, np.int64)
    place[np.asarray(plan.perm)] = np.arange(plan.n)
    a, b = place[np.asarray(plan.rows)], place[np.asarray(plan.cols)]
    return np.maximum(a, b), np.minimum(a, b)


def _count(n: int, i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, float]:
    """(cells, cells) number of entries in each cell, and the places that a cell has."""
    n = max(n, 1)
    cells = min(n, CELLS)
    i, j = (
        i.astype(np.int64),
        j.astype(np.int64),
    )  # n * cells is beyond 32 bits from n = 4.5 million
    flat = (i * cells // n) * cells + j * cells // n
    return np.bincount(flat, minlength=cells * cells).reshape(cells, cells), (n / cells) ** 2


def _draw_symmetric(ax: Axes, n: int, i: np.ndarray, j: np.ndarray) -> None:
    """A symmetric pattern from its lower triangle."""
    lower, area = _count(n, i, j)
    _show(ax, n, np.broadcast_to(_rgb(ENTRY), (*lower.shape, 3)), (lower + lower.T) / area)


def _show(ax: Axes, n: int, colour: np.ndarray, density: np.ndarray) -> None:
    """Cells of a colour each, over coordinates in which entry (i, j) is the square at (j, i).

    Ink: none in an empty cell, plainly visible at one entry, full where all places are taken.
    """
    opacity = np.where(density > 0, FAINT + (1 - FAINT) * np.clip(density, 0, 1) ** 0.3, 0.0)
    end = max(n, 1) - 0.5
    image = np.dstack([colour, opacity])
    ax.imshow(image, extent=(-0.5, end, end, -0.5), interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set_color(LINE)


def _runs(positions: np.ndarray) -> list[tuple[int, int]]:
    """(start, length) of the runs of consecutive integers in sorted positions."""
    starts = np.flatnonzero(np.diff(positions, prepend=-2) > 1)
    lengths = np.diff(np.append(starts, positions.size))
    return list(zip(positions[starts].tolist(), lengths.tolist(), strict=True))


def _boxes(ax: Axes, n: int, found: Fronts) -> int:
    """Outline the fronts' blocks in the lower triangle, the smallest left out; returns how many."""
    from matplotlib.collections import PolyCollection

    least = SMALLEST_BOX * n if n > CELLS // 4 else 0
    corners = []
    for pivots, below in zip(found.pivots, found.below, strict=True):
        if pivots.size < least:
            continue
        for j, w in _runs(pivots):
            for i, h in _runs(np.concatenate([pivots, below])):
                if min(w, h) < least or i + h <= j:
                    continue
                top = (j, j + w - 1) if i < j + w else (i, i)  # slanted above the diagonal
                corners.append([(j, top[0]), (j + 1, top[0]), (j + w, top[1])])
                corners[-1] += [(j + w, i + h), (j, i + h)]
    corners = np.array(corners, float).reshape(-1, 5, 2) - 0.5
    boxes = PolyCollection(list(corners), facecolors="none", edgecolors=FRONT, linewidths=0.6)
    ax.add_collection(boxes, autolim=False)
    return len(corners)


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


def _rgb(colour: str) -> np.ndarray:
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(colour))


def _plain(ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.yaxis.set_major_locator(MaxNLocator(9, integer=True, min_n_ticks=1))
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _legend(ax: Axes, colours: dict[str, str]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor="none" if c == FRONT else c, edgecolor=c, label=name)
        for name, c in colours.items()
    ]
    ax.legend(handles=handles, loc="upper right", frameon=False, fontsize=9)

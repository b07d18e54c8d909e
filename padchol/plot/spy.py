"""Patterns: A, P A P^T, and L with its fill-in and fronts.

Patterns are counted into at most `CELLS` x `CELLS` cells before they are drawn, so that time and
size of a picture follow nnz(L) and the page, not n^2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from padchol.plan import Plan
from padchol.plot.fronts import Fronts, fronts
from padchol.plot.style import ENTRY, FILL, FRONT, LINE, legend, rgb

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELLS = 480  # cells along a side: about one per pixel of a panel at the size of `picture`
SMALLEST_BOX = 0.008  # of the side of a panel: smaller boxes would be a smear of ink
FAINT = 0.5  # opacity of a cell that holds one entry among many places


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
    _show(ax, plan.n, share * rgb(ENTRY) + (1 - share) * rgb(FILL), every / area)
    boxes = _boxes(ax, plan.n, found or fronts(plan))
    ax.set_title(f"L: {plan.nnz_L:,} entries, {1 - plan.nnz / max(plan.nnz_L, 1):.0%} fill-in")
    legend(ax, {"entry of A": ENTRY, "fill-in": FILL} | ({"front": FRONT} if boxes else {}))


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
    _show(ax, n, np.broadcast_to(rgb(ENTRY), (*lower.shape, 3)), (lower + lower.T) / area)


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

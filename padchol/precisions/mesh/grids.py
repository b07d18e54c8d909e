"""Meshes of a line and of a rectangle: even within, coarser and coarser in a margin around."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from padchol.precisions.mesh.checks import points_of
from padchol.precisions.mesh.simplicial import Mesh

# With a spacing of a tenth of the range, a margin of the range and steps 1.5 times the one before,
# variances within are those of an even mesh to 2 %, with half the nodes.
GROWTH = 1.5


def line(points: Any, spacing: float, *, margin: float, growth: float = GROWTH) -> Mesh:
    """Intervals of at most `spacing` from the least of the points (m,) to the greatest, and beyond.

    margin: by how much the line goes on at either end, in intervals each `growth` times as long as
    the one before; see `rectangle`.
    """
    ticks, inner = _ticks(points_of(points, 1)[:, 0], spacing, margin, growth)
    left = np.arange(inner.size)
    return Mesh(ticks, np.stack([left, left + 1], 1), inner)


def rectangle(points: Any, spacing: float, *, margin: float, growth: float = GROWTH) -> Mesh:
    """Right-angled triangles over the bounding box of points (m, 2), two opposite corners or data,
    and over a margin around it.

    spacing: of the nodes within, at most; the longest edge is a diagonal, of up to 2^1/2 spacing,
    so that ranges from 5.7 spacing on are carried (`Mesh.check`). margin: how far the mesh goes on
    beyond each side, at least, in steps each `growth` times the one before. Without slope across
    the border of the mesh a field varies more there: too much by 14 % in the middle of a side of
    the rectangle and 32 % in a corner with a margin of half the range, by 1 % and 2 % with one of
    the range (alpha = 2, even steps). `ValueError` for points that do not span a rectangle, and for
    sizes that are not positive.
    """
    points = points_of(points, 2)
    (x, in_x), (y, in_y) = (_ticks(points[:, d], spacing, margin, growth) for d in (0, 1))
    number = np.arange(x.size * y.size).reshape(x.size, y.size)
    here, right = number[:-1, :-1].reshape(-1), number[1:, :-1].reshape(-1)
    above, across = number[:-1, 1:].reshape(-1), number[1:, 1:].reshape(-1)
    triangles = np.stack([[right, here, across], [above, across, here]]).transpose(2, 0, 1)
    inner = np.repeat((in_x[:, None] & in_y).reshape(-1), 2)
    nodes = np.stack([each.reshape(-1) for each in np.meshgrid(x, y, indexing="ij")], 1)
    return Mesh(nodes, triangles.reshape(-1, 3), inner)


def _ticks(
    at: np.ndarray, spacing: float, margin: float, growth: float
) -> tuple[Float[np.ndarray, " k"], Bool[np.ndarray, " k-1"]]:
    """Nodes along one axis, and which of the steps between them are within the bounds of `at`."""
    low, high = at.min(), at.max()
    if not (0 < spacing < math.inf and 0 <= margin < math.inf and 1 <= growth < math.inf):
        raise ValueError(
            f"expected spacing > 0, margin >= 0 and growth >= 1, finite; got spacing {spacing:g}, "
            f"margin {margin:g}, growth {growth:g}"
        )
    if not high > low:
        raise ValueError(f"expected points that span the mesh; got {low:g} for all of them")
    count = math.ceil((high - low) / spacing * (1 - 1e-9))
    step, outwards = (high - low) / count, [0.0]
    while outwards[-1] < margin * (1 - 1e-9):
        outwards.append(outwards[-1] + step * growth ** len(outwards))
    beyond = np.array(outwards[1:])
    ticks = np.concatenate([low - beyond[::-1], np.linspace(low, high, count + 1), high + beyond])
    middle = (ticks[:-1] + ticks[1:]) / 2
    return ticks, (middle > low) & (middle < high)

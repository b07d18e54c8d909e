"""What a mesh, its points and a domain need to be: a `ValueError` that says what came otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from padchol.precisions.mesh import finite_elements

FLAT = 1e-12  # of the longest edge squared: an area that is none


def points_of(points: Any, d: int) -> Float[np.ndarray, "m d"]:
    """Points as an array, (m,) allowed on a line; `ValueError` for other shapes and for NaN."""
    points = np.asarray(points, float)
    points = points[:, None] if points.ndim == 1 and d == 1 else points
    if points.ndim != 2 or points.shape[1] != d or not len(points):
        raise ValueError(f"expected points of shape (m, {d}), m > 0; got shape {points.shape}")
    sound = np.isfinite(points).all(1)
    if not sound.all():
        raise ValueError(
            f"expected finite points; got {points[~sound][0]}, number {np.argmin(sound)}"
        )
    return points


def asked(inside: Callable, points: Float[np.ndarray, "q d"]) -> Bool[np.ndarray, " q"]:
    found = np.asarray(inside(points))
    if found.shape != (len(points),) or found.dtype != bool:
        raise ValueError(
            f"expected inside(points) to give {len(points)} booleans for points of shape "
            f"{points.shape}; got shape {found.shape} of {found.dtype}"
        )
    return found


def check_mesh(nodes: np.ndarray, simplices: np.ndarray, inner: np.ndarray) -> None:
    """`ValueError` for what is no mesh; see `Mesh`."""
    if nodes.ndim != 2 or not np.isfinite(nodes).all():
        raise ValueError(f"expected finite nodes of shape (n, d); got shape {nodes.shape}")
    n, d = nodes.shape
    shaped = simplices.ndim == 2 and simplices.shape[1] in (2, 3) and len(simplices)
    if not shaped or simplices.shape[1] > d + 1 or not np.issubdtype(simplices.dtype, np.integer):
        raise ValueError(
            f"expected simplices of shape (T, 2) or (T, 3), T > 0, integers, for nodes of {d} "
            f"coordinates; got shape {simplices.shape} of {simplices.dtype}"
        )
    if simplices.min() < 0 or simplices.max() >= n:
        raise ValueError(
            f"expected simplices of nodes from 0 to {n - 1}; got {simplices.min()} to "
            f"{simplices.max()}"
        )
    if inner.shape != (len(simplices),) or inner.dtype != bool or not inner.any():
        raise ValueError(
            f"expected inner {len(simplices)} booleans, some of them true; got shape {inner.shape} "
            f"of {inner.dtype}"
        )
    lost = np.bincount(simplices.reshape(-1), minlength=n) == 0
    if lost.any():
        raise ValueError(
            f"expected each node in a simplex; got {lost.sum()} in none, the first number "
            f"{np.argmax(lost)}"
        )
    size = finite_elements.longest_edges(nodes, simplices) ** (simplices.shape[1] - 1)
    flat = finite_elements.volumes(nodes, simplices) <= FLAT * size
    if flat.any():
        corners = ", ".join(map(str, simplices[np.argmax(flat)]))
        raise ValueError(
            f"expected simplices with a volume; got {flat.sum()} without, the first of nodes "
            f"{corners}, number {np.argmax(flat)}"
        )
    finite_elements.border(simplices)  # at most two on each side

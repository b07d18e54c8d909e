"""Linear finite elements on simplices of dimension k: intervals on a line, triangles in the plane
or on a surface in space.

nodes (n, d), k <= d; simplices (T, k + 1), the nodes at the corners of each. On a simplex the hat
functions of its corners are the barycentric coordinates lam_0, ..., lam_k, and with the edges E (k,
d) from corner 0 to the others

    volume = |E E^T|^1/2 / k!,    grad lam_i . grad lam_j = (E E^T)^-1_ij,    lam_0 = 1 - sum lam_i.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

NEAREST = 8  # simplices tried for each point before all that may hold it
ROUNDING = 1e-9  # by which a barycentric coordinate of a point on the border may be below zero

Nodes = Float[np.ndarray, "n d"]
Simplices = Int[np.ndarray, "T k1"]


def edges(nodes: Nodes, simplices: Simplices) -> Float[np.ndarray, "T k d"]:
    """From the first corner of each simplex to the others."""
    return nodes[simplices[:, 1:]] - nodes[simplices[:, :1]]


def volumes(nodes: Nodes, simplices: Simplices) -> Float[np.ndarray, " T"]:
    """Lengths of intervals, areas of triangles."""
    E = edges(nodes, simplices)
    gram = np.linalg.det(E @ E.swapaxes(1, 2))
    return np.sqrt(np.maximum(gram, 0)) / math.factorial(E.shape[1])


def stiffness(nodes: Nodes, simplices: Simplices) -> sp.csc_array:
    """G_ij = integral of grad phi_i . grad phi_j: symmetric, its rows sum to zero."""
    E, n = edges(nodes, simplices), nodes.shape[0]
    inner = np.linalg.inv(E @ E.swapaxes(1, 2)) * volumes(nodes, simplices)[:, None, None]
    first = -inner.sum(1)  # those of corner 0
    off = sp.csc_array((n, n))
    for j in range(1, E.shape[1] + 1):
        for i in range(j):
            value = inner[:, i - 1, j - 1] if i else first[:, j - 1]
            off += sp.coo_array((value, (simplices[:, i], simplices[:, j])), shape=(n, n))
    off = off + off.T
    off.eliminate_zeros()  # across from right angles
    return sp.csc_array(off - sp.diags_array(off.sum(1)))


def longest_edges(nodes: Nodes, simplices: Simplices) -> Float[np.ndarray, " T"]:
    """Of each simplex."""
    corners = nodes[simplices]
    return np.linalg.norm(corners[:, :, None] - corners[:, None], axis=-1).max((1, 2))


def border(simplices: Simplices) -> tuple[Int[np.ndarray, " f"], Int[np.ndarray, " f"]]:
    """The sides that belong to one simplex only: which simplex, and which of its corners lies
    across. `ValueError` for a side of more than two simplices."""
    T, corners = simplices.shape
    sides = np.stack([np.delete(simplices, j, 1) for j in range(corners)], 1)
    sides = np.sort(sides.reshape(T * corners, -1), 1)
    _, first, count = np.unique(sides, axis=0, return_index=True, return_counts=True)
    if count.max() > 2:
        side = sides[first[np.argmax(count)]]
        raise ValueError(
            f"expected two simplices at most on each side; got {count.max()} on that of nodes "
            f"{', '.join(map(str, side))}"
        )
    return np.divmod(first[count == 1], corners)


def subdivided(k: int, parts: int) -> Float[np.ndarray, "points k1"]:
    """Barycentric coordinates of the centres of parts^k equal pieces of a simplex, k = 1 or 2."""
    if k == 1:
        t = (np.arange(parts) + 0.5) / parts
        return np.stack([1 - t, t], 1)
    i, j = (index.reshape(-1) for index in np.indices((parts, parts)))
    up, down = i + j < parts, i + j < parts - 1  # triangles as the whole, and turned
    lam = np.concatenate([np.stack([i, j], 1)[up] + 1 / 3, np.stack([i, j], 1)[down] + 2 / 3])
    return np.concatenate([1 - lam.sum(1, keepdims=True) / parts, lam / parts], 1)


def locate(
    nodes: Nodes, simplices: Simplices, points: Float[np.ndarray, "m k"]
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, "m k1"], Bool[np.ndarray, " m"]]:
    """(simplex, lam, found): a simplex that holds each point, its barycentric coordinates there,
    and whether there is one. For nodes in the plane or on a line, k = d.

    A simplex that holds a point has its centroid nearby: the nearest few are tried, and where none
    holds it, all whose centroid is no farther than the farthest corner from its own.
    """
    inverse, origin = np.linalg.inv(edges(nodes, simplices)), nodes[simplices[:, 0]]
    centroids = nodes[simplices].mean(1)
    reach = np.linalg.norm(nodes[simplices] - centroids[:, None], axis=2).max() * (1 + ROUNDING)
    tree = KDTree(centroids)

    def best(point, near):  # (..., k), (..., q)
        lam = np.einsum("...qk,...qkj->...qj", point[..., None, :] - origin[near], inverse[near])
        lam = np.concatenate([1 - lam.sum(-1, keepdims=True), lam], -1)
        at = np.argmax(lam.min(-1), -1)[..., None]
        lam = np.take_along_axis(lam, at[..., None], -2)[..., 0, :]
        return np.take_along_axis(near, at, -1)[..., 0], lam

    near = tree.query(points, min(NEAREST, len(simplices)))[1].reshape(len(points), -1)
    simplex, lam = best(points, near)
    for i in np.flatnonzero(lam.min(1) < -ROUNDING):
        near = np.array(tree.query_ball_point(points[i], reach), int)
        if near.size:
            simplex[i], lam[i] = best(points[i], near)
    found = lam.min(1) >= -ROUNDING
    lam = np.maximum(lam, 0)
    return simplex, lam / lam.sum(1, keepdims=True), found

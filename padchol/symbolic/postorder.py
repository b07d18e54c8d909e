"""Trees as arrays of parents: postorders, sizes of subtrees, heights, sums along paths.

Parents come after their children, parent[j] > j, or are -1 at a root.
"""

from __future__ import annotations

import numpy as np


def to_roots(link: np.ndarray, nodes: np.ndarray) -> None:
    """Let each of the nodes link to the end of its way, by pointer doubling."""
    while nodes.size:
        near = link[nodes]
        far = link[near]
        moved = near != far
        nodes = nodes[moved]
        link[nodes] = far[moved]


def subtree_sums(parent: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Sum of the values in each subtree.

    A loop, like the two that follow: pointer doubling takes as long in the trees of meshes, and
    more than twice as long where n nodes form a chain (experiment 39).
    """
    total = value.tolist()
    for j, p in enumerate(parent.tolist()):
        if p >= 0:
            total[p] += total[j]
    return np.asarray(total, value.dtype)


def subtree_sizes(parent: np.ndarray) -> np.ndarray:
    """size (n,): nodes of each subtree."""
    return subtree_sums(parent, np.ones(parent.size, np.int64))


def heights(parent: np.ndarray) -> np.ndarray:
    """level (n,): 0 at a leaf, else one more than the highest child."""
    level = [0] * parent.size
    for j, p in enumerate(parent.tolist()):
        if p >= 0 and level[p] <= level[j]:
            level[p] = level[j] + 1
    return np.asarray(level, np.int64)


def path_sums(parent: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Sum of the values from each node to its root, both included."""
    total = value.tolist()
    for j, p in zip(range(parent.size - 1, -1, -1), parent[::-1].tolist(), strict=True):
        if p >= 0:
            total[j] += total[p]
    return np.asarray(total, value.dtype)


def postorder(parent: np.ndarray, size: np.ndarray, by_size: bool = False) -> np.ndarray:
    """post (n,): the nodes in an order where every subtree is contiguous and ends with its root.

    Siblings keep their order, or are sorted by the sizes of their subtrees first. Every way to a
    root then leaves the run of successive nodes it is in at most log2(n) times.
    """
    n = parent.size
    siblings = np.argsort((parent + 1) * (n + 1) + (size if by_size else 0), kind="stable")
    before = np.cumsum(size[siblings]) - size[siblings]
    above = parent[siblings]
    eldest = np.append(True, above[1:] != above[:-1])[:n]
    shift = np.empty(n, np.int64)
    shift[siblings] = before - np.maximum.accumulate(np.where(eldest, before, 0))
    post = np.empty(n, np.int64)
    post[path_sums(parent, shift) + size - 1] = np.arange(n)
    return post


def relabelled(parent: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The tree with node order[t] as node t, and the place in `order` of each node."""
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    above = parent[order]
    above[above >= 0] = place[above[above >= 0]]
    return above, place

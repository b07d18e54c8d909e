"""Trees as arrays of parents: postorders, sizes of subtrees, heights, sums along paths.

Parents come after their children, parent[j] > j, or are -1 at a root.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


def to_roots(link: np.ndarray, nodes: np.ndarray) -> None:
    """Let each of the nodes link to the end of its way, by pointer doubling."""
    while nodes.size:
        near = link[nodes]
        far = link[near]
        moved = near != far
        nodes = nodes[moved]
        link[nodes] = far[moved]


class Chains(NamedTuple):
    """Maximal runs of nodes, each the only child of the next: first[c] .. last[c].

    parent (C,): the chain above each, or -1. Its first node is where the chain ends: a node with
    another child than the one before it begins a chain.
    """

    first: np.ndarray
    last: np.ndarray
    parent: np.ndarray

    @property
    def length(self) -> np.ndarray:
        return self.last - self.first + 1


def chains(parent: np.ndarray) -> Chains:
    """The chains of a tree. A tree of one node a chain is taken as it stands, in three passes; in a
    postorder a path is one chain, and the nodes of a mesh three quarters as many (experiment 39).
    """
    n = parent.size
    children = np.bincount(parent + 1, minlength=n + 1)[1:]
    goes_on = (parent[:-1] == np.arange(1, n)) & (children[1:] == 1)
    last = np.flatnonzero(np.append(~goes_on, True)[:n])
    first = np.append(0, last[:-1] + 1)[: last.size]
    if last.size == n:
        return Chains(first, last, parent)
    of_node = np.repeat(np.arange(last.size), last - first + 1)
    above = parent[last]
    above[above >= 0] = of_node[above[above >= 0]]
    return Chains(first, last, above)


def subtree_sums(parent: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Sum of the values in each subtree.

    A loop over chains, like the two that follow: pointer doubling takes as long in the trees of
    meshes (experiment 39).
    """
    own = chains(parent)
    upto = np.cumsum(value, dtype=value.dtype)
    before = upto[own.first] - value[own.first]
    total = (upto[own.last] - before).tolist()
    for c, p in enumerate(own.parent.tolist()):
        if p >= 0:
            total[p] += total[c]
    below = np.asarray(total, value.dtype) - upto[own.last]
    return upto + np.repeat(below, own.length)


def subtree_sizes(parent: np.ndarray) -> np.ndarray:
    """size (n,): nodes of each subtree."""
    return subtree_sums(parent, np.ones(parent.size, np.int64))


def heights(parent: np.ndarray) -> np.ndarray:
    """level (n,): 0 at a leaf, else one more than the highest child."""
    own = chains(parent)
    length, level = own.length.tolist(), [0] * own.last.size
    for c, p in enumerate(own.parent.tolist()):
        if p >= 0 and level[p] < level[c] + length[c]:
            level[p] = level[c] + length[c]
    return np.arange(parent.size) + np.repeat(np.asarray(level, np.int64) - own.first, own.length)


def path_sums(parent: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Sum of the values from each node to its root, both included."""
    own = chains(parent)
    upto = np.cumsum(value, dtype=value.dtype)
    before = upto[own.first] - value[own.first]
    total = (upto[own.last] - before).tolist()
    for c, p in zip(range(len(total) - 1, -1, -1), own.parent[::-1].tolist(), strict=True):
        if p >= 0:
            total[c] += total[p]
    return np.repeat(np.asarray(total, value.dtype) + before, own.length) - upto + value


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

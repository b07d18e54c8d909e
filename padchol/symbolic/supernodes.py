"""Supernodes: runs of columns of L with one structure, their rows, and their relaxation.

Notation
    s           a supernode; its pivot columns are first[s] .. first[s + 1] - 1
    w, m        its pivot columns, and the rows of L below them: the front is (w + m) x (w + m)
    rows[s]     those m rows, ascending; all are ancestors of s, so they form one path of the tree
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padchol.symbolic import costs


class Supernodes(NamedTuple):
    """A partition of the (postordered) columns with the assembly tree and the rows below."""

    first: np.ndarray  # (S + 1,)
    parent: np.ndarray  # (S,), -1 at a root, else > s
    row_ptr: np.ndarray  # (S + 1,)
    rows: np.ndarray  # (row_ptr[-1],)

    @property
    def width(self) -> np.ndarray:
        return np.diff(self.first)

    @property
    def below(self) -> np.ndarray:
        return np.diff(self.row_ptr)

    @property
    def of_column(self) -> np.ndarray:
        """(n,): the supernode of each column."""
        return np.repeat(np.arange(self.parent.size), self.width)

    def place(self, s: np.ndarray, i: np.ndarray) -> np.ndarray:
        """Place of row i in the front of s: 0 .. w - 1 for a pivot, w .. w + m - 1 below.

        Every i must be a pivot of s or in rows[s].
        """
        n = int(self.first[-1])
        offset = i - self.first[s]
        keys = np.repeat(np.arange(self.parent.size), self.below) * n + self.rows
        at = np.searchsorted(keys, s * n + i) - self.row_ptr[s]
        return np.where(i < self.first[s + 1], offset, self.width[s] + at)


def ramp(counts: np.ndarray) -> np.ndarray:
    """0 .. counts[0] - 1, 0 .. counts[1] - 1, ..."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


def maximal(parent: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(first, parent) of the maximal supernodes of a postordered elimination tree.

    Column j + 1 continues the supernode of j if it is j's parent and has one entry less.
    """
    n = parent.size
    j = np.arange(n - 1)
    joined = (parent[:-1] == j + 1) & (counts[:-1] == counts[1:] + 1)
    first = np.concatenate([[0], j[~joined] + 1, [n]]) if n else np.zeros(1, np.int64)
    of_column = np.repeat(np.arange(first.size - 1), np.diff(first))
    above = parent[first[1:] - 1] if n else parent
    return first, np.where(above >= 0, of_column[above] if n else above, -1)


def with_rows(first: np.ndarray, parent: np.ndarray, i: np.ndarray, k: np.ndarray) -> Supernodes:
    """The exact rows of each supernode: those of its columns of A joined with its children's.

    (i, k) are the strict lower entries. One set union per supernode, in postorder, so a deep tree
    costs no more than a flat one; cost sum of m, memory the same.
    """
    S = parent.size
    n = int(first[-1])
    of_column = np.repeat(np.arange(S), np.diff(first))
    s = of_column[k]
    outside = i >= first[s + 1]
    s, i = s[outside], i[outside]
    order = np.argsort(s, kind="stable")
    bounds = np.searchsorted(s[order], np.arange(S + 1)).tolist()
    entries = i[order].tolist()
    ends, above = first[1:].tolist(), parent.tolist()
    inherited: list[set[int] | None] = [None] * S
    found: list[int] = []
    sizes = [0] * S
    for t in range(S):
        rows = inherited[t] or set()
        inherited[t] = None
        rows.update(entries[bounds[t] : bounds[t + 1]])
        sizes[t] = len(rows)
        found.extend(rows)
        if above[t] >= 0:
            p, end = above[t], ends[above[t]]
            handed = {r for r in rows if r >= end}
            if inherited[p] is None:
                inherited[p] = handed
            else:
                inherited[p] |= handed
    row_ptr = np.concatenate([[0], np.cumsum(np.asarray(sizes, np.int64))])
    owner = np.repeat(np.arange(S), sizes)
    keys = np.sort(owner * n + np.asarray(found, np.int64))
    return Supernodes(first, parent, row_ptr, keys - owner * n)


def order_columns(exact: Supernodes, i: np.ndarray, k: np.ndarray) -> tuple[Supernodes, np.ndarray]:
    """Columns of each supernode sorted by their first neighbour, so that rows form runs.

    A column's first neighbour among the (i, k) of A is where its row of L begins: columns that
    begin in one subtree come to lie side by side, and the updates of that subtree move in longer
    runs (the aim of Jacquelin, Ng & Peyton 2018, 7th SIAM Workshop on CSC, 76-86, who refine
    partitions). Returns `order`: new position t is column order[t] before.
    """
    n = int(exact.first[-1])
    begin = np.arange(n)
    np.minimum.at(begin, i, k)
    order = np.lexsort((begin, exact.of_column))
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    front = np.repeat(np.arange(exact.parent.size), exact.below)
    keys = np.sort(front * n + place[exact.rows])
    return exact._replace(rows=keys - front * n), order


def relax(exact: Supernodes, model: costs.CostModel) -> tuple[Supernodes, np.ndarray]:
    """Merge supernodes into their parents where the padded front becomes cheaper.

    A merged front has the parent's rows and both pivots; the zeros that this adds are counted by
    the cost model (relaxed amalgamation: Duff & Reid 1983, Ashcraft & Grimes 1989). Returns the
    relaxed supernodes and `order`: position t of the relaxed numbering is column order[t] before.
    """
    group = _merge(exact, model)
    S = exact.parent.size
    top = np.flatnonzero(group == np.arange(S))  # a group is named by its topmost supernode
    parent = np.where(exact.parent[top] >= 0, group[exact.parent[top]], -1)
    # groups in ascending order of their tops are postordered up to contiguity: lay out columns
    rank = np.full(S, -1)
    rank[top] = np.arange(top.size)
    of_column = rank[group[exact.of_column]]
    order = np.argsort(of_column, kind="stable")
    place = np.empty(order.size, np.int64)
    place[order] = np.arange(order.size)
    widths = np.bincount(of_column, minlength=top.size)
    first = np.concatenate([[0], np.cumsum(widths)])
    sizes = exact.below[top]
    row_ptr = np.concatenate([[0], np.cumsum(sizes)])
    take = np.repeat(exact.row_ptr[top] - row_ptr[:-1], sizes) + np.arange(row_ptr[-1])
    above = np.where(parent >= 0, rank[parent], -1)
    relaxed = Supernodes(first, above, row_ptr, place[exact.rows[take]])
    return cut(relaxed, model.widest), order


def cut(nodes: Supernodes, widest: int) -> Supernodes:
    """Cut supernodes wider than `widest` into chains, each piece the only child of the next.

    The rows below a piece are the later pivots of its supernode, then the supernode's rows.
    """
    pieces = np.maximum(-(-nodes.width // widest), 1)
    if (pieces == 1).all():
        return nodes
    s = np.repeat(np.arange(pieces.size), pieces)
    k = np.arange(s.size) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    start = nodes.first[s] + k * widest
    end = np.minimum(start + widest, nodes.first[s + 1])
    last = k == pieces[s] - 1
    lowest = np.cumsum(pieces) - pieces  # the first piece of each supernode
    above = np.where(nodes.parent[s] >= 0, lowest[nodes.parent[s]], -1)
    parent = np.where(last, above, np.arange(s.size) + 1)
    later = nodes.first[s + 1] - end
    sizes = later + nodes.below[s]
    row_ptr = np.concatenate([[0], np.cumsum(sizes)])
    owner = np.repeat(np.arange(s.size), sizes)
    t = np.arange(owner.size) - row_ptr[owner]
    own = t < later[owner]
    inherited = nodes.row_ptr[s[owner]] + t - later[owner]
    rows = np.where(own, end[owner] + t, nodes.rows[np.where(own, 0, inherited)])
    return Supernodes(np.append(start, nodes.first[-1]), parent, row_ptr, rows)


def _merge(exact: Supernodes, model: costs.CostModel) -> np.ndarray:
    """group (S,): the topmost supernode of the group each supernode ends up in."""
    S = exact.parent.size
    width, below = exact.width.tolist(), exact.below.tolist()
    above = exact.parent.tolist()
    price = model.front_price()
    children: list[list[int]] = [[] for _ in range(S)]
    group = list(range(S))
    for s in range(S):
        m, own = below[s], price(width[s], below[s])
        for c in sorted(children[s], key=lambda c: (-below[c], c)):
            merged = price(width[s] + width[c], m)
            if merged <= own + price(width[c], below[c]):
                width[s] += width[c]
                own = merged
                group[c] = s
        children[s] = []
        if above[s] >= 0:
            children[above[s]].append(s)
    for s in range(S - 1, -1, -1):
        group[s] = group[group[s]]
    return np.asarray(group, np.int64)

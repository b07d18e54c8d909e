"""Supernodes: runs of columns of L with one structure, their rows, and their relaxation.

Notation
    s           a supernode; its pivot columns are first[s] .. first[s + 1] - 1
    w, m        its pivot columns, and the rows of L below them: the front is (w + m) x (w + m)
    rows[s]     those m rows, ascending; all are ancestors of s, so they form one path of the tree
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from padchol.symbolic import costs
from padchol.symbolic.etree import (
    RowSubtrees,
    heights,
    postorder,
    relabelled,
    subtree_sizes,
    to_roots,
)

COUNTED = np.zeros(0, np.int64)  # in place of rows that are only counted so far; by identity
TOGETHER = 16  # below so many, a Python loop is faster than array operations


class Supernodes(NamedTuple):
    """A partition of the (postordered) columns with the assembly tree and the rows below."""

    first: np.ndarray  # (S + 1,)
    parent: np.ndarray  # (S,), -1 at a root, else > s
    row_ptr: np.ndarray  # (S + 1,)
    rows: np.ndarray  # (row_ptr[-1],), or COUNTED

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

    def place(self, s: np.ndarray, i: np.ndarray, room: np.ndarray | None = None) -> np.ndarray:
        """Place of row i in the front of s: 0 .. w - 1 for a pivot, w .. w + m - 1 below.

        room (S,): the places kept for pivots, where these are more than w. Every i must be a pivot
        of s or in rows[s].
        """
        n = int(self.first[-1])
        place = i - self.first[s]
        below = np.flatnonzero(i >= self.first[s + 1])
        s, i = s[below], i[below]
        keys = np.repeat(np.arange(self.parent.size) * n, self.below) + self.rows
        start = (self.width if room is None else room) - self.row_ptr[:-1]
        place[below] = np.searchsorted(keys, s * n + i) + start[s]
        return place


def ramp(counts: np.ndarray) -> np.ndarray:
    """0 .. counts[0] - 1, 0 .. counts[1] - 1, ..."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


def begins(*keys: np.ndarray) -> np.ndarray:
    """Whether a run of equal keys begins at each place."""
    starts = np.zeros(keys[0].size, bool)
    starts[:1] = True
    for key in keys:
        starts[1:] |= key[1:] != key[:-1]
    return starts


def maximal(parent: np.ndarray, counts: np.ndarray) -> Supernodes:
    """Maximal supernodes of a postordered elimination tree, their rows counted but not yet found.

    Column j + 1 continues the supernode of j if it is j's parent and has one entry less.
    """
    n = parent.size
    joined = (parent[:-1] == np.arange(1, n)) & (counts[:-1] == counts[1:] + 1)
    last = np.flatnonzero(np.append(~joined, True)[:n])
    first = np.append(0, last + 1)
    of_column = np.repeat(np.arange(last.size), np.diff(first))
    above = parent[last]
    above[above >= 0] = of_column[above[above >= 0]]
    row_ptr = np.append(0, np.cumsum(counts[last] - 1))
    return Supernodes(first, above, row_ptr, COUNTED)


def with_rows(nodes: Supernodes, subtrees: RowSubtrees) -> Supernodes:
    """The exact rows of each supernode: i, wherever a path of row subtree i goes through columns.

    All paths climb together, each along a run of supernodes s, s + 1, ... that are parents of one
    another, in a postorder that leaves at most log2(S) such runs on a path. Cost: sum of m, and one
    sort of it.
    """
    S, n = nodes.parent.size, int(nodes.first[-1])
    post = postorder(nodes.parent, subtree_sizes(nodes.parent), by_size=True)
    parent, place = relabelled(nodes.parent, post)
    of_column = place[nodes.of_column]
    i, s, stop = subtrees.row, of_column[subtrees.leaf], of_column[subtrees.stop]
    ends = np.flatnonzero(parent != np.arange(1, S + 1))
    end = np.repeat(ends, np.diff(ends, prepend=-1))  # of the run of each supernode
    keys = np.empty(int(nodes.row_ptr[-1]), np.int64)
    filled = 0
    climbing = s < stop
    while climbing.any():
        i, s, stop = i[climbing], s[climbing], stop[climbing]
        last = np.minimum(end[s], stop - 1)
        count = last - s + 1
        found = post[np.repeat(s, count) + ramp(count)] * n + np.repeat(i, count)
        keys[filled : filled + found.size] = found
        filled += found.size
        s = parent[last]
        climbing = s < stop
    keys.sort(kind="stable")  # merges: the keys found in one pass are in long runs
    return nodes._replace(rows=keys - np.repeat(np.arange(S) * n, nodes.below))


def order_columns(first: np.ndarray, i: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Columns of each supernode sorted by their first neighbour, so that rows form runs.

    A column's first neighbour among the (i, k) of A is where its row of L begins: columns that
    begin in one subtree come to lie side by side, and the updates of that subtree move in longer
    runs (the aim of Jacquelin, Ng & Peyton 2018, 7th SIAM Workshop on CSC, 76-86, who refine
    partitions). The sorted columns are turned round until the first column of the supernode is the
    first again: it is joined to all the others before they are eliminated, so that L keeps its
    entries in whatever order they follow. Returns `order`: new position t is column order[t]
    before.
    """
    n = int(first[-1])
    begin = np.arange(n)
    np.minimum.at(begin, i, k)
    s = np.repeat(np.arange(first.size - 1), np.diff(first))
    turned = (begin - begin[first[s]]) % max(n, 1)
    return np.argsort(s * n + turned, kind="stable")


def relax(exact: Supernodes, model: costs.CostModel) -> tuple[Supernodes, np.ndarray]:
    """Merge supernodes into their parents where the padded front becomes cheaper.

    A merged front has the parent's rows and both pivots; the zeros that this adds are counted by
    the cost model (relaxed amalgamation: Duff & Reid 1983, Ashcraft & Grimes 1989). Returns the
    relaxed supernodes and `order`: position t of the relaxed numbering is column order[t] before.
    """
    return merged(exact, groups(exact, model), model.widest)


def merged(exact: Supernodes, group: np.ndarray, widest: int) -> tuple[Supernodes, np.ndarray]:
    """The relaxed supernodes of these groups, and their order of the columns; see `relax`."""
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
    rows = exact.rows
    if rows is not COUNTED:
        rows = place[rows[np.repeat(exact.row_ptr[top], sizes) + ramp(sizes)]]
    above = np.where(parent >= 0, rank[parent], -1)
    return cut(Supernodes(first, above, row_ptr, rows), widest), order


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
    rows = nodes.rows
    if rows is not COUNTED:
        owner, t = np.repeat(np.arange(s.size), sizes), ramp(sizes)
        own = t < later[owner]
        inherited = nodes.row_ptr[s[owner]] + t - later[owner]
        rows = np.append(rows, 0)[np.where(own, -1, inherited)]
        rows = np.where(own, end[owner] + t, rows)
    return Supernodes(np.append(start, nodes.first[-1]), parent, row_ptr, rows)


def groups(exact: Supernodes, model: costs.CostModel) -> np.ndarray:
    """group (S,): the topmost supernode of the group each supernode ends up in.

    From the leaves up, each supernode takes in those of its children that pay, those with the most
    rows first. Supernodes of one height do so together, child by child; few are taken one by one.
    """
    parent, below, width = exact.parent, exact.below, exact.width
    group, own = np.arange(parent.size), model.front_prices(width, below)
    level = heights(parent)
    child = np.flatnonzero(parent >= 0)
    child = child[np.argsort(-below[child], kind="stable")]
    key = level[parent[child]] * parent.size + parent[child]
    child = child[np.argsort(key, kind="stable")]
    above = parent[child]
    head = np.flatnonzero(np.append(True, above[1:] != above[:-1])[: child.size])
    count = np.diff(np.append(head, child.size))
    bounds = np.searchsorted(level[above[head]], np.arange(1, int(level.max(initial=0)) + 2))

    def take_in(c: np.ndarray):
        p = parent[c]
        w = width[p] + width[c]
        price = model.front_prices(w, below[p])
        pays = price <= own[p] + own[c]
        c, p = c[pays], p[pays]
        width[p], own[p], group[c] = w[pays], price[pays], p

    def take_in_singly(children: np.ndarray):
        for c, p in zip(children.tolist(), parent[children].tolist(), strict=True):
            w = width[p] + width[c]
            price = price_of(int(w), int(below[p]))
            if price <= own[p] + own[c]:
                width[p], own[p], group[c] = w, price, p

    price_of = model.front_price()
    for a, b in itertools.pairwise(bounds.tolist()):
        if b - a < TOGETHER:  # and so it stays: the higher, the fewer
            take_in_singly(child[head[a] :])
            break
        start, left, k = head[a:b], count[a:b], 0
        while start.size >= TOGETHER:
            take_in(child[start + k])
            k += 1
            start, left = start[left > k], left[left > k]
        take_in_singly(child[np.repeat(start + k, left - k) + ramp(left - k)])
    to_roots(group, np.arange(group.size))
    return group

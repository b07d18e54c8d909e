"""Supernodes: runs of columns of L with one structure, their rows, and their numbering.

Notation
    s           a supernode; its pivot columns are first[s] .. first[s + 1] - 1
    w, m        its pivot columns, and the rows of L below them: the front is (w + m) x (w + m)
    rows[s]     those m rows, ascending; all are ancestors of s, so they form one path of the tree
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from padchol.symbolic.column_counts import RowSubtrees
from padchol.symbolic.pieces import ranges
from padchol.symbolic.postorder import postorder, relabelled, subtree_sizes

COUNTED = np.zeros(0, np.int64)  # in place of rows that are only counted so far; by identity


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

    @property
    def entries(self) -> int:
        """Entries of L."""
        w, m = self.width, self.below
        return int(np.sum(w * (w + 1) // 2 + w * m))

    @property
    def flops(self) -> float:
        """Of a factorisation, multiply and add as two."""
        return float(column_flops(self.width, self.below).sum())

    def place(self, s: np.ndarray, i: np.ndarray, room: np.ndarray | None = None) -> np.ndarray:
        """Place of row i in the front of s: 0 .. w - 1 for a pivot, w .. w + m - 1 below.

        room (S,): the places kept for pivots, where these are more than w. Every i must be a pivot
        of s or in rows[s].
        """
        place = i - self.first[s]
        below = np.flatnonzero(place >= self.width[s])
        s, i = s[below], i[below]
        start = (self.width if room is None else room) - self.row_ptr[:-1]
        place[below] = self._row_at(s, i) + start[s]
        return place

    def _row_at(self, s: np.ndarray, i: np.ndarray) -> np.ndarray:
        """Where row i of s is in `rows`, which it must be in: found as if the last rows of s
        followed one another, as dense rows do, and by bisection where they do not."""
        start, last = self.row_ptr[s], self.row_ptr[s + 1] - 1
        at = last - (self.rows[last] - i)
        wrong = np.flatnonzero((at < start) | (self.rows[np.maximum(at, 0)] != i))
        low, high, i = start[wrong], last[wrong], i[wrong]
        for _ in range(int((high - low).max(initial=0)).bit_length()):
            middle = (low + high) // 2
            before = self.rows[middle] < i
            low = np.where(before, middle + 1, low)
            high = np.where(before, high, middle)
        at[wrong] = low
        return at


def column_flops(w: np.ndarray, m: np.ndarray) -> np.ndarray:
    """The sum of squared column lengths of fronts of w pivots and m rows below."""
    w, D = np.asarray(w, float), np.asarray(w, float) + m
    return w * D * D - D * w * (w - 1) + (w - 1) * w * (2 * w - 1) / 6


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


def renumbered(nodes: Supernodes, sequence: np.ndarray) -> tuple[Supernodes, np.ndarray]:
    """The same supernodes in another sequence, in which children come before parents and each path
    of the tree keeps its order. Returns them and `order`: new column t is column order[t] before.
    """
    place = np.empty_like(sequence)
    place[sequence] = np.arange(sequence.size)
    width, below = nodes.width[sequence], nodes.below[sequence]
    order = np.repeat(nodes.first[sequence], width) + ramp(width)
    column = np.empty_like(order)
    column[order] = np.arange(order.size)
    parent = nodes.parent[sequence]
    parent = np.where(parent >= 0, place[parent], -1)
    rows = column[nodes.rows[np.repeat(nodes.row_ptr[sequence], below) + ramp(below)]]
    first, row_ptr = (np.append(0, np.cumsum(x)) for x in (width, below))
    return Supernodes(first, parent, row_ptr, rows), order


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
        for a, b in ranges(count):
            found = post[np.repeat(s[a:b], count[a:b]) + ramp(count[a:b])]
            keys[filled : filled + found.size] = found * n + np.repeat(i[a:b], count[a:b])
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

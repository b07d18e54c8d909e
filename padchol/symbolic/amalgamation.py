"""Relaxed amalgamation: supernodes merged into their parents where that is cheaper.

Duff & Reid (1983), ACM TOMS 9(3), 302-325; Ashcraft & Grimes (1989), ACM TOMS 15(4), 291-309.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from padchol.symbolic import costs
from padchol.symbolic.postorder import heights, to_roots
from padchol.symbolic.supernodes import COUNTED, Supernodes, ramp

TOGETHER = 64  # below so many, a Python loop is faster than array operations (experiment 39)


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
            w = widths[p] + widths[c]
            price = price_of(w, belows[p])
            if price <= prices[p] + prices[c]:
                widths[p], prices[p], group[c] = w, price, p

    price_of = model.front_price()
    # The same memory as numbers of Python's, which an array makes anew at five times the cost.
    views: list[Any] = [width.data, below.data, own.data]
    widths, belows, prices = views
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

"""The tables of the two storages: where the user's numbers are in them. See `layout.Storage`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from padchol.symbolic.layout import INT32_MAX, Storage, Writer
from padchol.symbolic.shards import Part


class Order(NamedTuple):
    """perm (n,): the user's unknown at each plan position. position (n,): plan position of each
    column of the relaxed order. i, k (nnz,): canonical entry v of A is (i[v], k[v]) with i >= k in
    the relaxed order."""

    perm: np.ndarray
    position: np.ndarray
    i: np.ndarray
    k: np.ndarray


class Places(NamedTuple):
    """Where the numbers of one shard are in its storages: the tables of `Storage`, of which those
    of the shard's own columns (c,) and entries (e,)."""

    row: np.ndarray  # (c,)
    diagonal: np.ndarray  # (c,)
    value: np.ndarray  # (e,)
    unit: np.ndarray


def write(
    writer: Writer,
    sizes: tuple[int, int],
    top: tuple[int, int],
    bounds: tuple[int, int],
    order: Order,
    parts: Sequence[Part],
    places: Sequence[Places],
) -> Storage:
    """Append the tables of the two storages, of these sizes.

    bounds: the first row of the pivot storage, and place of the other, that counts, and the last
    row.
    """
    (panels, pivots), (low, last) = sizes, bounds
    location, user, diagonal, value = [], [], [], []
    beyond = INT32_MAX if len(parts) > 1 else 0
    for part, own in zip(parts, places, strict=True):
        n, at = order.perm.size, order.position[part.columns]
        for found, size, where, what in (
            (location, n, at, own.row),
            (user, n, order.perm[at], own.row),
            (diagonal, n, at, own.diagonal),
            (value, order.i.size, part.entries, own.value),
        ):
            table = np.full(size, beyond)
            table[where] = what
            found.append(table)
    last, end = (beyond or x for x in (last, panels - 1))
    return Storage(
        panels,
        pivots,
        top,
        writer.add(location, low, last, "location"),
        writer.add(user, low, last, "location of the user's unknowns"),
        writer.add(diagonal, low, end, "diagonal"),
        writer.add(value, low, end, "value"),
        writer.add([own.unit for own in places], 0, end, "unit"),
    )

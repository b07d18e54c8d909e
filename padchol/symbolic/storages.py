"""The tables of the two storages: where the user's numbers are in them. See `layout.Storage`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from padchol.symbolic.layout import INT32_MAX, Section, Storage, Writer
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
    n, nnz = order.perm.size, order.i.size
    position = [order.position[part.columns] for part in parts]
    unknown = [order.perm[at] for at in position]
    entries = [part.entries for part in parts]
    row, diagonal, value = ([getattr(own, name) for own in places] for name in Places._fields[:3])
    which: tuple[Section, ...] = ()
    if len(parts) == 1:
        row, users, diagonal = (
            [_scattered(x[0], at[0])]
            for x, at in ((row, position), (row, unknown), (diagonal, position))
        )
        location = writer.add(row, low, last, "location")
        user = writer.add(users, low, last, "location of the user's unknowns")
    else:
        last = INT32_MAX
        row, diagonal, value = (filled(x, INT32_MAX) for x in (row, diagonal, value))
        position, unknown = filled(position, n), filled(unknown, n)
        which = tuple(
            writer.add(x, 0, size, "numbers")
            for x, size in ((position, n), (unknown, n), (filled(entries, nnz), nnz))
        )
        location = user = writer.add(row, low, last, "location")
    end = panels - 1 if len(parts) == 1 else INT32_MAX
    return Storage(
        panels,
        pivots,
        top,
        location,
        user,
        writer.add(diagonal, low, end, "diagonal"),
        writer.add(value, low, end, "value"),
        writer.add([own.unit for own in places], 0, end, "unit"),
        which,
    )


def _scattered(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """What is at each place of a permutation."""
    found = np.empty_like(values)
    found[at] = values
    return found


def filled(tables: Sequence[np.ndarray], with_: int) -> list[np.ndarray]:
    """All of one length."""
    size = max(map(len, tables))
    return [np.append(x, np.full(size - len(x), with_)) for x in tables]

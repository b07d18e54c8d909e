"""Static index tables: what the numeric phase sees of a pattern. See `padchol.symbolic.layout`."""

from __future__ import annotations

import numpy as np

from padchol.symbolic import levels, tiles
from padchol.symbolic.layout import Layout, Writer
from padchol.symbolic.schedule import Schedule
from padchol.symbolic.supernodes import Supernodes


def build(
    nodes: Supernodes,
    made: Schedule | None,
    perm: np.ndarray,
    relaxed: np.ndarray,
    i: np.ndarray,
    k: np.ndarray,
) -> tuple[Layout, np.ndarray]:
    """Layout and flat table: of levels where they are scheduled, else of tiles.

    perm (n,): the user's unknown at each plan position. relaxed (n,): plan position of each column
    of the relaxed order. i, k (nnz,): canonical entry v of A is (i[v], k[v]) with i >= k in the
    relaxed order.
    """
    writer = Writer()
    if made is None:
        found = tiles.build(writer, nodes, perm, relaxed, i, k)
    else:
        found = levels.build(writer, nodes, made, perm, relaxed, i, k)
    return Layout(relaxed.size, *found), writer.pack()

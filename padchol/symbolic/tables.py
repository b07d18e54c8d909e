"""Static index tables: what the numeric phase sees of a pattern. See `padchol.symbolic.layout`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from padchol.symbolic import levels, tiles
from padchol.symbolic.layout import Layout, Writer
from padchol.symbolic.schedule import Schedule
from padchol.symbolic.shards import Part
from padchol.symbolic.storages import Order


def build(parts: Sequence[Part], made: Schedule | None, order: Order) -> tuple[Layout, np.ndarray]:
    """Layout and flat table: of levels where they are scheduled, else of tiles."""
    writer = Writer()
    if made is None:
        found = tiles.build(writer, parts, order)
    else:
        found = levels.build(writer, parts, made, order)
    return Layout(order.perm.size, len(parts), *found), writer.pack()

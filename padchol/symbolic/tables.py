"""Static index tables: what the numeric phase sees of a pattern, built from its schedule.

All tables hold integers per front row, per front, per chunk or per hand-over block, never per entry
of an update. See `padchol.symbolic.layout` for the notation and for where each table lies.
"""

from __future__ import annotations

import numpy as np

from padchol.symbolic.blocks import all_blocks, block_list
from padchol.symbolic.layout import (
    INT32_MAX,
    LARGE_BLOCK,
    SMALL_BLOCK,
    BinLayout,
    Layout,
    Writer,
)
from padchol.symbolic.placement import Geometry, geometry, message_slots, relaxed_places
from padchol.symbolic.schedule import Bin, Schedule
from padchol.symbolic.supernodes import Supernodes


def build(
    nodes: Supernodes, plan: Schedule, relaxed: np.ndarray, i: np.ndarray, k: np.ndarray
) -> tuple[Layout, np.ndarray]:
    """Layout and flat table.

    relaxed (n,): plan position of each column of the relaxed order. i, k (nnz,): canonical entry
    v of A is (i[v], k[v]) with i >= k in the relaxed order.
    """
    n = relaxed.size
    where = geometry(nodes, plan)
    writer = Writer()
    pointers = np.stack([bin.chunk_ptr for bin in plan.bins], 1) if plan.bins else np.zeros((1, 0))
    chunk_ptr = writer.add(pointers, 0, INT32_MAX, "chunk_ptr")
    slots, ends = message_slots(nodes, plan, where)
    rel = _relative_rows(nodes, plan, where)
    place = relaxed_places(nodes, plan, where)
    total = sum(bin.fronts.size * bin.W for bin in plan.bins)
    located = np.empty(n, np.int64)
    located[relaxed] = place
    location = writer.add(located, 0, max(total - 1, 0), "location")
    rel_sections = [
        writer.add(r, 0, int((where.W + where.M).max()) - 1, "relative rows") for r in rel
    ]
    blocks = all_blocks(nodes, where, slots, rel)
    bins = []
    for b, bin in enumerate(plan.bins):
        sections = _bin_sections(writer, nodes, bin, b, where, slots, ends, relaxed)
        sections.append(("rel", rel_sections[b]))
        sections += _value_sections(writer, nodes, bin, b, where, i, k)
        lists = [
            tuple(
                made
                for q in (SMALL_BLOCK, LARGE_BLOCK)
                if (made := block_list(writer, kind, q, b, bin, where, ends))
            )
            for kind in blocks
        ]
        bins.append(
            BinLayout(
                b,
                bin.W,
                bin.M,
                bin.C,
                bin.chunks,
                bool(np.isin(bin.fronts[bin.fronts >= 0], nodes.parent).any()),
                tuple(sections),
                *lists,
            )
        )
    layout = Layout(n, tuple(bins), chunk_ptr, location, tuple(ends.items()))
    return layout, writer.pack()


def _relative_rows(nodes: Supernodes, plan: Schedule, where: Geometry):
    """Per bin (F, M): place of each row below in the parent's padded front (0 at padding)."""
    s = np.repeat(np.arange(nodes.parent.size), nodes.below)
    if s.size and (nodes.parent[s] < 0).any():
        raise AssertionError("a supernode with rows below must have a parent")
    target = where.padded_place(nodes, nodes.parent[s], nodes.rows)
    rank = np.arange(s.size) - nodes.row_ptr[s]
    tables = []
    for b, bin in enumerate(plan.bins):
        table = np.zeros((bin.fronts.size, bin.M), np.int64)
        mine = where.bin_of[s] == b
        table[where.place[s[mine]], rank[mine]] = target[mine]
        tables.append(table)
    return tables


def _bin_sections(writer, nodes, bin: Bin, b: int, where: Geometry, slots, ends, relaxed):
    """The per-front and per-chunk tables of one bin."""
    real = bin.fronts >= 0
    s = np.where(real, bin.fronts, 0)
    width = np.where(real, nodes.width[s], 0)
    below = np.where(real, nodes.below[s], 0)
    n = relaxed.size
    lane = np.arange(bin.W)
    column = np.minimum(nodes.first[s][:, None] + lane, n - 1)
    pivot = np.where(lane < width[:, None], relaxed[column], n)
    up = np.where(real & (nodes.parent[s] >= 0), nodes.parent[s], -1)
    p = np.maximum(up, 0)
    made = [
        ("width", writer.add(width, 0, bin.W, "width")),
        ("below", writer.add(below, 0, bin.M, "below")),
        ("pivot", writer.add(pivot, 0, n, "pivot")),
    ]
    stacked = np.concatenate([[0], np.cumsum([step.size for step in where.step] * where.C)])
    above = np.where(up >= 0, stacked[where.bin_of[p]] + where.place[p], stacked[-1])
    made.append(("parent", writer.add(above, 0, int(stacked[-1]), "parent")))
    made += _parent_slots(writer, where, slots, ends, up)
    for name in ("up2", "up1", "down2", "down1"):
        made.append((name, writer.add(slots[name][b], 0, ends[name], name)))
    return made


def _parent_slots(writer, where: Geometry, slots, ends, up: np.ndarray):
    """Where each front finds its parent's message in a down sweep; 0 where it has no parent."""
    has, p = up >= 0, np.maximum(up, 0)
    home, chunk, lane = where.bin_of[p], where.chunk(p), where.lane(p)
    W, M, C = where.W[home], where.M[home], where.C[home]
    D = W + M
    at = {
        rank: np.array([slots[f"down{rank}"][b][c] for b, c in zip(home, chunk, strict=True)])
        for rank in (2, 1)
    }
    rest = at[2] + C * D * W + lane * M * M
    end2, end1 = ends["down2"] - 1, ends["down1"] - 1
    columns = {
        "parent1": (at[1] + lane * D, at[1] + lane * D + D - 1, end1),
        "parent2": (at[2] + lane * D * W, at[2] + (lane + 1) * D * W - 1, end2),
        "parent2_rest": (rest, rest + M * M - 1, end2),
        "parent_W": (W, W, INT32_MAX),
        "parent_M": (M, M, INT32_MAX),
    }
    made = []
    for name, (first, last, end) in columns.items():
        if has.any() and int(last[has].max()) > end:
            raise AssertionError(f"{name}: a parent's message reaches beyond its buffer")
        made.append(
            (name, writer.add(np.where(has, first, 0), 0, min(max(end, 0) + 1, INT32_MAX), name))
        )
    return made


def _value_sections(writer, nodes, bin: Bin, b: int, where: Geometry, i, k):
    """Per front, E values of A and where they go in its pivot columns.

    "value" (F, E): canonical position, nnz at padding. "entry" (F, E): row * W + column.
    Also "slot" (values of this bin,): where each of them lies in (F * E), and which they are.
    """
    s = nodes.of_column[k]
    mine = np.flatnonzero(where.bin_of[s] == b)
    s = s[mine]
    row = where.padded_place(nodes, s, i[mine])
    entry = row * bin.W + k[mine] - nodes.first[s]
    order = np.argsort(where.place[s], kind="stable")
    counts = np.bincount(where.place[s], minlength=bin.fronts.size)
    E = int(counts.max(initial=0))
    rank = np.arange(mine.size) - np.repeat(np.cumsum(counts) - counts, counts)
    slot = np.repeat(np.arange(bin.fronts.size) * E, counts) + rank
    value = np.full(bin.fronts.size * E, i.size)
    entries = np.zeros(value.size, np.int64)
    value[slot], entries[slot] = mine[order], entry[order]
    size = (bin.W + bin.M) * bin.W
    return [
        ("value", writer.add(value, 0, i.size, "value")),
        ("entry", writer.add(entries, 0, size - 1, "entry")),
        ("slot", writer.add(slot, 0, max(value.size - 1, 0), "slot")),
        ("member", writer.add(mine[order], 0, max(i.size - 1, 0), "member")),
    ]

"""The two sweeps: the one place with loops over rounds, bins and chunks; moves are in `moves`.

A sweep runs in place on a *storage* with one node a front: its panel (W pivot columns of D rows),
or its W rows of a vector of k columns.

    up      leaves to root: a kernel turns a node into its final value, and hands an update on its
            rows below (M x M, or M x k), which is added to the nodes of its ancestors
    down    root to leaves: a kernel turns a node into its final value, and may read those of its
            ancestors at its rows below (M x M, or M x k)

The two are adjoint: up adds with the indices that down reads with. Of panels and M x M updates only
the lower triangle counts: what lies above may be anything.

A kernel is a hashable callable on one chunk of C fronts, with leaves (C, ...) throughout:

    up      kernel(bin, (node, *leaves)) -> node, update
    down    kernel(bin, (node, *leaves), below) -> node

Leaves are stored like nodes: those of all fronts one behind the other, see `symbolic.layout.Kind`.

Why it looks as it does (XLA on CPU): one buffer in place, because fresh memory costs more than the
arithmetic on it; one loop per bin, its bounds from the plan, because `lax.switch` copies the carry.
The traced program has one kernel per bin at every n.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from padchol.numeric.moves import hand_up, read_below
from padchol.symbolic.layout import BinLayout, Kind, Layout

Kernel = Callable[..., Any]

# Entries of the panel storages of a group of a batch (tests/bench/NOTES.md, experiment 11).
FOLDED = 1_000_000


@dataclass(frozen=True)
class Sweep:
    """What a sweep runs: static, hashable.

    up       direction
    node     what its storage holds: "panel", or "pivots" of vectors of k columns
    takes    kinds of the leaves that go into the kernel besides the node
    lead     sizes of the batch axes, outermost first; the storage has them all
    batched  per leaf, which of those axes it has, in front of its own
    """

    layout: Layout
    kernel: Kernel
    up: bool
    node: Kind
    k: int = 1
    takes: tuple[Kind, ...] = ()
    lead: tuple[int, ...] = ()
    batched: tuple[tuple[bool, ...], ...] = ()

    @property
    def below(self) -> Kind:
        """What a kernel hands up or reads below."""
        return "update" if self.node == "panel" else "rows"

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Of the storage and the leaves."""
        return (self.node, *self.takes)

    def lead_of(self, operand: int) -> tuple[int, ...]:
        """The batch axes of the storage (0) or of a leaf."""
        if operand == 0:
            return self.lead
        return tuple(s for s, has in zip(self.lead, self.batched[operand - 1], strict=True) if has)


def run(sweep: Sweep, table: jax.Array, storage: jax.Array, leaves: Sequence[jax.Array]):
    """The final storage. Cost: one kernel call per chunk.

    A batch is folded into the chunks, in groups that stay in the cache.
    """
    if groups := _groups(sweep):
        return _by_groups(sweep, *groups, table, storage, leaves)
    bins, rounds = sweep.layout.bins, sweep.layout.rounds
    counters = tuple(jnp.asarray(0 if sweep.up else bin.chunks, table.dtype) for bin in bins)

    def one_round(step, carry):
        counters, storage = list(carry[0]), carry[1]
        for bin in bins if sweep.up else reversed(bins):
            i = counters[bin.index]
            counters[bin.index], _, storage = _chunks(sweep, bin, table, leaves, i, step, storage)
        return tuple(counters), storage

    first = jnp.asarray(0, table.dtype)
    with jax.named_scope("rounds"):  # names of loops: `padchol.cli._launches` counts their trips
        return lax.fori_loop(first, rounds, one_round, (counters, storage))[1]


def _chunks(sweep: Sweep, bin: BinLayout, table, leaves, i, step, storage):
    """The chunks of one bin in one round, from the i-th on: up to its end, or down to its start."""
    call = _batched_kernel(sweep, bin)
    start, bins = sweep.layout.chunk_ptr.start + bin.index, len(sweep.layout.bins)

    def more(carry):
        # The bound is looked up here, and the step carried along for it: bounds that XLA can read
        # ahead of the loops it reads in several threads, which takes longer than a small sweep.
        i, step, _ = carry
        if sweep.up:
            return i < table[start + bins * (step + 1)]
        return i > table[start + bins * (sweep.layout.rounds - 1 - step)]

    def one_chunk(carry):
        i, step, storage = carry
        if sweep.up:
            return i + 1, step, _chunk(sweep, bin, call, table, leaves, i, storage)
        return i - 1, step, _chunk(sweep, bin, call, table, leaves, i - 1, storage)

    with jax.named_scope(f"chunks_of_bin_{bin.index}"):
        return lax.while_loop(more, one_chunk, (i, step, storage))


def _groups(sweep: Sweep) -> tuple[int, int] | None:
    """Where a batch is too large to be folded: the axis to split, and the size of a group, which
    divides the axis. Addresses of what is folded stay far from the end of int32."""
    total = math.prod(sweep.lead) * sweep.layout.length("panel")
    axis = next((axis for axis, size in enumerate(sweep.lead) if size > 1), None)
    if axis is None or total <= FOLDED:
        return None
    size = sweep.lead[axis]
    fits = range(min(FOLDED // (total // size), size - 1), 1, -1)
    return axis, next((g for g in fits if size % g == 0), 1)


def _by_groups(sweep: Sweep, axis: int, size: int, table, storage, leaves):
    """`run`, group after group along one batch axis, in place."""
    one = replace(sweep, lead=(*sweep.lead[:axis], size, *sweep.lead[axis + 1 :]))

    def one_group(g, storage):
        def mine(x, axis):
            return lax.dynamic_slice_in_dim(x, g * size, size, axis)

        here = [
            mine(x, sum(mask[:axis])) if mask[axis] else x
            for x, mask in zip(leaves, sweep.batched, strict=True)
        ]
        found = run(one, table, mine(storage, axis), here)
        return lax.dynamic_update_slice_in_dim(storage, found, g * size, axis)

    return lax.fori_loop(0, sweep.lead[axis] // size, one_group, storage)


def _batched_kernel(sweep: Sweep, bin: BinLayout):
    """The kernel of one bin, mapped over the batch axes."""

    def call(args, *below):
        return sweep.kernel(bin, args, *below)

    for axis in reversed(range(len(sweep.lead))):
        axes = (0, *(0 if mask[axis] else None for mask in sweep.batched))
        call = jax.vmap(call, in_axes=(axes,) if sweep.up else (axes, 0))
    return call


def _chunk(sweep: Sweep, bin: BinLayout, call, table, leaves, chunk, storage):
    """One chunk of one bin: read its nodes and leaves, compute, write back, hand on."""
    args = tuple(
        _read(sweep, bin, kind, x, len(sweep.lead_of(i)), chunk)
        for i, (kind, x) in enumerate(zip(sweep.kinds, (storage, *leaves), strict=True))
    )
    if sweep.up:
        node, update = call(args)
    else:
        node, update = call(args, read_below(sweep, bin, table, storage, chunk)), None
    storage = _write(sweep, bin, sweep.node, storage, node, chunk)
    if sweep.up and bin.M > 0:
        storage = hand_up(sweep, bin, table, storage, update, chunk)
    return storage


def _read(sweep: Sweep, bin: BinLayout, kind: Kind, stored, axis: int, chunk):
    """One chunk of a storage, (lead, C, ...)."""
    size = bin.C * bin.length(kind)
    at = sweep.layout.start(kind, bin.index) + chunk * size
    flat = lax.dynamic_slice_in_dim(stored, at, size, axis)
    return flat.reshape(*stored.shape[:axis], bin.C, *bin.shape(kind, sweep.k))


def _write(sweep: Sweep, bin: BinLayout, kind: Kind, stored, value, chunk):
    """The inverse of `_read`, for a storage with all batch axes."""
    axis = len(sweep.lead)
    size = bin.C * bin.length(kind)
    at = sweep.layout.start(kind, bin.index) + chunk * size
    flat = value.reshape(*sweep.lead, size, *stored.shape[axis + 1 :])
    return lax.dynamic_update_slice_in_dim(stored, flat, at, axis)

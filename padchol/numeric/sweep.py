"""The two sweeps: the one place with loops over levels, bins and chunks, with gather and scatter.

    up      leaves to root: a kernel receives the sum of its children's messages, placed in its own
            front (D x D, or D x k), and hands a message on its rows below (M x M, or M x k) upwards
    down    root to leaves: a kernel receives its parent's message read at its own rows below
            (M x M, or M x k), and hands one on its whole front (D x D, or D x k) downwards

The two are adjoint: up places with the indices that down reads with. In matrix messages only the
lower triangle counts: `up` may leave anything above the diagonal of what a kernel receives, and
`down` leaves zeros there; nothing above the diagonal of what a kernel hands on is used.

A kernel is a hashable callable `kernel(bin, xs, message) -> (ys, message)` on one chunk of fronts:
leaves (C, ...) in, leaves (C, ...) out. Leaves of all fronts of a bin are stacked: (F, ...).

Why it looks as it does (XLA on CPU): the message buffer is only ever written by slices and read by
gathers, because a buffer that is both sliced into and scattered into is copied at every step; the
scatter-add of the extend-add goes into a local front. One `fori_loop` per bin, its bounds from the
plan, because `lax.switch` copies the carry. The traced program has one kernel per bin at every n.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from padchol.symbolic.tables import BinLayout, BlockList, Layout, Section

Kernel = Callable[[BinLayout, tuple, Any], tuple[tuple, Any]]


@dataclass(frozen=True)
class Sweep:
    """What a sweep runs: static, hashable; the parameter of the sweep primitive.

    up       direction
    rank     2: matrix messages; 1: vector messages of k columns
    lead     sizes of the batch axes, outermost first
    batched  per leaf, which of those axes it has (in front of its (F, ...) shape)
    linear   per leaf: the kernel is linear in these leaves and the message jointly
    """

    layout: Layout
    kernel: Kernel
    up: bool
    rank: int
    k: int
    linear: tuple[bool, ...]
    lead: tuple[int, ...] = ()
    batched: tuple[tuple[bool, ...], ...] = ()

    def received(self, bin: BinLayout) -> tuple[int, ...]:
        """Shape of the message a kernel receives for one front."""
        side = bin.D if self.up else bin.M
        return (side, side) if self.rank == 2 else (side, self.k)

    def mask(self, leaf: int) -> tuple[bool, ...]:
        return self.batched[leaf] if self.batched else (False,) * len(self.lead)


def run(sweep: Sweep, table: jax.Array, leaves: Sequence[Sequence[jax.Array]]) -> list[list]:
    """Run a sweep. leaves[i][b]: leaf i of bin b, (batch axes it has, F, ...).

    Returns outputs the same way, with all batch axes. Cost: one kernel call per chunk.
    """
    bins = sweep.layout.bins
    kernels = [_batched_kernel(sweep, bin) for bin in bins]
    outputs = [[jnp.zeros(y.shape, y.dtype) for y in leaf] for leaf in shapes(sweep, leaves)]
    dtype = float_type(leaves)
    length = sweep.layout.buffer(f"{'up' if sweep.up else 'down'}{sweep.rank}")
    tail = (*sweep.lead, sweep.k) if sweep.rank == 1 else sweep.lead
    carry = (jnp.zeros((length, *tail), dtype), tuple(zip(*outputs, strict=True)))
    levels = sweep.layout.levels

    def one_level(step, carry):
        level = step if sweep.up else levels - 1 - step
        for b in range(len(bins)) if sweep.up else reversed(range(len(bins))):
            at = sweep.layout.chunk_ptr.start + level * len(bins) + b
            first, last = table[at], table[at + len(bins)]

            def one_chunk(c, carry, b=b, first=first, last=last):
                chunk = c if sweep.up else first + last - 1 - c
                mine = [leaf[b] for leaf in leaves]
                return _chunk(sweep, bins[b], kernels[b], table, mine, chunk, carry)

            carry = lax.fori_loop(first, last, one_chunk, carry)
        return carry

    _, outputs = lax.fori_loop(0, levels, one_level, carry)
    return [list(leaf) for leaf in zip(*outputs, strict=True)]


def shapes(sweep: Sweep, leaves: Sequence[Sequence[Any]]) -> list[list[jax.ShapeDtypeStruct]]:
    """Shapes of the outputs of `run` for leaves (or their shapes)."""
    found = []
    for b, bin in enumerate(sweep.layout.bins):
        mine = [leaf[b] for leaf in leaves]
        xs = tuple(
            jax.ShapeDtypeStruct(_with_axis(x.shape, sum(sweep.mask(i)), bin.C), x.dtype)
            for i, x in enumerate(mine)
        )
        message = (*sweep.lead, bin.C, *sweep.received(bin))
        struct = jax.ShapeDtypeStruct(message, float_type(leaves))
        ys, _ = jax.eval_shape(_batched_kernel(sweep, bin), xs, struct)
        axis = len(sweep.lead)
        found.append(
            [jax.ShapeDtypeStruct(_with_axis(y.shape, axis, bin.fronts), y.dtype) for y in ys]
        )
    return [list(leaf) for leaf in zip(*found, strict=True)]


def float_type(leaves: Sequence[Sequence[Any]]):
    """The type of the messages: that of the floating leaves (others are index tables)."""
    return next(x[0].dtype for x in leaves if jnp.issubdtype(x[0].dtype, jnp.floating))


def _with_axis(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _batched_kernel(sweep: Sweep, bin: BinLayout):
    """The kernel of one bin, mapped over the batch axes."""

    def call(xs, message):
        return sweep.kernel(bin, xs, message)

    for axis in reversed(range(len(sweep.lead))):
        axes = tuple(0 if mask[axis] else None for mask in sweep.batched)
        call = jax.vmap(call, in_axes=(axes, 0))
    return call


def _chunk(sweep: Sweep, bin: BinLayout, kernel, table, mine, chunk, carry):
    """One chunk of one bin: slice its leaves, receive, compute, write back, hand on."""
    buffer, outputs = carry
    xs = tuple(
        lax.dynamic_slice_in_dim(leaf, chunk * bin.C, bin.C, sum(sweep.mask(i)))
        for i, leaf in enumerate(mine)
    )
    receive = _extend_add if sweep.up else _read_rows
    message = receive(sweep, bin, table, chunk, buffer)
    ys, message = kernel(xs, message)
    axis = len(sweep.lead)
    written = tuple(
        lax.dynamic_update_slice_in_dim(out, y, chunk * bin.C, axis)
        for out, y in zip(outputs[bin.index], ys, strict=True)
    )
    outputs = (*outputs[: bin.index], written, *outputs[bin.index + 1 :])
    if bin.M > 0 if sweep.up else bin.has_children:
        name = f"{'up' if sweep.up else 'down'}{sweep.rank}"
        at = _take(table, bin.at[name], chunk, 1)[0]
        buffer = lax.dynamic_update_slice_in_dim(buffer, _flat(sweep, message), at, 0)
    return buffer, outputs


def _take(table, section: Section, index, size: int):
    """table[section][index * size : (index + 1) * size]"""
    return lax.dynamic_slice_in_dim(table, section.start + index * size, size)


def _gather(array, index):
    return array.at[index].get(mode="promise_in_bounds")  # proved in range by symbolic.tables


def _flat(sweep: Sweep, message):
    """(lead, C, s, t) -> (C * s [* t], lead [, k]): batch axes behind the slot addresses."""
    axes = len(sweep.lead)
    moved = jnp.moveaxis(message, range(axes), range(1 + sweep.rank, 1 + sweep.rank + axes))
    return moved.reshape(-1, *moved.shape[1 + sweep.rank :])


def _shaped(sweep: Sweep, flat, C: int, side: int):
    """The inverse of `_flat`: (C * s [* t], lead [, k]) -> (lead, C, s, t or k)."""
    axes = len(sweep.lead)
    shaped = flat.reshape(C, *(side,) * sweep.rank, *flat.shape[1:])
    return jnp.moveaxis(shaped, range(1 + sweep.rank, 1 + sweep.rank + axes), range(axes))


def _extend_add(sweep: Sweep, bin: BinLayout, table, chunk, buffer):
    """Sum of the children's updates, placed in this chunk's fronts (Duff & Reid 1983)."""
    fronts = jnp.zeros((bin.C * bin.D**sweep.rank, *buffer.shape[1:]), buffer.dtype)
    for blocks in bin.matrix_blocks if sweep.rank == 2 else bin.vector_blocks:
        first, last = _take(table, blocks.ptr, chunk, 1)[0], _take(table, blocks.ptr, chunk + 1, 1)[0]

        def one_tile(t, fronts, blocks=blocks):
            return _move_tile(sweep, bin, blocks, table, t, buffer, fronts)

        fronts = lax.fori_loop(first, last, one_tile, fronts)
    return _shaped(sweep, fronts, bin.C, bin.D)


def _move_tile(sweep: Sweep, bin: BinLayout, blocks: BlockList, table, t, buffer, fronts):
    """T blocks of q x q entries (or q rows) from the message buffer into the local fronts."""
    at, row, lane = (
        _take(table, section, t, blocks.T) for section in (blocks.address, blocks.row, blocks.lane)
    )
    q = jnp.arange(blocks.q, dtype=table.dtype)
    if sweep.rank == 1:
        target = lane[:, None] * bin.D + _gather(table, row[:, None] + q)
        return fronts.at[target].add(
            _gather(buffer, at[:, None] + q), mode="promise_in_bounds"
        )
    stride, col = (_take(table, section, t, blocks.T) for section in (blocks.stride, blocks.col))
    source = at[:, None, None] + stride[:, None, None] * q[:, None] + q
    rows = lane[:, None] * bin.D + _gather(table, row[:, None] + q)
    cols = _gather(table, col[:, None] + q)
    target = rows[:, :, None] * bin.D + cols[:, None, :]
    return fronts.at[target].add(_gather(buffer, source), mode="promise_in_bounds")


def _read_rows(sweep: Sweep, bin: BinLayout, table, chunk, buffer):
    """The parent's message at this chunk's rows below; zero at padding and above the diagonal."""
    if bin.M == 0:
        return jnp.zeros((*sweep.lead, bin.C, *sweep.received(bin)), buffer.dtype)
    base = _take(table, bin.at[f"parent{sweep.rank}"], chunk, bin.C)
    below = _take(table, bin.at["below"], chunk, bin.C)
    rel = _take(table, bin.at["rel"], chunk, bin.C * bin.M).reshape(bin.C, bin.M)
    m = jnp.arange(bin.M, dtype=table.dtype)
    real = m < below[:, None]
    if sweep.rank == 1:
        source = jnp.where(real, base[:, None] + rel, 0)  # address 0 holds a zero
    else:
        stride = _take(table, bin.at["stride"], chunk, bin.C)
        source = (base[:, None] + rel * stride[:, None])[:, :, None] + rel[:, None, :]
        source = jnp.where(real[:, :, None] & (m[:, None] >= m), source, 0)
    flat = _gather(buffer, source.reshape(-1))
    return _shaped(sweep, flat, bin.C, bin.M)



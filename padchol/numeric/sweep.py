"""The two sweeps: the one place with loops over levels, bins and chunks, with gather and scatter.

    up      leaves to root: a kernel receives the sum of its children's messages, placed in its own
            front, and hands a message on its rows below (M x M, or M x k) upwards
    down    root to leaves: a kernel receives its parent's message read at its own rows below
            (M x M, or M x k), and hands one on its whole front downwards

A message on a whole front is a pair: its pivot columns (D, W) and the rest (M, M), or (D, k) alone.

The two are adjoint: up places with the indices that down reads with. In matrix messages only the
lower triangle counts: `up` may leave anything above the diagonal of what a kernel receives, and
`down` leaves zeros there; nothing above the diagonal of what a kernel hands on is used.

A kernel is a hashable callable `kernel(bin, xs, message) -> (ys, message)` on one chunk of fronts:
leaves (C, ...) in, leaves (C, ...) out; a message is a tuple of arrays (C, ...). Leaves of all
fronts of a bin are stacked: (F, ...).

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

from padchol.symbolic.layout import BinLayout, BlockList, Layout, Section

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

    def on_front(self, bin: BinLayout) -> tuple[tuple[int, ...], ...]:
        """Shapes of a message on one whole front."""
        if self.rank == 1:
            return ((bin.D, self.k),)
        return ((bin.D, bin.W), (bin.M, bin.M))

    def on_rows_below(self, bin: BinLayout) -> tuple[tuple[int, ...], ...]:
        """Shapes of a message on the rows below of one front."""
        return ((bin.M, self.k if self.rank == 1 else bin.M),)

    def received(self, bin: BinLayout) -> tuple[tuple[int, ...], ...]:
        """Shapes of what a kernel receives for one front."""
        return self.on_front(bin) if self.up else self.on_rows_below(bin)

    @property
    def buffer(self) -> str:
        """Name of the message buffer, and of the table of its slots."""
        return f"{'up' if self.up else 'down'}{self.rank}"

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
    length = sweep.layout.buffer(sweep.buffer)
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
        message = tuple(
            jax.ShapeDtypeStruct((*sweep.lead, bin.C, *shape), float_type(leaves))
            for shape in sweep.received(bin)
        )
        ys, _ = jax.eval_shape(_batched_kernel(sweep, bin), xs, message)
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
        at = _take(table, bin.at[sweep.buffer], chunk, 1)[0]
        for part in message:
            flat = _flat(sweep, part)
            buffer = lax.dynamic_update_slice_in_dim(buffer, flat, at, 0)
            at = at + flat.shape[0]
    return buffer, outputs


def _take(table, section: Section, index, size: int):
    """table[section][index * size : (index + 1) * size]"""
    return lax.dynamic_slice_in_dim(table, section.start + index * size, size)


def _gather(array, index):
    return array.at[index].get(mode="promise_in_bounds")  # proved in range by symbolic.tables


def _flat(sweep: Sweep, part):
    """(lead, C, s, t) -> (C * s [* t], lead [, k]): batch axes behind the slot addresses."""
    axes = len(sweep.lead)
    moved = jnp.moveaxis(part, range(axes), range(1 + sweep.rank, 1 + sweep.rank + axes))
    return moved.reshape(-1, *moved.shape[1 + sweep.rank :])


def _shaped(sweep: Sweep, flat, *shape: int):
    """The inverse of `_flat`, for one part of shape (C, s) or (C, s, t)."""
    axes = len(sweep.lead)
    shaped = flat.reshape(*shape, *flat.shape[1:])
    return jnp.moveaxis(shaped, range(1 + sweep.rank, 1 + sweep.rank + axes), range(axes))


def _extend_add(sweep: Sweep, bin: BinLayout, table, chunk, buffer):
    """Sum of the children's updates, placed in this chunk's fronts (Duff & Reid 1983)."""
    size = bin.C * bin.D if sweep.rank == 1 else bin.C * bin.front_entries
    fronts = jnp.zeros((size, *buffer.shape[1:]), buffer.dtype)
    for blocks in bin.matrix_blocks if sweep.rank == 2 else bin.vector_blocks:
        first, last = (_take(table, blocks.ptr, chunk + end, 1)[0] for end in (0, 1))
        move = _move_rows if sweep.rank == 1 else _move_blocks

        def one_tile(t, fronts, blocks=blocks, move=move):
            return move(bin, blocks, table, t, buffer, fronts)

        fronts = lax.fori_loop(first, last, one_tile, fronts)
    if sweep.rank == 1:
        return (_shaped(sweep, fronts, bin.C, bin.D),)
    left, rest = fronts[: bin.C * bin.D * bin.W], fronts[bin.C * bin.D * bin.W :]
    return _shaped(sweep, left, bin.C, bin.D, bin.W), _shaped(sweep, rest, bin.C, bin.M, bin.M)


def _move_rows(bin: BinLayout, blocks: BlockList, table, t, buffer, fronts):
    """One tile of a vector message: T blocks of q rows, added into the local fronts."""
    at, lane = (_take(table, part, t, blocks.T)[:, None] for part in (blocks.address, blocks.lane))
    rows = _take(table, blocks.rows, t, blocks.T * blocks.q).reshape(blocks.T, blocks.q)
    update = _gather(buffer, at + jnp.arange(blocks.q, dtype=table.dtype))
    return fronts.at[lane * bin.D + rows].add(update, mode="promise_in_bounds")


def _move_blocks(bin: BinLayout, blocks: BlockList, table, t, buffer, fronts):
    """One tile of a matrix message: T blocks of q x q entries, added into the local fronts.

    Entries above the diagonal (of blocks on it) are added as zeros to their mirror image.
    """
    assert blocks.stride is not None  # matrix blocks have both
    assert blocks.cols is not None
    at, stride, lane = (
        _take(table, part, t, blocks.T)[:, None, None]
        for part in (blocks.address, blocks.stride, blocks.lane)
    )
    rows, cols = (
        _take(table, part, t, blocks.T * blocks.q).reshape(blocks.T, blocks.q)
        for part in (blocks.rows, blocks.cols)
    )
    q = jnp.arange(blocks.q, dtype=table.dtype)
    update = _gather(buffer, at + stride * q[:, None] + q)
    i, j = rows[:, :, None], cols[:, None, :]
    above = (i < j).reshape(*update.shape[:3], *(1,) * (update.ndim - 3))
    low, high = jnp.minimum(i, j), jnp.maximum(i, j)
    rest = bin.C * bin.D * bin.W
    target = jnp.where(
        low < bin.W,
        (lane * bin.D + high) * bin.W + low,
        rest + (lane * bin.M + high - bin.W) * bin.M + low - bin.W,
    )
    return fronts.at[target].add(jnp.where(above, 0, update), mode="promise_in_bounds")


def _read_rows(sweep: Sweep, bin: BinLayout, table, chunk, buffer):
    """The parent's message at this chunk's rows below; zero at padding and above the diagonal."""
    if bin.M == 0:
        (shape,) = sweep.on_rows_below(bin)
        return (jnp.zeros((*sweep.lead, bin.C, *shape), buffer.dtype),)
    below = _take(table, bin.at["below"], chunk, bin.C)
    rel = _take(table, bin.at["rel"], chunk, bin.C * bin.M).reshape(bin.C, bin.M)
    m = jnp.arange(bin.M, dtype=table.dtype)
    real = m < below[:, None]
    if sweep.rank == 1:
        base = _take(table, bin.at["parent1"], chunk, bin.C)
        source = jnp.where(real, base[:, None] + rel, 0)  # address 0 holds a zero
        return (_shaped(sweep, _gather(buffer, source.reshape(-1)), bin.C, bin.M),)
    left, rest, W, M = (
        _take(table, bin.at[name], chunk, bin.C)[:, None, None]
        for name in ("parent2", "parent2_rest", "parent_W", "parent_M")
    )
    i, j = rel[:, :, None], rel[:, None, :]
    source = jnp.where(j < W, left + i * W + j, rest + (i - W) * M + j - W)
    source = jnp.where(real[:, :, None] & (m[:, None] >= m), source, 0)
    return (_shaped(sweep, _gather(buffer, source.reshape(-1)), bin.C, bin.M, bin.M),)

"""The dense pivot kernel: Cholesky factor and its inverse for a batch of small matrices.

Plain XLA operations throughout: no LAPACK call (two jaxlib lines deadlock on batched ones, and a
TPU has none), and the same program on every platform.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

# Columns eliminated one by one. Batched, 8 columns unrolled take 0.2 us a matrix and a loop 0.5 us;
# alone, the loop takes 1 us and the unrolled code 5 us (tests/bench/NOTES.md, experiment 1).
COLUMNS = 8
UNROLL_FROM = 32  # matrices in the batch
# Halving is fastest up to here; a loop over blocks of 8 columns keeps programs small for wider
# leaves of the recursion (experiment 2).
HALVE_UP_TO = 32
LEAF = 64
# Columns: the sum is up to 2 times faster than the product to 24, slower at 80 (experiment 15).
SUM_UP_TO = 32
LITERAL_UP_TO = 64  # rows of triangles and diagonals
MIRROR_UP_TO = 128  # rows (experiment 12)
HALVE_PRODUCT_FROM = 128  # rows (experiments 10 and 18)

Batch = Float[Array, "C W W"]


def times(a, b):
    """a @ b, batched. One column, a small a: summed, which XLA fuses with what a is made of."""
    if b.shape[2] == 1 and a.shape[2] <= SUM_UP_TO:
        return jnp.sum(a * b[:, None, :, 0], 2, keepdims=True)
    return jnp.einsum("cik,ckj->cij", a, b)


def times_t(a, b):
    """a @ b^T, batched: the contraction on both minor axes is XLA's fastest layout here."""
    return jnp.einsum("cik,cjk->cij", a, b)


def lower_times_t(a, b):
    """a @ b^T for M rows each, of which only the lower triangle counts: a quarter is left out."""
    M = a.shape[1]
    if M < HALVE_PRODUCT_FROM:
        return times_t(a, b)
    top = jnp.pad(times_t(a[:, : M // 2], b[:, : M // 2]), ((0, 0), (0, 0), (0, M - M // 2)))
    return jnp.concatenate([top, times_t(a[:, M // 2 :], b)], 1)


def times_symmetric(a, b):
    """a @ symmetric(b), of which only the lower triangle of b is read, by halves.

    Mirroring a large matrix costs as much as the product (strided reads); by halves most of it is
    left to products.
    """
    M = b.shape[1]
    if M <= MIRROR_UP_TO:
        return times(a, symmetric(b))
    h = M // 2
    a1, a2, b21 = a[:, :, :h], a[:, :, h:], b[:, h:, :h]
    left = times_symmetric(a1, b[:, :h, :h]) + times(a2, b21)
    return jnp.concatenate([left, times_t(a1, b21) + times_symmetric(a2, b[:, h:, h:])], 2)


def t_times(a, b):
    """a^T @ b, batched; see `times`."""
    if b.shape[2] == 1 and a.shape[2] <= SUM_UP_TO:
        return jnp.sum(a * b, 1)[:, :, None]
    return jnp.einsum("cki,ckj->cij", a, b)


def lower(a):
    """The lower triangle."""
    return jnp.where(_below_or_on(a.shape[-1]), a, 0)


def strictly_upper(a):
    """What stands above the diagonal."""
    return jnp.where(_below_or_on(a.shape[-1]), 0, a)


def symmetric(a):
    """The symmetric matrix with this lower triangle."""
    return jnp.where(_below_or_on(a.shape[-1]), a, jnp.swapaxes(a, -1, -2))


def diagonals(a):
    """The diagonals of a batch, as columns (C, W, 1)."""
    return jnp.sum(jnp.where(np.eye(a.shape[-1], dtype=bool), a, 0), 2, keepdims=True)


def _below_or_on(size: int):
    return _ramp(size)[:, None] >= _ramp(size)


def _ramp(size: int):
    """0 .. size - 1. Small, it and what follows from it are literals: what XLA can compute ahead of
    the loops it moves there and spreads over its threads, at 30 us a thread (experiment 13)."""
    return (np if size <= LITERAL_UP_TO else jnp).arange(size)


def cholesky_and_inverse(a: Batch) -> tuple[Batch, Batch]:
    """L and L^-1 with a = L L^T; only the lower triangle of `a` is read. W: a multiple of
    4 up to 32, of 8 above.

    A pivot that is not positive makes its column of L NaN; columns before it keep their values.
    Cost: 2/3 W^3 flops, plus 4 W^3 of a leaf of the recursion.
    """
    width = a.shape[-1]
    if width <= COLUMNS:
        return _by_columns(a)
    if width <= HALVE_UP_TO:
        return _by_halves(a, COLUMNS)
    if width <= LEAF:
        return _by_blocks(a)
    return _by_halves(a, LEAF)


def _by_columns(a: Batch) -> tuple[Batch, Batch]:
    """Gauss elimination of [A, I] column after column, in a loop or unrolled."""
    return _unrolled(a) if a.shape[0] >= UNROLL_FROM else _looped(a)


def _unrolled(a: Batch) -> tuple[Batch, Batch]:
    """[A, I] to [L^T, L^-1], every index static."""
    width = a.shape[-1]
    i = _ramp(width)
    unit = jnp.broadcast_to(np.eye(width, dtype=a.dtype), a.shape)
    rest = jnp.concatenate([symmetric(a), unit], 2)
    rows = []
    for j in range(width):
        row = rest[:, j] / jnp.sqrt(rest[:, j, j])[:, None]
        rows.append(row)
        update = rest - row[:, :width, None] * row[:, None, :]
        rest = jnp.where((i > j)[:, None], update, rest)  # a NaN must not reach the rows before
    done = jnp.stack(rows, 1)
    return lower(jnp.swapaxes(done[:, :, :width], 1, 2)), lower(done[:, :, width:])


def _looped(a: Batch) -> tuple[Batch, Batch]:
    """In place: above the diagonal the rows of D L^T, below it those of the unit inverse.

    Column j of the identity starts to fill as column j of A becomes zero, so they share storage;
    one 8 x 8 matrix of it then fits what XLA compiles as a single kernel, loop and all.
    """
    width = a.shape[-1]
    i = _ramp(width)

    def eliminate(j, rest):
        row = lax.dynamic_index_in_dim(rest, j, 1, keepdims=False)
        factors = row / lax.dynamic_index_in_dim(row, j, 1)
        starting = jnp.where(i == j, 0, rest)
        update = starting - factors[:, :, None] * jnp.where(i == j, 1, row)[:, None, :]
        return jnp.where((i > j)[:, None], update, rest)  # a NaN must not reach the rows before

    with jax.named_scope(f"{width}_trips"):
        done = lax.fori_loop(0, width, eliminate, symmetric(a))
    scale = 1 / jnp.sqrt(diagonals(done))
    L = lower(jnp.swapaxes(done * scale, 1, 2))
    unit = jnp.where(i[:, None] == i, 1, done)
    return L, lower(unit * scale)


def _by_halves(a: Batch, leaf: int) -> tuple[Batch, Batch]:
    """Recursion on a 2 x 2 split, the first part `leaf` times a power of two."""
    h = leaf
    while 2 * h < a.shape[-1]:
        h *= 2
    L1, inverse1 = cholesky_and_inverse(a[:, :h, :h])
    L21 = times_t(a[:, h:, :h], inverse1)
    L2, inverse2 = cholesky_and_inverse(a[:, h:, h:] - times_t(L21, L21))
    inverse21 = -times(inverse2, times(L21, inverse1))
    return _block_lower(L1, L21, L2), _block_lower(inverse1, inverse21, inverse2)


def _block_lower(a, b, c):
    """[[a, 0], [b, c]]"""
    top = jnp.pad(a, ((0, 0), (0, 0), (0, c.shape[-1])))
    return jnp.concatenate([top, jnp.concatenate([b, c], 2)], 1)


def _by_blocks(a: Batch) -> tuple[Batch, Batch]:
    """Left-looking loop over blocks of 8 columns, L and L^-1 filled in step by step.

    With the first k blocks done, columns of block k of L solve L_kk from A_kk - L_k L_k^T, and row
    block k of the inverse is L_kk^-1 (E_k - L_k L^-1).
    """
    width = a.shape[-1]
    full = symmetric(a)
    eye = np.eye(width, dtype=a.dtype)
    i = _ramp(width)

    def one_block(k, carry):
        L, inverse = carry
        at = k * COLUMNS
        mine = lax.dynamic_slice_in_dim(L, at, COLUMNS, 1)  # row block k: columns done so far
        rest = lax.dynamic_slice_in_dim(full, at, COLUMNS, 2) - times_t(L, mine)
        Lk, inverse_k = _by_columns(lax.dynamic_slice_in_dim(rest, at, COLUMNS, 1))
        panel = jnp.where((i >= at + COLUMNS)[:, None], times_t(rest, inverse_k), 0)
        panel = lax.dynamic_update_slice_in_dim(panel, Lk, at, 1)
        unit = lax.dynamic_slice_in_dim(eye, at, COLUMNS, 0)
        rows = times(inverse_k, unit - times(mine, inverse))
        L = lax.dynamic_update_slice_in_dim(L, panel, at, 2)
        return L, lax.dynamic_update_slice_in_dim(inverse, rows, at, 1)

    start = (jnp.zeros_like(a), jnp.zeros_like(a))
    with jax.named_scope(f"{width // COLUMNS}_trips"):
        return lax.fori_loop(0, width // COLUMNS, one_block, start)

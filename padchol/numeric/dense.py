"""The dense pivot kernel: Cholesky factor and its inverse for a batch of small matrices.

Plain XLA operations throughout: no LAPACK call (two jaxlib lines deadlock on batched ones, and a
TPU has none), and the same program on every platform.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# Columns eliminated one by one. At 8, 64 blocks take 19 us (LAPACK with its inverse: 34 us); wider
# loops spill out of registers (tests/bench/NOTES.md, experiment 1).
UNROLLED = 8
# From this width on a loop over blocks of LOOP_BLOCK keeps the compiled program small.
LOOP_BLOCK = 32

Batch = Float[Array, "C W W"]


def times(a, b):
    """a @ b, batched."""
    return jnp.einsum("cik,ckj->cij", a, b)


def times_t(a, b):
    """a @ b^T, batched: the contraction on both minor axes is XLA's fastest layout here."""
    return jnp.einsum("cik,cjk->cij", a, b)


def t_times(a, b):
    """a^T @ b, batched."""
    return jnp.einsum("cki,ckj->cij", a, b)


def lower(a):
    """The lower triangle."""
    return jnp.where(_below_or_on(a.shape[-1]), a, 0)


def symmetric(a):
    """The symmetric matrix with this lower triangle."""
    return jnp.where(_below_or_on(a.shape[-1]), a, jnp.swapaxes(a, -1, -2))


def lower_half(a):
    """Phi of Murray (2016), arXiv 1602.07527, eq. 10: lower triangle, diagonal halved."""
    i = jnp.arange(a.shape[-1])
    return jnp.where(i[:, None] > i, a, jnp.where(i[:, None] == i, a / 2, 0))


def _below_or_on(size: int):
    i = jnp.arange(size)
    return i[:, None] >= i


def cholesky_and_inverse(a: Batch) -> tuple[Batch, Batch]:
    """L and L^-1 with a = L L^T; only the lower triangle of `a` is read.

    A pivot that is not positive makes its column of L, and what depends on it, NaN; columns before
    it keep their values. W must be 8, 16, or a multiple of 8. Cost: W^3 flops up to LOOP_BLOCK, 4
    W^3 in GEMMs above.
    """
    width = a.shape[-1]
    if width <= UNROLLED:
        return _by_columns(a)
    if width <= LOOP_BLOCK:
        return _by_halves(a)
    return _by_blocks(a)


def _by_columns(a: Batch) -> tuple[Batch, Batch]:
    """Gauss elimination of [A, I] column after column, leaving [L^T, L^-1]."""
    width = a.shape[-1]
    i = jnp.arange(width)
    rest = jnp.concatenate([symmetric(a), jnp.broadcast_to(jnp.eye(width, dtype=a.dtype), a.shape)], 2)
    rows = []
    for j in range(width):
        row = rest[:, j] / jnp.sqrt(rest[:, j, j])[:, None]
        rows.append(row)
        rest = rest - jnp.where(i > j, row[:, :width], 0)[:, :, None] * row[:, None, :]
    done = jnp.stack(rows, 1)
    return lower(jnp.swapaxes(done[:, :, :width], 1, 2)), lower(done[:, :, width:])


def _by_halves(a: Batch) -> tuple[Batch, Batch]:
    """Recursion on a 2 x 2 split, the first half a multiple of 8."""
    h = -(-a.shape[-1] // 16) * 8
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
    """Left-looking loop over column blocks, L and L^-1 filled in step by step.

    With the first k blocks done, columns of block k of L solve L_kk from A_kk - L_k L_k^T, and row
    block k of the inverse is L_kk^-1 (E_k - L_k L^-1).
    """
    C, width, _ = a.shape
    block = LOOP_BLOCK if width % LOOP_BLOCK == 0 else 16
    full = symmetric(a)
    eye = jnp.eye(width, dtype=a.dtype)
    i = jnp.arange(width)

    def one_block(k, carry):
        L, inverse = carry
        at = k * block
        mine = lax.dynamic_slice_in_dim(L, at, block, 1)  # row block k: columns done so far
        rest = lax.dynamic_slice_in_dim(full, at, block, 2) - times_t(L, mine)
        pivot = lax.dynamic_slice_in_dim(rest, at, block, 1)
        Lk, inverse_k = cholesky_and_inverse(pivot)
        panel = jnp.where((i >= at + block)[:, None], times_t(rest, inverse_k), 0)
        panel = lax.dynamic_update_slice_in_dim(panel, Lk, at, 1)
        unit = lax.dynamic_slice_in_dim(eye, at, block, 0)
        rows = times(inverse_k, unit - times(mine, inverse))
        L = lax.dynamic_update_slice_in_dim(L, panel, at, 2)
        return L, lax.dynamic_update_slice_in_dim(inverse, rows, at, 1)

    return lax.fori_loop(0, width // block, one_block, (jnp.zeros_like(a), jnp.zeros_like(a)))

"""The verbs on a batch of padded supernodes (C, ...): see `padchol.numeric.verbs`.

Accelerators have a Cholesky factorisation and triangular solves of their own for batches. On a CPU
they are loops over columns: two jaxlib lines deadlock on independent batched calls of LAPACK in one
program, and a plan for accelerators runs there for tests only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from padchol.symbolic.layout import Stage


def times(a, b):
    """a @ b"""
    return jnp.einsum("cik,ckj->cij", a, b, precision=HIGHEST)


def times_t(a, b):
    """a @ b^T"""
    return jnp.einsum("cik,cjk->cij", a, b, precision=HIGHEST)


def t_times(a, b):
    """a^T @ b"""
    return jnp.einsum("cki,ckj->cij", a, b, precision=HIGHEST)


HIGHEST = lax.Precision.HIGHEST  # of a TPU: by default it rounds factors to bfloat16


def transposed(a):
    return jnp.swapaxes(a, -1, -2)


def lower(a):
    """The lower triangle."""
    return jnp.where(_below_or_on(a), a, 0)


def symmetric(a):
    """The symmetric matrix with this lower triangle."""
    return jnp.where(_below_or_on(a), a, transposed(a))


def _below_or_on(a):
    size = a.shape[-1]
    return lax.iota(np.int32, size)[:, None] >= lax.iota(np.int32, size)


def cholesky(a: Float[Array, "C W W"]) -> Float[Array, "C W W"]:
    """L with L L^T = a, of which the lower triangle is read. Of a matrix that is not positive
    definite, NaN in whole columns: all of them on an accelerator."""

    def by_library(a):
        return lax.linalg.cholesky(a, symmetrize_input=False)

    return lax.platform_dependent(symmetric(a), cpu=_by_columns, default=by_library)


def solve(L: Float[Array, "C W W"], b: Float[Array, "C W k"]) -> Float[Array, "C W k"]:
    """L^-1 b"""
    return _solve(L, b, transpose=False)


def solve_t(L: Float[Array, "C W W"], b: Float[Array, "C W k"]) -> Float[Array, "C W k"]:
    """L^-T b"""
    return _solve(L, b, transpose=True)


def inverse(L: Float[Array, "C W W"]) -> Float[Array, "C W W"]:
    """L^-1"""
    return solve(L, jnp.broadcast_to(jnp.eye(L.shape[-1], dtype=L.dtype), L.shape))


def _solve(L, b, transpose: bool):
    if b.shape[-1] == 0:
        return b

    def by_library(L, b):
        return lax.linalg.triangular_solve(L, b, left_side=True, lower=True, transpose_a=transpose)

    def by_columns(L, b):
        return _substitute(L, b, transpose)

    return lax.platform_dependent(L, b, cpu=by_columns, default=by_library)


def _by_columns(a):
    """Right-looking: column j of L, and what it takes from the columns behind it."""
    width = a.shape[-1]
    i = lax.iota(np.int32, width)

    def eliminate(j, a):
        column = lax.dynamic_index_in_dim(a, j, 2, keepdims=False)
        column = column / jnp.sqrt(lax.dynamic_slice_in_dim(column, j, 1, 1))
        column = jnp.where(i >= j, column, 0)
        update = a - column[:, :, None] * column[:, None, :]
        later = (i[:, None] > j) & (i > j)
        return jnp.where(later, update, jnp.where(i == j, column[:, :, None], a))

    return lower(lax.fori_loop(0, width, eliminate, a))


def _substitute(L, b, transpose: bool):
    width = L.shape[-1]
    i = lax.iota(np.int32, width)[:, None]

    def eliminate(t, x):
        j = width - 1 - t if transpose else t
        column = lax.dynamic_index_in_dim(L, j, 1 if transpose else 2, keepdims=False)
        pivot = lax.dynamic_slice_in_dim(column, j, 1, 1)
        found = lax.dynamic_slice_in_dim(x, j, 1, 1) / pivot[:, :, None]
        left = i < j if transpose else i > j
        rest = x - column[:, :, None] * found
        return jnp.where(i == j, found, jnp.where(left, rest, x))

    return lax.fori_loop(0, width, eliminate, b)


class OnBatch:
    """What a routine does with one batch: `node` is its final value, and `update` what it hands
    up. L is (L11, L21); what belongs to the rows below is transposed, (W, M)."""

    def __init__(self, stage: Stage, args: Sequence, below: Any = None):
        self.stage, self.args, self.ancestors = stage, args, below
        self.node: Any = None
        self.update: Any = None

    def panel(self, i: int):
        W = self.stage.W
        return self.args[i][:, :W], self.args[i][:, W:]

    def factor(self, i: int):
        L11, L21 = self.panel(i)
        return lower(L11), L21

    def eliminate(self, F):
        L11 = cholesky(F[0])
        return L11, transposed(solve(L11, transposed(F[1])))

    def store_factor(self, L) -> None:
        self.node = jnp.concatenate(L, 1)

    def hand_up_square(self, L) -> None:
        self.update = -times_t(L[1], L[1])

    def solve(self, L) -> None:
        self.node = solve(L[0], self.args[0])

    def read_below_rows(self):
        return self.ancestors

    def solve_t(self, L, below) -> None:
        self.node = solve_t(L[0], self.args[0] - t_times(L[1], below))

    def hand_up_product(self, L) -> None:
        self.update = -times(L[1], self.node)

    def below(self, panel):
        return transposed(panel[1])

    def inverse(self, L):
        return inverse(L[0])

    def read_below(self):
        return self.ancestors

    def doubled(self, V):
        return V * (1 + jnp.eye(V.shape[-1], dtype=V.dtype))

    def t_times(self, R, B):
        return t_times(R, B)

    def minus_times(self, G, V):
        return -times(G, V)

    def less_times(self, B, G, V):
        return B - times(G, V)

    def gram_less_product(self, R, G, Z):
        return t_times(R, R) - times_t(G, Z)

    def symmetric_product_less(self, L, L_bar, B, L21):
        return symmetric(t_times(L[0], lower(L_bar[0])) - times_t(B, L21))

    def times_halved(self, Psi, R):
        return times(Psi, R) * (1 - jnp.eye(R.shape[-1], dtype=R.dtype) / 2)

    def store_panel(self, pivots, below) -> None:
        self.node = jnp.concatenate([pivots, transposed(below)], 1)

    def less_outer(self) -> None:
        panel, y, z, z_below = self.args
        self.node = panel - times_t(jnp.concatenate([z, z_below], 1), y)

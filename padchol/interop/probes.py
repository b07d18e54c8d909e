"""The entries of a sparse matrix of known pattern, found from its products with a few vectors.

Columns that share no row are added up in one product: a colouring of the columns in which those of
one row differ gives every entry by itself (Curtis, Powell & Reid 1974, J. Inst. Maths Applics 13,
117-119; Gebremedhin, Manne & Pothen 2005, SIAM Review 47, 629-705).

    A = [a b .]   colours 0 1 0:   A [1 0 1]^T = [a, d]^T,   A [0 1 0]^T = [b, c]^T
        [. c d]
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Bool, Float, Int

from padchol.symbolic.supernodes import ramp


class Probes:
    """The pattern (rows, cols) of a matrix (m, n) with a colour of each column; tables on the host.

    The products are those with `vectors` (colours, n) and with `witness` (n,), in which no two
    entries are alike: it tells whether the pattern holds all of the matrix.
    """

    def __init__(self, rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]):
        self.shape = shape
        self.rows, self.cols = rows.astype(np.int32), cols.astype(np.int32)
        self.colour = colouring(rows, cols, shape)
        self.count = int(self.colour.max(initial=-1)) + 1
        rng = np.random.default_rng(0)
        self.witness = rng.uniform(0.5, 1.5, shape[1]) * rng.choice([-1.0, 1.0], shape[1])

    def products(self, mv: Callable, dtype) -> tuple[Float[Array, "m colours"], Float[Array, " m"]]:
        """A with the sum of the columns of each colour, and A with the witness: one batch."""
        vectors = np.concatenate([self.colour == np.arange(self.count)[:, None], [self.witness]])
        found = jax.vmap(mv, out_axes=1)(jnp.asarray(vectors, dtype))
        return found[:, :-1], found[:, -1]

    def entries(self, products: Float[Array, "m colours"]) -> Float[Array, " entries"]:
        """A[rows, cols]"""
        return products[self.rows, self.colour[self.cols]]

    def times(self, data: Float[Array, " entries"], x: Float[Array, " n"]) -> Float[Array, " m"]:
        """A x from the entries of A."""
        return jnp.zeros(self.shape[0], data.dtype).at[self.rows].add(data * x[self.cols])

    def t_times(self, data: Float[Array, " entries"], y: Float[Array, " m"]) -> Float[Array, " n"]:
        """A^T y from the entries of A."""
        return jnp.zeros(self.shape[1], data.dtype).at[self.cols].add(data * y[self.rows])

    def complete(self, found: Float[Array, " m"], seen: Float[Array, " m"]) -> Bool[Array, ""]:
        """Whether the product with the witness is `found`, and not more than the entries account
        for, `seen`: to half of the digits, relative to the largest component."""
        error = jnp.max(jnp.abs(found - seen), initial=0)
        size = jnp.max(jnp.abs(seen), initial=0)
        return error <= jnp.finfo(found.dtype).eps ** 0.5 * size


def colouring(rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]) -> Int[np.ndarray, " n"]:
    """Colours of columns such that no two columns of one row have the same.

    Rounds of greedy colouring: every column that comes before all its uncoloured neighbours, those
    of high degree first, takes the least colour free (Jones & Plassmann 1993, SIAM J. Sci. Comput.
    14, 654-669). Deterministic.
    """
    A = sp.csc_array((np.ones(rows.size), (rows, cols)), shape=shape)
    graph = sp.csr_array(A.T @ A)
    degree = np.diff(graph.indptr)
    i, j = np.repeat(np.arange(shape[1]), degree), graph.indices
    ranked = np.lexsort((np.random.default_rng(0).permutation(shape[1]), degree))
    rank = np.empty(shape[1], np.int64)
    rank[ranked] = np.arange(shape[1])
    colour = np.full(shape[1], -1, np.int32)
    while np.any(colour < 0):
        waits = (colour[i] < 0) & (colour[j] < 0) & (rank[j] > rank[i])
        free = colour < 0
        free[i[waits]] = False
        beside = free[i] & (colour[j] >= 0)
        taken = np.unique(np.stack([i[beside], colour[j[beside]]]), axis=1)
        colour[free] = least_free(taken, shape[1])[free]
    return colour


def least_free(taken: Int[np.ndarray, "2 t"], n: int) -> Int[np.ndarray, " n"]:
    """For each of n columns the least colour that it does not have in the pairs (column, colour),
    which are sorted and unique."""
    count = np.bincount(taken[0], minlength=n)
    gap = taken[1] > ramp(count)  # colours are missing from here on
    least = count.copy()
    np.minimum.at(least, taken[0][gap], ramp(count)[gap])
    return least

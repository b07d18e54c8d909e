"""What padchol is measured against: CHOLMOD, sparsax, dense JAX, and the machine's GEMM rate."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

DENSE_UP_TO = 3_000  # unknowns up to which dense JAX is measured too


def release_blas() -> None:
    """Drop settings that pin old OpenBLAS builds to slow kernels; before a peer is imported."""
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)


def installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def medians(jobs: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Median seconds of each job, all jobs in turn (A B C A B C ...) so that drift is shared.

    Every job runs once unmeasured, then at least five times and until about `seconds` are spent.
    """
    for job in jobs.values():
        job()
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    started = time.perf_counter()
    rounds = 0
    while rounds < 5 or (time.perf_counter() - started < seconds and rounds < 200):
        for name, job in jobs.items():
            begin = time.perf_counter()
            job()
            taken[name].append(time.perf_counter() - begin)
        rounds += 1
    return {name: float(np.median(values)) for name, values in taken.items()}


class Cholmod:
    """CHOLMOD through cvxopt, AMD ordering, simplicial (0) or supernodal (2)."""

    def __init__(self, A: sp.csc_array, mode: int):
        from cvxopt import cholmod, matrix, spmatrix

        self.cholmod, self.mode, self.matrix = cholmod, mode, matrix
        lower = sp.coo_array(sp.tril(A))
        self.A = spmatrix(lower.data, lower.row.tolist(), lower.col.tolist(), A.shape)
        started = time.perf_counter()
        self._choose()
        self.factor_object = cholmod.symbolic(self.A, uplo="L")
        self.analysis = time.perf_counter() - started
        self.b = matrix(np.ones(self.A.size[0]))

    def _choose(self) -> None:
        self.cholmod.options["supernodal"] = self.mode

    def factor(self) -> None:
        self._choose()
        self.cholmod.numeric(self.A, self.factor_object)

    def solver(self, columns: int) -> Callable[[], None]:
        b = np.ones((self.A.size[0], columns))

        def solve() -> None:
            self.cholmod.solve(self.factor_object, self.matrix(b))

        return solve


def sparsax_value_and_grad(A: sp.csc_array) -> Callable[[float], Any]:
    """log|A| - y^T A^-1 y and its gradient by sparsax; its argument scales A: nothing is cached."""
    import jax
    import jax.numpy as jnp
    import sparsax

    upper = sp.coo_array(sp.triu(A))
    rows, cols = jnp.asarray(upper.row, jnp.int32), jnp.asarray(upper.col, jnp.int32)
    n = A.indptr.size - 1
    values, y = jnp.asarray(upper.data), jnp.ones(n)

    def value(a):
        return sparsax.logdet(rows, cols, a, n) - y @ sparsax.solve(rows, cols, a, y)

    compiled = jax.jit(jax.value_and_grad(value))
    return lambda scale: jax.block_until_ready(compiled(values * scale))


def dense_value_and_grad(A: sp.csc_array) -> Callable[[float], Any]:
    """The same by dense JAX."""
    import jax
    import jax.numpy as jnp

    full = jnp.asarray(A.toarray())
    y = jnp.ones(full.shape[0])

    def value(a):
        L = jnp.linalg.cholesky(a)
        half = jax.scipy.linalg.solve_triangular(L, y, lower=True)
        return 2 * jnp.sum(jnp.log(jnp.diagonal(L))) - half @ half

    compiled = jax.jit(jax.value_and_grad(value))
    return lambda scale: jax.block_until_ready(compiled(full * scale))


def gemm_rate(size: int = 1024) -> float:
    """Flops per second of a float64 product of two size x size matrices under XLA."""
    import jax
    import jax.numpy as jnp

    a = jnp.ones((size, size))
    product = jax.jit(lambda a: a @ a.T)
    return 2 * size**3 / medians({"gemm": lambda: product(a).block_until_ready()}, 0.5)["gemm"]

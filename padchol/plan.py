"""Plan: the analysis of one sparsity pattern, made once by `analyze` and used for any values."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int

from padchol.report import Facts, report
from padchol.symbolic import ordering, supernodes, tables
from padchol.symbolic import pattern as patterns
from padchol.symbolic.costs import CostModel
from padchol.symbolic.exact import entry_places, exact_supernodes, full_pattern
from padchol.symbolic.layout import Layout, fits_int32
from padchol.symbolic.pattern import Pattern
from padchol.symbolic.schedule import Schedule, schedule
from padchol.symbolic.supernodes import Supernodes

FORMAT = 1  # of the fingerprint and of saved files: raised when tables change their meaning


class Plan(eqx.Module):
    """The analysis of one pattern: index tables (arrays, traced) and shape facts (static).

    With p = perm: L L^T = A[p][:, p]. Entry k of the canonical values is A[rows[k], cols[k]] *and*
    its mirror image: one parameter per symmetric pair, rows >= cols, sorted by column, then row,
    the diagonal always present. A gradient with respect to an off-diagonal value therefore counts
    both entries.

    Equal patterns analysed with equal options give equal plans. Pass a plan to a jitted function as
    an argument (it is a pytree) rather than closing over it where compile time matters: closed-over
    tables become constants of the program.
    """

    perm: Int[np.ndarray, " n"]
    rows: Int[np.ndarray, " nnz"]
    cols: Int[np.ndarray, " nnz"]
    table: Int[np.ndarray, " table"]
    copy_places: Int[np.ndarray, " nnz"]
    layout: Layout = eqx.field(static=True)
    nnz: int = eqx.field(static=True)  # canonical values: one a symmetric pair, and the diagonal
    nnz_L: int = eqx.field(static=True)
    fingerprint: str = eqx.field(static=True)
    facts: Facts = eqx.field(static=True)

    @property
    def n(self) -> int:
        """Order of the matrix."""
        return self.layout.n

    @property
    def stats(self) -> dict[str, Any]:
        """Counted facts: nnz_L, flops, padded flops, levels, bins, bytes, ordering, seconds."""
        return dict(self.facts.items)

    @property
    def pattern(self) -> Pattern:
        """The canonical pattern, on the host."""
        return Pattern(self.n, np.asarray(self.rows, np.int64), np.asarray(self.cols, np.int64))

    def values(self, A: Any) -> Float[Array | np.ndarray, " nnz"]:
        """Canonical values of A, whose pattern must be contained in the plan's.

        Duplicates are summed; where A has no entry the value is 0. For scipy matrices (full
        symmetric, checked, or one triangle) the result is a numpy array of A's float dtype. JAX
        BCOO and BCSR matrices work under jit and are differentiable: the lower triangle is read,
        as symmetry cannot be checked on traced values, and entries outside the pattern give NaN.
        """
        if hasattr(A, "sum_duplicates") and type(A).__module__.startswith("jax."):
            from padchol.numeric.values import sparse_values

            return sparse_values(self, A)
        return patterns.values(self.pattern, A)

    def factor_pattern(self) -> tuple[np.ndarray, np.ndarray]:
        """(indices, indptr): exact CSC pattern of L in the plan's order, no relaxation zeros.

        Computed anew at each call, on the host; memory and time in proportion to nnz(L).
        """
        exact, post = exact_supernodes(self.pattern, np.asarray(self.perm, np.int64))
        return full_pattern(exact, post)

    def save(self, path: Any) -> None:
        """Write the plan to an .npz file (no pickle inside); read it with `padchol.load`."""
        from padchol.storage import save

        save(self, path)

    def __str__(self) -> str:
        return report(self)

    def __repr__(self) -> str:
        return f"Plan(n={self.n}, nnz={self.nnz}, nnz_L={self.nnz_L}, {self.fingerprint[:12]})"


def analyze(
    A: Any, *, order: Any = "auto", lower: bool = False, costs: CostModel | None = None
) -> Plan:
    """Analyse a symmetric sparsity pattern: ordering, elimination tree, supernodes, bins, tables.

    A: any scipy.sparse matrix or array, a JAX BCOO or BCSR, or a tuple (rows, cols, n). Full
    symmetric unless `lower=True`, which says that one triangle is stored. Duplicates are summed,
    indices may be unsorted, a missing diagonal is inserted as structure; A is never changed.

    order: "auto" (the cheapest predicted plan of the orderings at hand), "natural", "rcm", "mmd",
    "metis" (needs pymetis), or a permutation p with L L^T = A[p][:, p], which is kept as it is.

    costs: the prices by which orderings, fronts and bins are chosen; by default those of a CPU
    (`python -m padchol fit` finds this machine's). They change the speed of a plan, never a result.

    Numpy and scipy only. Raises `ValueError` for a matrix that is not square or not symmetric,
    naming an entry, and for an invalid permutation; `OverflowError` beyond 32-bit tables.
    """
    started = time.perf_counter()
    pattern = patterns.canonical(A, lower=lower)
    model = costs or CostModel()
    names = ordering.candidates(pattern) if isinstance(order, str) and order == "auto" else [order]
    best = min((_candidate(pattern, name, model) for name in names), key=lambda c: c.scheduled.cost)
    return _assemble(pattern, best, started)


class _Candidate(eqx.Module):
    """An ordering carried as far as its predicted cost."""

    name: str
    perm: np.ndarray  # as exposed by the plan
    relaxed: Supernodes
    position: np.ndarray  # plan position of each column of the relaxed order
    scheduled: Schedule


def _candidate(pattern: Pattern, order: Any, model: CostModel) -> _Candidate:
    """The symbolic pipeline of one ordering, up to the schedule."""
    name = order if isinstance(order, str) else "given"
    if name in ordering.NAMED:
        perm = ordering.NAMED[name](pattern)
    elif isinstance(order, str):
        raise ValueError(
            f"expected order to be one of {sorted([*ordering.NAMED, 'auto'])} or a permutation; "
            f"got {order!r}"
        )
    else:
        perm = ordering.given(order, pattern.n)
    free = name not in ("natural", "given")
    exact, post = exact_supernodes(pattern, perm, reorder=free)
    relaxed, columns = supernodes.relax(exact, model)
    position = post[columns]
    if free:  # to expose the order in which columns are kept
        perm, position = perm[position], np.arange(pattern.n)
    return _Candidate(name, perm, relaxed, position, schedule(relaxed, model))


def _assemble(pattern: Pattern, chosen: _Candidate, started: float) -> Plan:
    """Tables and facts of the chosen ordering."""
    n = pattern.n
    position = np.empty(n, np.int64)
    position[chosen.perm] = np.arange(n)

    def lower(order):
        """Both indices of each canonical entry, counted in an order of the plan's columns."""
        place = np.empty(n, np.int64)
        place[order] = np.arange(n)
        a, b = place[position[pattern.rows]], place[position[pattern.cols]]
        return np.maximum(a, b), np.minimum(a, b)

    layout, table = tables.build(
        chosen.relaxed, chosen.scheduled, chosen.position, *lower(chosen.position)
    )
    exact, post = exact_supernodes(pattern, chosen.perm)
    copy_places = entry_places(exact, post, *lower(post))
    w, m = exact.width, exact.below
    nnz_L = int(np.sum(w * (w + 1) // 2 + w * m))
    fits_int32(nnz_L, "nnz(L)")
    arrays = {
        "perm": chosen.perm.astype(np.int32),
        "rows": pattern.rows.astype(np.int32),
        "cols": pattern.cols.astype(np.int32),
        "table": table,
        "copy_places": copy_places.astype(np.int32),
    }
    facts = Facts.of(chosen.name, exact, chosen.scheduled, layout, arrays, started)
    name = fingerprint(arrays, layout, nnz_L)
    return Plan(
        **arrays, layout=layout, nnz=pattern.rows.size, nnz_L=nnz_L, fingerprint=name, facts=facts
    )


def fingerprint(arrays: dict[str, np.ndarray], layout: Layout, nnz_L: int) -> str:
    """SHA-256 of a plan's contents: equal plans, and only they, have equal fingerprints."""
    digest = hashlib.sha256(f"padchol plan {FORMAT} {nnz_L} {layout.contents}".encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

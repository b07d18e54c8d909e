"""Plan: the analysis of one sparsity pattern, made once by `analyze` and used for any values."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Int

from padchol.progress import Progress
from padchol.report import Facts, counted, report
from padchol.symbolic import ordering, supernodes, tables
from padchol.symbolic import pattern as patterns
from padchol.symbolic.costs import CostModel, padded_shape
from padchol.symbolic.etree import RowSubtrees
from padchol.symbolic.exact import (
    counted_supernodes,
    entry_places,
    exact_supernodes,
    full_pattern,
)
from padchol.symbolic.layout import Layout, fits_int32
from padchol.symbolic.pattern import Pattern
from padchol.symbolic.schedule import Schedule, schedule
from padchol.symbolic.supernodes import Supernodes

FORMAT = 5  # of the fingerprint and of saved files: raised when tables change their meaning


class Plan(eqx.Module):
    """The analysis of one pattern: index tables (arrays, traced) and shape facts (static).

    With p = perm: L L^T = A[p][:, p]. Entry k of the canonical values is A[rows[k], cols[k]] *and*
    its mirror image: one parameter per symmetric pair, rows >= cols, sorted by column, then row,
    the diagonal always present. A gradient with respect to an off-diagonal value therefore counts
    both entries.

    Equal patterns analysed with equal options give equal plans. Pass a plan to a jitted function as
    an argument (it is a pytree) rather than closing over it where compile time matters: closed-over
    tables become constants of the program, while as an argument other patterns may use the compiled
    program as well: those of as many rows and entries whose tables have the same (rounded) sizes.
    """

    perm: Int[np.ndarray, " n"]
    rows: Int[np.ndarray, " nnz"]
    cols: Int[np.ndarray, " nnz"]
    table: Int[np.ndarray, " table"]
    copy_places: Int[np.ndarray, " nnz"]
    layout: Layout = eqx.field(static=True)
    nnz: int = eqx.field(static=True)  # canonical values: one a symmetric pair, and the diagonal
    facts: Facts = eqx.field(static=True)

    @property
    def n(self) -> int:
        """Order of the matrix."""
        return self.layout.n

    @property
    def stats(self) -> dict[str, Any]:
        """Counted facts: nnz_L, flops, padded flops, levels, bins, bytes, ordering, seconds."""
        return dict(self._known.items)

    @property
    def nnz_L(self) -> int:
        """Entries of L, its diagonal included, relaxation zeros not."""
        return self._known.items["nnz_L"]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the plan's contents: see `fingerprint`."""
        return self._known.fingerprint

    @property
    def _known(self) -> Facts:
        """The facts, which a program that reads them while it is traced depends on."""
        if isinstance(self.table, jax.core.Tracer):
            self.facts.depended_on = True
        return self.facts

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

    def add_diagonal(self, a: Float[Array, " nnz"], d: Float[Array, "*n"]) -> Float[Array, " nnz"]:
        """Canonical values of A + diag(d) from those of A; d is a number or (n,), user's order."""
        from padchol.numeric.values import add_diagonal

        return add_diagonal(self, a, d)

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
    A: Any,
    *,
    order: Any = "auto",
    lower: bool = False,
    device: Literal["cpu", "gpu", "tpu"] = "cpu",
    costs: CostModel | None = None,
    progress: bool | None = None,
    cache: Any = None,
) -> Plan:
    """Analyse a symmetric sparsity pattern: ordering, elimination tree, supernodes, bins, tables.

    A: any scipy.sparse matrix or array, a JAX BCOO or BCSR, a tuple (rows, cols, n), or a list of
    these, whose union is planned: `plan.values` of each part, and Q = sum_k f_k Q_k of theirs. Full
    symmetric unless `lower=True`, which says that one triangle is stored. Duplicates are summed,
    indices may be unsorted, a missing diagonal is inserted as structure; A is never changed.

    order: "auto" (the cheapest predicted plan of "mmd", "nd" and, where pymetis is installed,
    "metis"), "natural", "rcm" (reverse Cuthill-McKee), "mmd" (minimum degree), "nd" (nested
    dissection), "metis" (needs pymetis), or a permutation p with L L^T = A[p][:, p], which is kept
    as it is.

    device: where the plan is meant to run. It runs everywhere. A CPU takes its fronts one by one;
    for "gpu" and "tpu" there are further tables, by which many fronts, padded to a few shapes
    (bins), are taken at once. Without them such a device goes slowly, and a warning says so.

    costs: the prices by which orderings, fronts and bins are chosen (`python -m padchol fit` finds
    this machine's). They change the speed of a plan, never a result.

    progress: a bar of the stages (tqdm): True, False, or None for one on analyses that take longer
    than a second, where tqdm is installed.

    cache: a folder in which plans are kept and found again by pattern and options; None for none.

    Numpy and scipy only. Raises `ValueError` for a matrix that is not square or not symmetric,
    naming an entry, and for an invalid permutation; `OverflowError` beyond 32-bit tables;
    `PlanFileError` for a damaged file in the cache.
    """
    pattern = patterns.canonical(A, lower=lower)
    if device not in ("cpu", "gpu", "tpu"):
        raise ValueError(f"expected device to be 'cpu', 'gpu' or 'tpu'; got {device!r}")
    model = replace(costs or CostModel(), chunks=device != "cpu")
    names = ordering.candidates(pattern) if isinstance(order, str) and order == "auto" else [order]
    if cache is None:
        return _analyze(pattern, names, model, progress)
    from padchol.storage import kept

    made = functools.partial(_analyze, pattern, names, model, progress)
    key = (FORMAT, pattern.digest, [_text(name) for name in names], model)
    return kept(cache, key, made)


def _analyze(pattern: Pattern, names: list, model: CostModel, progress: bool | None) -> Plan:
    """The plan of the cheapest of the named orderings."""
    started = time.perf_counter()
    with Progress(2 * len(names) + 2, progress) as tell:
        tried = [_candidate(pattern, name, model, tell) for name in names]
        tell("fronts and bins")
        best, scheduled = _cheapest(tried, model)
        tell("index tables")
        return _assemble(pattern, best, scheduled, model, started)


def _text(order: Any) -> str:
    return order if isinstance(order, str) else np.array(order).tobytes().hex()


class _Candidate(eqx.Module):
    """An ordering carried as far as its fronts, whose rows are only counted."""

    name: str
    perm: np.ndarray  # as the ordering gave it
    free: bool  # whether columns may be moved where L keeps its entries
    counted: Supernodes
    subtrees: RowSubtrees
    post: np.ndarray  # place in `perm` of each column of the supernodes
    group: np.ndarray  # of the relaxed supernodes
    relaxed: Supernodes


def _candidate(pattern: Pattern, order: Any, model: CostModel, tell: Callable) -> _Candidate:
    """The symbolic pipeline of one ordering, up to its fronts."""
    name = order if isinstance(order, str) else "given"
    tell(f"{name} ordering")
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
    tell(f"{name}: elimination tree and supernodes")
    counted, subtrees, post = counted_supernodes(pattern, perm, reorder=free)
    group = supernodes.groups(counted, model)
    relaxed, _ = supernodes.merged(counted, group, model.widest)
    return _Candidate(name, perm, free, counted, subtrees, post, group, relaxed)


def _cheapest(candidates: list[_Candidate], model: CostModel) -> tuple[_Candidate, Schedule | None]:
    """The ordering of the least predicted cost, and its schedule in chunks.

    Bins only make fronts larger, so that no schedule costs less than its fronts by themselves:
    orderings of which this alone is too much are not scheduled.
    """
    if not model.chunks:
        prices = [model.tiled(c.relaxed.width, c.relaxed.below).sum() for c in candidates]
        return candidates[int(np.argmin(prices))], None
    shapes = [padded_shape(c.relaxed.width, c.relaxed.below) for c in candidates]
    least = np.array([model.front(*shape).sum() for shape in shapes])
    order = np.argsort(least, kind="stable")
    best = candidates[order[0]]
    scheduled = schedule(best.relaxed, model)
    for c in order[1:]:
        if least[c] < scheduled.cost:
            other = schedule(candidates[c].relaxed, model)
            if other.cost < scheduled.cost:
                best, scheduled = candidates[c], other
    return best, scheduled


def _assemble(
    pattern: Pattern,
    chosen: _Candidate,
    scheduled: Schedule | None,
    model: CostModel,
    started: float,
) -> Plan:
    """Tables and facts of the chosen ordering."""
    n, perm, post = pattern.n, chosen.perm, chosen.post
    w, m = chosen.counted.width, chosen.counted.below
    nnz_L = int(np.sum(w * (w + 1) // 2 + w * m))
    fits_int32(nnz_L, "nnz(L)")
    exact = supernodes.with_rows(chosen.counted, chosen.subtrees)
    relaxed, columns = supernodes.merged(exact, chosen.group, model.widest)
    position = post[columns]
    if chosen.free:  # to expose the order in which columns are kept
        perm, position, post = perm[position], np.arange(n), np.argsort(columns)
    place_of = np.empty(n, np.int64)
    place_of[perm] = np.arange(n)

    def lower(order):
        """Both indices of each canonical entry, counted in an order of the plan's columns."""
        place = np.empty(n, np.int64)
        place[order] = np.arange(n)
        a, b = place[place_of[pattern.rows]], place[place_of[pattern.cols]]
        return np.maximum(a, b), np.minimum(a, b)

    placed = (position, *lower(position))
    layout, table = tables.build(relaxed, scheduled, *placed, model.entries_up_to)
    copy_places = entry_places(exact, post, *lower(post))
    arrays = {
        "perm": perm.astype(np.int32),
        "rows": pattern.rows.astype(np.int32),
        "cols": pattern.cols.astype(np.int32),
        "table": table,
        "copy_places": copy_places.astype(np.int32),
    }
    cost = scheduled.cost if scheduled else float(model.tiled(relaxed.width, relaxed.below).sum())
    items = counted(chosen.name, exact, relaxed, cost, layout, arrays, started)
    facts = Facts(items, fingerprint(arrays, layout, nnz_L))
    return Plan(**arrays, layout=layout, nnz=pattern.rows.size, facts=facts)


def fingerprint(arrays: dict[str, np.ndarray], layout: Layout, nnz_L: int) -> str:
    """SHA-256 of a plan's contents: equal plans, and only they, have equal fingerprints."""
    digest = hashlib.sha256(f"padchol plan {FORMAT} {nnz_L} {layout.contents}".encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

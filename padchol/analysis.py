"""From a sparsity pattern to its plan: the symbolic pipeline, for each ordering that is tried."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import time
from typing import Any, Literal

import numpy as np

from padchol.candidates import Candidate, cheapest, cheapest_in_levels, tried_orderings
from padchol.errors import check_type
from padchol.facts import Facts
from padchol.plan import FORMAT, Plan, fingerprint
from padchol.progress import Progress
from padchol.report import counted, shares
from padchol.symbolic import amalgamation, ordering, supernodes, tables, tiles
from padchol.symbolic import pattern as patterns
from padchol.symbolic.costs import CostModel
from padchol.symbolic.exact import entry_places
from padchol.symbolic.layout import fits_int32
from padchol.symbolic.pattern import Pattern, lower
from padchol.symbolic.schedule import Schedule, schedule
from padchol.symbolic.shards import parts, sequence
from padchol.symbolic.storages import Order

SPEEDUPS = (2, 4, 8, 16)  # shards for which a report predicts what they bring


def analyze(
    A: Any,
    *,
    order: Any = "auto",
    lower: bool = False,
    device: Literal["auto", "cpu", "gpu", "tpu"] = "auto",
    shards: int = 1,
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
    "metis"; of plans alike that of the lowest tree; an ordering that cannot pay, by what is known
    of it beforehand, is left out), "natural", "rcm" (reverse Cuthill-McKee),
    "mmd" (minimum degree), "nd" (nested dissection), "metis" (needs pymetis), or a permutation p
    with L L^T = A[p][:, p], which is kept as it is. Rows far denser than the rest are ordered last
    (AMD's rule: more than 10 sqrt(n) entries; minimum degree keeps those that it can bear).

    device: where the plan is meant to run, "auto" for JAX's default device. It runs everywhere. A
    CPU takes its fronts one by one; "gpu" and "tpu" take many at once, padded to a few shapes
    (bins). A plan for the one is slow on the other; a GPU or TPU that gets one for CPUs warns.

    shards: over how many devices one factorisation goes (see `padchol.cholesky`): the elimination
    tree is cut into so many sets of subtrees, of about equal predicted cost, and a top.

    costs: the prices by which orderings, fronts and bins are chosen, by default those of the
    device (`CostModel.cpu()`, `.gpu()`, `.tpu()`; `python -m padchol fit` finds this machine's).
    They change the speed of a plan, never a result.

    progress: a bar of the stages (tqdm), each named before it begins: True, False, or None for one
    on analyses that take longer than a second, where tqdm is installed.

    cache: a folder in which plans are kept and found again by pattern and options; None for none.

    Numpy and scipy only, but for the question which device is the default. Raises `ValueError` for
    a matrix that is not square or not symmetric, naming an entry, for an invalid permutation, and
    for a number of shards below 1; `OverflowError` beyond 32-bit tables, and `MemoryError` beyond
    the memory of the machine, both from counts, before anything of that size is made;
    `PlanFileError` for a damaged file in the cache. Warns, with the size of L, where a graph
    without small separators fills in so much that "auto" gives minimum degree up.

    >>> import scipy.sparse as sp
    >>> A = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(3, 3))
    >>> plan = analyze(A, order="natural")
    >>> plan.n, plan.nnz, plan.nnz_L
    (3, 5, 5)
    >>> plan.values(A)
    array([ 2., -1.,  2., -1.,  2.])
    """
    pattern = patterns.canonical(A, lower=lower)
    if device not in ("auto", "cpu", "gpu", "tpu"):
        raise ValueError(f"expected device to be 'auto', 'cpu', 'gpu' or 'tpu'; got {device!r}")
    if not isinstance(shards, int | np.integer) or isinstance(shards, bool) or shards < 1:
        raise ValueError(f"expected shards to be a number of devices, 1 or more; got {shards!r}")
    shards = int(shards)
    if costs is not None:
        check_type(costs, CostModel, "costs to be a padchol.CostModel")
    platform = _default_platform() if device == "auto" else device
    model = CostModel.of(platform) if costs is None else costs.on(platform)
    names = ordering.candidates(pattern) if isinstance(order, str) and order == "auto" else [order]
    if cache is None:
        return _analyze(pattern, names, model, shards, progress)
    from padchol.storage import kept

    made = functools.partial(_analyze, pattern, names, model, shards, progress)
    key = (FORMAT, pattern.digest, [_text(name) for name in names], model, shards)
    return kept(cache, key, made)


def _analyze(
    pattern: Pattern, names: list, model: CostModel, shards: int, progress: bool | None
) -> Plan:
    """The plan of the cheapest of the named orderings."""
    started = time.perf_counter()
    with Progress(2 * len(names) + 2, progress, pattern.rows.size) as tell:
        tried = tried_orderings(pattern, names, model, shards, tell)
        tell("fronts and bins")
        scheduled = None
        if model.levels and shards == 1:
            best, scheduled = cheapest_in_levels(tried, model)
        else:
            best = cheapest(tried, model, shards)
        tell("index tables")
        return _assemble(pattern, best, scheduled, model, shards, started)


def _default_platform() -> str:
    """That of JAX's default device: "cpu", "gpu" (of any make), "tpu", or a plug-in's name."""
    import jax  # here, because the rest of the analysis needs none

    chosen = jax.config.jax_default_device
    if chosen is None:
        return jax.default_backend() if _knows_accelerators() else "cpu"
    return chosen if isinstance(chosen, str) else chosen.platform


def _knows_accelerators() -> bool:
    """Whether JAX can have any: what it would need is a package of its own. Asking JAX itself
    starts its devices, which an analysis on a machine without any should not do."""
    found = any(importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu"))
    return found or bool(importlib.metadata.entry_points(group="jax_plugins"))


def _text(order: Any) -> str:
    return order if isinstance(order, str) else np.array(order).tobytes().hex()


def _assemble(
    pattern: Pattern,
    chosen: Candidate,
    scheduled: Schedule | None,
    model: CostModel,
    shards: int,
    started: float,
) -> Plan:
    """Tables and facts of the chosen ordering."""
    n, perm, post = pattern.n, chosen.perm, chosen.post
    size = f"under order={chosen.name!r} L has {8e-9 * chosen.nnz_L:.1f} GB in float64: nnz(L)"
    fits_int32(chosen.nnz_L, size)
    tiles.prove_sizes(chosen.relaxed)
    exact = supernodes.with_rows(chosen.counted, chosen.subtrees)
    relaxed, columns = amalgamation.merged(exact, chosen.group, model.widest)
    dealt = chosen.cut(model, shards)
    if shards > 1:
        order_of_nodes = sequence(dealt.shard)
        relaxed, moved = supernodes.renumbered(relaxed, order_of_nodes)
        dealt, columns = dealt._replace(shard=dealt.shard[order_of_nodes]), columns[moved]
    position = post[columns]
    if chosen.free:  # to expose the order in which columns are kept
        perm, position, post = perm[position], np.arange(n), np.argsort(columns)

    column = np.empty((2, n), np.int64)  # of each unknown, in the relaxed order and in `exact`'s
    column[0, perm[position]] = column[1, perm[post]] = np.arange(n)
    order = Order(perm, position, *lower(pattern, column[0]))
    parted = parts(relaxed, dealt.shard, shards, order.i, order.k)
    if model.levels and scheduled is None:
        scheduled = schedule([(part.nodes, part.top) for part in parted], model)
    layout, table = tables.build(parted, scheduled, order)
    arrays = {
        "perm": perm.astype(np.int32),
        "rows": pattern.rows.astype(np.int32),
        "cols": pattern.cols.astype(np.int32),
        "table": table,
        "copy_places": entry_places(exact, post, pattern, column[1]).astype(np.int32),
    }
    cost = scheduled.predicted(model) if scheduled else dealt.longest
    speedups = {k: chosen.cut(model, k).speedup for k in SPEEDUPS}
    items = counted(chosen.name, exact, relaxed, cost, layout, arrays, started)
    items |= shares(dealt, speedups)
    facts = Facts(items, fingerprint(arrays, layout, chosen.nnz_L))
    return Plan(**arrays, layout=layout, nnz=pattern.rows.size, facts=facts)

"""Random patterns in every container, against elimination column by column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

import padchol
from padchol.symbolic.etree import elimination_tree, permuted_lower
from padchol.symbolic.exact import exact_supernodes
from padchol.symbolic.unfold import fronts
from padchol.testing import _brute_force as brute
from padchol.testing._patterns import Entries, Rng, Stored, contents, draw, order_of, stored

CASES = 20  # of one unit
DEVICES: Any = ("cpu", "gpu", "tpu")


def unit(rng: Rng, number: int) -> Iterator[str | None]:
    """Patterns of a few families, each in a container, with an order and a device."""
    for _ in range(CASES):
        given = stored(rng, draw(rng))
        order, device = order_of(rng, given.expected.n), DEVICES[rng.integers(3)]
        before = contents(given.A)
        plan = padchol.analyze(given.A, order=order, lower=given.lower, device=device)
        wrong = [*_of_plan(plan, given, order)]
        if contents(given.A) != before:
            wrong.append("the caller's arrays were changed")
        said = order if isinstance(order, str) else "given"
        about = f"n = {given.expected.n}, {given.what}, order {said}, {device}"
        yield f"{about}: {'; '.join(wrong)}" if wrong else None


def _of_plan(plan: padchol.Plan, given: Stored, order: Any) -> Iterator[str]:
    """What is wrong with a plan."""
    e = given.expected
    S = e.dense
    yield from _canonical(plan, e, S)
    if not np.array_equal(np.sort(plan.perm), np.arange(e.n)):
        yield "perm is no permutation"
        return
    if not isinstance(order, str) and not np.array_equal(plan.perm, order):
        yield "the permutation given was not kept"
    if (
        isinstance(order, str)
        and order == "natural"
        and not np.array_equal(plan.perm, np.arange(e.n))
    ):
        yield "natural order is not the identity"
    perm = np.asarray(plan.perm, np.int64)
    L = brute.eliminate(S[np.ix_(perm, perm)])
    yield from _factor(plan, L)
    yield from _tree(plan, perm, L)
    yield from _fronts(plan, L)
    if sp.issparse(given.A):  # those of JAX are compiled for: see `_sequences`
        yield from _values(plan, given)


def _canonical(plan: padchol.Plan, e: Entries, S: np.ndarray) -> Iterator[str]:
    cols, rows = np.nonzero(np.tril(S).T)
    if not (np.array_equal(plan.rows, rows) and np.array_equal(plan.cols, cols)):
        yield "the canonical pattern is another"
    if (plan.n, plan.nnz) != (e.n, rows.size):
        yield f"n, nnz are {(plan.n, plan.nnz)}"


def _factor(plan: padchol.Plan, L: np.ndarray) -> Iterator[str]:
    """The exact pattern of L, and the places of the values in it."""
    indices, indptr = brute.csc(L)
    found = plan.factor_pattern()
    if not (np.array_equal(found[0], indices) and np.array_equal(found[1], indptr)):
        yield "the pattern of L is another"
    if plan.nnz_L != L.sum():
        yield f"nnz_L is {plan.nnz_L}; expected {L.sum()}"
    place = np.argsort(plan.perm)
    a, b = place[plan.rows], place[plan.cols]
    position = np.zeros(L.shape, int)
    position[indices, np.repeat(np.arange(len(L)), np.diff(indptr))] = np.arange(indices.size)
    if not np.array_equal(plan.copy_places, position[np.maximum(a, b), np.minimum(a, b)]):
        yield "the places of structured_copy are others"


def _tree(plan: padchol.Plan, perm: np.ndarray, L: np.ndarray) -> Iterator[str]:
    parent = elimination_tree(plan.n, *permuted_lower(plan.pattern, perm))
    if not np.array_equal(parent, brute.tree(L)):
        yield "the elimination tree is another"
    exact, post = exact_supernodes(plan.pattern, perm)
    counts = np.zeros(plan.n, np.int64)
    s = exact.of_column
    counts[post] = exact.first[s + 1] - np.arange(plan.n) + exact.below[s]
    if not np.array_equal(counts, brute.column_counts(L)):
        yield "the column counts are others"
    starts = brute.supernode_starts(L[np.ix_(post, post)])
    if [*exact.first[:-1]] != starts:
        yield "the supernodes are others"


def _fronts(plan: padchol.Plan, L: np.ndarray) -> Iterator[str]:
    """Tables read back: every column is a pivot once, and its front has the rows it has in L."""
    read = fronts(plan.layout, plan.table)
    every = np.concatenate([np.zeros(0, int), *read.pivots])
    if not np.array_equal(np.sort(every), np.arange(plan.n)):
        yield "the pivots of the fronts are not all columns"
    for own, below in zip(read.pivots, read.below, strict=True):
        rows = np.flatnonzero(L[:, own].any(1))
        if not np.isin(rows, np.concatenate([own, below])).all():
            yield f"the front of pivots {own} lacks rows of L"
        if below.size and (below.min() <= own.max() or np.unique(below).size != below.size):
            yield f"the front of pivots {own} has rows below {below}"


def _values(plan: padchol.Plan, given: Stored) -> Iterator[str]:
    """Values in canonical order, duplicates summed."""
    e = given.expected
    dense = np.zeros((e.n, e.n))
    dense[e.rows, e.cols] = e.data
    found = np.asarray(plan.values(given.A))
    tolerance = 1e-6 if found.dtype == np.float32 else 1e-13
    if not np.allclose(found, dense[plan.rows, plan.cols], rtol=tolerance, atol=10 * tolerance):
        yield "the values are others"

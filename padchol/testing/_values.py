"""Hundreds of matrices of one pattern in a batch, against dense numpy.

Patterns are drawn until their padded layout is that of a class, so that all of a class share one
compiled program; a class has an order, an engine and a float type.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

import padchol
from padchol.testing import _dense, _matrices
from padchol.testing._patterns import LARGEST, Rng, edges_of, lower, order_of

BATCH = 256  # matrices of a unit
UNITS = 24  # of a class
TRIES = 60  # patterns drawn to find one of the class's layout
PATTERNS: set[str] = set()  # fingerprints, of this process


class Class(NamedTuple):
    """What programs are compiled for."""

    n: int
    edges: int
    device: Any
    dtype: Any
    layout: Any


def unit(rng: Rng, number: int) -> Iterator[str | None]:
    """A batch on one pattern of the class that this number of unit belongs to."""
    of = of_class(number // UNITS)
    plan = member(rng, of)
    if plan is None:
        return
    PATTERNS.add(plan.fingerprint)
    a = _matrices.values(rng, plan, BATCH, of.dtype)
    A = _matrices.dense(plan, a)
    b = _matrices.right_hand_sides(rng, A, of.dtype)
    at = _matrices.spoiled_columns(rng, b)
    with jax.enable_x64(of.dtype == np.float64):
        found = jax.tree.map(np.asarray, outputs(plan, a, b[:, np.argsort(plan.perm)]))
    about = f"n = {plan.n}, nnz = {plan.nnz}, {of.device}, {np.dtype(of.dtype)}"
    for k, wrong in enumerate(_wrong(plan, A, (b, at), found, of.dtype)):
        yield f"{about}, matrix {k}: {'; '.join(wrong)}" if wrong else None


@lru_cache(maxsize=2)
def of_class(number: int) -> Class:
    """The layout that is met most often among patterns of one size."""
    rng = np.random.default_rng([17, number])
    n = int(rng.integers(LARGEST + 1)) if number % 6 else int(rng.integers(4))
    edges = int(rng.integers(min(n * (n - 1) // 2, 2 * n) + 1))
    device = "gpu" if rng.random() < 0.4 else "cpu"
    dtype = np.float32 if rng.random() < 0.3 else np.float64
    of = Class(n, edges, device, dtype, None)
    layouts = Counter(_plan(rng, of).layout for _ in range(20))
    return of._replace(layout=layouts.most_common(1)[0][0])


def member(rng: Rng, of: Class) -> padchol.Plan | None:
    """A plan of the class's layout; None where none was drawn in so many tries."""
    tries = (_plan(rng, of) for _ in range(TRIES))
    return next((plan for plan in tries if plan.layout == of.layout), None)


def _plan(rng: Rng, of: Class) -> padchol.Plan:
    """Of a pattern with just so many edges: of a family, less some or with random ones besides."""
    n = of.n
    edges = edges_of(rng, n)
    while len(edges) < of.edges:
        more = rng.integers(n, size=(2 * (of.edges - len(edges)), 2))
        edges = lower(np.concatenate([edges, more]))
    edges = edges[rng.permutation(len(edges))[: of.edges]]
    rows, cols = np.append(edges[:, 0], np.arange(n)), np.append(edges[:, 1], np.arange(n))
    return padchol.analyze((rows, cols, n), lower=True, order=order_of(rng, n), device=of.device)


@jax.jit
def outputs(plan: padchol.Plan, a: jax.Array, b: jax.Array) -> dict[str, jax.Array]:
    """Of each matrix; all in the user's order."""

    def one(a, b):
        F = padchol.cholesky(plan, a)
        halves = F.apply_Pt(F.solve_Lt(F.solve_L(F.apply_P(b))))
        found = {"solve": F.solve(b), "solve_Lt of solve_L": halves, "logdet": F.logdet()}
        inverse = {"selected_inverse": F.selected_inverse(), "gradient": jax.grad(logdet)(a)}
        return found | inverse | {"info": F.info, "pivots": F.pivots}

    def logdet(a):
        return padchol.cholesky(plan, a).logdet()

    return jax.vmap(one)(a, b)


def _wrong(
    plan: padchol.Plan, A: np.ndarray, given: tuple, found: dict, dtype: Any
) -> list[list[str]]:
    """What is wrong with each matrix of a batch; A and b in the plan's order, given (b, where its
    second column is no number)."""
    eps, tiny = np.finfo(dtype).eps, np.finfo(dtype).tiny
    v = _dense.verdict(A, eps, 2 * tiny / eps)
    wrong = [_of_info(plan, *each) for each in zip(found["info"], v.first, v.last, strict=True)]
    sound = found["info"] == 0
    numbers = [x for name, x in found.items() if name not in ("info", "pivots")]
    for k in np.flatnonzero(~sound):
        if not all(np.isnan(x[k]).all() for x in numbers):
            wrong[k].append("numbers of a matrix that failed")
    b, at = given
    every = itertools.chain(
        _errors_of_solves(plan, A, b, at, found, v, eps), _errors(plan, found, v, eps)
    )
    for name, error, allowed in every:
        for k in np.flatnonzero(sound & (v.last == plan.n) & ~(error <= allowed)):
            wrong[k].append(f"{name} is off by {error[k]:.1e}; allowed {allowed[k]:.1e}")
    return wrong


def _of_info(plan: padchol.Plan, info: int, first: int, last: int) -> list[str]:
    place = plan.n if info == 0 else int(np.argsort(plan.perm)[info - 1])
    if first <= place <= last:
        return []
    return [f"info is {info}, pivot {place} of {plan.n}; expected one of {first} to {last}"]


Errors = Iterator[tuple[str, Any, Any]]  # name, error, how large it may be, (B,) each


def _errors_of_solves(plan, A, b, at, found, v: _dense.Verdict, eps: float) -> Errors:
    """Backward errors, without columns that are no numbers, which must be seen to be none."""
    hit, unit = np.flatnonzero(at >= 0), np.full(len(A), _dense.C * max(plan.n, 1) * eps)
    b = b.copy()
    b[hit, :, 1] = 0
    for name in ("solve", "solve_Lt of solve_L"):
        x, lost = found[name][:, plan.perm], np.zeros(len(A))
        lost[hit] = np.isfinite(x[hit, at[hit], 1])
        yield f"{name}, which hides NaN or infinity,", lost, 0 * unit
        x[hit, :, 1] = 0
        yield name, _dense.backward_error(A, v.d, x, b), unit


def _errors(plan, found, v: _dense.Verdict, eps: float) -> Errors:
    """Of the other outputs."""
    n, perm = plan.n, plan.perm
    unit = _dense.C * max(n, 1) * eps
    regular = v.smallest > unit  # digits are left of the determinant and of the inverse
    smallest = np.where(regular, v.smallest, 1)
    H = np.where(regular[:, None, None], v.H, np.eye(n))
    logs = 2 * np.log(v.d)
    error = np.abs(found["logdet"] - np.linalg.slogdet(H)[1] - logs.sum(1))
    allowed = unit * (n / smallest + np.abs(logs).sum(1) + 1)
    yield "logdet", np.where(regular, error, 0), allowed
    place = np.argsort(perm)
    i, j = place[plan.rows], place[plan.cols]
    inverse = np.linalg.inv(H)[:, i, j]
    for name, weight in (("selected_inverse", 1), ("gradient", np.where(i == j, 1, 2))):
        scaled = found[name].astype(float) * v.d[:, i] * v.d[:, j] / weight
        error = np.abs(scaled - inverse).max(1, initial=0.0)
        yield name, np.where(regular, error, 0), unit / smallest**2


def programs() -> int:
    """How many were compiled."""
    return outputs._cache_size()
